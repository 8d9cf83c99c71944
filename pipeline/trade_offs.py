"""What diversity costs and gains in one request: the list of each setting, from the same candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.beyond_accuracy import intra_list_diversity
from pipeline.inference import Pipeline
from pipeline.requests import check_diversity
from pipeline.stages import Request
from pipeline.trace import Trace
from reccore import Candidates, ItemTable, RawId
from reccore.arrays import IntArray


@dataclass(frozen=True)
class TradeOff:
    """The list of one setting.

    Attributes:
        diversity: the setting, see ``pipeline.requests.Asked``.
        relevance: discounted sum of the gains of its films over that of the first films in the ranker's order, at most
            1; a film's gain is its score before reranking, from 0 for the lowest candidate to 1 for the highest.
        genre_diversity: see ``genre_diversity``.
        films: raw ids, best first.
    """

    diversity: float
    relevance: float
    genre_diversity: float | None
    films: tuple[RawId, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def trade_offs(pipeline: Pipeline, request: Request, diversities: Sequence[float]) -> list[TradeOff]:
    """The list of a request under several settings of diversity; its candidates are found and scored once.

    Args:
        pipeline: with a reranker that has a trade-off.
        request: of one query.
        diversities: from 0 to 1.

    Raises:
        DataError: a diversity out of range, or a reranker without a trade-off.
    """
    for diversity in diversities:
        check_diversity(pipeline, diversity)
    trace = Trace(len(request.queries))
    candidates = pipeline.run_stages(request, trace, pipeline.stages[:-1])
    gain = _gains(candidates)
    most = _discounted(gain[: request.k])
    place = {item: at for at, item in enumerate(candidates.item_idx[0].tolist())}
    found = []
    for diversity in diversities:
        asked = replace(request, diversity=diversity, orders={})
        chosen = pipeline.apply(pipeline.stages[-1], asked, candidates, trace)
        items = chosen.item_idx[0, : int(chosen.counts[0])]
        relevance = _discounted(gain[[place[item] for item in items.tolist()]]) / most if most > 0 else 1.0
        films = tuple(pipeline.vocabulary.items.decode(items).tolist())
        found.append(TradeOff(diversity, relevance, genre_diversity(pipeline.items, items), films))
    return found


def genre_diversity(items: ItemTable, item_idx: IntArray) -> float | None:
    """1 − the mean cosine between the genres of two films of a list (n,); None for fewer than two films with genres."""
    genres = items.genres
    if genres is None or len(item_idx) == 0:
        return None
    vectors = np.zeros((len(item_idx), len(genres)), dtype=np.float32)
    for row, item in enumerate(item_idx.tolist()):
        vectors[row, genres.idx[genres.offsets[item] : genres.offsets[item + 1]]] = 1.0
    diversity = float(intra_list_diversity(np.arange(len(item_idx))[None], vectors, len(item_idx))[0])
    return None if np.isnan(diversity) else diversity


def _gains(candidates: Candidates) -> npt.NDArray[np.float64]:
    """(n,) scores of the candidates of one query, from 0 for the lowest to 1 for the highest; equal scores are all 1.

    A candidate whose score was not finite has the lowest float32, and the gain 0.
    """
    score = candidates.score[0, : int(candidates.counts[0])].astype(np.float64)
    usable = score > np.finfo(np.float32).min
    low, high = (score[usable].min(), score[usable].max()) if usable.any() else (0.0, 0.0)
    spread = high - low
    gain: npt.NDArray[np.float64] = np.where(usable, (score - low) / spread if spread > 0 else 1.0, 0.0)
    return gain


def _discounted(gain: npt.NDArray[np.float64]) -> float:
    """Σ gain / log₂(place + 1)."""
    return float((gain / np.log2(np.arange(2, len(gain) + 2))).sum())
