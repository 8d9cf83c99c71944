"""Figures of the funnel: their content, empty input, and that a figure is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from evaluation.funnel_plot import KEPT, LOST, plot_losses, plot_oracles, plot_slices
from evaluation.significance import Interval
from reccore import DataError

LOSSES = [("missed by recall", 30), ("ranked too low", 50), ("recommended", 20)]
ORACLES = [("channels", 0.9, None), ("after recall", 0.7, 0.1)]
SLICES = {
    "events of the user": [("1 to 9", Interval(0.02, 0.01, 0.03)), ("10 to 99", Interval(-0.02, -0.03, -0.01))],
    "years since release": [("0 to 5", Interval(0.01, -0.01, 0.03))],
}
DRAWN: list[tuple[Callable[[Any, Path], Path], Any]] = [
    (plot_losses, LOSSES),
    (lambda stages, path: plot_oracles(stages, path, metric="NDCG@10"), ORACLES),
    (lambda slices, path: plot_slices(slices, path, xlabel="difference"), SLICES),
]


@pytest.mark.parametrize(("draw", "data"), DRAWN)
def test_writes_a_figure_and_refuses_nothing(draw: Callable[[Any, Path], Path], data: Any, tmp_path: Path) -> None:
    pixels = matplotlib.image.imread(draw(data, tmp_path / "figure.png"))
    assert (pixels[..., :3] < 0.95).any(axis=2).mean() > 0.01
    with pytest.raises(DataError, match="nothing to draw"):
        draw(type(data)(), tmp_path / "none.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_the_waterfall_falls_from_all_items_to_the_recommended(drawn: list[Axes], tmp_path: Path) -> None:
    plot_losses(LOSSES, tmp_path / "a.png")
    bars = [(bar.get_x(), bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in drawn[0].patches]
    assert bars == [(0, 100, KEPT), (70, 30, LOST), (20, 50, LOST), (0, 20, KEPT)]
    labels = [text.get_text() for text in drawn[0].texts]
    assert labels == ["100  (100.0%)", "−30  (30.0%)", "−50  (50.0%)", "20  (20.0%)"]
    with pytest.raises(DataError, match="no held-out items"):
        plot_losses([("recommended", 0)], tmp_path / "b.png")


def test_oracles_stand_behind_what_a_stage_reaches(drawn: list[Axes], tmp_path: Path) -> None:
    plot_oracles(ORACLES, tmp_path / "a.png", metric="NDCG@10")
    assert [bar.get_width() for bar in drawn[0].patches] == [0.9, 0.7, 0.1, 0]
    assert [text.get_text() for text in drawn[0].texts] == ["0.900", "0.700", "0.100"]


def test_slices_have_a_line_each_and_colour_what_is_significant(drawn: list[Axes], tmp_path: Path) -> None:
    plot_slices(SLICES, tmp_path / "a.png", xlabel="difference")
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == [
        "events of the user", "1 to 9", "10 to 99", "years since release", "0 to 5",
    ]  # fmt: skip
    intervals = [line for line in drawn[0].get_lines() if len(line.get_xdata()) == 2 and line.get_linewidth() > 1.5]
    assert [tuple(line.get_xdata()) for line in intervals] == [(0.01, 0.03), (-0.03, -0.01), (-0.01, 0.03)]
    assert [line.get_color() for line in intervals][:2] == [KEPT, LOST]
    assert intervals[2].get_color() not in (KEPT, LOST)
