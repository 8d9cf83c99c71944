"""Channels fitted again on other events, such as those before the label window, and kept for the next time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from loguru import logger

from dataprep.prepare import Prepared
from pipeline.label_window import WindowKind, kind_under, label_window
from ranking import MAX_QUERIES, SHORT_HISTORIES
from recall import CHANNELS
from recall.base import BaseRecall
from recall.neural.channel import NeuralRecall
from reccore import Bundle, ConfigError, Holdout, Interactions, RunOptions, TrainingData, Workspace
from reccore.bundle import read_manifest
from training.ranks import n_ranks

REFITTED = "label_window"


def data_to_learn(channel: BaseRecall, prepared: Prepared, data: TrainingData) -> TrainingData:
    """What a channel is fitted on, of some training data of ``prepared``.

    Under ``last_three`` networks learn from liked events alone, as MetaSpore's do; other channels from all.
    """
    liked = prepared.split.liked(data.interactions) if isinstance(channel, NeuralRecall) else data.interactions
    return data if liked is data.interactions else prepared.training_data(liked)


class Refit(Protocol):
    """From a channel and other events to the same channel fitted on these events."""

    def __call__(self, name: str, channel: BaseRecall, data: TrainingData, window: int = 0, /) -> BaseRecall:
        """``name`` is the channel's; ``window`` is the label window that the events lie before, 0 = the latest."""
        ...


def stored_refits(workspace: Workspace, options: RunOptions) -> Refit:
    """Refits that are stored beside the trained channels of a data root, see ``refit``."""

    def stored_refit(name: str, channel: BaseRecall, data: TrainingData, window: int = 0) -> BaseRecall:
        model = workspace.model(name)
        return refit(channel, data, model, options, folder_beside(model, purpose_of(REFITTED, window)))

    return stored_refit


def purpose_of(purpose: str, window: int) -> str:
    """Suffix of the folder of a refit: each label window has a place of its own, the latest one without a number."""
    return purpose if window == 0 else f"{purpose}{window + 1}"


def folder_beside(model: Path, purpose: str) -> Path:
    """A hidden folder beside a model, for something about it."""
    return model.with_name(f".{model.name}.{purpose}")


def refit(
    channel: BaseRecall, data: TrainingData, model: Path, options: RunOptions, folder: Path | None = None
) -> BaseRecall:
    """The same channel fitted on other events, such as those before the label window.

    Stored in ``folder``, by default a hidden one beside the original, and used again until the original or the events
    change.
    """
    folder = folder or folder_beside(model, REFITTED)
    basis = _basis(channel, data, model, options)
    manifest = read_manifest(folder)
    if manifest is not None and manifest.get("basis") == basis:
        return CHANNELS.load(folder)
    logger.info("fitting {} again on {:,} events", model.name, data.interactions.n_events)
    refitted = channel.refit(data, options)
    refitted.save(folder, basis=basis)
    return refitted


def _basis(channel: BaseRecall, data: TrainingData, model: Path, options: RunOptions) -> dict[str, Any]:
    """What a refit of the channel stored at ``model`` rests on."""
    return {
        "of": Bundle.open(model).fingerprint,
        "config": channel.config.model_dump(mode="json"),
        "refit": channel.refit_facts(),
        "events": data.interactions.fingerprint,
        "seed": options.seed,
    }


@dataclass(frozen=True)
class LabelCut:
    """Where the latest label window of a ranker will be cut.

    Attributes:
        max_queries, short_histories, kind: those of the ranker's samples, see ``label_window``; None = as the protocol
            asks.
    """

    max_queries: int | None = MAX_QUERIES
    short_histories: float = SHORT_HISTORIES
    kind: WindowKind | None = None

    def before(self, prepared: Prepared, options: RunOptions) -> Interactions:
        """The fit events before it."""
        window = label_window(
            prepared,
            kind=self.kind or kind_under(prepared.split.protocol),
            max_queries=self.max_queries,
            short_histories=self.short_histories,
            options=options,
        )
        return prepared.split.interactions.first(window.start)


def check_trains_on(channel: BaseRecall) -> None:
    """Refuse what ``fit_around_labels`` cannot fit, whatever the data.

    Raises:
        ConfigError: a channel whose update is another fit, or several ranks.
    """
    if not isinstance(channel, NeuralRecall) or channel.config.item.graph is not None:
        raise ConfigError(f"{channel.name} does not train on from what it has learnt; leave out --before_labels_of")
    if n_ranks() > 1:
        raise ConfigError("several ranks do not train around labels; leave out --before_labels_of")


def fit_around_labels(
    channel: BaseRecall, prepared: Prepared, cut: LabelCut, valid: Holdout, options: RunOptions
) -> tuple[BaseRecall, Callable[[Path], None]]:
    """Fit a network on the events before the label window, then train it on with the later ones.

    The ranker needs a model that does not know its labels, and use needs one that knows every event. To fit both from
    nothing learns most of the events twice; here the former becomes the latter by its ``update``.

    Args:
        channel: not fitted; one that ``check_trains_on`` passes.
        prepared: the data.
        cut: of the ranker that will be trained.
        valid: chooses the epoch of the first fit.
        options: of the first fit.

    Returns:
        The channel that knows every fit event, and what keeps the other one for the ranker, given the folder that the
        channel was saved to.
    """
    known = data_to_learn(channel, prepared, prepared.training_data(cut.before(prepared, options)))
    logger.info("{:,} events come before the label window", known.interactions.n_events)
    early = channel.fit(known, valid=valid, options=options)
    unwatched = replace(options, checkpoint_dir=None, log_dir=None, resume=False)
    served = early.update(data_to_learn(channel, prepared, prepared.training_data()), known.interactions, unwatched)

    def keep(model: Path) -> None:
        early.save(folder_beside(model, REFITTED), basis=_basis(served, known, model, options))

    return served, keep
