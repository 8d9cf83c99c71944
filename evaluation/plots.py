"""Figures of a report, from plain values; no display is needed.

Every function writes the PNG ``path`` and returns it; ``xlabel`` and ``ylabel`` name the axes, and ``title`` is the
heading. All raise ``DataError`` if there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes._secondary_axes import SecondaryAxis
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from evaluation.figure_style import COLOURS, INK, figure, require_some
from evaluation.label_placement import label_points
from evaluation.significance import Interval
from evaluation.system_style import system_styles

LONG_NAME = 11  # letters of a name that fit side by side below the cells of an overlap


def plot_curves(
    curves: Mapping[str, Mapping[int, float]],
    path: Path,
    *,
    ylabel: str,
    xlabel: str = "length of the list, K",
    title: str = "",
    log_k: bool = True,
) -> Path:
    """Plot a metric against the list length K, one line per system, such as ``Evaluation.curve("recall")``.

    Args:
        curves: system → {K: value}; lines in the given order, the legend sorted by the value at the largest K.
        xlabel: what K is, if not the length of the list.
        ylabel: name of the metric.
        log_k: K on a logarithmic axis.
    """
    require_some(curves)
    with figure(path, (7.2, 4.4), title) as axes:
        styles = system_styles(curves)
        for name, curve in curves.items():
            ks, style = sorted(curve), styles[name]
            values = [curve[k] for k in ks]
            axes.plot(ks, values, label=name, linewidth=1.8, markersize=5, color=style.colour, marker=style.marker)
        ks = sorted({k for curve in curves.values() for k in curve})
        if log_k:
            axes.set_xscale("log")
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="both")
        last = [curve[max(curve)] for curve in curves.values()]
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(last)), key=lambda i: -last[i])
        axes.legend(
            [handles[i] for i in order], [labels[i] for i in order], loc="upper left", bbox_to_anchor=(1.01, 1.0)
        )
    return path


def plot_intervals(bars: Mapping[str, Interval], path: Path, *, xlabel: str, title: str = "") -> Path:
    """Plot means as horizontal bars in the systems' colours with their intervals, the best on top."""
    require_some(bars)
    rows = sorted(bars.items(), key=lambda bar: bar[1].mean)
    with figure(path, (7.2, 1.2 + 0.42 * len(rows)), title) as axes:
        means = [interval.mean for _, interval in rows]
        below = [interval.mean - interval.low for _, interval in rows]
        above = [interval.high - interval.mean for _, interval in rows]
        styles = system_styles(bars)
        axes.barh(range(len(rows)), means, color=[styles[name].colour for name, _ in rows], height=0.62)
        for colour, width in (("white", 3.2), (INK, 1.2)):  # with an edge of white, so that it shows on any bar
            spread: dict[str, Any] = {"xerr": [below, above], "ecolor": colour, "elinewidth": width, "capsize": 3}
            axes.errorbar(means, range(len(rows)), fmt="none", **spread)
        for y, (_, interval) in enumerate(rows):
            axes.annotate(
                f"{interval.mean:.3f}", (interval.high, y), xytext=(6, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, max(interval.high for _, interval in rows) * 1.14 or 1.0)
        axes.set_xlabel(f"{xlabel}, mean over users with {rows[0][1].level:.0%} interval")
        axes.grid(axis="x")
    return path


def plot_accuracy_against(
    points: Mapping[str, tuple[float, float]],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = False,
) -> Path:
    """Plot one labelled point per system: accuracy (y) against another property (x), such as coverage.

    Args:
        points: system → (x, y).
        log_x: x on a logarithmic axis; every x must then be above 0.
    """
    require_some(points)
    many = len(points) > len(COLOURS)
    styles = system_styles(points)
    with figure(path, (9.0, 6.4) if many else (6.4, 4.6), title) as axes:
        for name, (x, y) in points.items():
            style = styles[name]
            axes.plot([x], [y], style.marker, markersize=9, color=style.colour, clip_on=False)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.margins(0.16)
        if not log_x and min(x for x, _ in points.values()) >= 0:
            axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="both")
        label_points(axes, points, [style.colour for style in styles.values()])
    return path


def plot_trade_off(
    points: Sequence[tuple[float, float, float]],
    path: Path,
    *,
    xlabel: str = "intra-list diversity@10",
    ylabel: str = "NDCG@10",
    chosen: float | None = None,
    title: str = "",
) -> Path:
    """Plot accuracy (y) against diversity (x) of a reranker over λ, each point labelled with its λ.

    The top and right axes give both relative to the point of the largest λ (relevance only).

    Args:
        points: (λ, accuracy, diversity) in any order.
        chosen: λ of the configuration, drawn as a ring.
    """
    require_some(points)
    curve = sorted(points, reverse=True)
    _, base_accuracy, base_diversity = curve[0]
    with figure(path, (6.8, 4.8), title) as axes:
        across, upwards = [d for _, _, d in curve], [a for _, a, _ in curve]
        axes.plot(across, upwards, color=COLOURS[0], marker="o", markersize=5, linewidth=1.8)
        for i, (value, accuracy, diversity) in enumerate(curve):
            # Alternately above and below, so that labels of neighbours do not overlap.
            offset = (0, 10) if i % 2 == 0 else (0, -17)
            label = axes.annotate(
                f"λ={value:g}", (diversity, accuracy), offset, textcoords="offset points", fontsize=8.5
            )
            label.set(ha="center", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})
            if chosen is not None and value == chosen:
                ring: dict[str, Any] = {"markersize": 14, "markerfacecolor": "none", "markeredgewidth": 1.8}
                axes.plot([diversity], [accuracy], "o", color=COLOURS[1], **ring)
                label.set_text(f"chosen: λ={value:g}")
                label.set_color(COLOURS[1])
        axes.margins(0.12)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="both")
        if base_diversity > 0:
            top = axes.secondary_xaxis("top", functions=_relative_to(base_diversity))
            _format_relative(top, top.xaxis)
        if base_accuracy > 0:
            right = axes.secondary_yaxis("right", functions=_relative_to(base_accuracy))
            _format_relative(right, right.yaxis)
    return path


def plot_reliability(
    curves: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]], path: Path, *, title: str = ""
) -> Path:
    """Plot the share of positives (y) against the mean predicted probability (x) of each bin; both axes logarithmic.

    Args:
        curves: system → (predicted, observed) of its bins; a bin without a positive is drawn on the lower edge.
    """
    require_some(curves)
    values = np.concatenate([side for curve in curves.values() for side in curve])
    low = max(float(values[values > 0].min(initial=1.0)) / 2, 1e-5)
    with figure(path, (7.6, 5.2), title) as axes:
        axes.plot([low, 1.0], [low, 1.0], color=INK, linewidth=1.0, linestyle="--", label="perfect")
        styles = system_styles(curves)
        for name, (predicted, observed) in curves.items():
            at, style = (np.maximum(predicted, low), np.maximum(observed, low)), styles[name]
            axes.plot(*at, label=name, markersize=5, color=style.colour, marker=style.marker)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, 1.0)
        axes.set_ylim(low, 1.0)
        axes.set_xlabel("predicted probability, mean of a bin")
        axes.set_ylabel("share of positives")
        axes.grid(axis="both")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return path


def plot_overlap(
    names: Sequence[str],
    found: Sequence[int],
    shares: npt.NDArray[np.float64],
    unique: npt.NDArray[np.float64],
    path: Path,
    *,
    title: str = "",
) -> Path:
    """Plot which of the held-out items that a channel (row) finds are found by another one (column), or by none.

    Args:
        names: of C channels.
        found: (C,) number of items that each channel finds.
        shares: (C, C) share of the row's items that the column finds too; the diagonal is not drawn.
        unique: (C,) share of the row's items that no other channel finds.
    """
    require_some(names)
    n = len(names)
    cells = np.column_stack([np.where(np.eye(n, dtype=bool), np.nan, shares), unique])
    with figure(path, (2.6 + 1.0 * (n + 1), 1.7 + 0.62 * n), title) as axes:
        for (row, column), share in np.ndenumerate(cells):
            alone = column == n
            x = column + (0.15 if alone else 0.0)  # a gap before the last column
            colour = "#F2F2F2" if np.isnan(share) else _shade(COLOURS[1 if alone else 0], share)
            axes.add_patch(Rectangle((x - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=2))
            if not np.isnan(share):
                ink = "white" if share > 0.6 else INK
                axes.annotate(f"{share:.0%}", (x, row), ha="center", va="center", color=ink, fontsize=10.5)
        axes.set_xlim(-0.5, n + 0.65)
        axes.set_ylim(n - 0.5, -0.5)
        axes.set_xticks([*range(n), n + 0.15], [*names, "no other\nchannel"])
        axes.set_yticks(range(n), [f"{name}\n{count:,} found" for name, count in zip(names, found, strict=True)])
        axes.tick_params(length=0)
        if max(map(len, names)) > LONG_NAME:
            axes.tick_params(axis="x", labelrotation=25)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_xlabel("… are found by")
        axes.set_ylabel("of the films found by …")
        for spine in axes.spines.values():
            spine.set_visible(False)
    return path


def _shade(colour: str, share: float) -> tuple[float, float, float]:
    """The colour at ``share`` of its full strength on white."""
    red, green, blue = (1.0 - share * (1.0 - part) for part in to_rgb(colour))
    return red, green, blue


def _relative_to(base: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Functions from a value to its change relative to ``base``, and back."""
    return lambda value: value / base - 1.0, lambda share: (share + 1.0) * base


def _format_relative(second: SecondaryAxis, axis: Axis) -> None:
    axis.set_label_text("against relevance only", fontsize=8.5)
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    second.tick_params(labelsize=8.5, length=0)
    second.spines[:].set_visible(False)
