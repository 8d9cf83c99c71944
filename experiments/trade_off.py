"""What diversity costs: a reranker's accuracy and diversity over its trade-off λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.beyond_accuracy import intra_list_diversity, mean_of_answered
from experiments.measuring import measure
from reccore import Candidates, Holdout, TrainingData
from rerank.base import BaseReranker

K = 10
TRADE_OFFS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


def trade_off_curve(
    reranker: BaseReranker | None, candidates: Candidates, holdout: Holdout, data: TrainingData, seed: int
) -> list[dict[str, float]]:
    """NDCG@10 and diversity over λ: by genres, and by the vectors that the reranker compares.

    Args:
        reranker: of the pipeline; without one, or for a method without a trade-off or vectors, the curve is empty.
        candidates: what the reranker receives.
        holdout: the queries of ``candidates`` with their targets.
        data: the fit split.
        seed: of the measurements.
    """
    if reranker is None or reranker.trade_off is None or reranker.vectors is None:
        return []
    curve = []
    for trade_off in sorted({*TRADE_OFFS, reranker.trade_off}, reverse=True):
        offer = reranker.with_trade_off(trade_off).rerank(holdout.queries, candidates, K)
        evaluation = measure(reranker.name, offer, holdout, data, (K,), seed)
        point = {"lambda": trade_off, "ndcg": evaluation.mean(f"ndcg@{K}")}
        point["vector_diversity"] = mean_of_answered(intra_list_diversity(offer, reranker.vectors, K))
        if data.items.n_genres:
            point["genre_diversity"] = evaluation.mean(f"diversity@{K}")
        curve.append(point)
    return curve


def trade_off_table(curve: Sequence[Mapping[str, float]]) -> str:
    """The curve with changes against λ = 1."""
    base = curve[0]
    names = [name for name in base if name != "lambda"]
    lines = ["| λ | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for point in curve:
        cells = [f"{point[n]:.4f} ({point[n] / base[n] - 1:+.1%})" if base[n] else f"{point[n]:.4f}" for n in names]
        lines.append(f"| {point['lambda']:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
