"""The evaluation job of the pipeline: what each stage keeps and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from evaluation.evaluate import Evaluation, compare, leaderboard
from evaluation.metrics import check_ks
from evaluation.plots import plot_funnel, plot_intervals, plot_trade_off
from evaluation.report import EvaluationProtocol, Report, metric_label
from experiments.measuring import (
    Measured,
    check_query_time,
    choose_holdout,
    measure,
    order_by,
    query_time_section,
    report_stem,
)
from experiments.trade_off import chosen_trade_off, trade_off_curve, trade_off_table
from pipeline.builder import PIPELINE, load
from pipeline.inference import Pipeline
from pipeline.provenance import data_of
from pipeline.stages import RerankSelector
from pipeline.trace import Trace
from reccore import Candidates, Exclusions, Holdout, Workspace

PIPELINE_KS = (10, 20, 50, 100, 200)


def evaluate_pipeline(
    workspace: Workspace,
    *,
    split: str = "test",
    test_file: Path | None = None,
    query_time: bool = False,
    ks: Sequence[int] = PIPELINE_KS,
    seed: int = 0,
) -> Measured:
    """Measure the pipeline after every stage, beside its channels; writes ``reports/pipeline*``.

    Args:
        workspace: data root.
        split: ``valid`` or ``test``.
        test_file: a held-out file to be used instead; histories are the events that the models were fitted on.
        query_time: queries know when the event to predict happens.
        ks: list lengths.
        seed: of the bootstrap.

    Raises:
        ConfigError: see ``check_query_time``.
        DataError: see ``choose_holdout``.
    """
    ks, by = check_ks(ks), order_by(ks)
    pipeline = load(workspace.model(PIPELINE))
    config = pipeline.config
    readers = check_query_time({source.name: source.channel for source in pipeline.sources}, query_time)
    prepared = data_of(workspace, [*config.channels, *([config.ranker] if config.ranker else [])])
    holdout, label = choose_holdout(prepared, split, test_file, query_time=query_time)
    data = prepared.training_data()

    def measured(name: str, offer: Candidates) -> Evaluation:
        return measure(name, offer, holdout, data, ks, seed)

    exclude = Exclusions.of_history(holdout.queries)
    channels = [measured(source.name, source.fetch(holdout.queries, exclude)) for source in pipeline.sources]
    stages, before_select = _after_each_stage(pipeline, holdout, max(ks))
    evaluated = {name: measured(name, offer) for name, offer in stages.items()}
    best = leaderboard(channels, by)[0]
    last = list(evaluated.values())
    comparisons = [compare(evaluation, best, by, seed=seed) for evaluation in last]
    comparisons += [compare(later, earlier, by, seed=seed) for earlier, later in pairwise(last)]
    _, trace = pipeline.run(holdout.queries, min(ks))

    stem = report_stem("pipeline", split, test_file, query_time=query_time)
    funnel = _funnel(stages, holdout, min(ks))
    curve = trade_off_curve(pipeline, before_select, holdout, data, seed)
    figures = _pipeline_figures(workspace.reports, stem, pipeline, [*channels, *last], by, funnel, curve)
    protocol = EvaluationProtocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        query_time=query_time,
        tied_share=best.tied_share,
        seed=seed,
    )
    report = Report(
        title="The pipeline, stage by stage",
        protocol=protocol,
        evaluations=[*last, *channels],
        comparisons=comparisons,
        sections=[
            ("The funnel", _funnel_table(funnel)),
            *([("The reranker's trade-off", trade_off_table(curve))] if curve else []),
            *query_time_section(readers),
            ("One pass over all users", f"```\n{trace}\n```"),
        ],
        figures=figures,
        facts={
            "best_channel": best.name,
            "reads_query_time": list(readers),
            "funnel": [{"stage": stage, "kept": kept} for stage, kept in funnel],
            "trade_off": curve,
            "trace": trace.to_dict(),
        },
    )
    markdown, _ = report.write(workspace.reports, stem)
    return Measured([*last, *channels], comparisons, protocol, markdown, report.to_dict(), trace)


def _after_each_stage(pipeline: Pipeline, holdout: Holdout, k: int) -> tuple[dict[str, Candidates], Candidates]:
    """Candidates after recall, ranking and reranking, and what the last stage was given."""
    queries, exclude = holdout.queries, Exclusions.of_history(holdout.queries)
    candidates = pipeline.recall(queries, exclude, Trace(len(queries)))
    stages = {"after recall": candidates}
    before = candidates
    for stage in pipeline.stages:
        before = candidates
        candidates = stage.apply(queries, candidates, exclude, min(k, candidates.k))
        if stage.stage == "score":
            stages["after ranking"] = candidates
        elif isinstance(stage, RerankSelector):
            stages["after reranking"] = candidates
    return stages, before


def _funnel(stages: dict[str, Candidates], holdout: Holdout, k: int) -> list[tuple[str, int]]:
    """Test positives there were, those among the merged candidates, and those in the first k after each stage."""
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


def _pipeline_figures(
    folder: Path,
    stem: str,
    pipeline: Pipeline,
    evaluations: Sequence[Evaluation],
    metric: str,
    funnel: Sequence[tuple[str, int]],
    curve: Sequence[Mapping[str, float]],
) -> list[tuple[str, str]]:
    plot_funnel(funnel, folder / f"{stem}_funnel.png", title="What each stage keeps of the held-out films")
    plot_intervals(
        {evaluation.name: evaluation.metrics[metric] for evaluation in evaluations},
        folder / f"{stem}_ndcg.png",
        xlabel=metric_label(metric),
        title="Stages and channels with 95% intervals over users",
    )
    figures = [
        ("The funnel", f"{stem}_funnel.png"),
        (f"{metric_label(metric)} of stages and channels", f"{stem}_ndcg.png"),
    ]
    if curve:
        title = "Reranking: diversity bought with accuracy"
        points = [(point["lambda"], point["ndcg"], point["vector_diversity"]) for point in curve]
        plot_trade_off(points, folder / f"{stem}_trade_off.png", chosen=chosen_trade_off(pipeline), title=title)
        figures.append(("The reranker's trade-off over λ", f"{stem}_trade_off.png"))
    return figures
