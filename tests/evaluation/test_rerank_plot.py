"""The figure of the trade-off curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest

from evaluation.rerank_plot import plot_curves
from evaluation.significance import Interval
from reccore import DataError


def changes(**means: float) -> dict[str, Interval]:
    return {name: Interval(mean, mean - 0.01, mean + 0.01) for name, mean in means.items()}


CURVES = {
    "mmr": [changes(ndcg=-0.01, diversity=0.1, coverage=0.0), changes(ndcg=-0.04, diversity=0.3, coverage=-0.02)],
    "dpp": [changes(ndcg=-0.02, diversity=0.2, coverage=0.01)],
}


def test_every_property_has_a_panel_and_the_choice_changes_the_picture(tmp_path: Path) -> None:
    plain = plot_curves(CURVES, tmp_path / "new" / "a.png", against="ndcg", title="t")
    pixels = matplotlib.image.imread(plain)
    assert (pixels[..., :3] < 0.95).any(axis=2).mean() > 0.02
    ringed = plot_curves(CURVES, tmp_path / "b.png", against="ndcg", title="t", chosen=CURVES["dpp"][0])
    assert plain.read_bytes() != ringed.read_bytes()
    again = plot_curves(CURVES, tmp_path / "c.png", against="ndcg", title="t")
    assert plain.read_bytes() == again.read_bytes()
    fewer = {name: [{k: v for k, v in p.items() if k != "coverage"} for p in points] for name, points in CURVES.items()}
    narrow = matplotlib.image.imread(plot_curves(fewer, tmp_path / "d.png", against="ndcg"))
    assert narrow.shape[1] < pixels.shape[1]


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to draw"):
        plot_curves({}, tmp_path / "a.png", against="ndcg")
