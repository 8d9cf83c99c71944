"""What diversity costs: a reranker's accuracy and diversity over its trade-off λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.beyond_accuracy import intra_list_diversity, mean_of_answered
from evaluation.metrics import per_query_metrics
from reccore import Candidates, Holdout, TrainingData
from reccore.arrays import FloatArray
from rerank.base import BaseReranker

K = 10
TRADE_OFFS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


class TradeOffCurve:
    """NDCG@10 and diversity over λ: by genres, and by the vectors that the reranker compares.

    Args:
        reranker: of the pipeline; without one, or for a method without a trade-off or vectors, the curve is empty.
        data: the fit split.
    """

    def __init__(self, reranker: BaseReranker | None, data: TrainingData) -> None:
        self._reranker = reranker
        self._genres = data.items.genre_matrix() if data.items.n_genres else None
        self._parts: dict[float, dict[str, list[FloatArray]]] = {}
        if reranker is not None and reranker.trade_off is not None and reranker.vectors is not None:
            self._parts = {value: {} for value in sorted({*TRADE_OFFS, reranker.trade_off}, reverse=True)}

    def add(self, candidates: Candidates, holdout: Holdout) -> None:
        """Rerank the next queries, which are those of ``candidates``, what the reranker receives, at every λ."""
        for trade_off, parts in self._parts.items():
            assert self._reranker is not None
            assert self._reranker.vectors is not None
            offer = self._reranker.with_trade_off(trade_off).rerank(holdout.queries, candidates, K)
            values = {
                "ndcg": per_query_metrics(offer, holdout, (K,))[f"ndcg@{K}"],
                "vector_diversity": intra_list_diversity(offer, self._reranker.vectors, K),
            }
            if self._genres is not None:
                values["genre_diversity"] = intra_list_diversity(offer, self._genres, K)
            for name, of_part in values.items():
                parts.setdefault(name, []).append(of_part)

    def points(self) -> list[dict[str, float]]:
        """A point for every λ, the greatest first."""
        return [
            {"lambda": trade_off} | {name: mean_of_answered(np.concatenate(values)) for name, values in parts.items()}
            for trade_off, parts in self._parts.items()
        ]


def trade_off_table(curve: Sequence[Mapping[str, float]]) -> str:
    """The curve with changes against λ = 1."""
    base = curve[0]
    names = [name for name in base if name != "lambda"]
    lines = ["| λ | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for point in curve:
        cells = [f"{point[n]:.4f} ({point[n] / base[n] - 1:+.1%})" if base[n] else f"{point[n]:.4f}" for n in names]
        lines.append(f"| {point['lambda']:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
