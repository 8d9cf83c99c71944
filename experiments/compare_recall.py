"""The comparison of channels: quality, cost and spread over seeds of every configuration, on the same users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dataprep.readers.own import EventFile
from evaluation.report import EvaluationProtocol
from experiments.compare_report import RecallComparison, draw
from experiments.compare_runs import ComparisonJob, run_all
from experiments.measuring import choose_holdout, report_stem
from experiments.runs import Row, RunsWorkspace
from experiments.tie_audit import K as TIE_K
from experiments.tie_audit import audit_ties
from recall import CHANNELS
from reccore import ConfigError, DataError, RunOptions, Workspace

FOLDER = "channels"


def compare_recall(
    workspace: Workspace,
    rows: Sequence[Row],
    *,
    seeds: Sequence[int],
    input_file: EventFile | None = None,
    protocol: str | None = None,
    split: str = "test",
    query_time: bool = False,
    name: str = FOLDER,
    options: RunOptions,
    command: str = "",
) -> tuple[RecallComparison, Path]:
    """Train and measure every row with every seed, and write ``reports/compare_<name>*``.

    Args:
        workspace: data root; runs are stored under ``comparisons/<name>/`` and used again.
        rows: channels with their options.
        seeds: of training; channels that draw no random numbers are shown once.
        input_file, protocol: data to learn from, as for ``train_channel``.
        split: ``valid`` or ``test``.
        query_time: whether queries carry the time of the event to predict.
        name: of the report and of the folder of runs.
        options: device, progress, and the seed of the bootstrap.
        command: shown in the report.

    Returns:
        The results, and the Markdown report.

    Raises:
        ConfigError: repeated seeds, an unusable name, or rows that read the query's time without ``query_time``.
        DataError: the split is empty, or no row could be trained.
    """
    _check(rows, seeds, query_time)
    options.torch_device()  # a missing device fails here instead of in every run
    runs = RunsWorkspace(workspace.root, name, "comparisons")
    workspace.model(name)
    job = ComparisonJob(runs, input_file, protocol, split, query_time, options)
    prepared = job.prepared()
    holdout, label = choose_holdout(prepared, split, None, query_time=query_time)
    results, failures = run_all(job, rows, seeds)
    if not results:
        why = "; ".join(f"{run}: {why}" for run, why in failures.items())
        raise DataError(f"no channel could be trained, so there is nothing to compare ({why})")
    stated = EvaluationProtocol.of(
        str(prepared.source["dataset"]), label, holdout, query_time=query_time, seed=options.seed
    )
    stem = report_stem(f"compare_{name}", split, None, query_time=query_time)
    figures = draw(results, workspace.reports, stem)
    comparison = RecallComparison(stated, results, tuple(seeds), failures, command, figures)
    run = comparison.rows[0].runs[0].run
    channel = CHANNELS.load(runs.model(run.name))
    ties = audit_ties(
        prepared, split, str(run), lambda queries: channel.retrieve(queries, TIE_K), query_time=query_time
    )
    comparison = replace(comparison, ties=ties)
    return comparison, comparison.write(workspace.reports, stem)


def _check(rows: Sequence[Row], seeds: Sequence[int], query_time: bool) -> None:
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ from each other, got {', '.join(map(str, seeds))}")
    readers = [row.name for row in rows if row.query_time]
    if readers and not query_time:
        raise ConfigError(
            f"{', '.join(readers)} reads the time of the event to predict, which has a leaderboard of its own; put "
            "such files into a folder of their own and add --query_time"
        )
    if query_time and not readers:
        raise ConfigError("--query_time is for channels that read it, and none of these does; leave it out")
