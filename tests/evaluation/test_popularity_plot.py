"""Popularity buckets and shares, hand-computed, and their figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from evaluation.popularity_plot import bucket_shares, plot_popularity, popularity_buckets
from reccore import Candidates, DataError

COUNTS = np.array([5, 0, 1, 9, 2, 2, 7])
# least popular first, equal counts by index: 2, 4, 5 | 0, 6, 3; item 1 has no event
BUCKETS = [1, -1, 0, 1, 0, 0, 1]
TRUE = np.array([0.01, 0.09, 0.9])


def test_buckets_hold_equally_many_items_and_none_without_events() -> None:
    assert popularity_buckets(COUNTS, 2).tolist() == BUCKETS
    assert popularity_buckets(COUNTS, 6).tolist() == [3, -1, 0, 5, 1, 2, 4]
    assert popularity_buckets(COUNTS, 10).tolist() == [3, -1, 0, 5, 1, 2, 4]
    sizes = np.bincount(popularity_buckets(np.arange(1, 24), 10))
    assert sizes.min() == 2
    assert sizes.max() == 3


@pytest.mark.parametrize(("counts", "n"), [([0, 0], 2), ([], 2), ([1, 2], 0)])
def test_no_event_or_no_bucket(counts: list[int], n: int) -> None:
    with pytest.raises(DataError, match="at least one event and one bucket"):
        popularity_buckets(np.array(counts, dtype=np.int64), n)


def test_shares_of_lists_targets_and_events() -> None:
    buckets = np.array(BUCKETS)
    lists = np.array([[0, 2, 1], [3, -1, -1]])
    # four real slots: 0 and 3 are popular, 2 is not, 1 has no bucket
    assert bucket_shares(lists, buckets).tolist() == [0.25, 0.5]
    offer = Candidates(lists, np.array([[3, 2, 1], [1, -np.inf, -np.inf]], dtype=np.float32))
    assert bucket_shares(offer, buckets, k=1).tolist() == [0.0, 1.0]
    assert bucket_shares(np.array([2, 4, -1, 6]), buckets).tolist() == pytest.approx([2 / 3, 1 / 3])
    events = bucket_shares(np.arange(7), buckets, weights=COUNTS)
    assert events.tolist() == pytest.approx([5 / 26, 21 / 26])
    with pytest.raises(DataError, match="at least one item"):
        bucket_shares(np.array([-1, -1]), buckets)


def test_the_line_is_the_mean_of_seeds_and_the_band_their_range(drawn: list[Axes], tmp_path: Path) -> None:
    shares = np.array([[0.02, 0.08, 0.9], [0.04, 0.06, 0.9]])
    plot_popularity(TRUE, {"none": shares}, tmp_path / "a.png", targets=np.array([0.1, 0.2, 0.7]))
    lines = {str(line.get_label()): line.get_xydata() for line in drawn[0].get_lines()}
    np.testing.assert_allclose(lines["none"], [[0.01, 0.03], [0.09, 0.07], [0.9, 0.9]])
    np.testing.assert_allclose(lines["held-out films"], [[0.01, 0.1], [0.09, 0.2], [0.9, 0.7]])
    diagonal = lines["as popular as in training"]
    np.testing.assert_array_equal(diagonal[:, 0], diagonal[:, 1])
    band = drawn[0].collections[0].get_paths()[0].vertices
    at_first = band[np.isclose(band[:, 0], 0.01), 1]
    assert (at_first.min(), at_first.max()) == (0.02, 0.04)
    assert (drawn[0].get_xscale(), drawn[0].get_yscale()) == ("log", "log")


def test_a_bucket_that_is_never_offered_has_an_open_mark_at_the_edge(drawn: list[Axes], tmp_path: Path) -> None:
    plot_popularity(TRUE, {"none": np.array([0.0, 0.1, 0.9])}, tmp_path / "a.png")
    _, line, open_marks = drawn[0].get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[0.09, 0.1], [0.9, 0.9]])
    assert open_marks.get_xydata().tolist() == [[0.01, drawn[0].get_ylim()[0]]]
    assert open_marks.get_markerfacecolor() == "white"


def test_the_figure_is_deterministic(tmp_path: Path) -> None:
    for name in "ab":
        plot_popularity(TRUE, {"none": TRUE, "counts": TRUE[::-1]}, tmp_path / f"{name}.png", title="T")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(DataError, match="nothing to draw"):
        plot_popularity(TRUE, {}, tmp_path / "c.png")
