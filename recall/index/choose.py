"""Which index to take: by the size of the catalogue, then by what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Annotated, Any, Literal

from loguru import logger
from pydantic import Tag

from recall.index import AUTO, INDEXES
from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import BruteForceConfig
from recall.index.flat import FlatConfig
from recall.index.hnsw import HNSWConfig
from recall.index.ivf import IVFConfig
from recall.index.pq import PQConfig
from recall.index.tuning import Measured, RecallTooLow, Sample, in_turns, tune
from reccore import ConfigError
from reccore.arrays import FloatArray
from reccore.config import by_kind

# Up to so many items an exact search takes a millisecond or two, and a structure would save nothing worth having.
EXACT_UP_TO = 100_000
# Beyond so many items ``auto`` leaves the graph out, whose building by one thread takes minutes.
GRAPH_UP_TO = 250_000


class AutoConfig(BaseIndexConfig):
    """The default flat index up to ``EXACT_UP_TO`` items, the default IVF index beyond."""

    kind: Literal["auto"] = "auto"

    def create(self, n_items: int) -> BaseIndex:
        return (FlatConfig() if n_items <= EXACT_UP_TO else IVFConfig()).create(n_items)


IndexConfig = Annotated[
    Annotated[FlatConfig, Tag("flat")]
    | Annotated[BruteForceConfig, Tag("brute_force")]
    | Annotated[IVFConfig, Tag("ivf")]
    | Annotated[HNSWConfig, Tag("hnsw")]
    | Annotated[PQConfig, Tag("pq")]
    | Annotated[AutoConfig, Tag("auto")],
    by_kind("flat"),
]
"""Type of a channel's field ``index: IndexConfig = FlatConfig()``, in TOML ``index = {kind = "ivf", nprobe = 32}``.

``config.index.create(n_items)`` makes the empty index, and ``index.config`` is a value of this type.
"""


def create_index(kind: str, n_items: int, options: Mapping[str, Any] | None = None) -> BaseIndex:
    """An empty index of a kind; ``auto`` is flat up to ``EXACT_UP_TO`` items and ivf beyond.

    Raises:
        ConfigError: an unknown kind or option, or options for ``auto``.
    """
    if kind != AUTO:
        return INDEXES[kind](options)
    if options:
        raise ConfigError(f"options of an index need its kind, not {AUTO}: got {', '.join(options)}")
    return AutoConfig().create(n_items)


def kinds_to_try(kind: str, n_items: int) -> tuple[str, ...]:
    """What to build and measure against the flat index."""
    if kind != AUTO:
        return (kind,)
    if n_items <= EXACT_UP_TO:
        return ("flat",)
    return ("ivf", "pq", "hnsw") if n_items <= GRAPH_UP_TO else ("ivf", "pq")


def build_best(
    kind: str,
    vectors: FloatArray,
    make_sample: Callable[[BaseIndex], Sample],
    min_recall: float,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[BaseIndex, list[Measured]]:
    """Build the kind asked for, or with ``auto`` each in question, tune it to the recall, and take the fastest.

    Args:
        kind: a registered kind, or ``auto``.
        vectors: (N, D) float32 item vectors.
        make_sample: from the exact index to queries with the true answers.
        min_recall: recall@k that the lower end of the interval must reach.
        options: of the kind asked for.
        seed: of the building.

    Returns:
        The index, tuned, and what was measured, the flat index first.

    Raises:
        ConfigError: the kind asked for does not reach the recall; ``auto`` takes flat instead.
    """
    create_index(kind, len(vectors), options)  # a wrong option fails before anything is built
    started = perf_counter()
    flat = INDEXES["flat"]().build(vectors)
    flat_seconds = perf_counter() - started
    sample = make_sample(flat)
    measured = [Measured.of(flat, flat_seconds, sample, in_turns([flat], sample)[0])]
    best, fastest = flat, measured[0].queries_per_second
    for name in kinds_to_try(kind, len(vectors)):
        if name == flat.name:
            continue
        started = perf_counter()
        index = INDEXES[name](options).build(vectors, seed)
        seconds = perf_counter() - started
        logger.info("{} built in {:.1f} s", name, seconds)
        try:
            tune(index, sample, min_recall)
        except RecallTooLow as error:
            if kind != AUTO:
                raise
            logger.warning("{}", error)
            continue
        exact_rate, rate = in_turns([flat, index], sample)
        measured.append(Measured.of(index, seconds, sample, rate, exact_rate))
        if kind != AUTO or rate > fastest:
            best, fastest = index, rate
    return best, measured
