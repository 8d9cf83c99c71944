"""A system looks the same in every figure, and no two of one figure look alike; legends lie beside the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_rgba

from evaluation import funnel_plot, plots
from evaluation.exploration_plots import plot_durations, plot_groups
from evaluation.figure_style import COLOURS
from evaluation.item_map import plot_groups_map
from evaluation.popularity_plot import plot_popularity
from evaluation.significance import Interval
from evaluation.system_style import CHANNELS, STAGES, series_colours, system_styles
from recall import CHANNELS as REGISTERED

SIX = ["popularity", "itemcf", "mf", "two_tower", "markov", "usercf"]


def test_every_channel_has_a_place_and_the_demos_six_a_colour_each() -> None:
    assert set(CHANNELS) == set(REGISTERED)
    assert len({system_styles(SIX)[name].colour for name in SIX}) == len(SIX)


def test_a_style_does_not_depend_on_the_other_systems() -> None:
    every = system_styles([*CHANNELS, *STAGES])
    assert len(set(every.values())) == len(every)
    for name, style in every.items():
        assert system_styles([name]) == {name: style}
    assert system_styles(["trial", "mf"])["trial"] == system_styles(["other", "trial"])["trial"]


def test_a_variant_has_the_colour_of_its_channel_and_another_marker() -> None:
    styles = system_styles(["itemcf", "itemcf (last film)", "itemcf, N=3"])
    assert len({style.colour for style in styles.values()}) == 1
    assert len({style.marker for style in styles.values()}) == 3


def test_names_without_a_place_never_share_a_style() -> None:
    names = [f"trial{i}" for i in range(50)]
    assert len(set(system_styles(names).values())) == len(names)
    assert len(system_styles([f"trial{i}" for i in range(80)])) == 80


def test_series_keep_known_colours_and_take_what_is_left() -> None:
    colours = series_colours(["fit", "mf", "test"])
    assert colours["mf"] == system_styles(["mf"])["mf"].colour
    assert len(set(colours.values())) == 3
    assert list(series_colours(["a", "b"]).values()) == list(COLOURS[:2])


def test_one_colour_per_channel_in_every_figure(drawn: list[Axes], tmp_path: Path) -> None:
    names = ["mf", "two_tower"]
    expected = {name: style.colour for name, style in system_styles(names).items()}
    path = tmp_path / "a.png"
    plots.plot_curves({name: {10: 0.1, 20: 0.2} for name in reversed(names)}, path, ylabel="y")
    plots.plot_reliability({name: (np.array([0.1]), np.array([0.1])) for name in ["popularity", *names]}, path)
    plot_popularity(np.array([0.1, 0.9]), {name: np.array([0.2, 0.8]) for name in names}, path)
    for axes in drawn:
        lines = {str(line.get_label()): line.get_color() for line in axes.get_lines()}
        assert {name: lines[name] for name in names} == expected
    plots.plot_intervals({"mf": Interval(0.2, 0.1, 0.3), "two_tower": Interval(0.1, 0.0, 0.2)}, path, xlabel="x")
    labels = [label.get_text() for label in drawn[-1].get_yticklabels()]
    assert all(same_color(bar.get_facecolor(), expected[n]) for bar, n in zip(drawn[-1].patches, labels, strict=True))
    plots.plot_accuracy_against({"two_tower": (1.0, 1.0), "mf": (2.0, 2.0)}, path, xlabel="x", ylabel="y")
    assert [line.get_color() for line in drawn[-1].get_lines()] == [expected["two_tower"], expected["mf"]]
    assert {text.get_text(): text.get_color() for text in drawn[-1].texts if text.get_text()} == expected
    plot_groups({name: {"all": 0.1} for name in names}, path, ylabel="y")
    assert [bar.get_facecolor() for bar in drawn[-1].patches] == [pytest.approx(to_rgba(expected[n])) for n in names]


def test_legends_lie_beside_the_data(drawn: list[Axes], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    plots.plot_curves({"mf": {10: 0.1, 20: 0.2}}, path, ylabel="y")
    plots.plot_reliability({"deepfm": (np.array([0.1]), np.array([0.9]))}, path)
    plots.plot_trade_off([(0.5, 0.08, 0.8), (1.0, 0.1, 0.6)], path, chosen=0.5)
    plot_popularity(np.array([0.1, 0.9]), {"mf": np.array([0.2, 0.8])}, path)
    funnel_plot.plot_oracles([("after recall", 0.9, 0.1)], path, metric="NDCG@10")
    assert len(drawn) == 5
    for axes in drawn:
        legend = axes.get_legend()
        if legend is not None:
            assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    plot_durations({"a": np.array([1.0, 5.0]), "b": np.array([2.0])}, path, ylabel="y")
    assert drawn[-1].get_legend().get_window_extent().y1 <= drawn[-1].get_window_extent().y0


def test_no_title_of_the_map_runs_into_its_legend(drawn: list[Axes], tmp_path: Path) -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    labels = {1: "One Flew Over the Cuckoo's Nest (1975)", 2: "George of the Jungle (1997)"}
    plot_groups_map(points, tmp_path / "a.png", group=np.array([0, 1, 0]), group_names=["x", "y"], labels=labels)
    edge = drawn[0].get_window_extent().x1
    assert len(drawn[0].texts) == 2
    assert all(text.get_window_extent().x1 <= edge + 1 for text in drawn[0].texts)
