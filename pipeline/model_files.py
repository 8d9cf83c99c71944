"""Where a trained model goes, and the files that its training writes on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loguru import logger

from pipeline.blend import MERGED
from pipeline.builder import PIPELINE
from reccore import ComponentConfig, ConfigError, RunOptions, Workspace
from reccore.bundle import read_manifest
from training import TrainingConfig
from training.checkpointing import has_checkpoint
from training.ranks import n_ranks

SERVING = "serving"
"""The pipeline fitted on every event, see ``pipeline.refitting``."""
RESERVED_NAMES = (PIPELINE, SERVING, MERGED)


def check_ranks(model: str, config: ComponentConfig) -> None:
    """Refuse several ranks for a model that they cannot train together.

    Raises:
        ConfigError: its training is not one of epochs over a network.
    """
    if n_ranks() > 1 and not isinstance(config, TrainingConfig):
        raise ConfigError(f"{model} is not trained in epochs by several processes; start it without torchrun")


def with_training_files(options: RunOptions, workspace: Workspace, name: str) -> RunOptions:
    """The same options with the folders of a model's checkpoints and curves."""
    checkpoint = workspace.checkpoint(name)
    if options.resume and not has_checkpoint(checkpoint):
        logger.warning("there is no checkpoint at {}: training starts from the beginning", checkpoint)
    return replace(options, checkpoint_dir=checkpoint, log_dir=workspace.runs / name)


def model_folder(workspace: Workspace, name: str, kind: str) -> Path:
    """Where to save a model of that name and kind; checked before training.

    Raises:
        ConfigError: a reserved name, or a folder that holds something else.
    """
    path = workspace.model(name)
    if name in RESERVED_NAMES:
        raise ConfigError(f"the name {name!r} is reserved; choose another --name")
    manifest = read_manifest(path)
    if path.exists() and manifest is None:
        raise ConfigError(f"{path} exists and holds no model; move it away or choose another --name")
    if manifest is not None and manifest.get("kind") != kind:
        raise ConfigError(f"{path} holds a {manifest.get('kind')} model; choose another --name")
    return path
