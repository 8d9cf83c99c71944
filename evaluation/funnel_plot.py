"""Figures of a pipeline's funnel: where held-out items are lost, how far a perfect next stage could get, and slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter

from evaluation.figure_style import COLOURS, FAINT, INK, figure, require_some
from evaluation.significance import Interval
from reccore import DataError

LOST, KEPT, PALE = COLOURS[1], COLOURS[0], "#BFD9EA"


def plot_losses(losses: Sequence[tuple[str, int]], path: Path, *, title: str = "") -> Path:
    """Plot a waterfall: from all held-out items to the recommended ones, one falling step per loss.

    Args:
        losses: (label, number of items) in the order of the stages; the last one is what remains.
        path, title: as in ``evaluation.plots``.

    Raises:
        DataError: nothing to draw, or no item at all.
    """
    require_some(losses)
    total = sum(count for _, count in losses)
    if total <= 0:
        raise DataError("there are no held-out items; nothing to draw")
    steps = [("held out", total, 0, KEPT)]
    left = total
    for label, count in losses[:-1]:
        left -= count
        steps.append((label, count, left, LOST))
    steps.append((losses[-1][0], losses[-1][1], 0, KEPT))
    with figure(path, (7.6, 1.2 + 0.48 * len(steps)), title) as axes:
        for y, (_, count, start, colour) in enumerate(steps):
            axes.barh(y, count, left=start, color=colour, height=0.64)
            sign = "−" if colour == LOST else ""
            label = f"{sign}{count:,}  ({count / total:.1%})"
            axes.annotate(label, (start + count, y), (7, 0), textcoords="offset points", va="center")
            if y + 1 < len(steps):
                end = start if colour == LOST else count
                axes.plot([end, end], [y + 0.32, y + 0.68], color="#999999", linewidth=0.9)
        axes.set_yticks(range(len(steps)), [name for name, *_ in steps])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, total * 1.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("held-out items")
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
    return path


def plot_oracles(
    stages: Sequence[tuple[str, float, float | None]], path: Path, *, metric: str, title: str = ""
) -> Path:
    """Plot for each stage what a perfect next stage could reach, and in front of it what its own order reaches.

    Args:
        stages: (name, oracle, own figure or None), the first stage on top.
        path, title: as in ``evaluation.plots``.
        metric: name of the metric, which lies in [0, 1].
    """
    require_some(stages)
    with figure(path, (7.6, 1.5 + 0.55 * len(stages)), title) as axes:
        for y, (_, oracle, own) in enumerate(stages):
            axes.barh(y, oracle, color=PALE, height=0.66, label="perfect next stage" if y == 0 else None)
            axes.annotate(f"{oracle:.3f}", (oracle, y), (6, 0), textcoords="offset points", va="center")
            if own is not None:
                axes.barh(y, own, color=KEPT, height=0.66)
                axes.annotate(f"{own:.3f}", (0, y), (6, 0), textcoords="offset points", va="center", color="white")
        axes.barh(0, 0, color=KEPT, label="its own order")
        axes.set_yticks(range(len(stages)), [name for name, *_ in stages])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.08)
        axes.set_xlabel(metric)
        axes.grid(axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        axes.spines["left"].set_visible(False)
    return path


def plot_slices(
    slices: Mapping[str, Sequence[tuple[str, Interval]]], path: Path, *, xlabel: str, title: str = ""
) -> Path:
    """Plot the difference of the chain and the best channel with its interval, for every group of every slice.

    Args:
        slices: slice → (group, difference) pairs.
        path, title: as in ``evaluation.plots``.
        xlabel: what the difference is.
    """
    require_some(slices)
    n_rows = sum(map(len, slices.values())) + len(slices)
    with figure(path, (7.6, 1.2 + 0.34 * n_rows), title) as axes:
        ticks, y = [], 0.0
        for name, groups in slices.items():
            ticks.append((y, name))
            for group, difference in groups:
                y += 1.0
                ticks.append((y, group))
                colour = INK if not difference.excludes_zero else KEPT if difference.mean > 0 else LOST
                axes.plot([difference.low, difference.high], [y, y], color=colour, linewidth=1.8)
                axes.plot([difference.mean], [y], "o", color=colour, markersize=6)
            y += 1.5
        axes.axvline(0.0, color="#999999", linewidth=1.2)
        axes.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
        for label in axes.get_yticklabels():
            if label.get_text() in slices:
                label.set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(y - 0.9, -0.7)
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+.2f}".replace("-", "−") if value else "0")
        )
        axes.set_xlabel(xlabel)
        axes.grid(axis="x", color=FAINT)
        axes.spines["left"].set_visible(False)
    return path
