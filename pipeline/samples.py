"""From the candidates of recall to the samples of ranking.

The channels that offer the training candidates are fitted again without the label window, the latest fit events, so
that they have not seen the labels. Every label event of the window is a sample with the events before it as history;
later events have no label there. Before it there may be further windows, whose channels know nothing of later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from pipeline.builder import assemble
from pipeline.candidate_buffer import CandidateBuffer
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.label_window import WindowKind, kind_under, label_window
from pipeline.window_refits import Refit, data_to_learn
from ranking.base import BaseRanker
from ranking.config import LIKE, LIKED_FROM
from recall.base import BaseRecall
from reccore import (
    Candidates,
    ConfigError,
    Exclusions,
    Holdout,
    RankingSamples,
    RunOptions,
    TrainingData,
)
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths
from reccore.progress import progress
from reccore.samples import CLICK

QUERIES_PER_CHUNK = 1024
STOP_SHARE = 0.2
UNFOUND_QUERIES = 5_000
"""With ``found_only`` so many queries of the users for early stopping are kept whether or not recall finds a target."""
TASKS = (CLICK, LIKE)
"""The tasks that there are labels for."""
WITHOUT_RATINGS = "the task 'like' needs ratings, and this data set has none; choose a ranker of one task"


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
    candidates: Candidates, holdout: Holdout, later: Exclusions | None = None, liked_from: float = LIKED_FROM
) -> tuple[FloatArray, IntArray]:
    """As ``label`` with 1 on targets rated ``liked_from`` or more, 0 on targets rated lower, NaN on unrated ones.

    A candidate that was not chosen was not liked either: 0. So the task is to choose and like, not to like if chosen.
    The missed positives are targets rated ``liked_from`` or more.

    Raises:
        ConfigError: the data has no ratings.
    """
    if holdout.target_rating is None:
        raise ConfigError(WITHOUT_RATINGS)
    labels, _ = label(candidates, holdout, later)
    positive = labels == 1.0
    for rated, value in ((holdout.target_rating < liked_from, 0.0), (np.isnan(holdout.target_rating), np.nan)):
        targets = Exclusions(offsets_from_lengths(rated)[holdout.target_offsets], holdout.target_idx[rated])
        labels[positive & targets.contains(candidates.item_idx)] = value
    return labels, positive_counts(LIKE, holdout, liked_from) - (labels == 1.0).sum(axis=1)


def labels_of_task(
    task: str, candidates: Candidates, holdout: Holdout, later: Exclusions | None, liked_from: float
) -> tuple[FloatArray, IntArray]:
    """(B, K) labels of one of ``TASKS``, and (B,) its positives that recall missed."""
    if task == LIKE:
        return label_likes(candidates, holdout, later, liked_from)
    return label(candidates, holdout, later)


def positive_counts(task: str, holdout: Holdout, liked_from: float) -> IntArray:
    """(B,) targets that are positives of one of ``TASKS``.

    Raises:
        ConfigError: the task ``like``, and the data has no ratings.
    """
    if task != LIKE:
        return holdout.target_counts
    if holdout.target_rating is None:
        raise ConfigError(WITHOUT_RATINGS)
    return np.diff(offsets_from_lengths(holdout.target_rating >= liked_from)[holdout.target_offsets])


def with_clicks(tasks: Collection[str]) -> tuple[str, ...]:
    """The tasks whose labels samples need: those to learn, and ``click``, by which features know the targets."""
    return tuple(dict.fromkeys((*tasks, CLICK)))


def check_tasks(tasks: Collection[str]) -> None:
    """Raise ``ConfigError`` if there are no labels for a task."""
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"there are no labels for the task {task!r}; known: {', '.join(TASKS)}")


def check_likes(target_rating: FloatArray | None, liked_from: float) -> None:
    """Raise ``ConfigError`` if no target counts as liked; warn if all that are rated do."""
    if target_rating is None:
        raise ConfigError(WITHOUT_RATINGS)
    if len(target_rating) == 0:
        return
    rating = target_rating[~np.isnan(target_rating)]
    if not len(rating):
        raise ConfigError("the task 'like' needs ratings, and no event to learn from has one; choose another task")
    said = f"the ratings of the events to learn from lie between {rating.min():g} and {rating.max():g}"
    if rating.max() < liked_from:
        raise ConfigError(f"no event is rated {liked_from:g} or more, so that none is liked: {said}; lower liked_from")
    if rating.min() >= liked_from:
        logger.warning("every rated event is liked, as with the task 'click': {}; raise liked_from", said)


def common_liked_from(rankers: Iterable[BaseRanker]) -> float:
    """Least rating of an item that counts as liked, for rankers that share their labels.

    Raises:
        ConfigError: two rankers that learn the task ``like`` differ in it.
    """
    found = sorted({ranker.liked_from for ranker in rankers if ranker.liked_from is not None})
    if len(found) > 1:
        values = ", ".join(f"{value:g}" for value in found)
        raise ConfigError(f"rankers with different liked_from ({values}) have no labels in common; name them apart")
    return found[0] if found else LIKED_FROM


def ranking_samples(
    pipeline: Pipeline,
    holdout: Holdout,
    *,
    later: Exclusions | None = None,
    tasks: Collection[str],
    liked_from: float = LIKED_FROM,
    source: str,
    options: RunOptions,
) -> RankingSamples:
    """Candidates and labels of each task, and of ``click``, for every query of a holdout, retrieved in chunks.

    Args:
        pipeline: the stages before the ranker, see ``PipelineConfig.before_ranking``.
        holdout: queries and their targets.
        later: items without a label, per query.
        tasks: some of ``TASKS``; the positives of the first are counted that recall missed.
        liked_from: see ``label_likes``.
        source: what the queries are, for progress and log.
        options: progress.
    """

    def part_of(rows: IntArray) -> tuple[Holdout, Exclusions | None]:
        if len(rows) == len(holdout):  # all of them, in order: without a copy
            return holdout, later
        return holdout.select(rows), None if later is None else later.select(rows)

    rows = np.arange(len(holdout))
    k = pipeline.config.merge.k
    return _samples_of([(pipeline, len(rows))], part_of, rows, k, tasks, liked_from, source, options)[0]


def _samples_of(
    pipelines: Iterable[tuple[Pipeline, int]],
    part_of: Callable[[IntArray], tuple[Holdout, Exclusions | None]],
    rows: IntArray,
    k: int,
    tasks: Collection[str],
    liked_from: float,
    source: str,
    options: RunOptions,
    *,
    keep: BoolArray | None = None,
) -> tuple[RankingSamples, IntArray, IntArray]:
    """``ranking_samples`` of R rows, in their order; ``part_of`` gives some rows with the items without a label.

    Each of ``pipelines`` is for so many rows, and is taken when its first one is reached.
    With ``keep``, (R,), only queries that it is True for and those that recall offers a target for are kept: memory is
    taken for them alone.

    Returns:
        The samples, which of the R rows they are of, and of each of the R rows the number of positives of the first
        task that recall missed.
    """
    candidates = CandidateBuffer(len(rows), k)
    labels: dict[str, list[FloatArray]] = {task: [np.zeros((0, k), dtype=np.float32)] for task in with_clicks(tasks)}
    kept, missed = [np.zeros(0, dtype=np.int64)], np.zeros(len(rows), dtype=np.int64)
    first, n_positives = next(iter(tasks)), 0
    with progress(f"candidates ({source})", len(rows), unit="queries", enabled=options.progress) as advance:
        for pipeline, start, stop in _chunks(pipelines):
            chunk = rows[start:stop]
            part, without = part_of(chunk)
            offered = pipeline.run(part.queries, k)[0]
            of_tasks = {task: labels_of_task(task, offered, part, without, liked_from) for task in labels}
            missed[start:stop] = of_tasks[first][1]
            n_positives += int(positive_counts(first, part, liked_from).sum())
            wanted = True if keep is None else keep[start:stop]
            found = np.flatnonzero(wanted | (of_tasks[CLICK][0] == 1.0).any(axis=1))
            candidates.add(offered.select(found))
            for task, (of_task, _) in of_tasks.items():
                labels[task].append(_padded(of_task[found], k))
            kept.append(start + found)
            advance(len(chunk))
    if n_positives:
        share = 1.0 - int(missed.sum()) / n_positives
        logger.info("{}: {:,} queries, recall offers {:.1%} of the positives", source, len(rows), share)
    at = np.concatenate(kept)
    queries = part_of(rows[at])[0].queries
    joined = {task: np.concatenate(values) for task, values in labels.items()}
    return RankingSamples(queries, candidates.candidates(), joined, missed=missed[at]), at, missed


def _chunks(pipelines: Iterable[tuple[Pipeline, int]]) -> Iterator[tuple[Pipeline, int, int]]:
    """Pipeline, first row and end of each chunk."""
    first = 0
    for pipeline, n_rows in pipelines:
        last = first + n_rows
        for start in range(first, last, QUERIES_PER_CHUNK):
            yield pipeline, start, min(start + QUERIES_PER_CHUNK, last)
        first = last


def _padded(labels: FloatArray, k: int) -> FloatArray:
    """Labels (B, ≤ k) with NaN for the columns that are missing."""
    return np.pad(labels, ((0, 0), (0, k - labels.shape[1])), constant_values=np.nan)


@dataclass(frozen=True, eq=False)
class RankingData:
    """Everything that a ranker is fitted with.

    Attributes:
        train: samples of the label windows, the earliest first. Under ``found_only`` the queries without an offered
            target are left out, except some of those for early stopping: with their weights probabilities are of all
            queries.
        early_stopping_mask: (B,) True for samples of ``train`` that choose the epoch instead of being trained on: all
            samples of some users, who have none in earlier windows. The validation split is unsuitable for that: the
            channels chose their own epochs and settings on it, so their offers look better there than they are, and the
            ranker would learn too little.
        missed: positives of the first task, of the queries to train on, that recall did not offer, whether or not the
            query is kept.
        valid: samples of the validation split, retrieved by the channels in use.
        window_data: what the channels of the latest label window were fitted on, see ``data_to_learn``.
        judging: samples of new users for choosing the rule for short histories.
        window_channels: the channels of the latest label window, which offered ``judging`` too.
    """

    train: RankingSamples
    early_stopping_mask: BoolArray
    missed: int
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
    liked_from: float = LIKED_FROM,
    max_queries: int | None,
    short_histories: float = 0.0,
    judge_below: int = 0,
    found_only: bool = False,
    window_kind: WindowKind | None = None,
    label_windows: int = 1,
    options: RunOptions,
) -> RankingData:
    """Refit the channels without the label window and collect candidates from them; ``valid`` uses the originals.

    Of several label windows each has channels of its own, fitted on the events before it. At most two windows' are in
    memory besides those of the latest one, which early stopping and new users belong to.

    If a channel reads the query's time, every query of the window carries it, as those of ``valid`` must.

    Args:
        prepared: events, of which the fit split is used.
        refit_channel: fits a channel on the events before the label window, such as ``stored_refits``.
        channels: fitted channels by name.
        config: of the pipeline that the ranker is for.
        valid: validation queries; none for a ranker whose validation figures nobody needs.
        tasks: some of ``TASKS``.
        liked_from: see ``label_likes``.
        max_queries, short_histories, judge_below: see ``label_window``.
        found_only: train by the queries alone that recall offers a target for, those that are trained on first, so that
            no selection of them copies histories and candidates. Of the others ``UNFOUND_QUERIES`` at most stay for
            early stopping and calibration.
        window_kind: of the label window; None = as the protocol of the data asks.
        label_windows: how many of them, one before the other, see ``label_window``.
        options: seed, progress.
    """
    query_time = any(channel.query_time for channel in channels.values())
    window = label_window(
        prepared,
        kind=window_kind or kind_under(prepared.split.protocol),
        label_windows=label_windows,
        max_queries=max_queries,
        short_histories=short_histories,
        judge_below=judge_below,
        query_time=query_time,
        options=options,
    )
    if LIKE in tasks:  # fails before the channels are fitted again
        check_likes(window.target_rating, liked_from)
    known = [prepared.training_data(prepared.split.interactions.first(start)) for start in window.starts]
    window_data = known[0]

    def refits(number: int) -> dict[str, BaseRecall]:
        return {
            name: refit_channel(name, channel, data_to_learn(channel, prepared, known[number]), number)
            for name, channel in channels.items()
        }

    refitted = refits(0)

    def before_ranking(models: Mapping[str, BaseRecall], data: TrainingData) -> Pipeline:
        histories = FrozenHistoryStore(data.interactions, data.vocabulary)
        return assemble(config.before_ranking(), channels=models, ranker=None, items=data.items, histories=histories)

    offline, online = before_ranking(refitted, window_data), before_ranking(channels, prepared.training_data())
    latest, k = window.window == 0, config.merge.k
    stopping = np.zeros(len(window), dtype=np.bool_)
    stopping[latest] = early_stopping_users(window.users[latest], options)
    left_out = ~latest & np.isin(window.users, window.users[stopping])
    learning, judging = np.flatnonzero(~window.judging & ~left_out), np.flatnonzero(window.judging)
    rows = learning[np.argsort(stopping[learning], kind="stable")] if found_only else learning
    keep = always_kept(stopping[rows], options) if found_only else None
    counts = np.bincount(window.window[rows], minlength=label_windows).tolist()
    earlier = ((before_ranking(refits(n), known[n]), counts[n]) for n in range(label_windows - 1, 0, -1))
    train, at, missed = _samples_of(
        chain(earlier, [(offline, counts[0])]), window.select, rows, k, tasks, liked_from, "label window", options,
        keep=keep,
    )  # fmt: skip
    if label_windows > 1:
        train = replace(train, window=window.window[rows[at]], earlier_items=tuple(data.items for data in known[1:]))
    if keep is not None and keep.sum() < stopping[rows].sum():
        stands_for = stopping[rows].sum() / keep.sum()  # so many queries without an offered target each
        train = replace(train, weight=np.where(train.chosen.any(axis=1), 1.0, stands_for).astype(np.float32))
    judged, *_ = _samples_of(
        [(offline, len(judging))], window.select, judging, k, tasks, liked_from, "short histories", options
    )
    return RankingData(
        train=train,
        early_stopping_mask=stopping[rows[at]],
        missed=int(missed[~stopping[rows]].sum()),
        valid=ranking_samples(online, valid, tasks=tasks, liked_from=liked_from, source="validation", options=options),
        window_data=window_data,
        judging=judged,
        window_channels=refitted,
    )


def early_stopping_users(user_idx: IntArray, options: RunOptions) -> BoolArray:
    """(B,) True for the queries of a random ``STOP_SHARE`` of the users; for none if there are too few users."""
    users = np.unique(user_idx)
    chosen = options.generator("stopping_users").permutation(users)[: int(len(users) * STOP_SHARE)]
    return np.isin(user_idx, chosen)


def always_kept(stopping: BoolArray, options: RunOptions) -> BoolArray:
    """(B,) True for at most ``UNFOUND_QUERIES`` random queries of those for early stopping."""
    rows = np.flatnonzero(stopping)
    if len(rows) > UNFOUND_QUERIES:
        rows = options.generator("unfound_queries").choice(rows, UNFOUND_QUERIES, replace=False)
    kept = np.zeros(len(stopping), dtype=np.bool_)
    kept[rows] = True
    return kept
