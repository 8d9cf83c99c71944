"""Popularity bias: share of recommendations against share of training events, per popularity bucket.

Items are sorted by their events in the fit split and cut into buckets of equally many items. A system that offers
each bucket as often as it occurs in the events lies on the diagonal; a system with popularity bias lies below it on
the left and above it on the right. Yi et al. (RecSys 2019) correct a sampled softmax for this bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from evaluation.figure_style import INK, figure, require_some
from evaluation.metrics import item_rows
from evaluation.system_style import system_styles
from reccore import Candidates, DataError
from reccore.arrays import IntArray

BUCKETS = 10
Shares = npt.NDArray[np.float64]


def popularity_buckets(item_counts: IntArray, n_buckets: int = BUCKETS) -> IntArray:
    """(N,) bucket of every item, 0 = the least popular, -1 = no event.

    The sizes of the buckets differ by at most one; equal counts are ordered by ``item_idx``.

    Args:
        item_counts: (N,) events of each item in the fit split.
        n_buckets: at least 1; capped at the number of items with events.

    Raises:
        DataError: no item has an event.
    """
    chosen = np.flatnonzero(item_counts > 0)
    n_buckets = min(n_buckets, len(chosen))
    if n_buckets < 1:
        raise DataError("popularity buckets need at least one event and one bucket")
    buckets = np.full(len(item_counts), -1, dtype=np.int64)
    order = chosen[np.argsort(item_counts[chosen], kind="stable")]
    buckets[order] = np.arange(len(order)) * n_buckets // len(order)
    return buckets


def bucket_shares(
    items: Candidates | IntArray, buckets: IntArray, *, k: int | None = None, weights: IntArray | None = None
) -> Shares:
    """(n_buckets,) share of each bucket among the given items; empty slots (-1) are ignored.

    Args:
        items: (B, K) lists, of which the first ``k`` ranks count, or (M,) items such as targets.
        buckets: (N,), from ``popularity_buckets``. Items without a bucket count in the total, so the shares may add up
            to less than one.
        k: length of the lists; None = the whole lists.
        weights: (M,) weight of each of M items, such as its events.

    Raises:
        DataError: no item.
    """
    rows = item_rows(items)
    rows = rows if rows.ndim == 1 else rows[:, :k]
    weight = np.ones(rows.shape) if weights is None else weights.astype(np.float64)
    real = rows >= 0
    total = float(weight[real].sum())
    if total == 0.0:
        raise DataError("shares of popularity buckets need at least one item")
    at = buckets[rows[real]]
    # Shifted by one: position 0 counts the items without a bucket.
    summed = np.bincount(at + 1, weights=weight[real], minlength=int(buckets.max()) + 2)
    return np.asarray(summed[1:] / total)


def plot_popularity(
    true: Shares,
    offered: Mapping[str, Shares],
    path: Path,
    *,
    targets: Shares | None = None,
    k: int = 10,
    title: str = "",
) -> Path:
    """Plot the share of list slots against the share of events, per bucket of items (log-log), as PNG to ``path``.

    Args:
        true: (n,) share of the fit split's events in each bucket, the least popular first.
        offered: system → (S, n) share of its slots in each bucket, for each of S seeds; the line is the mean, the
            band goes from minimum to maximum. A bucket that is never offered gets an open mark at the lower edge.
        targets: (n,) share of the held-out targets in each bucket.
        k: length of the lists, for the label of the axis.

    Raises:
        DataError: nothing to draw.
    """
    require_some(offered)
    every = np.concatenate(
        [true, *([targets] if targets is not None else []), *(np.ravel(o) for o in offered.values())]
    )
    low, high = float(every[every > 0].min()) / 2.2, min(1.0, float(every.max()) * 1.6)
    with figure(path, (9.0, 5.6), title) as axes:
        axes.plot([low, high], [low, high], color="#BBBBBB", linewidth=1.2, label="as popular as in training")
        if targets is not None:
            _line(
                axes,
                true,
                targets[None],
                low,
                color="#777777",
                marker="",
                linestyle=(0, (4, 2)),
                label="held-out films",
            )
        for name, style in system_styles(offered).items():
            drawn = {"color": style.colour, "marker": style.marker, "label": name}
            _line(axes, true, np.atleast_2d(offered[name]), low, **drawn)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(float(true.min()) / 1.6, min(1.0, float(true.max()) * 1.6))
        axes.set_ylim(low, high)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        axes.set_xlabel(f"share of training events, films in {len(true)} groups by popularity")
        axes.set_ylabel(f"share of the first {k} slots")
        axes.grid(axis="both")
        for x, text in ((true[0], "least popular"), (true[-1], "most popular")):
            axes.annotate(text, (x, low), (0, 6), textcoords="offset points", ha="center", fontsize=8.5, color=INK)
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return path


def _line(axes: Axes, true: Shares, shares: Shares, floor: float, **style: Any) -> None:
    """Draw one system: mean over seeds (S, n), band from minimum to maximum, open marks where the mean is zero."""
    mean = shares.mean(axis=0)
    some = mean > 0
    axes.plot(true[some], mean[some], linewidth=1.8, markersize=5.5, **style)
    if len(shares) > 1:
        lowest, highest = np.maximum(shares.min(axis=0), floor), np.maximum(shares.max(axis=0), floor)
        axes.fill_between(true, lowest, highest, color=style["color"], alpha=0.15, linewidth=0)
    if not some.all():
        open_mark = {"color": style["color"], "marker": style["marker"] or "v", "markerfacecolor": "white"}
        axes.plot(true[~some], np.full(int((~some).sum()), floor), linestyle="none", clip_on=False, **open_mark)
