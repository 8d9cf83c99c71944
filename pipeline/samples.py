"""From the candidates of recall to the samples of ranking.

The channels that offer the training candidates are fitted again without each user's latest fit events, the label
window, so that they have not seen the labels. Every event of the window is a sample with the events before it as
history; later events of the window have no label there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.splits import with_query_time
from pipeline.builder import assemble
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
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
SHORT_HISTORY = 10
STOP_SHARE = 0.2
LIKED_FROM = 4.0
"""Least rating of a film that counts as liked."""
REFITTED = "label_window"

Refit: TypeAlias = Callable[[str, BaseRecall, TrainingData], BaseRecall]
"""From the name of a channel, the channel and other events to the same channel fitted on these events."""


@dataclass(frozen=True, eq=False)
class LabelWindow:
    """The label events of every user, each with a query of the history before it.

    Attributes:
        start: (U,) number of fit events before the window.
        holdout: one query per label event, which is its target.
        seen: the items of the whole history of each query, CSR; more than its query holds where that is cut short.
        later: the items of the window after each query's target, CSR.
    """

    start: IntArray
    holdout: Holdout
    seen: Exclusions
    later: Exclusions


def label_window(
    prepared: Prepared,
    *,
    max_queries: int | None,
    short_histories: float = 0.0,
    query_time: bool = False,
    options: RunOptions,
) -> LabelWindow:
    """The last ``min(10, 20%)`` fit events of every user; at most ``max_queries`` of them, drawn at random.

    By the time of the window every user has a long history. For a share of ``short_histories`` of the queries a copy
    is added that keeps only the latest 1 … 10 events (``log`` of the number drawn evenly), so that a ranker learns to
    serve new users too. What was cut away is still not offered to it.

    With ``query_time`` the time of each query is that of its label event.
    """
    fit = prepared.split.fit()
    n_labels = np.minimum(LABEL_EVENTS, (fit.lengths * LABEL_SHARE).astype(np.int64))
    start = fit.lengths - n_labels
    users = np.repeat(np.arange(fit.n_users), n_labels)
    stops = ragged_positions(start, n_labels)
    if max_queries is not None and len(users) > max_queries:
        chosen = np.sort(options.generator("label_queries").choice(len(users), max_queries, replace=False))
        users, stops = users[chosen], stops[chosen]
    rows, kept = with_short_copies(stops, short_histories, options)
    users, stops = users[rows], stops[rows]
    target = fit.user_offsets[users] + stops
    whole = fit.queries(users, stops)
    queries = whole.latest(kept)
    if query_time:
        queries = with_query_time(fit, target, queries)
    remaining = fit.lengths[users] - stops - 1
    later_items = fit.item_idx[ragged_positions(target + 1, remaining)]
    later = Exclusions(offsets_from_lengths(remaining), later_items)
    rating = None if fit.rating is None else fit.rating[target]
    holdout = Holdout.single(queries, fit.item_idx[target], target_rating=rating)
    return LabelWindow(start, holdout, Exclusions.of_history(whole), later)


def with_short_copies(lengths: IntArray, share: float, options: RunOptions) -> tuple[IntArray, IntArray]:
    """Rows of all queries and then of those to copy, and how many of the latest events each row keeps.

    Args:
        lengths: (B,) events of each history.
        share: of the queries with more than one event, drawn at random, which are copied.
        options: seed.
    """
    draws = options.generator("short_histories")
    longer = np.flatnonzero(lengths > 1)
    copied = np.sort(draws.choice(longer, int(len(longer) * share), replace=False))
    longest = np.minimum(SHORT_HISTORY, lengths[copied] - 1)
    short = np.floor(np.exp(draws.random(len(copied)) * np.log(longest + 1))).astype(np.int64)
    return np.concatenate([np.arange(len(lengths)), copied]), np.concatenate([lengths, short])


def label(candidates: Candidates, holdout: Holdout, later: Exclusions | None = None) -> tuple[FloatArray, IntArray]:
    """(B, K) labels: 1 on targets, 0 on other items, NaN on padding and on ``later`` items; and (B,) missed positives.

    Positives that recall missed are not inserted.
    """
    targets = Exclusions(holdout.target_offsets, holdout.target_idx)
    positive = targets.contains(candidates.item_idx)
    labels = positive.astype(np.float32)
    labels[~candidates.mask] = np.nan
    if later is not None:
        labels[later.contains(candidates.item_idx) & ~positive] = np.nan
    return labels, holdout.target_counts - positive.sum(axis=1)


def label_likes(
    candidates: Candidates, holdout: Holdout, later: Exclusions | None = None
) -> tuple[FloatArray, IntArray]:
    """As ``label`` with 1 on targets rated ``LIKED_FROM`` or more, 0 on targets rated lower, NaN on unrated ones.

    A candidate that was not chosen was not liked either: 0. So the task is to choose and like, not to like if chosen.

    Raises:
        ConfigError: the data has no ratings.
    """
    if holdout.target_rating is None:
        raise ConfigError("the task 'like' needs ratings, and this data set has none; choose a ranker of one task")
    labels, missed = label(candidates, holdout, later)
    positive = labels == 1.0
    for rated, value in ((holdout.target_rating < LIKED_FROM, 0.0), (np.isnan(holdout.target_rating), np.nan)):
        targets = Exclusions(offsets_from_lengths(rated)[holdout.target_offsets], holdout.target_idx[rated])
        labels[positive & targets.contains(candidates.item_idx)] = value
    return labels, missed


LABELLERS = {"click": label, "like": label_likes}
"""How candidates are labelled for each task that a ranker may name."""


def check_tasks(tasks: Collection[str]) -> None:
    """Raise ``ConfigError`` if there are no labels for a task."""
    for task in tasks:
        if task not in LABELLERS:
            raise ConfigError(f"there are no labels for the task {task!r}; known: {', '.join(LABELLERS)}")


def ranking_samples(
    pipeline: Pipeline,
    holdout: Holdout,
    *,
    seen: Exclusions | None = None,
    later: Exclusions | None = None,
    tasks: Collection[str],
    source: str,
    options: RunOptions,
) -> RankingSamples:
    """Candidates and labels of each task for every query of a holdout, retrieved in chunks.

    Args:
        pipeline: the stages before the ranker, see ``PipelineConfig.before_ranking``.
        holdout: queries and their targets.
        seen: items that recall must not offer, per query; None = those of the history.
        later: items without a label, per query.
        tasks: names of tasks, see ``LABELLERS``.
        source: what the queries are, for progress and log.
        options: progress.
    """
    k = pipeline.config.merge.k
    parts: list[Candidates] = []
    with progress(f"candidates ({source})", len(holdout), unit="queries", enabled=options.progress) as advance:
        for start in range(0, len(holdout), QUERIES_PER_CHUNK):
            stop = min(start + QUERIES_PER_CHUNK, len(holdout))
            queries = holdout.queries.select(slice(start, stop))
            parts.append(pipeline.run(queries, k, exclude=None if seen is None else seen.rows(start, stop))[0])
            advance(len(queries))
    candidates = concatenate(parts, k)
    labels = {task: LABELLERS[task](candidates, holdout, later)[0] for task in tasks}
    _, missed = label(candidates, holdout)
    offered = 1.0 - missed.sum() / max(len(holdout.target_idx), 1)
    logger.info("{}: {:,} queries, recall offers {:.1%} of the positives", source, len(holdout), offered)
    return RankingSamples(holdout.queries, candidates, labels, missed=missed)


@dataclass(frozen=True, eq=False)
class RankingData:
    """Everything that a ranker is fitted with.

    Attributes:
        train: samples of the label window.
        early_stopping_mask: (B,) True for samples of ``train`` that choose the epoch instead of being trained on: all
            samples of some users. The validation split is unsuitable for that: the channels chose their own epochs and
            settings on it, so their offers look better there than they are, and the ranker would learn too little.
        valid: samples of the validation split, retrieved by the channels in use.
        window_data: what the channels that offered ``train`` were fitted on.
    """

    train: RankingSamples
    early_stopping_mask: BoolArray
    valid: RankingSamples
    window_data: TrainingData


def make_ranking_data(
    prepared: Prepared,
    refit_channel: Refit,
    channels: Mapping[str, BaseRecall],
    config: PipelineConfig,
    valid: Holdout,
    *,
    tasks: Collection[str],
    max_queries: int | None,
    short_histories: float = 0.0,
    options: RunOptions,
) -> RankingData:
    """Refit the channels without the label window and collect candidates from them; ``valid`` uses the originals.

    If a channel reads the query's time, every query of the window carries it, as those of ``valid`` must.

    Args:
        prepared: events, of which the fit split is used.
        refit_channel: fits a channel on the events before the label window, such as ``stored_refits``.
        channels: fitted channels by name.
        config: of the pipeline that the ranker is for.
        valid: validation queries; none for a ranker whose validation figures nobody needs.
        tasks: names of tasks, see ``LABELLERS``.
        max_queries, short_histories: see ``label_window``.
        options: seed, progress.
    """
    query_time = any(channel.query_time for channel in channels.values())
    window = label_window(
        prepared, max_queries=max_queries, short_histories=short_histories, query_time=query_time, options=options
    )
    for task in tasks:  # labels that cannot be made fail before the channels are fitted again
        LABELLERS[task](Candidates.empty(len(window.holdout), 0), window.holdout, None)
    window_data = prepared.training_data(prepared.split.interactions.first(window.start))
    refitted = {name: refit_channel(name, channel, window_data) for name, channel in channels.items()}

    def before_ranking(models: Mapping[str, BaseRecall], data: TrainingData) -> Pipeline:
        histories = FrozenHistoryStore(data.interactions, data.vocabulary)
        return assemble(config.before_ranking(), channels=models, ranker=None, items=data.items, histories=histories)

    offline, online = before_ranking(refitted, window_data), before_ranking(channels, prepared.training_data())
    train = ranking_samples(
        offline,
        window.holdout,
        seen=window.seen,
        later=window.later,
        tasks=tasks,
        source="label window",
        options=options,
    )
    return RankingData(
        train=train,
        early_stopping_mask=early_stopping_users(window.holdout.queries.user_idx, options),
        valid=ranking_samples(online, valid, tasks=tasks, source="validation", options=options),
        window_data=window_data,
    )


def early_stopping_users(user_idx: IntArray, options: RunOptions) -> BoolArray:
    """(B,) True for the queries of a random ``STOP_SHARE`` of the users; for none if there are too few users."""
    users = np.unique(user_idx)
    chosen = options.generator("stopping_users").permutation(users)[: int(len(users) * STOP_SHARE)]
    return np.isin(user_idx, chosen)


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
