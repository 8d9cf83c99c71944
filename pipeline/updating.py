"""The serving pipeline brought up to date by a file of later events, without fitting it anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from filelock import FileLock, Timeout
from loguru import logger

from dataprep.append import NewFiles, append_events, stored_report
from dataprep.prepare import Prepared, prepare
from dataprep.protocols import NoSplit
from dataprep.tables import PreprocessReport
from pipeline.builder import assemble, open_pipeline, parts_of, pipeline_of, save
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.model_files import SERVING
from pipeline.refitting import ALL_EVENTS, draws_of, refit_ranker, stored_folder, stored_refit
from ranking.base import BaseRanker
from recall.base import BaseRecall
from reccore import ArtefactError, Bundle, ConfigError, NotReadyError, RunOptions, TrainingData, Workspace
from reccore.bundle import check_writable

_REFIT = "PYTHONPATH=. python scripts/refit_pipeline.py"
OLD_RANKER = 1.1
"""Warn of the ranker's age where there are so many times the events that it was fitted on."""


def update_serving(
    workspace: Workspace,
    files: NewFiles,
    *,
    max_reject_share: float = 0.01,
    retrain_ranker: bool = False,
    options: RunOptions,
) -> dict[str, Any]:
    """Add events to the tables, and bring ``models/serving`` up to date.

    The tables change first and the pipeline last, each as a whole. After a run that was killed the pipeline answers as
    before, and the same command finishes the work.

    Args:
        workspace: data root.
        files: the events, and the films and users that come with them.
        max_reject_share: share of a file's rows that may be rejected.
        retrain_ranker: fit the ranker again, for which every channel is fitted again without the ranker's labels; by
            default it stays.
        options: seed, device, progress.

    Returns:
        Plain values: what was added, sizes, seconds of each part.

    Raises:
        NotReadyError: there are no tables, or no serving pipeline.
        ConfigError: the pipeline was not fitted on the tables; another update runs.
        ArtefactError: the pipeline was fitted on another data set, or it cannot be written.
        DataError: see ``append_events``.
    """
    started = perf_counter()
    with _alone(workspace.processed):
        bundle = _open_serving(workspace)  # another update may have replaced it before
        if retrain_ranker and PipelineConfig.parse(bundle.manifest["config"]).ranker is None:
            raise ConfigError(f"{bundle.path} has no ranker to fit again; leave out --retrain_ranker")
        _check_lineage(bundle, stored_report(workspace.processed))
        check_writable(workspace.models)
        appended = append_events(files, workspace.processed, max_reject_share=max_reject_share, show=options.progress)
        seconds = {"tables": perf_counter() - started}
        facts = {
            "pipeline": str(bundle.path),
            "new_events": appended.events,
            "stored_already": appended.repeated,
            "rejected": sum(sum(reasons.values()) for reasons in appended.rejects.values()),
            "new_users": appended.new_users,
            "new_films": appended.new_items,
            "films_without_record": appended.without_record,
        }
        if bundle.manifest["data"]["fingerprint"] == appended.fingerprint and not retrain_ranker:
            logger.info("the tables and the pipeline hold these events already")
            return facts | {"events": bundle.manifest["data"]["events"], "up_to_date": True}
        result = _update(workspace, bundle, retrain_ranker, options, seconds)
    return facts | result | {"up_to_date": False, "seconds": {name: round(value, 2) for name, value in seconds.items()}}


@dataclass(frozen=True, eq=False)
class _Update:
    """A pipeline and the data that it is to know.

    Attributes:
        workspace: data root.
        bundle: of the pipeline.
        pipeline: as it is.
        prepared: all events, with the pipeline's indices.
        data: the same, to learn from.
        options: of the run.
        seconds: receives the time of each part.
    """

    workspace: Workspace
    bundle: Bundle
    pipeline: Pipeline
    prepared: Prepared
    data: TrainingData
    options: RunOptions
    seconds: dict[str, float]

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        started = perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - started


def _update(
    workspace: Workspace, bundle: Bundle, retrain_ranker: bool, options: RunOptions, seconds: dict[str, float]
) -> dict[str, Any]:
    """Update every part and write the pipeline."""
    started = perf_counter()
    pipeline = pipeline_of(bundle)
    prepared = prepare(workspace, NoSplit(), known=bundle.vocabulary())
    data = prepared.training_data()
    seconds["reading"] = perf_counter() - started
    update = _Update(workspace, bundle, pipeline, prepared, data, options, seconds)
    channels = {source.name: _updated_channel(update, source.name, source.channel) for source in pipeline.sources}
    ranker, fitted_on = _updated_ranker(update, channels, retrain_ranker)
    with update.timed("pipeline"):
        updated = assemble(
            pipeline.config,
            channels=channels,
            ranker=ranker,
            items=data.items.with_columns(()),
            histories=FrozenHistoryStore(prepared.split.interactions, prepared.vocabulary),
        )
        facts = {**prepared.provenance, "ranker_events": fitted_on}
        parts = {name: Bundle.open(_folder(workspace, name)) for name in pipeline.config.parts}
        chosen = bundle.manifest.get("short_history")
        save(updated, workspace.model(SERVING), parts, data=facts, chosen=chosen)
    return {
        "events": prepared.split.interactions.n_events,
        "users": len(prepared.vocabulary.users),
        "films": len(prepared.vocabulary.items),
        "ranker": pipeline.config.ranker,
        "ranker_fitted_on_events": fitted_on,
    }


def _updated_channel(update: _Update, name: str, channel: BaseRecall) -> BaseRecall:
    histories = update.pipeline.histories
    assert isinstance(histories, FrozenHistoryStore)  # that of a bundle
    with update.timed(name):
        logger.info("updating {}", name)
        memory = stored_folder(update.workspace, name, "pair_sums")
        updated = channel.update(update.data, histories.interactions, update.options, memory=memory)
        updated.save(_folder(update.workspace, name), seed=update.options.seed)
    return updated


def _updated_ranker(
    update: _Update, channels: Mapping[str, BaseRecall], retrain: bool
) -> tuple[BaseRanker | None, int | None]:
    """The ranker, and the number of events that it was fitted on."""
    old, name, facts = update.pipeline.ranker, update.pipeline.config.ranker, update.bundle.manifest["data"]
    if old is None or name is None:
        return None, None
    events = update.prepared.split.interactions.n_events
    with update.timed(name):
        if retrain:
            fitted_on = events
            ranker, _ = refit_ranker(
                update.pipeline,
                update.pipeline.config,
                update.prepared,
                channels,
                draws_of(update.bundle),
                update.options,
                refit_before_labels=stored_refit(
                    update.workspace, parts_of(update.bundle), f"{ALL_EVENTS}.label_window", update.options
                ),
            )
            assert ranker is not None
        else:
            fitted_on = int(facts.get("ranker_events", facts["events"]))
            if events > OLD_RANKER * fitted_on:
                logger.warning(
                    "the ranker was fitted on {:,} of {:,} events; --retrain_ranker fits it again", fitted_on, events
                )
            ranker = old.grown(update.data.items, update.data.users, update.prepared.vocabulary)
        samples = parts_of(update.bundle)[name].manifest.get("samples")
        ranker.save(_folder(update.workspace, name), seed=update.options.seed, samples=samples)
    return ranker, fitted_on


def _folder(workspace: Workspace, name: str) -> Path:
    return stored_folder(workspace, name, ALL_EVENTS)


def _open_serving(workspace: Workspace) -> Bundle:
    path = workspace.model(SERVING)
    if not path.exists():
        raise NotReadyError(f"no pipeline at {path}, fitted on all events; run first: {_REFIT}")
    return open_pipeline(path)


def _check_lineage(bundle: Bundle, report: PreprocessReport) -> None:
    """Raise an error unless the pipeline was fitted on the tables, as they are or as they were before an append."""
    data = bundle.manifest["data"]
    if data["input"] is not None:
        raise ConfigError(
            f"{bundle.path} was fitted on {data['input']} by --input, and only tables can be added to; read that file "
            "by PYTHONPATH=. python scripts/run_preprocessing.py --interactions, and train on the prepared data"
        )
    states = {report.fingerprint, *(entry["before"] for entry in report.appended)}
    if data["fingerprint"] not in states:
        raise ArtefactError(
            f"{bundle.path} was fitted on {data['dataset']} ({data['fingerprint'][:8]}), and the tables hold "
            f"{report.dataset} ({report.fingerprint[:8]}); fit it on these: {_REFIT}"
        )


@contextmanager
def _alone(processed: Path) -> Iterator[None]:
    """Keep other updates of the same tables out."""
    if not processed.is_dir():
        raise NotReadyError(f"no tables under {processed}; run first: PYTHONPATH=. python scripts/run_preprocessing.py")
    lock = FileLock(processed / ".update.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise ConfigError(f"another update of {processed} is running; wait for its end") from error
