"""What a request gets back: films with titles, scores, and their places along the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.stages import MERGE_SCORE, RANK_SCORE, RECALL_RANK, RECALL_SCORE, Request
from pipeline.trace import Trace
from reccore import Candidates, ItemTable, RawId, Vocabulary
from reccore.tables import UNKNOWN_YEAR

SCORES = {"merge": MERGE_SCORE, "rank": RANK_SCORE}
PLACES = {"merge": "merge", "rank": "score"}
"""Name of a place of a recommendation → role of the stage in whose order it is."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended film.

    Attributes:
        movie_id: raw id.
        title: with the year; ``movie <id>`` where none is known.
        year: None where it is unknown.
        genres: names.
        channels: channel → its rank of the film, where it offered it.
        scores: score of each stage: ``recall.<channel>``, ``merge``, ``rank``, ``final``. Places beyond the pool from
            which the reranker chooses have no ``final``, as there the order of the stage before goes on; neither has a
            film that the request must include and that was not chosen.
        places: from 1: ``merge``, ``rank`` (where a ranker ordered the candidates) and ``final``.
    """

    movie_id: RawId
    title: str
    year: int | None
    genres: tuple[str, ...]
    channels: dict[str, int]
    scores: dict[str, float]
    places: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """What ``recommend`` returns.

    Attributes:
        items: best first.
        trace: what each stage did.
        history: raw movie ids of the history used, oldest first.
        unknown: movie ids of the request that are not in the catalogue.
    """

    items: tuple[Recommendation, ...]
    trace: Trace
    history: tuple[RawId, ...]
    unknown: tuple[RawId, ...]


def describe(
    request: Request,
    candidates: Candidates,
    items: ItemTable,
    vocabulary: Vocabulary,
    *,
    ranked: bool,
    pool: int | None,
) -> tuple[Recommendation, ...]:
    """The films of a request of one query, best first.

    Args:
        request: after its way through the stages.
        candidates: the final list.
        items: item facts.
        vocabulary: raw ids.
        ranked: whether ``rank_score`` is that of a ranker.
        pool: how many of the first candidates the reranker chooses from; None = all, or no reranker.
    """
    places = {name: _places(request, role, candidates) for name, role in PLACES.items()}
    selected = _places(request, "select", candidates)
    score_of = {
        f"recall.{_tail(name, RECALL_SCORE)}": name for name in candidates.features if name.startswith(RECALL_SCORE)
    }
    score_of |= {s: name for s, name in SCORES.items() if name in candidates.features and (ranked or s != "rank")}
    rank_of = {_tail(name, RECALL_RANK): name for name in candidates.features if name.startswith(RECALL_RANK)}
    scores_of_columns = _rows(candidates, score_of)
    ranks_of_columns = _rows(candidates, rank_of)
    shown = []
    for column, item in enumerate(candidates.item_idx[0, : int(candidates.counts[0])].tolist()):
        scores = scores_of_columns[column]
        chosen = column < len(selected) and selected[column] > 0
        if (chosen or "select" not in request.orders) and (pool is None or column < pool):
            scores["final"] = float(candidates.score[0, column])
        movie_id = vocabulary.items.raw_id(item)
        year = UNKNOWN_YEAR if items.year is None else int(items.year[item])
        shown.append(
            Recommendation(
                movie_id=movie_id,
                title=items.label(item, movie_id),
                year=None if year == UNKNOWN_YEAR else year,
                genres=tuple(items.genres_of(item)),
                channels={name: int(rank) for name, rank in ranks_of_columns[column].items()},
                scores=scores,
                places={n: at[column] for n, at in places.items() if at[column] > 0} | {"final": column + 1},
            )
        )
    return tuple(shown)


def _rows(candidates: Candidates, columns: Mapping[str, str]) -> list[dict[str, float]]:
    """For every candidate of the first row its finite values of the named features, by other names."""
    if not columns:
        return [{} for _ in range(candidates.k)]
    values = np.stack([candidates.features[feature][0] for feature in columns.values()], axis=1)  # (K, C)
    rows = (zip(columns, row, strict=True) for row in values.tolist())
    return [{name: value for name, value in row if math.isfinite(value)} for row in rows]


def _places(request: Request, role: str, candidates: Candidates) -> list[int]:
    """Place from 1 of every candidate of the first row in the order of a stage; 0 where it is not in it."""
    order = request.orders.get(role)
    shown = candidates.item_idx[0].tolist()
    if order is None:
        return [0] * len(shown)
    place = {item: at for at, item in enumerate(order[0].tolist(), start=1) if item >= 0}
    return [place.get(item, 0) for item in shown]


def _tail(name: str, prefix: str) -> str:
    return name.removeprefix(prefix)
