"""Runs of a comparison: a row (a channel with its options) with a seed, trained where it is missing.

A run that is there with the same configuration, data and seed is not trained again, and an interrupted training
resumes from its last checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from dataprep.prepare import Prepared
from dataprep.readers.own import EventFile
from evaluation.report import write_text
from pipeline.train_channel import train_channel
from recall import CHANNELS
from reccore import Bundle, ConfigError, RecommenderError, RunOptions, Workspace
from reccore.bundle import read_manifest
from reccore.component import Registry
from reccore.memory import peak_memory_bytes
from training.checkpointing import train_on


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the line and, with the seed, of its bundles or measurements.
        model: registered name of the channel or ranker.
        config: all its options.
        query_time: whether its queries carry the time of the event to predict.
    """

    name: str
    model: str
    config: Mapping[str, Any]
    query_time: bool = False

    @classmethod
    def parse(cls, name: str, settings: Mapping[str, Any], *, source: str, registry: Registry[Any] = CHANNELS) -> Row:
        """Check the settings of a row: ``model`` and the options of that component.

        Args:
            name: of the row.
            settings: as ``train_recall.py --config``, or for rankers ``train_ranking.py --config``, takes them.
            source: named in errors, such as the file.
            registry: of the components that rows are made of.

        Raises:
            ConfigError: unknown model, unknown option or value out of range.
        """
        options = dict(settings)
        try:
            if "model" not in options:
                raise ConfigError(f"model is missing; known: {', '.join(registry)}")
            model = options.pop("model")
            component = registry[model](options)
            config = component.config.model_dump(mode="json")
            return cls(name, model, config, getattr(component, "query_time", False))
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


@dataclass(frozen=True)
class RunsWorkspace(Workspace):
    """A data root whose models lie under ``<kind>/<name>/``, apart from the channels in use.

    Attributes:
        name: of the comparison.
        kind: of the comparison.
    """

    name: str
    kind: Literal["ablations", "comparisons"]

    @property
    def models(self) -> Path:
        return self.root / self.kind / self.name

    def checkpoint(self, name: str) -> Path:
        return self.models / "checkpoints" / self.model(name).name


def finished(workspace: Workspace, prepared: Prepared, run: Run) -> dict[str, Any] | None:
    """Facts of a run's training if its bundle is there with the same model, options, data and seed; else None.

    An option that is newer than the bundle counts as having its default.
    """
    path = workspace.model(run.name)
    manifest, note = read_manifest(path), _note_of(path)
    if manifest is None or not note.is_file():
        return None
    wanted = {
        "component": run.row.model,
        "seed": run.seed,
        "data": prepared.provenance,
        "vocabulary": prepared.vocabulary.fingerprint,
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


def train_run(
    workspace: Workspace,
    run: Run,
    input_file: EventFile | None,
    protocol: str | None,
    options: RunOptions,
    *,
    own_process: bool = False,
) -> str | None:
    """Train one run, from its checkpoint if there is one, and store beside its bundle how long it took.

    Args:
        workspace: where to store it.
        run: row and seed.
        input_file, protocol: as for ``train_channel``.
        options: of the run; the seed is that of ``run``.
        own_process: this process does nothing else, so that its peak memory is the training's and is stored too.

    Returns:
        The error of a training that failed; None if it is stored.
    """
    options = replace(options, seed=run.seed, resume=True)

    train = partial(
        train_channel,
        workspace,
        run.row.model,
        run.row.config,
        name=run.name,
        input_file=input_file,
        protocol=protocol,
    )
    try:
        result = train_on(train, workspace.checkpoint(run.name), options)
    except RecommenderError as error:  # the report names the failure beside the other rows
        return str(error)
    path = workspace.model(run.name)
    training = result["training"]
    note: dict[str, Any] = {
        # The time before an interruption counts too, which the log of the epochs knows.
        "seconds": max(result["seconds"], round(60 * training["minutes"], 2) if training else 0.0),
        "device": str(options.torch_device()),
        "threads": torch.get_num_threads(),
        "fingerprint": Bundle.open(path).fingerprint,
    }
    if own_process:
        note["peak_bytes"] = peak_memory_bytes()
    write_text(_note_of(path), json.dumps(note, indent=2) + "\n")
    return None


def _note_of(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.json")
