"""Scatter plots of items in two dimensions, coloured by group or by value, with as many titles as fit.

Both functions write the PNG ``path`` and return it; ``title`` is the heading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.patheffects import AbstractPathEffect, withStroke

from evaluation.figure_style import COLOURS, figure, require_some
from reccore.arrays import FloatArray, IntArray

UNCOLOURED = "#CFCFCF"
# The shared colours without grey, which means "other" here, and three distinct colours of Paul Tol's.
GROUP_COLOURS = (*(colour for colour in COLOURS if colour != "#666666"), "#882255", "#332288", "#44AA99")
SIZE = (10.4, 7.4)
LABEL_FONT = 7.5
STEPS = 8
WIDTH = 0.78 * SIZE[0]
"""Of the axes, in inches, beside a legend or a colour bar."""
LABEL_ROOM = 1.25
"""Room for a title beside its dot, in widths of the title; wider axes make each inch of data shorter."""
_HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.5, foreground="white")]


def plot_groups_map(
    points: FloatArray,
    path: Path,
    *,
    group: IntArray,
    group_names: Sequence[str],
    size: FloatArray | None = None,
    labels: Mapping[int, str] | None = None,
    title: str = "",
) -> Path:
    """Plot items as dots: the ten largest groups in colours, all others grey.

    Args:
        points: (M, 2).
        group: (M,) number of each item's group, -1 = none.
        group_names: names of the groups.
        size: (M,) values from 0 to 1, the sizes of the dots.
        labels: row → title, the most important first; a title that would cover an earlier one is left out.

    Raises:
        DataError: no points.
    """
    require_some(points.tolist())
    frequency = np.bincount(group[group >= 0], minlength=len(group_names))
    largest = np.argsort(-frequency, kind="stable")[: len(GROUP_COLOURS)].tolist()
    shown = [g for g in largest if frequency[g] > 0]
    areas = _areas(len(points), size)
    with figure(path, SIZE, title) as axes:
        layers = [("other", UNCOLOURED, ~np.isin(group, shown))]
        layers += [(group_names[g], colour, group == g) for g, colour in zip(shown, GROUP_COLOURS, strict=False)]
        for name, colour, mine in layers:
            if mine.any():
                axes.scatter(points[mine, 0], points[mine, 1], areas[mine], color=colour, alpha=0.75, linewidths=0.0)
                axes.scatter([], [], 60.0, color=colour, linewidths=0.0, label=name)  # the legend's own dot
        _finish(axes, points, labels or {})
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return path


def plot_values_map(
    points: FloatArray,
    path: Path,
    *,
    values: FloatArray,
    value_name: str,
    size: FloatArray | None = None,
    labels: Mapping[int, str] | None = None,
    title: str = "",
) -> Path:
    """Plot items as dots coloured by a value in quantile steps; NaN is grey.

    Args:
        points: (M, 2).
        values: (M,).
        value_name: label of the colour bar.
        size, labels, title: as in ``plot_groups_map``.

    Raises:
        DataError: no points, or no finite value.
    """
    known = np.isfinite(values)
    require_some(points[known].tolist())
    areas = _areas(len(points), size)
    edges = np.unique(np.quantile(values[known], np.linspace(0.0, 1.0, STEPS + 1), method="nearest"))
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1.0])
    with figure(path, SIZE, title) as axes:
        axes.scatter(points[~known, 0], points[~known, 1], areas[~known], color=UNCOLOURED, alpha=0.7, linewidths=0.0)
        colours: dict[str, Any] = {"c": values[known], "cmap": "viridis_r", "norm": BoundaryNorm(edges.tolist(), 256)}
        dots = axes.scatter(points[known, 0], points[known, 1], areas[known], alpha=0.8, linewidths=0.0, **colours)
        _finish(axes, points, labels or {})
        axes.figure.colorbar(
            dots, ax=axes, shrink=0.5, aspect=25, label=value_name, ticks=edges.tolist(), format="%.6g"
        )
    return path


def _areas(n: int, size: FloatArray | None) -> FloatArray:
    """(n,) areas of the dots in square points."""
    return np.full(n, 14.0) if size is None else np.asarray(8.0 + 90.0 * size)


def _finish(axes: Axes, points: FloatArray, labels: Mapping[int, str]) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    kept = labels_that_fit(points, labels)
    left, right = axes.get_xlim()
    needed = [float(points[row, 0]) + LABEL_ROOM * _inches(labels[row]) / WIDTH * (right - left) for row in kept]
    axes.set_xlim(left, max([right, *needed]))  # so that no title runs into the legend or the colour bar
    for row in kept:
        note = axes.annotate(labels[row], points[row], xytext=(4, 3), textcoords="offset points", fontsize=LABEL_FONT)
        note.set_path_effects(_HALO)


def _inches(text: str) -> float:
    """Estimated width of a title."""
    return 0.56 * LABEL_FONT / 72 * len(text)


def labels_that_fit(points: FloatArray, labels: Mapping[int, str]) -> list[int]:
    """Rows whose titles fit beside their dots without overlap; earlier titles take precedence.

    The size of a title is estimated from its length, its place from the extent of the points.
    """
    span = np.maximum(points.max(axis=0) - points.min(axis=0), 1e-9)
    inches = (points - points.min(axis=0)) / span * (WIDTH, 0.88 * SIZE[1])
    height = 1.5 * LABEL_FONT / 72
    taken: list[tuple[float, float, float, float]] = []
    kept = []
    for row, text in labels.items():
        x, y = inches[row].tolist()
        box = (x, x + _inches(text), y, y + height)
        if all(box[1] < a or box[0] > b or box[3] < c or box[2] > d for a, b, c, d in taken):
            taken.append(box)
            kept.append(row)
    return kept
