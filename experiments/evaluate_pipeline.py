"""Evaluation of the pipeline: what each stage keeps and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dataprep.readers.own import EventFile
from evaluation.evaluate import Evaluation, RunningEvaluation, leaderboard
from evaluation.funnel_plot import plot_losses, plot_oracles, plot_slices
from evaluation.plots import plot_intervals, plot_trade_off
from evaluation.report import metric_label
from evaluation.significance import Interval
from experiments import PIPELINE_KS
from experiments.funnel import ORDERS, RANKING, RECALL, Funnel, funnel_text, join_funnels, measure_funnel, orders_of
from experiments.measuring import EvaluationJob, EvaluationResult
from experiments.merge_findings import merge_text
from experiments.slices import SliceRow, slice_rows, slices_of, slices_table
from experiments.trade_off import TradeOffCurve, trade_off_table
from pipeline.builder import PIPELINE, load_trained
from pipeline.fates import Passage
from pipeline.inference import Pipeline
from pipeline.trace import Trace
from reccore import Workspace

NOT_OF_THE_CHANNELS = (
    'They are the candidates of the ranker. The row "merged" of evaluate_recall.py is another merge: of the channels '
    "and by the options that were named there."
)


def evaluate_pipeline(
    workspace: Workspace,
    *,
    split: str = "test",
    test_file: EventFile | None = None,
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
    pipeline = load_trained(workspace)
    job = EvaluationJob.open(
        "pipeline",
        workspace,
        {source.name: source.channel for source in pipeline.sources},
        [PIPELINE],
        split=split,
        test_file=test_file,
        query_time=query_time,
        ks=ks,
        seed=seed,
    )
    seen = _measure_all(job, pipeline)
    funnel, trace, curve = seen.funnel, seen.trace, seen.curve
    channels = [seen.evaluations[source.name] for source in pipeline.sources_for_all]
    measured = [evaluation for name, evaluation in seen.evaluations.items() if name in ORDERS]
    best = leaderboard(channels, job.by)[0]
    comparisons = [job.compare(evaluation, best) for evaluation in measured]
    comparisons += [job.compare(later, earlier) for earlier, later in pairwise(measured)]
    chain = next((evaluation for evaluation in measured if evaluation.name == RANKING), measured[-1])
    slices = slice_rows(
        slices_of(job.holdout, job.data), measured, channels, funnel.recall_oracle, chain, job.by, seed=job.seed
    )
    return job.report(
        "The pipeline, stage by stage",
        [*measured, *channels],
        comparisons,
        sections=[
            ("What is merged", f"{_merged(pipeline)} {NOT_OF_THE_CHANNELS}"),
            ("The funnel", funnel_text(funnel)),
            ("Slices", slices_table(slices, chain.name, job.by)),
            *([("The reranker's trade-off", trade_off_table(curve))] if curve else []),
            ("One pass over all users", f"```\n{trace}\n```"),
        ],
        draw=lambda: _figures(job, pipeline, [*channels, *measured], funnel, slices, curve),
        facts={
            "best_channel": best.name,
            "funnel": funnel.to_dict(),
            "slices": [row.to_dict() for row in slices],
            "trade_off": curve,
            "trace": trace.to_dict(),
        },
        trace=trace,
        ties=job.audit_ties(
            measured[-1].name, lambda given: pipeline.run(given, job.audit_length)[0], measured[-1].per_query
        ),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """What one pass over all queries gives.

    Attributes:
        evaluations: channel or stage → figures.
        funnel, trace: of all queries.
        curve: points of the reranker's trade-off.
    """

    evaluations: Mapping[str, Evaluation]
    funnel: Funnel
    trace: Trace
    curve: list[dict[str, float]]


def _measure_all(job: EvaluationJob, pipeline: Pipeline) -> _Measured:
    """Channels and stages, a part of the queries at a time."""
    running: dict[str, RunningEvaluation] = {}
    funnels, traces = [], []
    curve = TradeOffCurve(pipeline.reranker, job.data)
    for part in job.parts():
        passage = Passage.of(pipeline, part.queries, max(job.ks))
        funnels.append(measure_funnel(pipeline, passage, part, int(job.by.partition("@")[2])))
        traces.append(passage.trace)
        curve.add(passage.before_selection, part)
        offers = {source.name: passage.request.offers[source.name] for source in pipeline.sources_for_all}
        for name, offer in {**offers, **orders_of(passage)}.items():
            running.setdefault(name, job.running(name)).add(offer, part)
    return _Measured(job.finish(running), join_funnels(funnels), Trace.joined(traces), curve.points())


def _merged(pipeline: Pipeline) -> str:
    stage = pipeline.config.merge
    return merge_text(RECALL, stage.method, pipeline.config.channels, stage.fill)


def _figures(
    job: EvaluationJob,
    pipeline: Pipeline,
    evaluations: Sequence[Evaluation],
    funnel: Funnel,
    slices: Sequence[SliceRow],
    curve: Sequence[Mapping[str, float]],
) -> list[tuple[str, str]]:
    """Draw the report's figures; returns their captions and files."""
    folder, stem, label = job.workspace.reports, job.stem, metric_label(job.by)
    plot_losses(funnel.losses, folder / f"{stem}_funnel.png", title="Where the held-out films end")
    plot_oracles(
        [(stage.name, stage.oracle_ndcg, stage.ndcg) for stage in funnel.stages],
        folder / f"{stem}_oracle.png",
        metric=label,
        title="What each stage leaves to the next",
    )
    plot_intervals(
        {evaluation.name: evaluation.metrics[job.by] for evaluation in evaluations},
        folder / f"{stem}_ndcg.png",
        xlabel=label,
        title="Stages and channels with 95% intervals over users",
    )
    grouped: dict[str, list[tuple[str, Interval]]] = {}
    for row in slices:
        grouped.setdefault(row.slice, []).append((row.group, row.difference))
    plot_slices(
        grouped,
        folder / f"{stem}_slices.png",
        xlabel=f"{label}: the chain minus the best channel of each group, 95% interval",
        title="Whom the chain helps",
    )
    figures = [
        ("Where the held-out films end", f"{stem}_funnel.png"),
        ("What each stage leaves to the next", f"{stem}_oracle.png"),
        (f"{label} of stages and channels", f"{stem}_ndcg.png"),
        ("The chain against the best channel, by slice", f"{stem}_slices.png"),
    ]
    if curve and pipeline.reranker is not None:
        title = "Reranking: diversity bought with accuracy"
        points = [(point["lambda"], point["ndcg"], point["vector_diversity"]) for point in curve]
        chosen = pipeline.reranker.trade_off
        plot_trade_off(points, folder / f"{stem}_trade_off.png", chosen=chosen, title=title)
        figures.append(("The reranker's trade-off over λ", f"{stem}_trade_off.png"))
    return figures
