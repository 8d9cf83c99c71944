"""The trade-off curves of the rerankers over a trained pipeline: λ is chosen on validation and reported on test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.metrics import per_query_metrics
from evaluation.report import EvaluationProtocol, without_nan, write_text
from evaluation.rerank_plot import plot_curves
from evaluation.significance import Interval
from experiments.measuring import EvaluationJob
from experiments.rerank_curve import (
    BEFORE,
    FAMILIES,
    GENRES,
    NDCG,
    TRADE_OFFS,
    CurveData,
    CurvePoint,
    K,
    choose,
    curve_table,
    measure_curves,
)
from experiments.tie_audit import TieAudit
from pipeline.builder import PIPELINE, load
from pipeline.fates import Passage
from pipeline.inference import Pipeline
from recall.embedding import EmbeddingRecall
from reccore import Candidates, ConfigError, ItemTable, QueryBatch, Vocabulary, Workspace
from reccore.arrays import FloatArray
from rerank import RERANKERS
from rerank.base import BaseReranker

STEM = "rerank"
NOTE = (
    "Every reranker chooses 10 films from the first {pool} candidates of the ranker and puts them in the ranker's "
    "order; before reranking the list is the first 10. Full ranking: the candidates come from recall over the whole "
    "catalogue. Diversity is the mean of 1 − cosine over all pairs of the list, by genres and by the item vectors of "
    "{channel}. The calibration error is KL(p ‖ q̃) between the genres of the history, all events alike, and of the "
    "list; novelty is the mean self-information in bits. Intervals are 95% percentile bootstrap over users; changes "
    "are paired with the order before reranking. Coverage is one figure of all lists, without an interval over users."
)


@dataclass(frozen=True, eq=False)
class RerankResult:
    """Result of the evaluation.

    Attributes:
        valid, test: points of the curves; the first is the order before reranking.
        chosen: the choice on validation; None if no setting is diverse enough.
        at_test: the same setting on test.
        protocol: line of the test figures.
        sentence: the choice in words.
        report: Markdown file; ``rerank.json`` and ``rerank.png`` lie beside it.
        ties: the chosen setting on test under other orders of tied events; without a choice the order before.
    """

    valid: Sequence[CurvePoint]
    test: Sequence[CurvePoint]
    chosen: CurvePoint | None
    at_test: CurvePoint | None
    protocol: str
    sentence: str
    report: Path
    ties: TieAudit | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "protocol": self.protocol,
            "chosen": None if self.chosen is None else self.chosen.to_dict(),
            "at_test": None if self.at_test is None else self.at_test.to_dict(),
            "tie_audit": None if self.ties is None else self.ties.to_dict(),
            "valid": [point.to_dict() for point in self.valid],
            "test": [point.to_dict() for point in self.test],
        }


def evaluate_rerank(
    workspace: Workspace,
    *,
    only: Sequence[str] | None = None,
    trade_offs: Sequence[float] = TRADE_OFFS,
    pool: int = 30,
    min_gain: float = 0.1,
    seed: int = 0,
) -> RerankResult:
    """Measure the curves on validation and test; writes ``reports/rerank.md``, ``.json`` and ``.png``.

    Args:
        workspace: data root with a trained pipeline.
        only: names of the curves; None = all that the catalogue has the facts for.
        trade_offs: values of λ.
        pool: number of candidates that a list is chosen from.
        min_gain: relative gain of genre diversity that the choice on validation reaches; see ``choose``.
        seed: of the bootstrap.

    Raises:
        ConfigError: an unknown curve, or one that needs genres or item vectors that are not there.
        NotReadyError, ArtefactError, DataError: see ``EvaluationJob.open``.
    """
    pipeline = load(workspace.model(PIPELINE))
    channel, vectors = item_vectors(pipeline)
    rerankers = fit_families(only, pool, pipeline.items, channel, vectors, pipeline.vocabulary)
    curves, protocols = {}, {}
    for split in ("valid", "test"):  # the last one is audited
        job = _open(workspace, pipeline, split, seed)
        passage = Passage.of(pipeline, job.holdout.queries, K)
        given = CurveData(passage.before_selection, job.holdout, job.data, vectors, seed)
        curves[split], protocols[split] = measure_curves(given, rerankers, trade_offs), _protocol(job)
    chosen = choose(curves["valid"], min_gain)
    reranker = None if chosen is None else rerankers[chosen.family].with_trade_off(chosen.trade_off)
    ties = _audit_ties(job, pipeline, BEFORE if chosen is None else chosen.label, reranker, given.candidates)
    at_test = None if chosen is None else next(p for p in curves["test"] if p.label == chosen.label)
    report = workspace.reports / f"{STEM}.md"
    result = RerankResult(
        curves["valid"],
        curves["test"],
        chosen,
        at_test,
        protocols["test"],
        _sentence(chosen, at_test, min_gain),
        report,
        ties,
    )
    _write(result, protocols["valid"], NOTE.format(pool=pool, channel=channel))
    return result


def _audit_ties(
    job: EvaluationJob, pipeline: Pipeline, system: str, reranker: BaseReranker | None, candidates: Candidates
) -> TieAudit | None:
    """A reranker's list, or without one the list before reranking, under other orders of ties.

    Args:
        candidates: of the holdout, before reranking.
    """

    def shown(queries: QueryBatch, before: Candidates) -> Candidates:
        return before.head(K) if reranker is None else reranker.rerank(queries, before, K)

    measured = per_query_metrics(shown(job.holdout.queries, candidates), job.holdout, (K,))
    return job.audit_ties(
        system, lambda queries: shown(queries, Passage.of(pipeline, queries, K).before_selection), measured
    )


def fit_families(
    only: Sequence[str] | None,
    pool: int,
    items: ItemTable,
    channel: str | None,
    vectors: FloatArray | None,
    vocabulary: Vocabulary,
) -> dict[str, BaseReranker]:
    """The rerankers of the named curves; None = all that the catalogue has the facts for.

    Raises:
        ConfigError: an unknown curve, none at all, or one that needs genres or item vectors that are not there.
    """
    unknown = [name for name in only or () if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"unknown curve {unknown[0]!r}; known: {', '.join(repr(name) for name in FAMILIES)}")
    found: dict[str, BaseReranker] = {}
    for name in only or FAMILIES:
        method, options = FAMILIES[name]
        by_vectors = "similarity" not in options and method != "calibrated"
        if only is None and (channel is None if by_vectors else not items.n_genres):
            continue
        similarity = {"similarity": {"kind": "vectors", "channel": channel}} if by_vectors and channel else {}
        reranker = RERANKERS[method]({"pool": pool, "sort_first": K, **options, **similarity})
        found[name] = reranker.fit(items, vectors, vocabulary)
    if not found:
        raise ConfigError("no curve can be measured: the catalogue has no genres and no channel has item vectors")
    return found


def item_vectors(pipeline: Pipeline) -> tuple[str | None, FloatArray | None]:
    """The channel that the pipeline's reranker compares items by, else the first one with item vectors; its vectors."""
    own = None if pipeline.reranker is None else pipeline.reranker.vectors_of
    for source in pipeline.sources:
        if isinstance(source.channel, EmbeddingRecall) and own in (None, source.name):
            return source.name, source.channel.item_vectors
    return None, None


def _open(workspace: Workspace, pipeline: Pipeline, split: str, seed: int) -> EvaluationJob:
    return EvaluationJob.open(
        STEM,
        workspace,
        {source.name: source.channel for source in pipeline.sources},
        pipeline.config.parts,
        split=split,
        test_file=None,
        query_time=False,
        ks=(K,),
        seed=seed,
    )


def _protocol(job: EvaluationJob) -> str:
    dataset = str(job.prepared.source["dataset"])
    return EvaluationProtocol.of(dataset, job.split, job.holdout, seed=job.seed).line()


def _sentence(chosen: CurvePoint | None, at_test: CurvePoint | None, min_gain: float) -> str:
    if chosen is None or at_test is None:
        return f"No setting has {min_gain:.0%} more genre diversity on validation."

    def changes(point: CurvePoint) -> str:
        parts = [(point.changes[GENRES], "genre diversity"), (point.changes[NDCG], "NDCG@10")]
        return ", ".join(f"{i.mean:+.1%} [{i.low:+.1%}, {i.high:+.1%}] {what}" for i, what in parts)

    return (
        f"Chosen on validation, for {min_gain:.0%} more genre diversity at the least loss of NDCG@10: {chosen.label} "
        f"({changes(chosen)}). On test: {changes(at_test)}."
    )


def _write(result: RerankResult, valid_protocol: str, note: str) -> None:
    folder = result.report.parent
    marked = result.at_test
    curves: dict[str, list[Mapping[str, Interval]]] = {}
    for point in result.test[1:]:
        curves.setdefault(point.family, []).append(point.changes)
    plot_curves(
        curves,
        folder / f"{STEM}.png",
        against=NDCG,
        chosen=None if marked is None else marked.changes,
        chosen_label="" if marked is None else f"chosen on validation:\n{marked.label}",
        title=f"What reranking costs and gains: {result.protocol.split(' · ')[0]}, test",
    )
    sections = [
        "# What reranking costs and gains",
        result.protocol,
        *([result.ties.line()] if result.ties else []),
        note,
        result.sentence,
        f"![NDCG@10 against other properties of the list]({STEM}.png)",
        f"## Test\n\n{curve_table(result.test)}",
        f"## Validation\n\n{valid_protocol}\n\n{curve_table(result.valid)}",
    ]
    write_text(result.report, "\n\n".join(sections) + "\n")
    write_text(folder / f"{STEM}.json", json.dumps(without_nan(result.to_dict()), indent=2))
