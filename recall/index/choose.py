"""Choice of an index: by configuration, by the size of the catalogue, or by measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Annotated, Any, Literal

from loguru import logger
from pydantic import Tag

from recall.index import AUTO, INDEXES
from recall.index.annoy import AnnoyConfig
from recall.index.base import BaseIndex, BaseIndexConfig
from recall.index.brute_force import BruteForceConfig
from recall.index.flat import FlatConfig
from recall.index.hnsw import HNSWConfig
from recall.index.ivf import IVFConfig
from recall.index.pq import PQConfig
from recall.index.qdrant import QdrantConfig
from recall.index.tuning import IndexMeasurement, QuerySample, RecallTooLow, interleaved_qps, tune
from reccore.arrays import FloatArray
from reccore.config import by_kind

# Up to this number of items an exact search takes a millisecond or two, so an approximate one saves little.
EXACT_UP_TO = 100_000
# Beyond this number of items ``auto`` does not try HNSW, because one thread takes minutes to build the graph.
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
    | Annotated[AnnoyConfig, Tag("annoy")]
    | Annotated[QdrantConfig, Tag("qdrant")]
    | Annotated[AutoConfig, Tag("auto")],
    by_kind("flat"),
]
"""Type of a channel's field ``index: IndexConfig = FlatConfig()``, in TOML ``index = {kind = "ivf", nprobe = 32}``.

``config.index.create(n_items)`` makes the empty index, and ``index.config`` is a value of this type.
"""


def parse_index(kind: str, options: Mapping[str, Any]) -> BaseIndexConfig:
    """Options of an index from its kind, which may be ``auto``, and plain values.

    Raises:
        ConfigError: an unknown kind or option, or a value out of range.
    """
    return (AutoConfig if kind == AUTO else INDEXES[kind].Config).parse(options)


def configs_to_try(config: BaseIndexConfig, n_items: int) -> tuple[BaseIndexConfig, ...]:
    """The indexes to build and measure next to the flat one."""
    if config.kind != AUTO:
        return (config,)
    if n_items <= EXACT_UP_TO:
        return (FlatConfig(),)
    return (IVFConfig(), PQConfig(), HNSWConfig()) if n_items <= GRAPH_UP_TO else (IVFConfig(), PQConfig())


def build_best(
    config: BaseIndexConfig,
    vectors: FloatArray,
    make_sample: Callable[[BaseIndex], QuerySample],
    min_recall: float,
    *,
    seed: int = 0,
) -> tuple[BaseIndex, list[IndexMeasurement]]:
    """Build the given index, or with ``auto`` several, tune each to the recall, and return the fastest.

    Args:
        config: options of the index; ``auto`` tries those of ``configs_to_try``.
        vectors: (N, D) float32 item vectors.
        make_sample: computes the true answers to a sample of queries with the given exact index.
        min_recall: recall@k that the lower 95% bound must reach.
        seed: of building.

    Returns:
        The tuned index, and the measurements of all indexes, the flat one first.

    Raises:
        RecallTooLow: the given index does not reach the recall; ``auto`` then returns the flat index.
    """
    started = perf_counter()
    flat = FlatConfig().create(len(vectors)).build(vectors)
    flat_seconds = perf_counter() - started
    sample = make_sample(flat)
    measured = [IndexMeasurement.of(flat, flat_seconds, sample, interleaved_qps([flat], sample)[0])]
    best, fastest = flat, measured[0].queries_per_second
    for choice in configs_to_try(config, len(vectors)):
        if choice.kind == flat.name:
            continue
        started = perf_counter()
        index = choice.create(len(vectors)).build(vectors, seed)
        seconds = perf_counter() - started
        logger.info("{} built in {:.1f} s", index.name, seconds)
        try:
            tune(index, sample, min_recall)
        except RecallTooLow as error:
            if config.kind != AUTO:
                raise
            logger.warning("{}", error)
            continue
        exact_rate, rate = interleaved_qps([flat, index], sample)
        measured.append(IndexMeasurement.of(index, seconds, sample, rate, exact_rate))
        if config.kind != AUTO or rate > fastest:
            best, fastest = index, rate
    return best, measured
