"""Figures of the notebooks: content and empty input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from evaluation import exploration_plots as plots
from evaluation.exploration import popularity_bands
from evaluation.item_map import labels_that_fit, plot_groups_map, plot_values_map
from evaluation.significance import Interval
from reccore import DataError

COUNTS = np.array([50, 20, 9, 4, 3, 2, 1, 1, 1, 0])
BANDS = popularity_bands(COUNTS, ends=(0.2, 1.0))
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
GROUPS = {"fit": {"head": 0.75, "tail": 0.25}, "test": {"head": Interval(0.5, 0.4, 0.7), "tail": 0.5}}


def groups_map(points: Any, path: Path, **more: Any) -> Path:
    group = np.array([0, 0, 1, -1])[: len(points)]
    return plot_groups_map(points, path, group=group, group_names=("Drama", "War"), **more)


def values_map(points: Any, path: Path) -> Path:
    values = np.array([1990.0, np.nan, 2000.0, 1995.0])[: len(points)]
    return plot_values_map(points, path, values=values, value_name="year")


# (draw, something to draw, nothing to draw)
DRAWN: dict[str, tuple[Callable[[Any, Path], Path], Any, Any]] = {
    "tail": (lambda counts, path: plots.plot_long_tail(counts, BANDS, path), COUNTS, np.zeros(10, dtype=np.int64)),
    "heat": (
        lambda v, path: plots.plot_heat(v, [f"r{i}" for i in range(len(v))], ["a", "b", "c"], path),
        np.array([[0.1, 0.9, np.nan], [0.0, 0.5, 0.5]]),
        np.empty((0, 3)),
    ),
    "histogram": (
        lambda v, path: plots.plot_histogram(v, path, xlabel="x", ylabel="y"),
        np.arange(1, 200),
        np.zeros(3, dtype=np.int64),
    ),
    "durations": (lambda v, path: plots.plot_durations(v, path, ylabel="y"), {"a": np.array([0, 30, 90_000])}, {}),
    "groups": (lambda v, path: plots.plot_groups(v, path, ylabel="y"), GROUPS, {}),
    "groups map": (groups_map, POINTS, np.empty((0, 2))),
    "values map": (values_map, POINTS, np.empty((0, 2))),
}
each_plot = pytest.mark.parametrize("name", DRAWN)


@each_plot
def test_writes_a_figure_that_is_not_blank(name: str, tmp_path: Path) -> None:
    draw, data, _ = DRAWN[name]
    pixels = matplotlib.image.imread(draw(data, tmp_path / "figure.png"))
    assert min(pixels.shape[:2]) > 200
    assert (pixels[..., :3] < 0.95).any(axis=2).mean() > 0.0005


@each_plot
def test_nothing_to_draw_is_an_error_and_leaves_no_file(name: str, tmp_path: Path) -> None:
    draw, _, nothing = DRAWN[name]
    with pytest.raises(DataError, match="nothing to draw"):
        draw(nothing, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_long_tail_draws_the_ranks_and_names_the_shares(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_long_tail(COUNTS, BANDS, tmp_path / "a.png")
    assert drawn[0].get_lines()[0].get_ydata().tolist() == [50, 20, 9, 4, 3, 2, 1, 1, 1]
    assert [text.get_text() for text in drawn[0].texts] == [
        "top 20%\n2 films\n77% of events",
        "20% to 100%\n7 films\n23% of events",
    ]


def test_heat_writes_each_share_and_leaves_gaps_empty(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_heat(np.array([[0.5, np.nan]]), ["row"], ["a", "b"], tmp_path / "a.png")
    assert [text.get_text() for text in drawn[0].texts] == ["50%"]


def test_histogram_counts_every_value_from_one_and_marks_the_median(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_histogram(np.array([0, 1, 1, 2, 40, 500]), tmp_path / "a.png", xlabel="x", ylabel="y")
    assert sum(bar.get_height() for bar in drawn[0].patches) == 5
    assert drawn[0].texts[0].get_text() == "median 2"
    plots.plot_histogram(np.array([7, 7]), tmp_path / "b.png", xlabel="x", ylabel="y")
    assert sum(bar.get_height() for bar in drawn[1].patches) == 2


def test_durations_start_at_the_share_of_zeros(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_durations({"a": np.array([0, 0, 60, 7200])}, tmp_path / "a.png", ylabel="y")
    curve = drawn[0].get_lines()[0].get_xydata()
    assert curve.tolist() == [[0.5, 0.25], [0.5, 0.5], [60, 0.75], [7200, 1.0]]
    assert [label.get_text() for label in drawn[0].get_xticklabels()] == ["0", "1 s", "1 min", "1 h"]


def test_groups_hold_the_values_and_need_the_same_labels(drawn: list[Axes], tmp_path: Path) -> None:
    plots.plot_groups(GROUPS, tmp_path / "a.png", ylabel="y")
    assert [bar.get_height() for bar in drawn[0].patches] == [0.75, 0.25, 0.5, 0.5]
    with pytest.raises(DataError, match="same labels"):
        plots.plot_groups({"a": {"x": 1.0}, "b": {"y": 1.0}}, tmp_path / "b.png", ylabel="y")


def test_map_names_its_groups_from_the_largest(drawn: list[Axes], tmp_path: Path) -> None:
    groups_map(POINTS, tmp_path / "a.png", labels={0: "Film"})
    assert [text.get_text() for text in drawn[0].get_legend().get_texts()] == ["other", "Drama", "War"]
    assert [text.get_text() for text in drawn[0].texts] == ["Film"]


def test_titles_that_would_cover_earlier_ones_are_left_out() -> None:
    points = np.array([[0.0, 0.0], [0.001, 0.001], [10.0, 10.0], [0.0, 10.0]])
    assert labels_that_fit(points, {0: "first", 1: "covers the first", 2: "far", 3: "far too"}) == [0, 2, 3]
    assert labels_that_fit(points, {1: "now first", 0: "covered"}) == [1]
