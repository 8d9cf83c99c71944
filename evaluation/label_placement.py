"""Labels beside the points of a figure that overlap neither each other nor the points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.text import Annotation

Array = npt.NDArray[np.float64]

_ANGLES = np.deg2rad([45, 135, 315, 225, 0, 180, 90, 270, 20, 160, 340, 200, 70, 110, 250, 290])
_DISTANCES = (9.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0)  # points of 1/72 inch
_POINT_RADIUS = 6.0
_LINE_FROM = 12.0
_DISTANCE_COST = 0.5
_OUTSIDE_COST = 1e4


def label_points(axes: Axes, points: Mapping[str, tuple[float, float]], colours: Sequence[str]) -> None:
    """Write the name of every point near it, with a thin line where the label is not next to the point.

    Each label in turn takes the place of least overlap with points, placed labels and the edge of the axes. Call it
    last, since it lays the figure out. O(P²) for P points.

    Args:
        axes: with limits and scales set and the points drawn.
        points: name → (x, y) in data coordinates.
        colours: of the labels.
    """
    sheet = axes.get_figure(root=True)
    if sheet is None:
        raise ValueError("the axes belong to no figure")
    sheet.draw_without_rendering()  # fixes the size of the axes
    scale = sheet.dpi / 72
    at: Array = axes.transData.transform(np.array(list(points.values()), dtype=np.float64)) / scale
    frame = axes.get_window_extent()
    inside = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) / scale
    taken = [_box(x, y, 2 * _POINT_RADIUS, 2 * _POINT_RADIUS) for x, y in at]
    for name, (x, y), colour in zip(points, at, colours, strict=True):
        label = axes.annotate(name, points[name], xytext=(0, 0), textcoords="offset points", color=colour)
        label.set(ha="center", va="center", in_layout=False)
        extent = label.get_window_extent()
        dx, dy, box = _best_place(x, y, extent.width / scale, extent.height / scale, np.array(taken), inside)
        taken.append(box)
        label.set_position((dx, dy))
        if np.hypot(*_gap(dx, dy, extent.width / scale, extent.height / scale)) > _LINE_FROM:
            _draw_line(axes, label, points[name], colour)


def _best_place(
    x: float, y: float, width: float, height: float, taken: Array, inside: Array
) -> tuple[float, float, Array]:
    """Offset of the label's centre from (x, y), and its box."""
    places = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            dx = np.cos(angle) * (distance + width / 2)
            dy = np.sin(angle) * (distance + height / 2)
            box = _box(x + dx, y + dy, width + 3, height + 2)
            outside = np.maximum(inside[:2] - box[:2], 0).sum() + np.maximum(box[2:] - inside[2:], 0).sum()
            cost = _overlap(box, taken) + _OUTSIDE_COST * outside + _DISTANCE_COST * distance
            places.append((cost, dx, dy, box))
    _, dx, dy, box = min(places, key=lambda place: place[0])
    return dx, dy, box


def _draw_line(axes: Axes, label: Annotation, point: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 1.0, "shrinkB": 4.0}
    line = axes.annotate(
        "", point, xytext=label.get_position(), textcoords="offset points", arrowprops={**style, "relpos": (0.5, 0.5)}
    )
    line.set_in_layout(False)


def _gap(dx: float, dy: float, width: float, height: float) -> tuple[float, float]:
    """Distance from the point to the label's box, along x and y."""
    return max(abs(dx) - width / 2, 0.0), max(abs(dy) - height / 2, 0.0)


def _box(x: float, y: float, width: float, height: float) -> Array:
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def _overlap(box: Array, taken: Array) -> float:
    """Area that a box shares with boxes (n, 4)."""
    sides = np.minimum(box[2:], taken[:, 2:]) - np.maximum(box[:2], taken[:, :2])
    return float(np.prod(np.maximum(sides, 0), axis=1).sum())
