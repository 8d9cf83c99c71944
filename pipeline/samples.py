"""From the candidates of recall to the samples of ranking.

The channels that offer the training candidates are fitted again without each user's latest fit events, the label
window, so that they have not seen the labels. Every event of the window is a sample with the events before it as
history; later events of the window have no label there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.splits import with_query_time
from pipeline.builder import assemble
from pipeline.candidate_buffer import CandidateBuffer
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
from reccore.progress import progress

QUERIES_PER_CHUNK = 1024
LABEL_EVENTS = 10
LABEL_SHARE = 0.2
SHORT_HISTORY = 20
QUERIES_OF_NEW_USER = 10
JUDGE_SHARE = 0.5
"""Share of the users who play new users that choose the rule for short histories; the ranker learns from the others."""
MIN_JUDGES = 20
"""With fewer of them there is no choice: it would follow chance."""
STOP_SHARE = 0.2
LIKED_FROM = 4.0
"""Least rating of a film that counts as liked."""
REFITTED = "label_window"

Refit: TypeAlias = Callable[[str, BaseRecall, TrainingData], BaseRecall]
"""From the name of a channel, the channel and other events to the same channel fitted on these events."""


@dataclass(frozen=True, eq=False)
class LabelWindow:
    """The label events of every user, each with a query of the history before it, and queries of new users.

    Attributes:
        start: (U,) number of fit events before the window; 0 for users who play new users.
        users: (B,) the user of each query; the query itself does not name a new user.
        holdout: one query per label event, which is its target; then those of new users, whose targets are all later
            fit events.
        later: the items of the window after each query's targets, CSR.
        judging: (B,) True for the queries of new users that the ranker does not learn from either, so that they can
            choose the rule for short histories.
    """

    start: IntArray
    users: IntArray
    holdout: Holdout
    later: Exclusions
    judging: BoolArray


def label_window(
    prepared: Prepared,
    *,
    max_queries: int | None,
    short_histories: float = 0.0,
    judge_below: int = 0,
    query_time: bool = False,
    options: RunOptions,
) -> LabelWindow:
    """The last ``min(10, 20%)`` fit events of every user; at most ``max_queries`` of them, drawn at random.

    By the time of the window every user has a long history. So that a ranker learns to serve new users too, a share of
    ``short_histories`` of the users has no window: the channels learn nothing of them, and each asks several times with
    the first few events, see ``new_user_queries``.

    With ``judge_below`` half of them ask with 0 … ``judge_below`` − 1 events and are for choosing a rule for such
    histories, see ``judge_queries``.

    With ``query_time`` the time of each query is that of its first target.
    """
    fit = prepared.split.fit()
    newcomers, asked = new_user_queries(fit.lengths, short_histories, max_queries, options)
    judges, judged = np.zeros((2, 0), dtype=np.int64)
    if judge_below > 0:
        judges, judged = judge_queries(fit.lengths, newcomers, judge_below, options)
    others = ~np.isin(newcomers, judges)
    newcomers, asked = np.concatenate([newcomers[others], judges]), np.concatenate([asked[others], judged])
    n_labels = np.minimum(LABEL_EVENTS, (fit.lengths * LABEL_SHARE).astype(np.int64))
    n_labels[newcomers] = 0
    start = fit.lengths - n_labels
    start[newcomers] = 0
    users = np.repeat(np.arange(fit.n_users), n_labels)
    stops = ragged_positions(start, n_labels)
    if max_queries is not None and len(users) > max_queries:
        chosen = np.sort(options.generator("label_queries").choice(len(users), max_queries, replace=False))
        users, stops = users[chosen], stops[chosen]
    at = np.arange(len(users) + len(newcomers))
    new, judging = at >= len(users), at >= len(at) - len(judges)
    users, stops = np.concatenate([users, newcomers]), np.concatenate([stops, asked])
    target = fit.user_offsets[users] + stops
    queries = fit.queries(users, stops)
    if query_time:
        queries = with_query_time(fit, target, queries)
    queries = replace(queries, user_idx=np.where(new, -1, users))
    left = fit.lengths[users] - stops
    n_targets = np.where(new, left, 1)
    at = ragged_positions(target, n_targets)
    rating = None if fit.rating is None else fit.rating[at]
    holdout = Holdout(queries, offsets_from_lengths(n_targets), fit.item_idx[at], target_rating=rating)
    later_items = fit.item_idx[ragged_positions(target + n_targets, left - n_targets)]
    later = Exclusions(offsets_from_lengths(left - n_targets), later_items)
    return LabelWindow(start, users, holdout, later, judging)


def new_user_queries(
    lengths: IntArray, share: float, max_queries: int | None, options: RunOptions
) -> tuple[IntArray, IntArray]:
    """Queries of users who play new users: the user of each, and of how many first events it consists.

    A user asks up to ``QUERIES_OF_NEW_USER`` times with 1 … ``SHORT_HISTORY`` events (the logarithm drawn evenly) and
    keeps at least one later event as a target. With ``max_queries`` the queries are at most that ``share`` of it.

    Args:
        lengths: (U,) fit events of each user.
        share: of the users, drawn at random among those with two events or more.
        max_queries: greatest number of label queries; None = no limit.
        options: seed.
    """
    draws = options.generator("short_histories")
    limit = None if max_queries is None else int(share * max_queries)
    able = np.flatnonzero(lengths > 1)
    n_users = int(share * len(able)) if limit is None else min(int(share * len(able)), limit)
    repeats = QUERIES_OF_NEW_USER if limit is None else min(QUERIES_OF_NEW_USER, limit // max(n_users, 1))
    users = np.repeat(np.sort(draws.choice(able, n_users, replace=False)), repeats)
    longest = np.minimum(SHORT_HISTORY, lengths[users] - 1)
    return users, _some_events(longest, draws)


def judge_queries(lengths: IntArray, newcomers: IntArray, below: int, options: RunOptions) -> tuple[IntArray, IntArray]:
    """Queries of those who choose a rule for short histories: the user of each, and its number of first events.

    A ``JUDGE_SHARE`` of the users who play new users, drawn at random, ask as often as before and with fewer than
    ``below`` events, and once more without any. No queries if these are fewer than ``MIN_JUDGES`` users.

    Args:
        lengths: (U,) fit events of each user.
        newcomers: the user of each query of a new user.
        below: least number of events that the rule is not for.
        options: seed.
    """
    draws = options.generator("short_history_rule")
    users = np.unique(newcomers)
    judges = np.sort(draws.permutation(users)[: int(JUDGE_SHARE * len(users))])
    if len(judges) < MIN_JUDGES:
        judges = judges[:0]
    again = newcomers[np.isin(newcomers, judges) & (below > 1)]
    asked = _some_events(np.minimum(below - 1, lengths[again] - 1), draws)
    return np.concatenate([judges, again]), np.concatenate([np.zeros(len(judges), dtype=np.int64), asked])


def _some_events(longest: IntArray, draws: np.random.Generator) -> IntArray:
    """1 … ``longest`` events for each, the logarithm drawn evenly."""
    return np.floor(np.exp(draws.random(len(longest)) * np.log(longest + 1))).astype(np.int64)


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
    later: Exclusions | None = None,
    tasks: Collection[str],
    source: str,
    options: RunOptions,
) -> RankingSamples:
    """Candidates and labels of each task for every query of a holdout, retrieved in chunks.

    Args:
        pipeline: the stages before the ranker, see ``PipelineConfig.before_ranking``.
        holdout: queries and their targets.
        later: items without a label, per query.
        tasks: names of tasks, see ``LABELLERS``.
        source: what the queries are, for progress and log.
        options: progress.
    """
    rows = np.arange(len(holdout))
    return _samples_of(pipeline, holdout, later, rows, tasks, source, options, found_only=False)[0]


def _samples_of(
    pipeline: Pipeline,
    holdout: Holdout,
    later: Exclusions | None,
    rows: IntArray,
    tasks: Collection[str],
    source: str,
    options: RunOptions,
    *,
    found_only: bool,
) -> tuple[RankingSamples, IntArray]:
    """``ranking_samples`` of these rows of the holdout, in their order; and the rows that were kept.

    With ``found_only`` these are the queries that recall offers a target for: memory is taken for them alone.
    """
    k = pipeline.config.merge.k
    candidates = CandidateBuffer(len(rows), k)
    labels: dict[str, list[FloatArray]] = {task: [np.zeros((0, k), dtype=np.float32)] for task in tasks}
    kept, missed = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    n_missed = n_targets = 0
    with progress(f"candidates ({source})", len(rows), unit="queries", enabled=options.progress) as advance:
        for start in range(0, len(rows), QUERIES_PER_CHUNK):
            chunk = rows[start : start + QUERIES_PER_CHUNK]
            part, without = holdout.select(chunk), None if later is None else later.select(chunk)
            offered = pipeline.run(part.queries, k)[0]
            not_offered = label(offered, part)[1]
            n_missed, n_targets = n_missed + int(not_offered.sum()), n_targets + len(part.target_idx)
            found = np.flatnonzero(not_offered < part.target_counts) if found_only else np.arange(len(chunk))
            candidates.add(offered.select(found))
            for task, values in labels.items():
                values.append(_padded(LABELLERS[task](offered, part, without)[0][found], k))
            kept.append(chunk[found])
            missed.append(not_offered[found])
            advance(len(chunk))
    share = 1.0 - n_missed / max(n_targets, 1)
    logger.info("{}: {:,} queries, recall offers {:.1%} of the positives", source, len(rows), share)
    kept_rows = np.concatenate(kept)
    in_order = np.array_equal(kept_rows, np.arange(len(holdout)))
    queries = holdout.queries if in_order else holdout.queries.select(kept_rows)
    joined = {task: np.concatenate(values) for task, values in labels.items()}
    return RankingSamples(queries, candidates.candidates(), joined, missed=np.concatenate(missed)), kept_rows


def _padded(labels: FloatArray, k: int) -> FloatArray:
    """Labels (B, ≤ k) with NaN for the columns that are missing."""
    return np.pad(labels, ((0, 0), (0, k - labels.shape[1])), constant_values=np.nan)


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
        judging: samples of new users for choosing the rule for short histories.
        window_channels: the channels that offered ``train`` and ``judging``.
    """

    train: RankingSamples
    early_stopping_mask: BoolArray
    valid: RankingSamples
    window_data: TrainingData
    judging: RankingSamples
    window_channels: Mapping[str, BaseRecall]


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
    judge_below: int = 0,
    found_only: bool = False,
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
        max_queries, short_histories, judge_below: see ``label_window``.
        found_only: train and stop by the queries alone that recall offers a target for, those that are trained on
            first, so that no selection of them copies histories and candidates.
        options: seed, progress.
    """
    query_time = any(channel.query_time for channel in channels.values())
    window = label_window(
        prepared,
        max_queries=max_queries,
        short_histories=short_histories,
        judge_below=judge_below,
        query_time=query_time,
        options=options,
    )
    for task in tasks:  # labels that cannot be made fail before the channels are fitted again
        LABELLERS[task](Candidates.empty(len(window.holdout), 0), window.holdout, None)
    window_data = prepared.training_data(prepared.split.interactions.first(window.start))
    refitted = {name: refit_channel(name, channel, window_data) for name, channel in channels.items()}

    def before_ranking(models: Mapping[str, BaseRecall], data: TrainingData) -> Pipeline:
        histories = FrozenHistoryStore(data.interactions, data.vocabulary)
        return assemble(config.before_ranking(), channels=models, ranker=None, items=data.items, histories=histories)

    offline, online = before_ranking(refitted, window_data), before_ranking(channels, prepared.training_data())
    stopping = early_stopping_users(window.users, options)
    learning, judging = np.flatnonzero(~window.judging), np.flatnonzero(window.judging)
    rows = learning[np.argsort(stopping[learning], kind="stable")] if found_only else learning
    train, kept = _samples_of(
        offline, window.holdout, window.later, rows, tasks, "label window", options, found_only=found_only
    )
    judged, _ = _samples_of(
        offline, window.holdout, window.later, judging, tasks, "short histories", options, found_only=False
    )
    return RankingData(
        train=train,
        early_stopping_mask=stopping[kept],
        valid=ranking_samples(online, valid, tasks=tasks, source="validation", options=options),
        window_data=window_data,
        judging=judged,
        window_channels=refitted,
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
