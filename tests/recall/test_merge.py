"""Merging of channels: by hand, against a slow dictionary-based oracle, and each option's effect."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recall.merge import MergeConfig, QuotaConfig, RRFConfig, ScoresConfig, merge, merging
from reccore import Candidates, ComponentConfig, ConfigError

Row = list[tuple[int, float]]  # (item, score) in a channel's order
CHANNELS = ("popularity", "itemcf", "two_tower")


def candidates(rows: list[Row], k: int) -> Candidates:
    """Rows of (item, score) in the channel's own order, padded to k."""
    item_idx = np.full((len(rows), k), -1, dtype=np.int64)
    score = np.full((len(rows), k), -np.inf, dtype=np.float32)
    for at, row in enumerate(rows):
        for column, (item, value) in enumerate(row):
            item_idx[at, column], score[at, column] = item, value
    return Candidates(item_idx, score)


def slow_points(config: MergeConfig, name: str, offered: Row, fill: str | None) -> list[float]:
    """The points that a channel gives to each of its items, by the definition."""
    if not offered:
        return []
    if isinstance(config, QuotaConfig):
        quota = config.quota.get(name, 0 if name == fill else math.inf)
        return [1 / rank if rank <= quota else 0.0 for rank in range(1, len(offered) + 1)]
    weight = config.weights.get(name, 0.0 if name == fill else 1.0)
    if isinstance(config, RRFConfig):
        return [weight / (config.k0 + rank) for rank in range(1, len(offered) + 1)]
    scores = [score for _, score in offered]
    spread = statistics.pstdev(scores) if config.spread == "deviation" else max(scores) - min(scores)
    return [weight * ((s - min(scores)) / spread + config.margin if spread else config.margin) for s in scores]


def slow_merge(config: MergeConfig, row: dict[str, Row], k: int, fill: str | None) -> list[tuple[int, float, dict]]:
    """The definition, item by item, with dictionaries."""
    points: dict[int, float] = {}
    features: dict[int, dict[str, float]] = {}
    for name, offered in row.items():
        gains = slow_points(config, name, offered, fill)
        for rank, ((item, score), gained) in enumerate(zip(offered, gains, strict=True), start=1):
            features.setdefault(item, {}).update({f"recall_score.{name}": score, f"recall_rank.{name}": rank})
            if gained > 0:
                so_far = points.get(item, 0.0)
                points[item] = max(so_far, gained) if isinstance(config, QuotaConfig) else so_far + gained
    merged = sorted(((item, float(np.float32(p))) for item, p in points.items()), key=lambda pair: (-pair[1], pair[0]))
    if fill is not None:
        filling = [item for item, _ in row[fill] if item not in points]
        n, lowest = (len(merged), merged[-1][1]) if merged else (1, 1.0)
        merged += [(item, lowest * n / place) for place, item in enumerate(filling, start=len(merged) + 1)]
    return [(item, score, features[item]) for item, score in merged[:k]]


def assert_equals_oracle(
    config: MergeConfig, rows: list[dict[str, Row]], widths: dict[str, int], k: int, fill: str | None
) -> None:
    by_channel = {name: candidates([row[name] for row in rows], widths[name]) for name in widths}
    merged = merge(config, by_channel, k, fill=fill)
    merged.validate()
    assert merged.item_idx.shape == (len(rows), min(k, sum(widths.values())))
    assert set(merged.features) == {f"recall_{what}.{name}" for what in ("score", "rank") for name in widths}
    for at, row in enumerate(rows):
        expected = slow_merge(config, row, k, fill)
        n = len(expected)
        assert merged.item_idx[at].tolist() == [item for item, _, _ in expected] + [-1] * (merged.k - n)
        np.testing.assert_allclose(merged.score[at, :n], [score for _, score, _ in expected], rtol=1e-6)
        for name, values in merged.features.items():
            wanted = [facts.get(name, np.nan) for _, _, facts in expected] + [np.nan] * (merged.k - n)
            np.testing.assert_allclose(values[at], wanted, rtol=1e-6, err_msg=name)


HAND = {
    "popularity": candidates([[(9, 50.0), (2, 40.0), (8, 30.0), (7, 20.0)]], 4),
    "itemcf": candidates([[(1, 0.9), (2, 0.5), (3, 0.1)]], 3),
    "two_tower": candidates([[(2, 0.8), (4, 0.7)]], 3),
}


def test_reciprocal_ranks_by_hand() -> None:
    merged = merge(RRFConfig(k0=1.0), HAND, 7)
    # Item 2: 1/(1+2) + 1/(1+1) = 5/6; item 1: 1/2; item 4: 1/3; item 3: 1/4; then popularity's own order.
    assert merged.item_idx.tolist() == [[2, 1, 4, 3, 9, 8, 7]]
    np.testing.assert_allclose(merged.score, [[5 / 6, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7]])
    nan = np.nan
    np.testing.assert_array_equal(merged.features["recall_rank.itemcf"], [[2, 1, nan, 3, nan, nan, nan]])
    np.testing.assert_array_equal(merged.features["recall_rank.two_tower"], [[1, nan, 2, nan, nan, nan, nan]])
    np.testing.assert_array_equal(merged.features["recall_rank.popularity"], [[2, nan, nan, nan, 1, 3, 4]])
    np.testing.assert_array_equal(merged.features["recall_score.popularity"], [[40, nan, nan, nan, 50, 30, 20]])
    np.testing.assert_allclose(merged.features["recall_score.two_tower"], [[0.8, nan, 0.7, nan, nan, nan, nan]])


@pytest.mark.parametrize("config", [RRFConfig(), RRFConfig(k0=0.0), QuotaConfig()])
def test_filling_does_not_stretch_the_scale(config: MergeConfig) -> None:
    channels = {"itemcf": candidates([[(i, 1.0) for i in range(20)], []], 20)}
    channels["popularity"] = candidates([[(i, 1.0) for i in range(10, 90)]] * 2, 80)
    merged = merge(config, channels, 90)
    assert (merged.counts.tolist(), merged.item_idx[0].tolist()) == ([90, 80], list(range(90)))
    assert (np.diff(merged.score[0]) < 0).all()
    assert (np.diff(merged.score[1, :80]) < 0).all()
    assert merged.score[0, -1] > 0
    assert merged.score[1, 79] > 0
    spread = np.ptp(merged.score[0, :20])
    assert spread < np.ptp(merged.score[0]) < 4 * spread  # 330 times as much with scores of −1 to −80


def test_quota_by_hand() -> None:
    merged = merge(QuotaConfig(quota={"itemcf": 2}), HAND, 7)
    # Round 1: items 1 and 2; round 2: item 4 (item 2 is already merged); item 3 is beyond the quota.
    assert merged.item_idx.tolist() == [[1, 2, 4, 9, 8, 7, -1]]
    np.testing.assert_allclose(merged.score, [[1, 1, 0.5, 1.5 / 4, 1.5 / 5, 1.5 / 6, -np.inf]])
    merged = merge(QuotaConfig(quota={"itemcf": 2, "popularity": 1}), HAND, 3)
    assert merged.item_idx.tolist() == [[1, 2, 9]]


def test_scores_by_hand() -> None:
    config = ScoresConfig(spread="range", margin=0.5, weights={"two_tower": 2.0})
    merged = merge(config, HAND, 7)
    # itemcf: 1 → 1 + 0.5, 2 → 0.5 + 0.5, 3 → 0.5; two_tower, doubled: 2 → 2 · 1.5, 4 → 2 · 0.5.
    assert merged.item_idx.tolist() == [[2, 1, 4, 3, 9, 8, 7]]
    np.testing.assert_allclose(merged.score, [[4, 1.5, 1, 0.5, 2 / 5, 2 / 6, 2 / 7]], rtol=1e-6)
    merged = merge(ScoresConfig(margin=0.5), HAND, 4)
    # Standard deviations 0.8 / √6 and 0.05; items 3 and 4 are the lowest of their channels.
    assert merged.item_idx.tolist() == [[2, 1, 3, 4]]
    root = np.sqrt(6)
    np.testing.assert_allclose(merged.score, [[root / 2 + 0.5 + 2.5, root + 0.5, 0.5, 0.5]], rtol=1e-6)


def test_equal_scores_are_merged_by_their_margin() -> None:
    channels = {"itemcf": candidates([[(4, 7.0), (1, 7.0)], [(3, 7.0)]], 2)}
    for spread in ("deviation", "range"):
        merged = merge(ScoresConfig(spread=spread, margin=0.25), channels, 2, fill=None)
        assert merged.item_idx.tolist() == [[1, 4], [3, -1]]
        assert merged.score.tolist() == [[0.25, 0.25], [0.25, -np.inf]]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_equals_the_slow_oracle(data: st.DataObject) -> None:
    widths = {name: data.draw(st.integers(0, 6)) for name in CHANNELS}
    rows = []
    for _ in range(data.draw(st.integers(0, 4))):
        row: dict[str, Row] = {}
        for name, width in widths.items():
            offered = data.draw(st.lists(st.integers(0, 12), max_size=width, unique=True))
            row[name] = [(item, float(10 - at)) for at, item in enumerate(offered)]
        rows.append(row)
    weights = st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    config = data.draw(
        st.one_of(
            st.builds(RRFConfig, k0=st.sampled_from([0.0, 1.0, 60.0]), weights=weights),
            st.builds(
                ScoresConfig,
                spread=st.sampled_from(["deviation", "range"]),
                margin=st.sampled_from([0.25, 1.0]),
                weights=weights,
            ),
            st.builds(QuotaConfig, quota=st.dictionaries(st.sampled_from(CHANNELS), st.integers(0, 7))),
        )
    )
    fill = data.draw(st.sampled_from([None, "popularity", "itemcf"]))
    assert_equals_oracle(config, rows, widths, data.draw(st.integers(1, 20)), fill)


def random_channels(n_rows: int, seed: int = 0) -> dict[str, Candidates]:
    rng = np.random.default_rng(seed)
    return {
        name: candidates(
            [
                [(int(item), float(-at)) for at, item in enumerate(rng.permutation(60)[: rng.integers(0, 21)])]
                for _ in range(n_rows)
            ],
            20,
        )
        for name in CHANNELS
    }


@pytest.mark.parametrize("config", [RRFConfig(), ScoresConfig(), QuotaConfig(quota={"itemcf": 5})])
def test_a_batch_of_one_equals_its_row_and_chunks_change_nothing(
    config: MergeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = random_channels(30)
    whole = merge(config, channels, 15)

    def assert_equal(part: Candidates, rows: slice) -> None:
        expected = whole.select(rows)
        np.testing.assert_array_equal(part.item_idx, expected.item_idx)
        np.testing.assert_array_equal(part.score, expected.score)
        for name, values in expected.features.items():
            np.testing.assert_array_equal(part.features[name], values)

    for row in range(30):
        one = {name: c.select(slice(row, row + 1)) for name, c in channels.items()}
        assert_equal(merge(config, one, 15), slice(row, row + 1))
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        assert_equal(merge(config, channels, 15), slice(None))
    monkeypatch.setattr(merging, "SLOTS_PER_CHUNK", 7 * 60)
    assert_equal(merge(config, channels, 15), slice(None))


def test_large_items_of_many_rows_collide_in_no_table() -> None:
    """Items at the end of the range of 32 bits, which share their lower bits, against the oracle."""
    rng = np.random.default_rng(0)
    items = 2**32 - 1 - 4096 * rng.permutation(40)
    rows = [
        {name: [(int(item), float(-at)) for at, item in enumerate(rng.permutation(items)[:25])] for name in CHANNELS}
        for _ in range(3)
    ]
    assert_equals_oracle(RRFConfig(), rows, dict.fromkeys(CHANNELS, 25), 40, "popularity")


class Holder(ComponentConfig):
    """As a command or a pipeline holds the options."""

    merge: MergeConfig = RRFConfig()


def parsed(values: dict) -> MergeConfig:
    return Holder.parse({"merge": values}).merge


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ({}, {"kind": "quota"}),
        ({}, {"kind": "scores"}),
        ({}, {"k0": 1.0}),
        ({}, {"weights": {"itemcf": 5.0}}),
        ({"kind": "quota"}, {"kind": "quota", "quota": {"itemcf": 3}}),
        ({"kind": "scores"}, {"kind": "scores", "weights": {"itemcf": 5.0}}),
        ({"kind": "scores"}, {"kind": "scores", "spread": "range"}),
        ({"kind": "scores"}, {"kind": "scores", "margin": 5.0}),
    ],
)
def test_every_option_changes_the_result(base: dict, changed: dict) -> None:
    channels = random_channels(30)
    before, after = (merge(parsed(values), channels, 15) for values in (base, changed))
    assert not np.array_equal(before.item_idx, after.item_idx)


def test_weight_zero_keeps_features_only() -> None:
    merged = merge(RRFConfig(weights={"itemcf": 0.0}), HAND, 9, fill=None)
    assert 1 not in merged.item_idx  # only itemcf has it
    at = merged.item_idx[0].tolist().index(2)
    assert merged.features["recall_rank.itemcf"][0, at] == 2


def test_without_filling_popularity_is_a_channel_like_any_other() -> None:
    merged = merge(RRFConfig(k0=0.0), HAND, 9, fill=None)
    # 2: 1/2+1/2+1; 1 and 9: 1; 4: 1/2; 3 and 8: 1/3; 7: 1/4.
    assert merged.item_idx.tolist() == [[2, 1, 9, 4, 3, 8, 7, -1, -1]]


def test_empty_channels() -> None:
    failed = {**HAND, "itemcf": Candidates.empty(1), "two_tower": Candidates.empty(1, 5)}
    assert merge(RRFConfig(), failed, 3).item_idx.tolist() == [[9, 2, 8]]
    nobody = merge(RRFConfig(), {"popularity": Candidates.empty(0, 4)}, 3)
    assert nobody.item_idx.shape == (0, 3)
    assert set(nobody.features) == {"recall_score.popularity", "recall_rank.popularity"}
    assert merge(RRFConfig(), {"popularity": Candidates.empty(2)}, 3).item_idx.shape == (2, 0)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        merge(RRFConfig(), HAND, 0)
    with pytest.raises(ValueError, match="at least one channel"):
        merge(RRFConfig(), {}, 5, fill=None)
    with pytest.raises(ValueError, match="same number of rows"):
        merge(RRFConfig(), {**HAND, "mf": Candidates.empty(2)}, 5)
    with pytest.raises(ConfigError, match="no channel 'popular' among popularity, itemcf, two_tower"):
        merge(RRFConfig(), HAND, 5, fill="popular")
    for config in (RRFConfig(weights={"tower": 1.0}), QuotaConfig(quota={"tower": 1})):
        with pytest.raises(ConfigError, match="no channel 'tower'"):
            merge(config, HAND, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k_0": 60}, "merge.rrf.k_0: no such option"),
        ({"kind": "borda"}, "merge.kind: unknown kind 'borda'; known: 'rrf', 'scores', 'quota'"),
        ({"k0": -1}, "k0"),
        ({"k0": float("nan")}, "k0"),
        ({"weights": {"itemcf": -1}}, "weights.itemcf"),
        ({"weights": {"itemcf": float("inf")}}, "weights.itemcf"),
        ({"kind": "scores", "margin": 0}, "merge.scores.margin"),
        ({"kind": "scores", "k0": 1}, "merge.scores.k0: no such option"),
        ({"kind": "quota", "quota": {"itemcf": 1.5}}, "quota.itemcf"),
        ({"quota": {"itemcf": 1}}, "merge.rrf.quota: no such option"),
        ({"kind": "quota", "weights": {"itemcf": 1}}, "merge.quota.weights: no such option"),
    ],
)
def test_config_errors_name_the_option(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(values)


@pytest.mark.parametrize(
    "values",
    [
        {"weights": {"mf": 2.0}, "k0": 10.0},
        {"kind": "scores", "spread": "range"},
        {"kind": "quota", "quota": {"mf": 3}},
    ],
)
def test_config_round_trip(values: dict) -> None:
    config = parsed(values)
    assert parsed(config.model_dump(mode="json")) == config
