"""Figures of a pipeline for groups of queries: by activity of the user, by popularity and by age of the target.

Groups are quartiles of the queries, so that each has about as many; equal values stay together, so that there may be
fewer groups. A query whose value is unknown is in no group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.evaluate import Evaluation
from evaluation.report import markdown_table, metric_label
from evaluation.significance import Interval, paired_bootstrap
from reccore import Holdout, TrainingData
from reccore.arrays import BoolArray, FloatArray
from reccore.tables import UNKNOWN_YEAR

GROUPS = 4
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SliceRow:
    """Figures of one group of queries.

    Attributes:
        slice: what the queries are grouped by.
        group: range of values.
        queries: n.
        recall_oracle: mean oracle NDCG@k after recall, see ``experiments.funnel``.
        stages: stage → mean of the metric.
        best_channel: the channel with the highest mean in this group.
        channel: its mean.
        difference: paired difference of the chain and that channel. The channel is chosen on these very queries,
            which favours it.
    """

    slice: str
    group: str
    queries: int
    recall_oracle: float
    stages: Mapping[str, float]
    best_channel: str
    channel: float
    difference: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        d = self.difference
        return {**vars(self), "stages": dict(self.stages), "difference": {"mean": d.mean, "low": d.low, "high": d.high}}


def activity(holdout: Holdout) -> Values:
    """(B,) events of each history."""
    return holdout.queries.lengths.astype(np.float64)


def target_popularity(holdout: Holdout, data: TrainingData) -> Values:
    """(B,) events of each query's target in the fit split; NaN for a target outside the catalogue."""
    return _of_targets(holdout, data.interactions.item_counts().astype(np.float64))


def target_age(holdout: Holdout, data: TrainingData) -> Values:
    """(B,) years from the target's release to the query (``as_of``, by default the history's last event).

    Negative for a film that is rated before the year in its title. NaN where the year or the time is unknown.
    """
    as_of = holdout.queries.as_of
    if data.items.year is None:
        return np.full(len(holdout), np.nan)
    released = np.where(data.items.year == UNKNOWN_YEAR, np.nan, data.items.year.astype(np.float64))
    year = as_of.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    return np.where(as_of >= 0, year, np.nan) - _of_targets(holdout, released)


def _of_targets(holdout: Holdout, values: Values) -> Values:
    """(B,) values (N,) of the single target of each query, NaN for an unknown one."""
    known = holdout.target_idx >= 0
    return np.where(known, values[np.where(known, holdout.target_idx, 0)], np.nan)


def slices_of(holdout: Holdout, data: TrainingData) -> dict[str, Values]:
    """What queries are grouped by → (B,) values.

    A slice whose value is known for no query is left out, and so are those of the target if queries have several.
    """
    slices = {"events of the user": activity(holdout)}
    if (holdout.target_counts == 1).all():
        slices["events of the film"] = target_popularity(holdout, data)
        slices["years since release"] = target_age(holdout, data)
    return {name: values for name, values in slices.items() if not np.isnan(values).all()}


def quantile_groups(values: Values, n_groups: int = GROUPS) -> list[tuple[str, BoolArray]]:
    """(range, (B,) members) of at most ``n_groups`` groups of whole numbers, ascending; NaN is in none.

    A group ends at a quantile of the known values, and values that equal it belong to it.
    """
    known = values[~np.isnan(values)]
    ends = np.unique(np.quantile(known, np.linspace(0, 1, n_groups + 1)[1:], method="inverted_cdf"))
    groups = []
    for low, high in zip([-np.inf, *ends[:-1]], ends, strict=True):
        inside = (values > low) & (values <= high)
        least = values[inside].min()
        name = f"{high:,.0f}" if least == high else f"{least:,.0f} to {high:,.0f}"
        groups.append((name.replace("-", "−"), inside))
    return groups


def slice_rows(
    slices: Mapping[str, Values],
    stages: Sequence[Evaluation],
    channels: Sequence[Evaluation],
    recall_oracle: FloatArray,
    chain: Evaluation,
    metric: str,
    *,
    seed: int,
) -> list[SliceRow]:
    """Figures of every group.

    Args:
        slices: see ``slices_of``.
        stages: the pipeline after each stage.
        channels: at least one.
        recall_oracle: (B,) of each query.
        chain: which of the stages to compare with the best channel.
        metric: such as ``ndcg@10``.
        seed: of the bootstrap.
    """
    rows = []
    for name, values in slices.items():
        for group, inside in quantile_groups(values):

            def mean(evaluation: Evaluation, inside: BoolArray = inside) -> float:
                return float(evaluation.per_query[metric][inside].mean(dtype=np.float64))

            best = min(channels, key=lambda channel: (-mean(channel), channel.name))
            chain_values, best_values = (evaluation.per_query[metric][inside] for evaluation in (chain, best))
            rows.append(
                SliceRow(
                    slice=name,
                    group=group,
                    queries=int(inside.sum()),
                    recall_oracle=float(recall_oracle[inside].mean(dtype=np.float64)),
                    stages={stage.name: mean(stage) for stage in stages},
                    best_channel=best.name,
                    channel=mean(best),
                    difference=paired_bootstrap(
                        chain_values,
                        best_values,
                        users=None if chain.users is None else chain.users[inside],
                        seed=seed,
                    ),
                )
            )
    return rows


def slices_table(rows: Sequence[SliceRow], chain: str, metric: str) -> str:
    """A Markdown table for every slice."""
    label = metric_label(metric)
    parts = []
    for name in dict.fromkeys(row.slice for row in rows):
        own = [row for row in rows if row.slice == name]
        header = [name, "queries", "recall oracle", *own[0].stages, "best channel", f"{chain} − best channel"]
        cells = [
            [
                row.group,
                f"{row.queries:,}",
                f"{row.recall_oracle:.3f}",
                *(f"{value:.4f}" for value in row.stages.values()),
                f"{row.best_channel} {row.channel:.4f}",
                f"{row.difference.mean:+.4f} [{row.difference.low:+.4f}, {row.difference.high:+.4f}]",
            ]
            for row in own
        ]
        parts.append(markdown_table(header, cells))
    note = (
        f"{label} of groups of about equally many queries. The best channel is that of the group's own figures, which "
        "favours it."
    )
    return "\n\n".join([note, *parts])
