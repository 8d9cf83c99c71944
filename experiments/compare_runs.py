"""The runs of a comparison of channels: trained and measured where they are missing, each in a process of its own.

Bundles lie under ``<data root>/comparisons/<name>/``, apart from the channels in use, and beside each its
measurements. What is there with the same configuration, data, seed and held-out events is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from loguru import logger

from dataprep.prepare import Prepared, load_for_training
from dataprep.readers.own import EventFile
from evaluation.evaluate import holdout_digest
from evaluation.report import metric_label
from evaluation.stored import read_evaluation, write_evaluation
from experiments.measuring import choose_holdout, measure
from experiments.own_process import ProcessEnded, in_own_process
from experiments.results import RowResult, RunResult
from experiments.runs import Row, Run, RunsWorkspace, finished, train_run
from recall import CHANNELS
from recall.base import BaseRecall
from reccore import Bundle, Candidates, Holdout, QueryBatch, RunOptions
from reccore.bundle import read_manifest

KS = (10, 20, 100, 500)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"
PASSES, PASS_SECONDS = 5, 2.0


@dataclass(frozen=True)
class ComparisonJob:
    """What all runs share; it travels to their processes.

    Attributes:
        workspace: where they are stored.
        input_file, protocol: as for ``train_channel``.
        split: ``valid`` or ``test``.
        query_time: whether queries carry the time of the event to predict.
        options: device and progress; every training has the seed of its run.
    """

    workspace: RunsWorkspace
    input_file: EventFile | None
    protocol: str | None
    split: str
    query_time: bool
    options: RunOptions

    def prepared(self) -> Prepared:
        return load_for_training(self.workspace, self.input_file, self.protocol)

    def holdout(self, prepared: Prepared) -> Holdout:
        return choose_holdout(prepared, self.split, None, query_time=self.query_time)[0]

    def stored(self, run: Run) -> Path:
        """File of a run's measurements."""
        timed = "-query_time" if self.query_time else ""
        return self.workspace.model(run.name).with_name(f"{run.name}-{self.split}{timed}.npz")


def run_all(
    job: ComparisonJob, rows: Sequence[Row], seeds: Sequence[int]
) -> tuple[list[RowResult[RunResult]], dict[str, str]]:
    """Train and measure what is missing, all rows with the first seed before any row with the next.

    A row that learns the same to the byte from two seeds draws no random numbers: it keeps its first run only, and
    further seeds are left out.

    Returns:
        The rows with at least one result, and run → error for those that failed.
    """
    prepared = job.prepared()
    holdout_id = holdout_digest(job.holdout(prepared))
    found: dict[str, list[RunResult]] = {row.name: [] for row in rows}
    failures: dict[str, str] = {}
    deterministic: set[str] = set()
    runs = [Run(row, seed) for seed in seeds for row in rows]
    for count, run in enumerate(runs, start=1):
        if run.row.name in deterministic:
            continue
        try:
            result = _result(job, prepared, holdout_id, run)
        except ProcessEnded as error:
            result = str(error)
        if isinstance(result, str):
            failures[str(run)] = result
            logger.warning("{} ({} of {}): {}", run, count, len(runs), result)
            continue
        logger.info("{} ({} of {}): {}", run, count, len(runs), _summary(result))
        earlier = found[run.row.name]
        if earlier and _files(job, earlier[0].run) == _files(job, run):
            deterministic.add(run.row.name)
        else:
            earlier.append(result)
    return [RowResult(row, found[row.name]) for row in rows if found[row.name]], failures


def _result(job: ComparisonJob, prepared: Prepared, holdout_id: str, run: Run) -> RunResult | str:
    """The stored measurements of a run, made first where they are missing; or the error of its training."""
    stored = _read(job, prepared, holdout_id, run)
    if stored is None:
        trained = finished(job.workspace, prepared, run) is not None
        logger.info("{} {}", "measuring" if trained else "training", run)
        error = in_own_process(train_and_measure, job, run, trained)
        if error is not None:
            return error
        stored = _read(job, prepared, holdout_id, run)
    return stored or f"{job.workspace.model(run.name)} was changed meanwhile; run the command again"


def _read(job: ComparisonJob, prepared: Prepared, holdout_id: str, run: Run) -> RunResult | None:
    training, path = finished(job.workspace, prepared, run), job.stored(run)
    if training is None or not path.is_file():
        return None
    evaluation, facts = read_evaluation(path)
    of_this_bundle = facts.pop("fingerprint") == Bundle.open(job.workspace.model(run.name)).fingerprint
    if not of_this_bundle or evaluation.holdout_id != holdout_id or evaluation.ks != KS:
        return None
    return RunResult(run, evaluation, {**training, **facts})


def train_and_measure(job: ComparisonJob, run: Run, trained: bool) -> str | None:
    """Train a run unless it is ``trained``, then measure it; returns the error of a training that failed."""
    if not trained:
        error = train_run(job.workspace, run, job.input_file, job.protocol, job.options, own_process=True)
        if error is not None:
            return error
    job.options.apply_threads()
    path = job.workspace.model(run.name)
    prepared = job.prepared()
    holdout = job.holdout(prepared)
    offer, per_second = timed_offer(CHANNELS.load(path), holdout.queries)
    evaluation = measure(run.row.name, offer, holdout, prepared.training_data(), KS, job.options.seed)
    facts = {"queries_per_second": per_second, "fingerprint": Bundle.open(path).fingerprint}
    write_evaluation(job.stored(run), evaluation, facts)
    return None


def timed_offer(channel: BaseRecall, queries: QueryBatch) -> tuple[Candidates, float]:
    """What a channel offers, ``max(KS)`` items per query, and queries per second in its fastest pass."""
    fastest, started = float("inf"), perf_counter()
    for _ in range(PASSES):
        begun = perf_counter()
        offer = channel.retrieve(queries, max(KS))
        fastest = min(fastest, perf_counter() - begun)
        if perf_counter() - started > PASS_SECONDS:
            break
    return offer, len(queries) / fastest


def _files(job: ComparisonJob, run: Run) -> dict[str, str]:
    """Digests of what a run has learnt, without its manifests, which hold the seed."""
    manifest = read_manifest(job.workspace.model(run.name)) or {}
    return {name: digest for name, digest in manifest["files"].items() if not name.endswith("manifest.json")}


def _summary(result: RunResult) -> str:
    figures = [f"{metric_label(metric)} {result.evaluation.mean(metric):.4f}" for metric in (HEADLINE, BESIDE)]
    facts = result.facts
    return ", ".join(
        [
            *figures,
            f"fitted in {facts['seconds']:.1f} s",
            f"peak memory {facts['peak_bytes'] / 1e6:,.0f} MB",
            f"{facts['queries_per_second']:,.0f} queries/s",
        ]
    )
