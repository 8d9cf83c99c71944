"""Figures of reports: content, empty input, and the same bytes for the same values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from evaluation import plots
from evaluation.significance import Interval
from reccore import DataError

CURVES = {"popularity": {10: 0.1, 100: 0.4}, "two_tower": {10: 0.2, 100: 0.7}}
BARS = {"popularity": Interval(0.04, 0.03, 0.05), "two_tower": Interval(0.08, 0.07, 0.09)}
POINTS = {"popularity": (0.02, 0.04), "two_tower": (0.4, 0.08)}
OVERLAP = ["mf", "popularity"]
RELIABILITY = {"deepfm": (np.array([0.001, 0.02, 0.3]), np.array([0.0, 0.03, 0.2]))}
TRADE_OFF = [(0.5, 0.08, 0.8), (1.0, 0.1, 0.6)]

DRAWN: list[tuple[str, Callable[[Any, Path], Path], Any]] = [
    ("curves", lambda data, path: plots.plot_curves(data, path, ylabel="Recall@K"), CURVES),
    ("intervals", lambda data, path: plots.plot_intervals(data, path, xlabel="NDCG@10"), BARS),
    ("against", lambda data, path: plots.plot_accuracy_against(data, path, xlabel="x", ylabel="y"), POINTS),
    ("overlap", lambda names, path: overlap(names, path), OVERLAP),
    ("reliability", plots.plot_reliability, RELIABILITY),
    ("trade_off", lambda data, path: plots.plot_trade_off(data, path, chosen=0.5), TRADE_OFF),
]
each_plot = pytest.mark.parametrize(("draw", "data"), [pytest.param(d, v, id=name) for name, d, v in DRAWN])


def overlap(names: list[str], path: Path) -> Path:
    shares, unique = np.array([[1.0, 0.5], [np.nan, np.nan]]), np.array([0.25, np.nan])
    return plots.plot_overlap(names, [8, 0], shares, unique, path)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@each_plot
def test_writes_a_figure_that_is_not_blank(draw: Callable[[Any, Path], Path], data: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "figure.png"
    assert draw(data, path) == path
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 200
    assert (pixels[..., :3] < 0.95).any(axis=2).mean() > 0.02
    assert [file.name for file in path.parent.iterdir()] == ["figure.png"]


@each_plot
def test_the_same_values_give_the_same_bytes(draw: Callable[[Any, Path], Path], data: Any, tmp_path: Path) -> None:
    assert draw(data, tmp_path / "a.png").read_bytes() == draw(data, tmp_path / "b.png").read_bytes()


@each_plot
def test_nothing_to_draw_is_an_error_and_leaves_no_file(
    draw: Callable[[Any, Path], Path], data: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        draw(type(data)(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_curves_hold_the_values_and_the_legend_is_sorted(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_curves(CURVES, tmp_path / "a.png", ylabel="Recall@K", title="T")
    lines = {line.get_label(): line.get_xydata().tolist() for line in drawn[0].get_lines()}
    assert lines == {"popularity": [[10, 0.1], [100, 0.4]], "two_tower": [[10, 0.2], [100, 0.7]]}
    assert [text.get_text() for text in drawn[0].get_legend().get_texts()] == ["two_tower", "popularity"]
    assert drawn[0].get_xscale() == "log"
    plots.plot_curves(CURVES, tmp_path / "b.png", ylabel="Recall@K", log_k=False)
    assert drawn[1].get_xscale() == "linear"


def test_bars_put_the_best_on_top(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_intervals(dict(reversed(BARS.items())), tmp_path / "a.png", xlabel="NDCG@10")
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == ["popularity", "two_tower"]
    assert [bar.get_width() for bar in drawn[0].patches] == [0.04, 0.08]
    assert texts(drawn[0]) == ["0.040", "0.080"]


def test_trade_off_runs_from_relevance_only_and_rings_the_choice(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_trade_off(TRADE_OFF, tmp_path / "a.png", chosen=0.5)
    curve, ring = drawn[0].get_lines()
    assert curve.get_xydata().tolist() == [[0.6, 0.1], [0.8, 0.08]]
    assert ring.get_xydata().tolist() == [[0.8, 0.08]]
    assert texts(drawn[0]) == ["λ=1", "chosen: λ=0.5"]


def test_overlap_has_a_number_in_every_cell_that_has_a_value(drawn: list[Axes], tmp_path: Path) -> None:
    overlap(OVERLAP, tmp_path / "a.png")
    assert {text.get_text(): tuple(text.xy) for text in drawn[0].texts} == {"50%": (1, 0), "25%": (2.15, 0)}
    assert len(drawn[0].patches) == 6
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == ["mf\n8 found", "popularity\n0 found"]
    assert [label.get_text() for label in drawn[0].get_xticklabels()] == ["mf", "popularity", "no other\nchannel"]
    assert {label.get_rotation() for label in drawn[0].get_xticklabels()} == {0}
    overlap(["a_channel_with_a_long_name", "mf"], tmp_path / "b.png")
    assert {label.get_rotation() for label in drawn[1].get_xticklabels()} == {25}
