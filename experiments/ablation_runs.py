"""The runs of an ablation: every row with every seed, trained where it is missing, and evaluated.

Every row is trained once per seed into ``<data root>/ablations/<name>/``, apart from the channels in use. A run that is
there with the same configuration, data and seed is not trained again, and an interrupted training resumes from its
last checkpoint.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation
from evaluation.popularity_plot import Shares, bucket_shares, popularity_buckets
from evaluation.report import metric_label, write_text
from experiments.measuring import measure
from pipeline.fitting import train_channel
from recall import CHANNELS
from reccore import ArtefactError, Bundle, ConfigError, Holdout, RecommenderError, ResumeError, RunOptions, Workspace
from reccore.bundle import read_manifest
from training.checkpointing import has_checkpoint

KS = (10, 100)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the line and, with the seed, of its bundles.
        model: registered name of the channel.
        config: all its options.
        query_time: whether its queries carry the time of the event to predict.
    """

    name: str
    model: str
    config: Mapping[str, Any]
    query_time: bool = False

    @classmethod
    def parse(cls, name: str, settings: Mapping[str, Any], *, source: str) -> Row:
        """Check the settings of a row: ``model`` and the options of that channel.

        Args:
            name: of the row.
            settings: as ``train_recall.py --config`` takes them.
            source: named in errors, such as the file.

        Raises:
            ConfigError: unknown model, unknown option or value out of range.
        """
        options = dict(settings)
        try:
            if "model" not in options:
                raise ConfigError(f"model is missing; known: {', '.join(CHANNELS)}")
            model = options.pop("model")
            channel = CHANNELS[model](options)
            return cls(name, model, channel.config.model_dump(mode="json"), channel.query_time)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        return f"{self.row.name}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class RunResult:
    """Result of a run.

    Attributes:
        run: row and seed.
        evaluation: on the chosen split, at ``KS``.
        shares: (n,) share of the first slots per popularity bucket.
        facts: ``seconds``, ``device``, ``threads`` and ``git_commit`` of the training.
    """

    run: Run
    evaluation: Evaluation
    shares: Shares
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class RunsWorkspace(Workspace):
    """A data root whose models lie under ``ablations/<name>/``, apart from the channels in use."""

    name: str = "ablation"

    @property
    def models(self) -> Path:
        return self.root / "ablations" / self.name

    def checkpoint(self, name: str) -> Path:
        return self.models / "checkpoints" / self.model(name).name


@dataclass(frozen=True, eq=False)
class Job:
    """What all runs share.

    Attributes:
        workspace: where they are stored.
        input_path, protocol: as for ``train_channel``.
        options: device, progress, and the seed of the bootstrap; every training has the seed of its run.
        prepared: the data of ``input_path`` and ``protocol``.
        holdout: queries and targets of the evaluation.
        timed_holdout: the same with the time of the target, for rows with ``query_time``; None without such rows.
        jobs: number of runs to train at the same time, each in its own process.
    """

    workspace: RunsWorkspace
    input_path: Path | None
    protocol: str | None
    options: RunOptions
    prepared: Prepared
    holdout: Holdout
    timed_holdout: Holdout | None = None
    jobs: int = 1


def run_all(job: Job, runs: Sequence[Run]) -> tuple[list[RunResult], dict[str, str]]:
    """Train what is missing and evaluate everything.

    Returns:
        Results in the order of ``runs``, and run → error for those that could not be trained.
    """
    results: dict[str, RunResult] = {}
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


def finished(job: Job, run: Run) -> dict[str, Any] | None:
    """Facts of a run's training if its bundle is there with the same model, options, data and seed; else None.

    An option that is newer than the bundle counts as having its default.
    """
    path = job.workspace.model(run.name)
    manifest, note = read_manifest(path), _note_of(path)
    if manifest is None or not note.is_file():
        return None
    wanted = {
        "component": run.row.model,
        "seed": run.seed,
        "data": job.prepared.provenance,
        "vocabulary": job.prepared.vocabulary.fingerprint,
    }
    if any(manifest.get(key) != value for key, value in wanted.items()):
        return None
    try:
        config = CHANNELS[run.row.model](manifest["config"]).config.model_dump(mode="json")
    except ConfigError:  # an option that no longer exists
        return None
    if config != run.row.config:
        return None
    facts: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    same = facts.pop("fingerprint") == Bundle.open(path).fingerprint
    return {**facts, "git_commit": manifest.get("git_commit")} if same else None


def _train_missing(job: Job, runs: Sequence[Run]) -> Iterator[tuple[str, str | None]]:
    """Yield (name of a run, error or None) as soon as each run is trained."""
    missing = []
    for run in runs:
        if finished(job, run) is None:
            missing.append(run)
        else:
            yield run.name, None
    if job.jobs == 1:
        for run in missing:
            logger.info("training {}", run)
            yield _train(job.workspace, run, job.input_path, job.protocol, replace(job.options, seed=run.seed))
        return
    options = replace(job.options, progress=False, threads=max(torch.get_num_threads() // job.jobs, 1))
    pool = ProcessPoolExecutor(job.jobs, mp_context=get_context("spawn"), initializer=_only_warnings)
    try:
        futures: list[Future[tuple[str, str | None]]] = [
            pool.submit(_train, job.workspace, run, job.input_path, job.protocol, replace(options, seed=run.seed))
            for run in missing
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _train(
    workspace: RunsWorkspace, run: Run, input_path: Path | None, protocol: str | None, options: RunOptions
) -> tuple[str, str | None]:
    """Train one run, from its checkpoint if there is one, and store beside its bundle how long it took."""

    def trained(*, resume: bool) -> dict[str, Any]:
        return train_channel(
            workspace,
            run.row.model,
            run.row.config,
            name=run.name,
            input_path=input_path,
            protocol=protocol,
            options=replace(options, resume=resume),
        )

    resume = has_checkpoint(workspace.checkpoint(run.name))
    try:
        try:
            result = trained(resume=resume)
        except ResumeError:  # the row, the data or the code has changed since the checkpoint
            resume = False
            result = trained(resume=False)
    except RecommenderError as error:  # the report names the failure beside the other rows
        return run.name, str(error)
    path = workspace.model(run.name)
    note = {
        # The time before an interruption counts too.
        "seconds": round(60 * result["training"]["minutes"], 2) if resume else result["seconds"],
        "device": str(options.torch_device()),
        "threads": torch.get_num_threads(),
        "fingerprint": Bundle.open(path).fingerprint,
    }
    write_text(_note_of(path), json.dumps(note, indent=2) + "\n")
    return run.name, None


def _only_warnings() -> None:
    """Keep parallel trainings from mixing their progress lines in the log."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")


def _note_of(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.json")


def _evaluate(job: Job, run: Run) -> RunResult:
    facts = finished(job, run)
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
    return RunResult(run, evaluation, shares, facts)
