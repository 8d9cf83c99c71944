"""Exploration: places of the list that go to films of which little is known.

``epsilon``: each of these places goes, with probability ε, to a candidate drawn among the rarely watched ones.

``thompson``: each of these places goes to the candidate with the best draw from a normal distribution around its
relevance, whose standard deviation ``scale`` / √(1 + events) falls with the number of its events (Thompson sampling;
Chapelle & Li, An empirical evaluation of Thompson sampling, NeurIPS 2011).

Every draw is a hash of the seed, the request (user, time, history) and the film. A repeated request gets the same list,
a new event of the user gives new draws, and other queries of the batch do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numba import njit
from pydantic import Field, PositiveInt, Tag

from reccore import Bundle, Candidates, ComponentConfig, ConfigError, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from reccore.config import by_kind
from rerank.greedy import Choice, GreedyReranker, no_choice, relevance_of

_EVENTS_FILE = "events.npz"
_UNIT = 2.0**-53


class EpsilonPolicy(ComponentConfig):
    """ε-greedy.

    Attributes:
        epsilon: probability that a place is explored.
        rare_share: share of the catalogue, of the films with the fewest events, that counts as rarely watched.
    """

    kind: Literal["epsilon"] = "epsilon"
    epsilon: float = Field(default=0.2, ge=0.0, le=1.0)
    rare_share: float = Field(default=0.8, gt=0.0, le=1.0)


class ThompsonPolicy(ComponentConfig):
    """Thompson sampling.

    Attributes:
        scale: standard deviation of the relevance, which lies in [0, 1], of a film without events.
    """

    kind: Literal["thompson"] = "thompson"
    scale: float = Field(default=1.0, gt=0.0)


Policy = Annotated[
    Annotated[EpsilonPolicy, Tag("epsilon")] | Annotated[ThompsonPolicy, Tag("thompson")], by_kind("epsilon")
]


class ExploreConfig(ComponentConfig):
    """Options of exploration.

    Attributes:
        places: places of the list, from 1, that are explored; the others keep the input's order.
        policy: which film takes such a place.
        pool: number of first candidates to explore among; the rest follow in their old order.
        seed: of the draws.
    """

    places: tuple[PositiveInt, ...] = Field((5, 10), min_length=1)
    policy: Policy = EpsilonPolicy()
    pool: int = Field(100, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)


class Explore(GreedyReranker):
    """Explores some places of the list over the first candidates of each query.

    Takes O(places·pool) time per query. The score is 0, −1, −2, … along the list. A place without a rarely watched
    candidate goes to the next candidate in order.
    """

    name: ClassVar[str] = "explore"
    Config: ClassVar[type[ComponentConfig]] = ExploreConfig
    config: ExploreConfig

    def __init__(self, config: ExploreConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self._events = np.zeros(0)  # (N,) of each film
        self._rare = np.zeros(0, dtype=bool)  # (N,)

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        count = items.statistics.get("count")
        if count is None:
            raise ConfigError("reranker 'explore' needs the number of events of each item (the statistic 'count')")
        self._events = np.nan_to_num(count).astype(np.float64)
        if isinstance(self.config.policy, EpsilonPolicy):
            self._rare = self._events <= np.quantile(self._events, self.config.policy.rare_share, method="lower")

    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        columns, _ = no_choice(len(pool), picks)
        explored = np.zeros(picks, dtype=bool)
        explored[[place - 1 for place in self.config.places if place <= picks]] = True
        request = _request_hashes(
            self.config.seed, queries.user_idx, queries.as_of, queries.history_offsets, queries.history_idx
        )
        rows = pool.item_idx, pool.counts, request, explored
        policy = self.config.policy
        if isinstance(policy, EpsilonPolicy):
            _epsilon_rows(*rows, self._rare, policy.epsilon, columns)
        else:
            relevance = relevance_of(pool.score, pool.mask, "min_max")
            _thompson_rows(*rows, relevance, policy.scale / np.sqrt(1.0 + self._events), columns)
        return columns, np.broadcast_to(-np.arange(picks, dtype=np.float64), columns.shape)

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays(_EVENTS_FILE, {"events": self._events, "rare": self._rare})

    def _read(self, bundle: Bundle) -> None:
        arrays = bundle.arrays(_EVENTS_FILE)
        self._events, self._rare = arrays["events"], arrays["rare"]


@njit(nogil=True, cache=True)
def _mix(state: Any, value: Any) -> Any:
    """A 64-bit hash of a hash and a number: a step of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    z = np.uint64(state) ^ (np.uint64(value) * np.uint64(0x9E3779B97F4A7C15))
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def _uniform(hashed: Any) -> Any:
    """In (0, 1]."""
    return ((np.uint64(hashed) >> np.uint64(11)) + np.uint64(1)) * _UNIT


@njit(nogil=True, cache=True)
def _request_hashes(
    seed: int, user_idx: np.ndarray, as_of: np.ndarray, offsets: np.ndarray, history_idx: np.ndarray
) -> np.ndarray:
    """(B,) a hash of the seed and each request."""
    hashes = np.empty(len(user_idx), dtype=np.uint64)
    for row in range(len(user_idx)):
        hashed = _mix(_mix(_mix(np.uint64(0), seed), user_idx[row]), as_of[row])
        for at in range(offsets[row], offsets[row + 1]):
            hashed = _mix(hashed, history_idx[at])
        hashes[row] = hashed
    return hashes


@njit(nogil=True, cache=True)
def _epsilon_rows(
    item_idx: np.ndarray,
    counts: np.ndarray,
    request: np.ndarray,
    explored: np.ndarray,
    rare: np.ndarray,
    epsilon: float,
    columns: np.ndarray,
) -> None:
    """Fill ``columns`` (B, picks) row by row. The rare candidate with the lowest hash wins: a uniform draw."""
    for row in range(len(item_idx)):
        free = np.ones(counts[row], dtype=np.bool_)
        following = 0  # the first free column
        for pick in range(min(counts[row], columns.shape[1])):
            chosen = -1
            if explored[pick] and _uniform(_mix(request[row], -1 - pick)) <= epsilon:
                lowest = 2.0
                for c in range(counts[row]):
                    draw = _uniform(_mix(request[row], item_idx[row, c]))
                    if free[c] and rare[item_idx[row, c]] and draw < lowest:
                        chosen, lowest = c, draw
            while not free[following]:
                following += 1
            columns[row, pick] = following if chosen < 0 else chosen
            free[columns[row, pick]] = False


@njit(nogil=True, cache=True)
def _thompson_rows(
    item_idx: np.ndarray,
    counts: np.ndarray,
    request: np.ndarray,
    explored: np.ndarray,
    relevance: np.ndarray,
    deviation: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Fill ``columns`` (B, picks) row by row; one draw for every candidate, by Box and Muller's transform."""
    for row in range(len(item_idx)):
        n = counts[row]
        draw = np.empty(n)
        for c in range(n):
            hashed = _mix(request[row], item_idx[row, c])
            radius = np.sqrt(-2.0 * np.log(_uniform(hashed)))
            normal = radius * np.cos(2.0 * np.pi * _uniform(_mix(hashed, 1)))
            draw[c] = relevance[row, c] + deviation[item_idx[row, c]] * normal
        free = np.ones(n, dtype=np.bool_)
        following = 0  # the first free column
        for pick in range(min(n, columns.shape[1])):
            while not free[following]:
                following += 1
            chosen = following
            if explored[pick]:
                for c in range(n):
                    if free[c] and draw[c] > draw[chosen]:
                        chosen = c
            columns[row, pick] = chosen
            free[chosen] = False
