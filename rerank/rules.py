"""Rules about the list: caps, a share of new films, no two sequels side by side, and films that are never shown.

The list is filled place by place with the first candidate that breaks no rule. Where every candidate left breaks one,
``unmet = "relax"`` takes a candidate whose strongest broken rule is the weakest, the first of equals, and
``unmet = "shorten"`` ends the list. From weakest to strongest:

    1. ``min_new_share``  2. ``max_per_genre``  3. ``max_per_decade``
    4. ``max_per_franchise``  5. ``no_adjacent_sequels``

Blocked films and genres are never shown, so a list can be shorter than requested because of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numba import njit
from pydantic import Field, NonNegativeInt, PositiveInt

from reccore import Bundle, Candidates, ComponentConfig, ConfigError, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import BoolArray, FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.franchise import franchise_codes
from reccore.tables import UNKNOWN_YEAR
from rerank.greedy import Choice, GreedyReranker, no_choice

_FACTS_FILE = "facts.npz"
_NO_CAP = np.iinfo(np.int64).max


class RulesConfig(ComponentConfig):
    """Options of the rules; a rule that is left out does not apply.

    Attributes:
        max_per_genre: most films of one genre in the list, for all genres or by name; a film counts for each of its
            genres.
        max_per_decade: most films of one decade; films of an unknown year are not counted.
        max_per_franchise: most films of one franchise (titles that share a name).
        no_adjacent_sequels: no two films of one franchise side by side.
        min_new_share: of the first n films at least ⌊n · share⌋ are new, for every n.
        new_years: a film is new if its year is among the latest ``new_years`` of the catalogue.
        block: raw ids of films never to show; ids outside the catalogue do nothing.
        block_genres: names of genres never to show.
        unmet: what happens where no candidate is left that breaks no rule.
    """

    max_per_genre: PositiveInt | dict[str, NonNegativeInt] | None = None
    max_per_decade: PositiveInt | None = None
    max_per_franchise: PositiveInt | None = None
    no_adjacent_sequels: bool = False
    min_new_share: float = Field(0.0, ge=0.0, le=1.0)
    new_years: PositiveInt = 3
    block: tuple[int, ...] = ()
    block_genres: tuple[str, ...] = ()
    unmet: Literal["relax", "shorten"] = "relax"


@dataclass(frozen=True, eq=False)
class RuleFacts:
    """What the rules read of the N items.

    Attributes:
        genre_offsets, genre_idx: genres in CSR.
        genre_caps: (G,) most films of each genre.
        decade: (N,) year // 10; 0 = unknown.
        franchise: (N,) from 1; 0 = none.
        new: (N,) whether the film is new.
        blocked: (N,) whether it is never shown.
    """

    genre_offsets: IntArray
    genre_idx: IntArray
    genre_caps: IntArray
    decade: IntArray
    franchise: IntArray
    new: BoolArray
    blocked: BoolArray

    @classmethod
    def of(cls, config: RulesConfig, items: ItemTable, vocabulary: Vocabulary) -> Self:
        """Read the facts that the configured rules need.

        Raises:
            ConfigError: a rule needs a column that the catalogue lacks, or names an unknown genre.
        """
        _check_columns(config, items)
        n, genres = items.n_items, items.genres
        year = np.zeros(n, dtype=np.int64) if items.year is None else items.year
        blocked = np.zeros(n, dtype=bool)
        block_idx = vocabulary.items.encode(np.array(config.block, dtype=np.int64))
        blocked[block_idx[block_idx >= 0]] = True
        if config.block_genres:
            blocked |= items.genre_matrix()[:, _codes(config.block_genres, items)].any(axis=1)
        known = year != UNKNOWN_YEAR
        return cls(
            genre_offsets=np.zeros(n + 1, dtype=np.int64) if genres is None else genres.offsets,
            genre_idx=np.zeros(0, dtype=np.int64) if genres is None else genres.idx,
            genre_caps=_genre_caps(config.max_per_genre, items),
            decade=np.where(known, year // 10, 0),
            franchise=np.zeros(n, dtype=np.int64) if items.title is None else franchise_codes(items.title),
            new=known & (year > year.max(initial=0) - config.new_years),
            blocked=blocked,
        )


def _check_columns(config: RulesConfig, items: ItemTable) -> None:
    needed = {
        "genres": (items.genres, config.max_per_genre is not None or bool(config.block_genres)),
        "years": (items.year, config.max_per_decade is not None or config.min_new_share > 0),
        "titles": (items.title, config.max_per_franchise is not None or config.no_adjacent_sequels),
    }
    for name, (column, wanted) in needed.items():
        if wanted and column is None:
            raise ConfigError(
                f"reranker 'rules' has a rule about {name} and the catalogue has none; leave the rule out"
            )


def _codes(names: tuple[str, ...], items: ItemTable) -> list[int]:
    unknown = [name for name in names if name not in items.genre_names]
    if unknown:
        raise ConfigError(
            f"reranker 'rules' names unknown genres: {', '.join(unknown)}; known: {', '.join(items.genre_names)}"
        )
    return [items.genre_names.index(name) for name in names]


def _genre_caps(max_per_genre: int | Mapping[str, int] | None, items: ItemTable) -> IntArray:
    caps = np.full(items.n_genres, _NO_CAP, dtype=np.int64)
    if isinstance(max_per_genre, Mapping):
        caps[_codes(tuple(max_per_genre), items)] = list(max_per_genre.values())
    elif max_per_genre is not None:
        caps[:] = max_per_genre
    return caps


class Rules(GreedyReranker):
    """Fills the list from all candidates in their order, under the configured rules.

    Takes O(picks·L) time per query for L genres of all candidates. The score is the candidate's own, or that of the
    film before it if that is lower.
    """

    name: ClassVar[str] = "rules"
    Config: ClassVar[type[ComponentConfig]] = RulesConfig
    config: RulesConfig

    def __init__(self, config: RulesConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self._facts: RuleFacts | None = None

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        self._facts = RuleFacts.of(self.config, items, vocabulary)

    def _choose(self, queries: QueryBatch, pool: Candidates, picks: int) -> Choice:
        facts, config = self._facts, self.config
        assert facts is not None
        columns, objective = no_choice(len(pool), picks)
        _choose_rows(
            facts.genre_offsets,
            facts.genre_idx,
            facts.genre_caps,
            facts.decade,
            facts.franchise,
            facts.new,
            facts.blocked,
            pool.item_idx,
            pool.score.astype(np.float64),
            config.max_per_decade or _NO_CAP,
            config.max_per_franchise or _NO_CAP,
            config.no_adjacent_sequels,
            config.min_new_share,
            config.unmet == "shorten",
            columns,
            objective,
        )
        return columns, np.minimum.accumulate(objective, axis=1)

    def _write(self, bundle: BundleWriter) -> None:
        assert self._facts is not None
        bundle.arrays(_FACTS_FILE, {field.name: getattr(self._facts, field.name) for field in fields(RuleFacts)})

    def _read(self, bundle: Bundle) -> None:
        self._facts = RuleFacts(**bundle.arrays(_FACTS_FILE))


@njit(nogil=True, cache=True)
def _choose_rows(
    genre_offsets: np.ndarray,
    genre_idx: np.ndarray,
    genre_caps: np.ndarray,
    decade: np.ndarray,
    franchise: np.ndarray,
    new: np.ndarray,
    blocked: np.ndarray,
    item_idx: np.ndarray,
    score: np.ndarray,
    decade_cap: int,
    franchise_cap: int,
    apart: bool,
    new_share: float,
    shorten: bool,
    columns: np.ndarray,
    objective: np.ndarray,
) -> None:
    """Fill ``columns`` and ``objective`` (B, picks) row by row; ``broken`` is the strongest broken rule."""
    of_decade = np.zeros(decade.max() + 1 if len(decade) else 1, dtype=np.int64)
    of_franchise = np.zeros(franchise.max() + 1 if len(franchise) else 1, dtype=np.int64)
    of_genre = np.zeros(len(genre_caps), dtype=np.int64)
    for row in range(len(item_idx)):
        of_decade[:], of_franchise[:], of_genre[:] = 0, 0, 0
        n_new, before = 0, 0  # new films so far; franchise of the film before
        free = np.zeros(item_idx.shape[1], dtype=np.bool_)
        for c in range(item_idx.shape[1]):
            free[c] = item_idx[row, c] >= 0 and not blocked[item_idx[row, c]]
        for pick in range(columns.shape[1]):
            wants_new = n_new < int((pick + 1) * new_share + 1e-9)  # 10 · 0.3 is below 3
            best, least = -1, 6
            for c in range(item_idx.shape[1]):
                if free[c]:
                    i = item_idx[row, c]
                    own = genre_idx[genre_offsets[i] : genre_offsets[i + 1]]
                    broken = 1 if wants_new and not new[i] else 0
                    if _full(own, of_genre, genre_caps):
                        broken = 2
                    if decade[i] > 0 and of_decade[decade[i]] >= decade_cap:
                        broken = 3
                    if franchise[i] > 0 and of_franchise[franchise[i]] >= franchise_cap:
                        broken = 4
                    if apart and franchise[i] > 0 and franchise[i] == before:
                        broken = 5
                    if broken < least:
                        best, least = c, broken
                    if broken == 0:
                        break
            if best < 0 or (shorten and least > 0):
                break
            columns[row, pick], objective[row, pick] = best, score[row, best]
            free[best] = False
            i = item_idx[row, best]
            of_decade[decade[i]] += 1
            of_franchise[franchise[i]] += 1
            for g in genre_idx[genre_offsets[i] : genre_offsets[i + 1]]:
                of_genre[g] += 1
            n_new += 1 if new[i] else 0
            before = franchise[i]


@njit(nogil=True, cache=True)
def _full(genres: np.ndarray, of_genre: np.ndarray, caps: np.ndarray) -> bool:
    """Whether one of these genres has as many films as it may have."""
    full = False
    for g in genres:
        full |= of_genre[g] >= caps[g]
    return full
