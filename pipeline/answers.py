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
    shown = candidates.head(int(candidates.counts[0]))
    rows = {name: values[0].tolist() for name, values in shown.features.items()}
    channels = {name.removeprefix(RECALL_RANK): row for name, row in rows.items() if name.startswith(RECALL_RANK)}
    scores = {f"recall.{n.removeprefix(RECALL_SCORE)}": row for n, row in rows.items() if n.startswith(RECALL_SCORE)}
    scores |= {stage: rows[name] for stage, name in SCORES.items() if name in rows and (ranked or stage != "rank")}
    scores["final"] = _final_scores(request, shown, pool)
    places = {name: _places(request, role, shown) for name, role in PLACES.items()}
    shown_idx, ids = shown.item_idx[0].tolist(), vocabulary.items.decode(shown.item_idx[0]).tolist()
    return tuple(
        _film(item, movie_id, column, items, channels=channels, scores=scores, places=places)
        for column, (item, movie_id) in enumerate(zip(shown_idx, ids, strict=True))
    )


def _film(
    item: int,
    movie_id: RawId,
    column: int,
    items: ItemTable,
    *,
    channels: Mapping[str, list[float]],
    scores: Mapping[str, list[float]],
    places: Mapping[str, list[int]],
) -> Recommendation:
    """The film of a column; the mappings hold one value for each column, NaN or 0 = none."""
    year = UNKNOWN_YEAR if items.year is None else int(items.year[item])
    return Recommendation(
        movie_id=movie_id,
        title=items.label(item, movie_id),
        year=None if year == UNKNOWN_YEAR else year,
        genres=tuple(items.genres_of(item)),
        channels={name: int(row[column]) for name, row in channels.items() if math.isfinite(row[column])},
        scores={name: row[column] for name, row in scores.items() if math.isfinite(row[column])},
        places={name: row[column] for name, row in places.items() if row[column]} | {"final": column + 1},
    )


def _final_scores(request: Request, shown: Candidates, pool: int | None) -> list[float]:
    """The score of the list where the selector chose the film, among the first ``pool``; NaN elsewhere."""
    chosen = np.arange(shown.k) < (shown.k if pool is None else pool)
    if "select" in request.orders:
        chosen &= np.array(_places(request, "select", shown)) > 0
    final: list[float] = np.where(chosen, shown.score[0], np.nan).tolist()
    return final


def _places(request: Request, role: str, shown: Candidates) -> list[int]:
    """Place from 1 of every film in the order of a stage; 0 where it is not in it."""
    order = request.orders.get(role)
    if order is None or order.shape[1] == 0:
        return [0] * shown.k
    same = order[0] == shown.item_idx[0][:, None]  # (k, K)
    places: list[int] = np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0).tolist()
    return places
