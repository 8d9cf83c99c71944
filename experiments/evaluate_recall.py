"""Evaluation of recall: channels and their merge, on the same users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.evaluate import Evaluation, leaderboard
from evaluation.plots import plot_accuracy_against, plot_curves, plot_intervals, plot_overlap
from experiments import RECALL_KS
from experiments.measuring import EvaluationJob, EvaluationResult, channels_to_evaluate
from experiments.merge_findings import MergeFindings
from pipeline.fitting import MERGED
from recall.merge import MergeConfig, RRFConfig, merge
from reccore import Exclusions, Workspace


def evaluate_recall(
    workspace: Workspace,
    *,
    names: Sequence[str] | None = None,
    split: str = "test",
    test_file: Path | None = None,
    include_seen: bool = False,
    query_time: bool = False,
    merging: MergeConfig | None = None,
    ks: Sequence[int] = RECALL_KS,
    seed: int = 0,
) -> EvaluationResult:
    """Compare trained channels and their merge; writes ``reports/recall*``.

    Args:
        workspace: data root.
        names: see ``channels_to_evaluate``.
        split, test_file, query_time, ks, seed: see ``EvaluationJob.open``.
        include_seen: let channels offer items of the history.
        merging: how the channels are merged, by default reciprocal-rank fusion with equal weights.

    Raises:
        ConfigError, ArtefactError, DataError: see ``EvaluationJob.open``.
    """
    channels = channels_to_evaluate(workspace, names, query_time=query_time)
    job = EvaluationJob.open(
        "recall",
        workspace,
        channels,
        tuple(channels),
        split=split,
        test_file=test_file,
        query_time=query_time,
        ks=ks,
        seed=seed,
    )
    queries, k = job.holdout.queries, max(job.ks)
    exclude = Exclusions.nothing(len(queries)) if include_seen else Exclusions.of_history(queries)
    offers = {name: channel.retrieve(queries, k, exclude=exclude) for name, channel in channels.items()}
    if len(offers) > 1:
        fill = "popularity" if "popularity" in offers else None
        offers[MERGED] = merge(merging or RRFConfig(), offers, k, fill=fill)
    evaluations = leaderboard((job.measure(name, offer) for name, offer in offers.items()), job.by)
    findings = MergeFindings.of(job, evaluations, offers) if MERGED in offers else None
    return job.report(
        "Recall channels",
        evaluations,
        [job.compare(evaluations[0], other) for other in evaluations[1:]],
        sections=[] if findings is None else [("What merging adds", findings.markdown())],
        figures=_figures(workspace.reports, job.stem, evaluations, findings, min(job.ks)),
        facts={} if findings is None else {"merging": findings.to_dict()},
        seen_filtered=not include_seen,
    )


def _figures(
    folder: Path, stem: str, evaluations: Sequence[Evaluation], findings: MergeFindings | None, first: int
) -> list[tuple[str, str]]:
    """Draw the report's figures; returns their captions and files."""
    by_name = {evaluation.name: evaluation for evaluation in sorted(evaluations, key=lambda e: e.name)}
    plot_curves(
        {name: e.curve("hit_rate") for name, e in by_name.items()},
        folder / f"{stem}_hit_rate.png",
        ylabel="HitRate@K",
        title="How often the held-out film is among the first K",
    )
    plot_intervals(
        {name: e.metrics[f"ndcg@{first}"] for name, e in by_name.items()},
        folder / f"{stem}_ndcg.png",
        xlabel=f"NDCG@{first}",
        title="Channels with 95% intervals over users",
    )
    plot_accuracy_against(
        {name: (e.lists[f"popularity@{first}"], e.mean(f"hit_rate@{first}")) for name, e in by_name.items()},
        folder / f"{stem}_popularity.png",
        xlabel=f"mean popularity of the {first} films offered (events in the fit split)",
        ylabel=f"HitRate@{first}",
        title="Accuracy against popularity bias",
    )
    figures = [
        ("HitRate against K", f"{stem}_hit_rate.png"),
        ("NDCG with intervals", f"{stem}_ndcg.png"),
        ("Accuracy against popularity bias", f"{stem}_popularity.png"),
    ]
    if findings is not None:
        overlap = findings.overlap
        plot_overlap(
            overlap.names,
            overlap.found.tolist(),
            overlap.shares,
            overlap.unique_shares,
            folder / f"{stem}_overlap.png",
            title=f"Held-out films found among the first {overlap.k}",
        )
        figures.append(("What the channels find in common", f"{stem}_overlap.png"))
    return figures
