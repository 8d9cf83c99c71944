"""What diversity costs: the pipeline's MMR over its λ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

from evaluation.beyond_accuracy import intra_list_diversity, mean_of_answered
from experiments.measuring import measure
from pipeline.inference import Pipeline
from pipeline.stages import RerankSelector
from reccore import Candidates, Holdout, TrainingData
from rerank.mmr import MMR

K = 10
TRADE_OFFS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


def mmr_of(pipeline: Pipeline) -> MMR | None:
    """The pipeline's reranker if it is an MMR."""
    rerankers = [stage.reranker for stage in pipeline.stages if isinstance(stage, RerankSelector)]
    return next((reranker for reranker in rerankers if isinstance(reranker, MMR)), None)


def chosen_trade_off(pipeline: Pipeline) -> float | None:
    """λ of the pipeline's configuration."""
    reranker = mmr_of(pipeline)
    return None if reranker is None else reranker.config.trade_off


def trade_off_curve(
    pipeline: Pipeline, ranked: Candidates, holdout: Holdout, data: TrainingData, seed: int
) -> list[dict[str, float]]:
    """NDCG@10 and diversity over λ, by genres and by the vectors that MMR compares itself.

    Args:
        pipeline: whose MMR to vary; without one the curve is empty.
        ranked: what the reranker is given.
        holdout: the queries of ``ranked`` with their targets.
        data: the fit split.
        seed: of the measurements.
    """
    original = mmr_of(pipeline)
    if original is None:
        return []
    curve = []
    for trade_off in sorted({*TRADE_OFFS, original.config.trade_off}, reverse=True):
        reranker = copy(original)
        reranker.config = original.config.model_copy(update={"trade_off": trade_off})
        offer = reranker.rerank(holdout.queries, ranked, K)
        measured = measure("mmr", offer, holdout, data, (K,), seed)
        by_vectors = intra_list_diversity(offer, original.vectors, K)
        point = {"lambda": trade_off, "ndcg": measured.mean(f"ndcg@{K}")}
        point["vector_diversity"] = mean_of_answered(by_vectors)
        if data.items.n_genres:
            point["genre_diversity"] = measured.mean(f"diversity@{K}")
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
