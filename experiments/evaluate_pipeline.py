"""Evaluation of the pipeline: what each stage keeps and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from evaluation.evaluate import Evaluation, leaderboard
from evaluation.plots import plot_funnel, plot_intervals, plot_trade_off
from evaluation.report import metric_label
from experiments import PIPELINE_KS
from experiments.measuring import EvaluationJob, EvaluationResult
from experiments.trade_off import trade_off_curve, trade_off_table
from pipeline.builder import PIPELINE, load
from pipeline.inference import Pipeline
from pipeline.stages import Merger, Request, RerankSelector, Scorer
from pipeline.trace import Trace
from reccore import Candidates, Exclusions, Holdout, Workspace


def evaluate_pipeline(
    workspace: Workspace,
    *,
    split: str = "test",
    test_file: Path | None = None,
    query_time: bool = False,
    ks: Sequence[int] = PIPELINE_KS,
    seed: int = 0,
) -> EvaluationResult:
    """Measure the pipeline after every stage, beside its channels; writes ``reports/pipeline*``.

    Args:
        workspace: data root.
        split, test_file, query_time, ks, seed: see ``EvaluationJob.open``.

    Raises:
        ConfigError, ArtefactError, DataError: see ``EvaluationJob.open``.
    """
    pipeline = load(workspace.model(PIPELINE))
    job = EvaluationJob.open(
        "pipeline",
        workspace,
        {source.name: source.channel for source in pipeline.sources},
        pipeline.config.parts,
        split=split,
        test_file=test_file,
        query_time=query_time,
        ks=ks,
        seed=seed,
    )
    queries, first = job.holdout.queries, min(job.ks)
    request = Request(queries, max(job.ks), Exclusions.of_history(queries))
    stages, before_select = _after_each_stage(pipeline, request)
    channels = [job.measure(name, offer) for name, offer in request.offers.items()]
    measured = [job.measure(name, offer) for name, offer in stages.items()]
    best = leaderboard(channels, job.by)[0]
    comparisons = [job.compare(evaluation, best) for evaluation in measured]
    comparisons += [job.compare(later, earlier) for earlier, later in pairwise(measured)]
    _, trace = pipeline.run(queries, first)
    funnel = _funnel(stages, job.holdout, first)
    curve = trade_off_curve(pipeline.reranker, before_select, job.holdout, job.data, seed)
    return job.report(
        "The pipeline, stage by stage",
        [*measured, *channels],
        comparisons,
        sections=[
            ("The funnel", _funnel_table(funnel)),
            *([("The reranker's trade-off", trade_off_table(curve))] if curve else []),
            ("One pass over all users", f"```\n{trace}\n```"),
        ],
        figures=_figures(job, pipeline, [*channels, *measured], funnel, curve),
        facts={
            "best_channel": best.name,
            "funnel": [{"stage": stage, "kept": kept} for stage, kept in funnel],
            "trade_off": curve,
            "trace": trace.to_dict(),
        },
        trace=trace,
        ties=job.audit_ties(list(stages)[-1], lambda given: pipeline.run(given, max(job.ks))[0]),
    )


def _after_each_stage(pipeline: Pipeline, request: Request) -> tuple[dict[str, Candidates], Candidates]:
    """Candidates after recall, ranking and reranking, and those that the selector receives."""
    after: dict[str, Candidates] = {}
    names = {Merger: "after recall", Scorer: "after ranking", RerankSelector: "after reranking"}
    before = current = Candidates.empty(len(request.queries))
    for stage, candidates in pipeline.steps(request, Trace(len(request.queries))):
        before, current = current, candidates
        after |= {name: candidates for kind, name in names.items() if isinstance(stage, kind)}
    return after, before


def _funnel(stages: dict[str, Candidates], holdout: Holdout, k: int) -> list[tuple[str, int]]:
    """Number of held-out positives, of those among the merged candidates, and of those in the first k of each stage."""
    targets = Exclusions(holdout.target_offsets, holdout.target_idx)

    def kept(offer: Candidates) -> int:
        return int(targets.contains(offer.item_idx).sum())

    funnel = [("held out", len(holdout.target_idx))]
    funnel.append((f"recalled ({stages['after recall'].k} candidates)", kept(stages["after recall"])))
    return funnel + [(f"first {k} {name}", kept(offer.head(k))) for name, offer in stages.items()]


def _funnel_table(funnel: Sequence[tuple[str, int]]) -> str:
    total = max(funnel[0][1], 1)
    rows = [f"| {stage} | {count:,} | {count / total:.1%} |" for stage, count in funnel]
    return "\n".join(["| stage | positives kept | share |", "|---|---:|---:|", *rows])


def _figures(
    job: EvaluationJob,
    pipeline: Pipeline,
    evaluations: Sequence[Evaluation],
    funnel: Sequence[tuple[str, int]],
    curve: Sequence[Mapping[str, float]],
) -> list[tuple[str, str]]:
    """Draw the report's figures; returns their captions and files."""
    folder, stem = job.workspace.reports, job.stem
    plot_funnel(funnel, folder / f"{stem}_funnel.png", title="What each stage keeps of the held-out films")
    plot_intervals(
        {evaluation.name: evaluation.metrics[job.by] for evaluation in evaluations},
        folder / f"{stem}_ndcg.png",
        xlabel=metric_label(job.by),
        title="Stages and channels with 95% intervals over users",
    )
    figures = [
        ("The funnel", f"{stem}_funnel.png"),
        (f"{metric_label(job.by)} of stages and channels", f"{stem}_ndcg.png"),
    ]
    if curve and pipeline.reranker is not None:
        title = "Reranking: diversity bought with accuracy"
        points = [(point["lambda"], point["ndcg"], point["vector_diversity"]) for point in curve]
        chosen = pipeline.reranker.trade_off
        plot_trade_off(points, folder / f"{stem}_trade_off.png", chosen=chosen, title=title)
        figures.append(("The reranker's trade-off over λ", f"{stem}_trade_off.png"))
    return figures
