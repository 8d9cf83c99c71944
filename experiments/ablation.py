"""The ablation job: one change at a time on the same data, users and seeds, and the effect of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.prepare import load_for_training
from dataprep.readers.own import EventFile
from evaluation.popularity_plot import bucket_shares, plot_popularity, popularity_buckets
from evaluation.report import write_text
from experiments.ablation_report import Ablation
from experiments.ablation_runs import BESIDE, HEADLINE, KS, AblationResult, Job, run_all
from experiments.measuring import choose_holdout, report_stem
from experiments.results import RowResult
from experiments.runs import Row, Run, RunsWorkspace
from experiments.tie_audit import TieAudit, audit_ties
from recall import CHANNELS
from reccore import ConfigError, DataError, RunOptions, Workspace


def ablate(
    workspace: Workspace,
    rows: Sequence[Row],
    *,
    baseline: str | None,
    seeds: Sequence[int],
    input_file: EventFile | None = None,
    protocol: str | None = None,
    split: str = "valid",
    plot: Sequence[str] = (),
    jobs: int = 1,
    name: str = "ablation",
    options: RunOptions,
    command: str = "",
) -> tuple[Ablation, Path]:
    """Train every row with every seed, evaluate them, and write ``reports/<name>*``.

    Args:
        workspace: data root; finished runs are stored under ``ablations/<name>/`` and used again.
        rows: to compare.
        baseline: name of the row to compare the others with.
        seeds: every row is trained with each.
        input_file, protocol: data to learn from, as for ``train_channel``.
        split: ``valid`` to choose a row, ``test`` to report the chosen one.
        plot: rows whose offers are plotted against popularity.
        jobs: number of runs to train at the same time.
        name: of the report and of the folder of runs.
        options: device, progress, and the seed of the bootstrap.
        command: shown in the report.

    Returns:
        The results, and the Markdown report.

    Raises:
        ConfigError: inconsistent rows, seeds or names; raised before any training.
        DataError: the split is empty, a row needs times that the data lacks, or the baseline could not be trained.
    """
    _check(rows, baseline, seeds, plot)
    options.torch_device()  # a missing device fails here instead of in every row
    runs = RunsWorkspace(workspace.root, name, "ablations")
    workspace.model(name)
    prepared = load_for_training(workspace, input_file, protocol)
    holdout, label = choose_holdout(prepared, split, None)
    timed = None
    if any(row.query_time for row in rows):
        timed = (prepared.split.test if split == "test" else prepared.split.valid)(query_time=True)
    job = Job(runs, input_file, protocol, options, prepared, holdout, timed, jobs)
    rows = sorted(rows, key=lambda row: (row.name != baseline, row.name))
    results, failures = run_all(job, [Run(row, seed) for row in rows for seed in seeds])
    found = [RowResult(row, [result for result in results if result.run.row == row]) for row in rows]
    complete = [result for result in found if len(result.runs) == len(seeds)]
    if not complete or complete[0].row.name != baseline:
        why = "; ".join(f"{run}: {why}" for run, why in failures.items())
        raise DataError(f"the baseline {baseline!r} could not be trained, so there is nothing to compare with ({why})")
    ablation = Ablation(job, label, complete, tuple(seeds), failures, command, ties=_ties(job, complete[0], split))
    stem = report_stem(name, split, None)
    if plot:
        figure = plot_rows(ablation, plot, workspace.reports / f"{stem}_popularity.png")
        ablation = replace(ablation, figures=[("What is offered against what is popular", figure.name)])
    return ablation, write_report(ablation, workspace.reports, stem)


def _ties(job: Job, baseline: RowResult[AblationResult], split: str) -> TieAudit:
    """The baseline's first run under other orders of tied events."""
    channel = CHANNELS.load(job.workspace.model(baseline.runs[0].run.name))
    return audit_ties(
        job.prepared,
        split,
        baseline.row.name,
        lambda queries: channel.retrieve(queries, max(KS)),
        query_time=baseline.row.query_time,
    )


def _check(rows: Sequence[Row], baseline: str | None, seeds: Sequence[int], plot: Sequence[str]) -> None:
    names = [row.name for row in rows]
    known = f"rows: {', '.join(names)}"
    if baseline is None:
        raise ConfigError(f"--baseline is missing; name the row that the others are compared with; {known}")
    for option, wanted in (("--baseline", [baseline]), ("--plot", plot)):
        for unknown in (name for name in wanted if name not in names):
            raise ConfigError(f"{option} names no row {unknown!r}; {known}")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ from each other, got {', '.join(map(str, seeds))}")


def write_report(ablation: Ablation, folder: Path, stem: str) -> Path:
    """Write ``<stem>.md``, ``<stem>.json`` and ``<stem>_users.parquet``; returns the first."""
    write_text(folder / f"{stem}.md", ablation.to_markdown())
    text = json.dumps(ablation.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{stem}.json", text + "\n")
    write_users(ablation, folder / f"{stem}_users.parquet")
    return folder / f"{stem}.md"


def write_users(ablation: Ablation, path: Path) -> None:
    """Figures of every user under every run: userId, row, seed and one column per headline metric."""
    user_idx = ablation.job.holdout.queries.user_idx
    raw = ablation.job.prepared.vocabulary.users.ids[user_idx]
    parts = []
    for run in (run for result in ablation.rows for run in result.runs):
        row = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(raw), dtype=np.int32)), [run.run.row.name])
        columns = {"userId": raw, "row": row, "seed": np.full(len(raw), run.run.seed, dtype=np.int64)}
        columns |= {metric: run.evaluation.per_query[metric] for metric in (HEADLINE, BESIDE)}
        parts.append(pa.table(columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        pq.write_table(pa.concat_tables(parts).unify_dictionaries(), temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def plot_rows(ablation: Ablation, names: Sequence[str], path: Path) -> Path:
    """Plot what the named rows offer against popularity, without rows that failed."""
    counts = ablation.job.prepared.training_data().interactions.item_counts()
    buckets = popularity_buckets(counts)
    results = {result.row.name: result for result in ablation.rows}
    return plot_popularity(
        bucket_shares(np.arange(len(counts)), buckets, weights=counts),
        {name: np.stack([run.shares for run in results[name].runs]) for name in names if name in results},
        path,
        targets=bucket_shares(ablation.job.holdout.target_idx, buckets),
        k=min(KS),
        title="What is offered against what is popular",
    )
