"""Channels fitted again on other events, such as those before the label window, and kept for the next time."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from loguru import logger

from recall import CHANNELS
from recall.base import BaseRecall
from reccore import Bundle, RunOptions, TrainingData, Workspace
from reccore.bundle import read_manifest

REFITTED = "label_window"


class Refit(Protocol):
    """From a channel and other events to the same channel fitted on these events."""

    def __call__(self, name: str, channel: BaseRecall, data: TrainingData, window: int = 0, /) -> BaseRecall:
        """``name`` is the channel's; ``window`` is the label window that the events lie before, 0 = the latest."""
        ...


def stored_refits(workspace: Workspace, options: RunOptions) -> Refit:
    """Refits that are stored beside the trained channels of a data root, see ``refit``."""

    def stored_refit(name: str, channel: BaseRecall, data: TrainingData, window: int = 0) -> BaseRecall:
        model = workspace.model(name)
        folder = model.with_name(f".{model.name}.{purpose_of(REFITTED, window)}")
        return refit(channel, data, model, options, folder)

    return stored_refit


def purpose_of(purpose: str, window: int) -> str:
    """Suffix of the folder of a refit: each label window has a place of its own, the latest one without a number."""
    return purpose if window == 0 else f"{purpose}{window + 1}"


def refit(
    channel: BaseRecall, data: TrainingData, model: Path, options: RunOptions, folder: Path | None = None
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
