"""Labels of points, measured where matplotlib draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from evaluation import plots


@pytest.mark.parametrize("log_x", [False, True])
def test_labels_overlap_neither_each_other_nor_the_points(drawn: list[Axes], tmp_path: Path, log_x: bool) -> None:
    rng = np.random.default_rng(1)
    points = {
        f"channel_{i:02d}" + "_long" * (i % 3): (float(x), float(y))
        for i, (x, y) in enumerate(zip(10 ** rng.normal(0, 0.25, 20), rng.normal(0.1, 0.01, 20), strict=True))
    }
    plots.plot_accuracy_against(points, tmp_path / "a.png", xlabel="x", ylabel="y", log_x=log_x)
    axes = drawn[0]
    labels = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}
    assert set(labels) == set(points)
    boxes = list(labels.values())
    frame = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
    for at in axes.transData.transform(list(points.values())):
        assert not any(box.contains(*at) for box in boxes)


def test_a_label_that_has_room_is_next_to_its_point(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_accuracy_against({"a": (0.0, 0.0), "b": (1.0, 1.0)}, tmp_path / "a.png", xlabel="x", ylabel="y")
    axes = drawn[0]
    for text in axes.texts:
        x, y = axes.transData.transform(text.xy)  # type: ignore[attr-defined]
        box = text.get_window_extent()
        away = max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1)
        assert 0 < away < 30  # pixels, at two per point
