"""The evaluation job of recall: channels and their merge, on the same users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loguru import logger

from evaluation.evaluate import Evaluation, compare, leaderboard
from evaluation.metrics import check_ks
from evaluation.plots import plot_accuracy_against, plot_curves, plot_intervals
from evaluation.report import EvaluationProtocol, Report
from experiments.measuring import (
    Measured,
    check_query_time,
    choose_holdout,
    measure,
    order_by,
    query_time_section,
    report_stem,
    trained,
)
from pipeline.builder import load_channels
from pipeline.fitting import MERGED
from pipeline.provenance import data_of
from recall.base import BaseRecall
from recall.merge import MergeConfig, merge
from reccore import Exclusions, Workspace

RECALL_KS = (10, 20, 50, 100, 200, 500)


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
) -> Measured:
    """Compare trained channels and their merge; writes ``reports/recall*``.

    Without ``names`` all trained channels are compared, save those that read the query's time where it is not given.

    Raises:
        ConfigError: see ``check_query_time``.
        DataError: see ``choose_holdout``.
    """
    ks, by = check_ks(ks), order_by(ks)
    channels = load_channels(workspace, tuple(names) if names else trained(workspace, "recall"))
    if not names and not query_time:
        channels = _without_readers(channels)
    readers = check_query_time(channels, query_time)
    prepared = data_of(workspace, tuple(channels))
    holdout, label = choose_holdout(prepared, split, test_file, query_time=query_time)
    exclude = Exclusions.nothing(len(holdout)) if include_seen else Exclusions.of_history(holdout.queries)
    data = prepared.training_data()
    offers = {name: channel.retrieve(holdout.queries, max(ks), exclude=exclude) for name, channel in channels.items()}
    if len(offers) > 1:
        fill = "popularity" if "popularity" in offers else None
        offers[MERGED] = merge(merging or MergeConfig(), offers, max(ks), fill=fill)
    evaluations = leaderboard(
        (measure(name, offer, holdout, data, ks, seed) for name, offer in offers.items()),
        by,
    )
    stem = report_stem("recall", split, test_file, query_time=query_time)
    comparisons = [compare(evaluations[0], other, by, seed=seed) for other in evaluations[1:]]
    protocol = EvaluationProtocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        seen_filtered=not include_seen,
        query_time=query_time,
        tied_share=evaluations[0].tied_share,
        seed=seed,
    )
    report = Report(
        title="Recall channels",
        protocol=protocol,
        evaluations=evaluations,
        comparisons=comparisons,
        sections=query_time_section(readers),
        facts={"reads_query_time": list(readers)},
        figures=_recall_figures(workspace.reports, stem, evaluations, ks),
    )
    markdown, _ = report.write(workspace.reports, stem)
    return Measured(evaluations, comparisons, protocol, markdown, report.to_dict())


def _without_readers(channels: dict[str, BaseRecall]) -> dict[str, BaseRecall]:
    """The channels that do not read the query's time; all of them where there is no other."""
    plain = {name: channel for name, channel in channels.items() if not channel.query_time}
    left_out = [name for name in channels if name not in plain]
    if not plain or not left_out:
        return channels
    logger.info("{} read the query's time and are left out; add --query_time to compare them", ", ".join(left_out))
    return plain


def _recall_figures(
    folder: Path, stem: str, evaluations: Sequence[Evaluation], ks: Sequence[int]
) -> list[tuple[str, str]]:
    first = min(ks)
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
    return [
        ("HitRate against K", f"{stem}_hit_rate.png"),
        ("NDCG with intervals", f"{stem}_ndcg.png"),
        ("Accuracy against popularity bias", f"{stem}_popularity.png"),
    ]
