"""From the candidates of recall to the samples of ranking.

The channels that offer the training candidates never saw the labels: they are fitted again without each
user's latest fit events (the label window). Every event of the window is a sample whose history is what
came before it; later events of the window are neither positive nor negative there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.splits import asked_at
from pipeline.builder import assemble
from pipeline.config import PipelineConfig
from pipeline.inference import Pipeline
from recall import CHANNELS
from recall.base import BaseRecall
from reccore import (
    Bundle,
    Candidates,
    ConfigError,
    Exclusions,
    Holdout,
    RankingSamples,
    RunOptions,
    TrainingData,
    Workspace,
)
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths, ragged_positions
from reccore.bundle import read_manifest
from reccore.candidates import concatenate
from reccore.progress import progress

QUERIES_PER_CHUNK = 1024
LABEL_EVENTS = 10
LABEL_SHARE = 0.2
STOP_SHARE = 0.2
REFITTED = "label_window"


@dataclass(frozen=True, eq=False)
class LabelWindow:
    """The label events of every user, and queries with the history before each.

    Attributes:
        start: (U,) number of fit events before the window.
        holdout: one query per label event, its target the event.
        later: for each query the items of the window that come after its target, CSR.
    """

    start: IntArray
    holdout: Holdout
    later: Exclusions


def label_window(
    prepared: Prepared, *, max_queries: int | None, query_time: bool = False, options: RunOptions
) -> LabelWindow:
    """The last ``min(10, 20%)`` fit events of every user; at most ``max_queries`` of them, drawn at random.

    With ``query_time`` each query is asked at the time of its label event.
    """
    fit = prepared.split.fit()
    n_labels = np.minimum(LABEL_EVENTS, (fit.lengths * LABEL_SHARE).astype(np.int64))
    start = fit.lengths - n_labels
    users = np.repeat(np.arange(fit.n_users), n_labels)
    stops = ragged_positions(start, n_labels)
    if max_queries is not None and len(users) > max_queries:
        chosen = np.sort(options.generator("label_queries").choice(len(users), max_queries, replace=False))
        users, stops = users[chosen], stops[chosen]
    target = fit.user_offsets[users] + stops
    queries = fit.queries(users, stops)
    if query_time:
        queries = asked_at(fit, target, queries)
    remaining = fit.lengths[users] - stops - 1
    later_items = fit.item_idx[ragged_positions(target + 1, remaining)]
    later = Exclusions(offsets_from_lengths(remaining), later_items)
    return LabelWindow(start, Holdout.single(queries, fit.item_idx[target]), later)


def label(candidates: Candidates, holdout: Holdout, later: Exclusions | None = None) -> tuple[FloatArray, IntArray]:
    """(B, K) labels: 1 on targets, 0 on other items, NaN on padding and on ``later`` items; and (B,) positives missed.

    A positive that recall missed is not inserted.
    """
    targets = Exclusions(holdout.target_offsets, holdout.target_idx)
    positive = targets.contains(candidates.item_idx)
    labels = positive.astype(np.float32)
    labels[~candidates.mask] = np.nan
    if later is not None:
        labels[later.contains(candidates.item_idx) & ~positive] = np.nan
    return labels, holdout.target_counts - positive.sum(axis=1)


LABELLERS = {"click": label}
"""How candidates are labelled for each task that a ranker may name."""


def check_tasks(tasks: Collection[str]) -> None:
    """Raise ``ConfigError`` if there are no labels for a task."""
    for task in tasks:
        if task not in LABELLERS:
            raise ConfigError(f"there are no labels for the task {task!r}; known: {', '.join(LABELLERS)}")


def ranking_samples(
    pipeline: Pipeline,
    holdout: Holdout,
    later: Exclusions | None,
    *,
    tasks: Collection[str],
    label_name: str,
    options: RunOptions,
) -> RankingSamples:
    """Candidates, recalled in chunks, and labels of each task for every query of a holdout."""
    parts: list[Candidates] = []
    with progress(f"candidates ({label_name})", len(holdout), unit="queries", enabled=options.progress) as advance:
        for begin in range(0, len(holdout), QUERIES_PER_CHUNK):
            queries = holdout.queries.select(slice(begin, begin + QUERIES_PER_CHUNK))
            parts.append(pipeline.prepare(queries))
            advance(len(queries))
    candidates = concatenate(parts, pipeline.config.candidates)
    labels = {task: LABELLERS[task](candidates, holdout, later)[0] for task in tasks}
    _, missed = label(candidates, holdout)
    offered = 1.0 - missed.sum() / max(len(holdout.target_idx), 1)
    logger.info("{}: {:,} queries, recall offers {:.1%} of the positives", label_name, len(holdout), offered)
    return RankingSamples(holdout.queries, candidates, labels, missed=missed)


@dataclass(frozen=True, eq=False)
class RankingData:
    """Everything a ranker is fitted with.

    Attributes:
        train: samples of the label window.
        early_stopping_mask: (B,) which of them, those of some users, are kept to choose an epoch by. Validation is not
            taken for that: the channels chose their own epochs and settings there, so what they offer looks
            better on it than it is, and the ranker would learn too little.
        valid: samples of the validation split, offered by the channels as they serve.
        window_data: what the channels that offered ``train`` were fitted on.
    """

    train: RankingSamples
    early_stopping_mask: BoolArray
    valid: RankingSamples
    window_data: TrainingData


def make_ranking_data(
    prepared: Prepared,
    workspace: Workspace,
    channels: Mapping[str, BaseRecall],
    config: PipelineConfig,
    valid: Holdout,
    *,
    tasks: Collection[str],
    max_queries: int | None,
    options: RunOptions,
) -> RankingData:
    """Refit the channels before the label window and collect candidates from them; ``valid`` meets the originals.

    Where a channel reads the query's time, every query of the window knows it, as those of ``valid`` must.
    """
    query_time = any(channel.query_time for channel in channels.values())
    window = label_window(prepared, max_queries=max_queries, query_time=query_time, options=options)
    window_data = prepared.training_data(prepared.split.interactions.first(window.start))
    refitted = {name: refit(channel, window_data, workspace.model(name), options) for name, channel in channels.items()}

    def recall_only(models: Mapping[str, BaseRecall], data: TrainingData) -> Pipeline:
        plain = config.model_copy(update={"reranker": None, "rerank": {}})
        return assemble(plain, channels=models, ranker=None, items=data.items, histories=data.interactions)

    before = recall_only(refitted, window_data)
    now = recall_only(channels, prepared.training_data())
    train = ranking_samples(
        before, window.holdout, window.later, tasks=tasks, label_name="label window", options=options
    )
    return RankingData(
        train=train,
        early_stopping_mask=early_stopping_users(window.holdout.queries.user_idx, options),
        valid=ranking_samples(now, valid, None, tasks=tasks, label_name="validation", options=options),
        window_data=window_data,
    )


def early_stopping_users(user_idx: IntArray, options: RunOptions) -> BoolArray:
    """(B,) True for the queries of a random ``STOP_SHARE`` of the users; of none where there are too few."""
    users = np.unique(user_idx)
    chosen = options.generator("stopping_users").permutation(users)[: int(len(users) * STOP_SHARE)]
    return np.isin(user_idx, chosen)


def refit(channel: BaseRecall, data: TrainingData, model: Path, options: RunOptions) -> BaseRecall:
    """The same channel fitted on the events before the label window.

    Kept beside the original, in a hidden folder, and used again until the original or the window changes.
    """
    kept = model.with_name(f".{model.name}.{REFITTED}")
    basis = {
        "of": Bundle.open(model).fingerprint,
        "config": channel.config.model_dump(mode="json"),
        "refit": channel.refit_facts(),
        "events": data.interactions.fingerprint,
        "seed": options.seed,
    }
    manifest = read_manifest(kept)
    if manifest is not None and manifest.get("basis") == basis:
        return CHANNELS.load(kept)
    logger.info("fitting {} again without the label window", model.name)
    again = channel.refit(data, options)
    again.save(kept, basis=basis)
    return again
