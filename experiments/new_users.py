"""New users: how well channels serve users who are absent from training, after their first events.

A tenth of the users is kept out, the channels' configurations are fitted again on the fit events of the others, and
every user kept out asks with the first N events as history. Targets are all later events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation
from experiments.measuring import measure, trained
from experiments.new_users_report import BASE, K, NewUsersResult
from pipeline.builder import load_channels
from pipeline.provenance import data_of
from pipeline.window_refits import data_to_learn
from recall.base import BaseRecall
from recall.popularity import Popularity
from reccore import ConfigError, DataError, Holdout, Interactions, RunOptions, Workspace
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths, ragged_positions

SHARE = 0.1
STEM = "new_users"


@dataclass(frozen=True, eq=False)
class NewUsers:
    """Users who are kept out of training, and their queries.

    Attributes:
        users: all users kept out, sorted.
        prepared: the data set without their events; vocabulary and catalogue do not change.
        holdouts: N → one query of the first N events for every user with a target after the greatest N.
        about: data, users and targets in one line.
        split_ties: N → share of the users with a query whose event N has the time of the next one; None = no times.
    """

    users: IntArray
    prepared: Prepared
    holdouts: Mapping[int, Holdout]
    about: str
    split_ties: Mapping[int, float] | None

    @classmethod
    def draw(
        cls, prepared: Prepared, lengths: Sequence[int], split: str, min_rating: float | None, options: RunOptions
    ) -> NewUsers:
        """Keep a tenth of the users out; arguments and errors are those of ``evaluate_new_users``."""
        events = prepared.split.interactions
        users = new_users(events, max(lengths), split, options)
        holdouts = {n: first_events(events, users, n, min_rating) for n in sorted(set(lengths))}
        some = np.all([holdout.target_counts > 0 for holdout in holdouts.values()], axis=0)
        if not some.any():
            raise DataError(f"none of the {len(users)} users kept out has a target after {max(lengths)} events")
        targets = "every later event" if min_rating is None else f"later events rated {min_rating:g} or more"
        about = [
            str(prepared.source["dataset"]),
            f"{int(some.sum()):,} users absent from training ({split} users)",
            f"targets: {targets}",
            "full catalogue ranked, given films filtered",
            f"seed {options.seed}",
        ]
        return cls(
            users=users,
            prepared=without_users(prepared, users),
            holdouts={n: holdout.select(np.flatnonzero(some)) for n, holdout in holdouts.items()},
            about=" · ".join(about),
            split_ties=None if events.timestamp is None else split_ties(events, users[some], sorted(set(lengths))),
        )


def evaluate_new_users(
    workspace: Workspace,
    lengths: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    split: str = "test",
    min_rating: float | None = None,
    options: RunOptions,
) -> NewUsersResult:
    """Refit channels without some users and measure them on these users; writes ``reports/new_users*``.

    Args:
        workspace: data root.
        lengths: numbers of events N that a user has given.
        names: of trained channels, whose configurations are fitted again; by default all that do not read the query's
            time. ``popularity`` is always measured, with the options of the trained one, or its default options where
            there is none.
        split: ``valid`` and ``test`` are different users, to choose a channel on the one and report it on the other.
        min_rating: lowest rating of a target; None = every later event is one.
        options: seed of training, of the choice of users and of the bootstrap.

    Raises:
        ConfigError: a channel that reads the query's time.
        DataError: no user has enough events, or no ratings with ``min_rating``.
    """
    channels = load_channels(workspace, tuple(names) if names else trained(workspace, "recall"))
    readers = [name for name, channel in channels.items() if channel.query_time]
    if readers and names:
        raise ConfigError(
            f"{', '.join(readers)} reads the query's time, which --new_users does not offer; leave it out"
        )
    prepared = data_of(workspace, tuple(channels))
    given = NewUsers.draw(prepared, lengths, split, min_rating, options)
    data = given.prepared.training_data()
    evaluations: dict[int, dict[str, Evaluation]] = {n: {} for n in given.holdouts}
    models = {BASE: baseline(workspace), **channels}
    for name, channel in models.items():
        if name in readers:
            continue
        logger.info("fitting {} again without {} users", name, len(given.users))
        refitted = channel.refit(data_to_learn(channel, given.prepared, data), options)
        for n, holdout in given.holdouts.items():
            evaluations[n][name] = measure(
                name, refitted.retrieve(holdout.queries, K), holdout, data, (K,), options.seed
            )
    report = workspace.reports / f"{STEM}.md"
    result = NewUsersResult(given.about, given.split_ties, tuple(given.holdouts), evaluations, options.seed, report)
    result.write()
    return result


def baseline(workspace: Workspace) -> BaseRecall:
    """The trained ``popularity``, whose options are to be fitted again; where there is none, one of default options.

    Raises:
        ArtefactError: it is damaged.
    """
    if not workspace.model(BASE).exists():
        return Popularity()
    return load_channels(workspace, (BASE,))[BASE]


def new_users(events: Interactions, longest: int, split: str, options: RunOptions) -> IntArray:
    """Users to keep out, sorted: a tenth of all, drawn among those with more than ``longest`` events.

    The users of ``valid`` and of ``test`` do not overlap, and more events of a user or other lengths do not change
    the order in which users are drawn.

    Raises:
        DataError: too few users have that many events.
    """
    drawn = options.generator("new_users").permutation(events.n_users)
    drawn = drawn[events.lengths[drawn] > longest]
    size = int(events.n_users * SHARE)
    part = drawn[:size] if split == "test" else drawn[size : 2 * size]
    if len(part) == 0 or len(drawn) < 2 * size:
        raise DataError(
            f"{len(drawn):,} of {events.n_users:,} users have more than {longest} events; two tenths of the users are "
            "needed"
        )
    return np.sort(part)


def split_ties(events: Interactions, users: IntArray, lengths: Sequence[int]) -> dict[int, float]:
    """N → share of the users whose event N has the time of the next one; they have more than N events, with times."""
    times = events.timestamp
    assert times is not None
    last = {n: events.user_offsets[users] + n - 1 for n in lengths}
    return {n: float((times[at] == times[at + 1]).mean()) for n, at in last.items()}


def first_events(events: Interactions, users: IntArray, n: int, min_rating: float | None) -> Holdout:
    """One query per user with the first ``n`` events and no user index; all later events are targets.

    Raises:
        DataError: ``min_rating`` with data without ratings.
    """
    queries = events.queries(users, np.full(len(users), n, dtype=np.int64))
    queries = replace(queries, user_idx=np.full(len(users), -1, dtype=np.int64))
    counts = events.lengths[users] - n
    at = ragged_positions(events.user_offsets[users] + n, counts)
    if min_rating is None:
        return Holdout(queries, offsets_from_lengths(counts), events.item_idx[at])
    if events.rating is None:
        raise DataError("--min_rating needs ratings, and this data set has none; leave it out")
    kept: BoolArray = events.rating[at] >= min_rating
    counts = np.diff(offsets_from_lengths(kept)[offsets_from_lengths(counts)])
    return Holdout(queries, offsets_from_lengths(counts), events.item_idx[at[kept]])


def without_users(prepared: Prepared, users: IntArray) -> Prepared:
    """The data set without all events of the given users; vocabulary and catalogue do not change."""
    split = prepared.split
    kept = split.interactions.lengths.copy()
    kept[users] = 0
    others = replace(
        split,
        interactions=split.interactions.first(kept),
        fit_stop=np.minimum(split.fit_stop, kept),
        valid_stop=np.minimum(split.valid_stop, kept),
    )
    return replace(prepared, split=others)
