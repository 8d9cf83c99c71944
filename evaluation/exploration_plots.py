"""Figures of the notebooks: long tail, heat map, histogram, cumulative durations, grouped bars.

Every function writes the PNG ``path`` and returns it; ``xlabel`` and ``ylabel`` name the axes, and ``title`` is the
heading. All raise ``DataError`` if there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from evaluation.exploration import Bands
from evaluation.figure_style import COLOURS, INK, figure, require_some
from evaluation.significance import Interval
from evaluation.system_style import series_colours
from reccore import DataError
from reccore.arrays import FloatArray, IntArray

SHADES = ("#0072B2", "#4D9DC9", "#8FB8D3", "#CFE0EB", "#EEEEEE")
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def plot_long_tail(counts: IntArray, bands: Bands, path: Path, *, title: str = "") -> Path:
    """Plot events per item against its rank (log-log), with each band's share of the events.

    Args:
        counts: (N,) events of each item.
        bands: of the same counts.

    Raises:
        DataError: no item has an event.
    """
    ranked = np.sort(counts[counts > 0])[::-1]
    require_some(ranked.tolist())
    ranks = np.arange(1, len(ranked) + 1)
    with figure(path, (7.6, 4.4), title) as axes:
        start = 1.0
        for i, name in enumerate(bands.names[:-1]):
            mine = bands.of_item == i
            if not mine.any():
                continue
            stop = start + int(mine.sum())
            axes.axvspan(start, stop, color=SHADES[i % len(SHADES)], alpha=0.45, linewidth=0)
            share = counts[mine].sum() / ranked.sum()
            label = f"{name}\n{mine.sum():,} films\n{share:.0%} of events"
            middle = np.sqrt(start * stop)
            axes.annotate(
                label, (middle, 0.02), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8
            )
            start = stop
        axes.loglog(ranks, ranked, color=INK, linewidth=2.2)
        axes.set_xlim(1, start)
        axes.set_ylim(bottom=max(0.08 * ranked.min(), 0.05))
        axes.set_xlabel("rank of the film by popularity")
        axes.set_ylabel("events")
        axes.xaxis.set_major_formatter(_THOUSANDS)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(axis="y")
    return path


def plot_heat(
    values: FloatArray, rows: Sequence[str], columns: Sequence[str], path: Path, *, title: str = "", xlabel: str = ""
) -> Path:
    """Plot shares as a heat map with percentages; NaN cells stay empty."""
    require_some(rows)
    require_some(columns)
    size = (2.2 + 0.72 * len(columns), 1.3 + 0.31 * len(rows))
    with figure(path, size, title) as axes:
        highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
        axes.imshow(values, cmap="Blues", vmin=0.0, vmax=highest or 1.0, aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if value > 0.6 * highest else INK
                axes.annotate(f"{value:.0%}", (x, y), ha="center", va="center", color=colour, fontsize=8.5)
        axes.set_xticks(range(len(columns)), list(columns))
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(xlabel)
    return path


def plot_histogram(values: npt.NDArray[Any], path: Path, *, xlabel: str, ylabel: str, title: str = "") -> Path:
    """Plot a histogram on a logarithmic axis, with the median marked.

    Args:
        values: integers; values below 1 are ignored.

    Raises:
        DataError: no value of at least 1.
    """
    values = values[values >= 1]
    require_some(values.tolist())
    edges = np.unique(np.round(np.geomspace(values.min(), values.max() + 1, 31)))
    with figure(path, (7.2, 3.6), title) as axes:
        axes.hist(values, bins=edges.tolist(), color=COLOURS[0], edgecolor="white", linewidth=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_THOUSANDS)
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}" if f"{v:.0e}"[0] in "25" else ""))
        axes.yaxis.set_major_formatter(_THOUSANDS)
        middle = float(np.median(values))
        axes.axvline(middle, color=COLOURS[1], linewidth=1.6)
        axes.annotate(
            f"median {middle:,.0f}",
            (middle, 0.97),
            (5, 0),
            ("data", "axes fraction"),
            "offset points",
            color=COLOURS[1],
        )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y")
    return path


TIMES = (("1 s", 1), ("1 min", 60), ("1 h", 3600), ("1 day", 86_400), ("1 month", 2_629_800))
LONG_TIMES = (("1 year", 31_557_600), ("10 years", 315_576_000))


def plot_durations(series: Mapping[str, npt.NDArray[Any]], path: Path, *, ylabel: str, title: str = "") -> Path:
    """Plot the cumulative distribution of durations, one curve per series, on a logarithmic axis.

    A duration of 0 is drawn at the left edge, so each curve starts at its share of zeros.

    Args:
        series: name → durations in seconds, not negative.

    Raises:
        DataError: nothing to draw, or a series without values.
    """
    require_some(series)
    longest = max(float(np.max(values, initial=1.0)) for values in series.values())
    ticks = [time for time in (*TIMES, *LONG_TIMES) if time[1] <= 1.05 * longest]
    with figure(path, (7.2, 3.8), title) as axes:
        colours = series_colours(series)
        for name, values in series.items():
            require_some(values.tolist())
            at = np.sort(np.maximum(values, 0.5))
            shares = np.arange(1, len(at) + 1) / len(at)
            axes.step(at, shares, where="post", color=colours[name], linewidth=2.0, label=name)
        axes.set_xscale("log")
        axes.set_xlim(0.5, max(longest * 1.3, 2.0))
        axes.set_ylim(0, 1)
        axes.set_xticks([0.5, *(seconds for _, seconds in ticks)], ["0", *(name for name, _ in ticks)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylabel(ylabel)
        axes.grid(axis="both")
        if len(series) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.1), ncols=len(series))
    return path


def plot_groups(
    groups: Mapping[str, Mapping[str, float | Interval]],
    path: Path,
    *,
    ylabel: str,
    xlabel: str = "",
    title: str = "",
    percent: bool = False,
) -> Path:
    """Plot grouped bars: one group per label, one colour per series; an ``Interval`` gets an error bar.

    Args:
        groups: series → {label: value}; every series has the same labels in the same order.
        percent: write the values as percentages.

    Raises:
        DataError: nothing to draw, or series with different labels.
    """
    require_some(groups)
    labels = list(next(iter(groups.values())))
    require_some(labels)
    if any(list(values) != labels for values in groups.values()):
        raise DataError("every series needs the same labels")
    width = 0.8 / len(groups)
    colours = series_colours(groups)
    with figure(path, (8.4, 3.8), title) as axes:
        for i, (name, values) in enumerate(groups.items()):
            at = np.arange(len(labels)) + (i - (len(groups) - 1) / 2) * width
            _bars(axes, at, list(values.values()), 0.9 * width, colours[name], name)
        axes.set_xticks(range(len(labels)), labels, fontsize=10.0 if len(labels) <= 7 else 8.0)
        axes.tick_params(axis="x", length=0)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_ylim(bottom=0)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return path


def _bars(
    axes: Axes, at: npt.NDArray[Any], values: Sequence[float | Interval], width: float, colour: str, name: str
) -> None:
    means = [value.mean if isinstance(value, Interval) else value for value in values]
    axes.bar(at, means, width=width, color=colour, label=name)
    ends = [
        (x, value.mean, value.mean - value.low, value.high - value.mean)
        for x, value in zip(at.tolist(), values, strict=True)
        if isinstance(value, Interval)
    ]
    if ends:
        x, y, below, above = zip(*ends, strict=True)
        axes.errorbar(x, y, yerr=[below, above], fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
