"""The runs of an ablation: every row with every seed, trained where it is missing, and evaluated.

Every row is trained once per seed into ``<data root>/ablations/<name>/``, apart from the channels in use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.readers.own import EventFile
from evaluation.popularity_plot import Shares, bucket_shares, popularity_buckets
from evaluation.report import metric_label
from experiments.measuring import measure
from experiments.results import RunResult
from experiments.runs import Run, RunsWorkspace, finished, train_run
from recall import CHANNELS
from reccore import ArtefactError, Holdout, RunOptions

KS = (10, 100)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"


@dataclass(frozen=True, eq=False)
class AblationResult(RunResult):
    """Result of a run, evaluated at ``KS``.

    Attributes:
        shares: (n,) share of the first slots per popularity bucket.
    """

    shares: Shares


@dataclass(frozen=True, eq=False)
class Job:
    """What all runs share.

    Attributes:
        workspace: where they are stored.
        input_file, protocol: as for ``train_channel``.
        options: device, progress, and the seed of the bootstrap; every training has the seed of its run.
        prepared: the data of ``input_file`` and ``protocol``.
        holdout: queries and targets of the evaluation.
        timed_holdout: the same with the time of the target, for rows with ``query_time``; None without such rows.
        jobs: number of runs to train at the same time, each in its own process.
    """

    workspace: RunsWorkspace
    input_file: EventFile | None
    protocol: str | None
    options: RunOptions
    prepared: Prepared
    holdout: Holdout
    timed_holdout: Holdout | None = None
    jobs: int = 1


def run_all(job: Job, runs: Sequence[Run]) -> tuple[list[AblationResult], dict[str, str]]:
    """Train what is missing and evaluate everything.

    Returns:
        Results in the order of ``runs``, and run → error for those that could not be trained.
    """
    results: dict[str, AblationResult] = {}
    failures: dict[str, str] = {}
    names = {run.name: run for run in runs}
    for count, (name, failure) in enumerate(_train_missing(job, runs), start=1):
        run, place = names[name], f"{count} of {len(runs)}"
        if failure is not None:
            failures[str(run)] = failure
            logger.warning("{} ({}): {}", run, place, failure)
            continue
        result = results[name] = _evaluate(job, run)
        figures = ", ".join(f"{metric_label(m)} {result.evaluation.mean(m):.4f}" for m in (HEADLINE, BESIDE))
        logger.info("{} ({}): {}, trained in {:.1f} min", run, place, figures, result.facts["seconds"] / 60)
    return [results[run.name] for run in runs if run.name in results], failures


def _train_missing(job: Job, runs: Sequence[Run]) -> Iterator[tuple[str, str | None]]:
    """Yield (name of a run, error or None) as soon as each run is trained."""
    missing = []
    for run in runs:
        if finished(job.workspace, job.prepared, run) is None:
            missing.append(run)
        else:
            yield run.name, None
    if job.jobs == 1:
        for run in missing:
            logger.info("training {}", run)
            yield _train(job.workspace, run, job.input_file, job.protocol, job.options)
        return
    options = replace(job.options, progress=False, threads=max(torch.get_num_threads() // job.jobs, 1))
    pool = ProcessPoolExecutor(job.jobs, mp_context=get_context("spawn"), initializer=_only_warnings)
    try:
        futures: list[Future[tuple[str, str | None]]] = [
            pool.submit(_train, job.workspace, run, job.input_file, job.protocol, options) for run in missing
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _train(
    workspace: RunsWorkspace, run: Run, input_file: EventFile | None, protocol: str | None, options: RunOptions
) -> tuple[str, str | None]:
    """Name of the run, and the error of its training or None."""
    return run.name, train_run(workspace, run, input_file, protocol, options)


def _only_warnings() -> None:
    """Keep parallel trainings from mixing their progress lines in the log."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")


def _evaluate(job: Job, run: Run) -> AblationResult:
    facts = finished(job.workspace, job.prepared, run)
    if facts is None:
        raise ArtefactError(
            f"{job.workspace.model(run.name)} was changed while it was evaluated; run the command again"
        )
    channel = CHANNELS.load(job.workspace.model(run.name))
    holdout = job.timed_holdout if run.row.query_time and job.timed_holdout is not None else job.holdout
    offer = channel.retrieve(holdout.queries, max(KS))
    data = job.prepared.training_data()
    evaluation = measure(run.row.name, offer, holdout, data, KS, job.options.seed)
    shares = bucket_shares(offer, popularity_buckets(data.interactions.item_counts()), k=min(KS))
    return AblationResult(run, evaluation, facts, shares)
