"""Figure of the trade-off curves of rerankers: the change of accuracy against that of every other property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.figure_style import COLOURS, INK, MARKERS, panels, require_some
from evaluation.significance import Interval

Changes = Mapping[str, Interval]


def plot_curves(
    curves: Mapping[str, Sequence[Changes]],
    path: Path,
    *,
    against: str,
    chosen: Changes | None = None,
    chosen_label: str = "chosen",
    title: str = "",
) -> Path:
    """Plot one panel per property: its change (x) against the change of ``against`` (y), one line per curve.

    Vertical bars are the intervals of ``against``. A star at (0, 0) is the order before reranking.

    Args:
        curves: name → points in the order of λ; a point is property → relative change with its interval.
        against: the property on the vertical axes.
        chosen: a point to ring.
    """
    require_some(curves)
    names = [name for name in next(iter(curves.values()))[0] if name != against]
    columns = min(3, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)  # one cell for the legend
    with panels(path, (4.2 * columns, 3.7 * rows + 0.4), title, rows, columns) as grid:
        for axes, name in zip(grid, names, strict=False):
            _draw_panel(axes, curves, name, against, chosen, chosen_label)
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        handles, labels = grid[0].get_legend_handles_labels()
        grid[len(names)].legend(handles, labels, loc="center left", fontsize=9)
    return path


def _draw_panel(
    axes: Axes,
    curves: Mapping[str, Sequence[Changes]],
    name: str,
    against: str,
    chosen: Changes | None,
    chosen_label: str,
) -> None:
    axes.axhline(0.0, color=INK, linestyle=":", linewidth=1.0)
    axes.plot([0.0], [0.0], "*", color=INK, markersize=11, label="before reranking", zorder=5)
    for i, (label, points) in enumerate(curves.items()):
        across, upwards = [point[name].mean for point in points], [point[against].mean for point in points]
        low, high = [point[against].low for point in points], [point[against].high for point in points]
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.vlines(across, low, high, color=colour, alpha=0.25, linewidth=1.0)
        axes.plot([0.0, *across], [0.0, *upwards], color=colour, linewidth=1.4)
        axes.plot(across, upwards, color=colour, marker=marker, markersize=4, linestyle="none", label=label)
    if chosen is not None:
        axes.plot(
            [chosen[name].mean],
            [chosen[against].mean],
            "o",
            color=INK,
            label=chosen_label,
            markersize=13,
            markerfacecolor="none",
            markeredgewidth=1.6,
        )
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"change of {name}")
    axes.set_ylabel(f"change of {against.replace('ndcg', 'NDCG')}")
    axes.grid(axis="both")
