"""New users: how well channels serve users who are absent from training, after their first events.

A tenth of the users is kept out, the channels' configurations are fitted again on the fit events of the others, and
every user kept out asks with the first N events as history. Targets are all later events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Comparison, Evaluation, compare, leaderboard
from evaluation.plots import plot_curves
from evaluation.report import comparisons_table, markdown_table, metric_label, without_nan, write_text
from evaluation.significance import LEVEL
from experiments.measuring import measure, trained
from pipeline.builder import load_channels
from pipeline.provenance import data_of
from recall.base import BaseRecall
from recall.popularity import Popularity
from reccore import ConfigError, DataError, Holdout, Interactions, RunOptions, TrainingData, Workspace
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths, ragged_positions

SHARE = 0.1
K = 10
METRIC = f"ndcg@{K}"
BASE = "popularity"
STEM = "new_users"


@dataclass(frozen=True, eq=False)
class NewUsersResult:
    """Results by channel and number of events.

    Attributes:
        about: data, users, targets in one line.
        lengths: N, ascending.
        evaluations: N → evaluation of every channel, on the same users.
        report: Markdown file; None before it is written.
    """

    about: str
    lengths: tuple[int, ...]
    evaluations: Mapping[int, Mapping[str, Evaluation]]
    seed: int
    report: Path

    @property
    def names(self) -> list[str]:
        """Channels, the best at the smallest N first."""
        return [evaluation.name for evaluation in leaderboard(self.evaluations[self.lengths[0]].values(), METRIC)]

    def comparisons(self, n: int) -> list[Comparison]:
        """Every other channel − popularity, paired over users."""
        found = self.evaluations[n]
        names = [name for name in self.names if name != BASE]
        return [
            replace(compare(found[name], found[BASE], METRIC, seed=self.seed), a=f"{name}, N={n}") for name in names
        ]

    def table(self) -> str:
        """NDCG@10 by channel and N."""
        rows = [[name, *(str(self.evaluations[n][name].metrics[METRIC]) for n in self.lengths)] for name in self.names]
        return markdown_table([metric_label(METRIC), *(f"N = {n}" for n in self.lengths)], rows)

    def differences(self) -> str:
        """Differences to popularity by N."""
        return comparisons_table([comparison for n in self.lengths for comparison in self.comparisons(n)])

    def to_markdown(self) -> str:
        """The report for people."""
        note = (
            f"Means over users with {LEVEL:.0%} bootstrap intervals. Every user has one query for each N: the first N "
            "events are the history, which is not offered again."
        )
        lines = ["# New users", "", self.about, "", self.table(), "", note, ""]
        if len(self.names) > 1:
            lines += ["## Against popularity", "", self.differences(), ""]
        return "\n".join([*lines, f"![{metric_label(METRIC)} by events given]({STEM}.png)", ""])

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        by_length = [
            {
                "events": n,
                "evaluations": [self.evaluations[n][name].to_dict() for name in self.names],
                "against_popularity": [comparison.to_dict() for comparison in self.comparisons(n)],
            }
            for n in self.lengths
        ]
        plain: dict[str, Any] = without_nan({"about": self.about, "seed": self.seed, "new_users": by_length})
        return plain


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
            time. ``popularity`` is always measured; if it is not trained, with its default options.
        split: ``valid`` and ``test`` are different users, to choose a channel on the one and report it on the other.
        min_rating: lowest rating of a target; None = every later event is one.
        options: seed of training, of the choice of users and of the bootstrap.

    Raises:
        ConfigError: a channel that reads the query's time.
        DataError: no user has enough events, or no ratings with ``min_rating``.
    """
    lengths = tuple(sorted(set(lengths)))
    channels = load_channels(workspace, tuple(names) if names else trained(workspace, "recall"))
    readers = [name for name, channel in channels.items() if channel.query_time]
    if readers and names:
        raise ConfigError(
            f"{', '.join(readers)} reads the query's time, which --new_users does not offer; leave it out"
        )
    prepared = data_of(workspace, tuple(channels))
    chosen = new_users(prepared.split.interactions, max(lengths), split, options)
    holdouts = {n: first_events(prepared.split.interactions, chosen, n, min_rating) for n in lengths}
    some = np.all([holdout.target_counts > 0 for holdout in holdouts.values()], axis=0)
    if not some.any():
        raise DataError(f"none of the {len(chosen)} users kept out has a target after {max(lengths)} events")
    holdouts = {n: holdout.select(np.flatnonzero(some)) for n, holdout in holdouts.items()}
    data = without_users(prepared, chosen)
    evaluations: dict[int, dict[str, Evaluation]] = {n: {} for n in lengths}
    models: dict[str, BaseRecall] = {BASE: Popularity(), **channels}
    for name, channel in models.items():
        if name in readers:
            continue
        logger.info("fitting {} again without {} users", name, len(chosen))
        refitted = channel.refit(data, options)
        for n, holdout in holdouts.items():
            evaluations[n][name] = measure(
                name, refitted.retrieve(holdout.queries, K), holdout, data, (K,), options.seed
            )
    targets = "every later event" if min_rating is None else f"later events rated {min_rating:g} or more"
    about = " · ".join(
        [
            str(prepared.source["dataset"]),
            f"{int(some.sum()):,} users absent from training ({split} users)",
            f"targets: {targets}",
            "full catalogue ranked, given films filtered",
            f"seed {options.seed}",
        ]
    )
    result = NewUsersResult(about, lengths, evaluations, options.seed, workspace.reports / f"{STEM}.md")
    _write(result, workspace.reports)
    return result


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


def without_users(prepared: Prepared, users: IntArray) -> TrainingData:
    """The fit split without all events of the given users; vocabulary and catalogue do not change."""
    stops = prepared.split.fit_stop.copy()
    stops[users] = 0
    return prepared.training_data(prepared.split.interactions.first(stops))


def _write(result: NewUsersResult, folder: Path) -> None:
    plot_curves(
        {name: {n: result.evaluations[n][name].mean(METRIC) for n in result.lengths} for name in result.names},
        folder / f"{STEM}.png",
        xlabel="events that the user has given",
        ylabel=metric_label(METRIC),
        title="Users who are absent from training",
    )
    write_text(result.report, result.to_markdown())
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{STEM}.json", text + "\n")
