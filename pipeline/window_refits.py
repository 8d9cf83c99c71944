"""Channels fitted again on other events, such as those before the label window, and kept for the next time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from loguru import logger

from recall import CHANNELS
from recall.base import BaseRecall
from reccore import Bundle, RunOptions, TrainingData, Workspace
from reccore.bundle import read_manifest

REFITTED = "label_window"

Refit: TypeAlias = Callable[[str, BaseRecall, TrainingData], BaseRecall]
"""From the name of a channel, the channel and other events to the same channel fitted on these events."""


def stored_refits(workspace: Workspace, options: RunOptions) -> Refit:
    """Refits that are stored beside the trained channels of a data root, see ``refit``."""
    return lambda name, channel, data: refit(channel, data, workspace.model(name), options)


def refit(
    channel: BaseRecall, data: TrainingData, model: Path, options: RunOptions, *, folder: Path | None = None
) -> BaseRecall:
    """The same channel fitted on other events, such as those before the label window.

    Stored in ``folder``, by default a hidden one beside the original, and used again until the original or the events
    change.
    """
    folder = folder or model.with_name(f".{model.name}.{REFITTED}")
    basis = {
        "of": Bundle.open(model).fingerprint,
        "config": channel.config.model_dump(mode="json"),
        "refit": channel.refit_facts(),
        "events": data.interactions.fingerprint,
        "seed": options.seed,
    }
    manifest = read_manifest(folder)
    if manifest is not None and manifest.get("basis") == basis:
        return CHANNELS.load(folder)
    logger.info("fitting {} again on {:,} events", model.name, data.interactions.n_events)
    refitted = channel.refit(data, options)
    refitted.save(folder, basis=basis)
    return refitted
