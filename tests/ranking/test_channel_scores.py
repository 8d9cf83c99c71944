"""What rankers read of the channels' scores of every candidate, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.features import FEATURES, FeatureBatch, FeatureTables, Fitted
from ranking.features.recall import LEAST_SHARE, sums_of
from reccore import Candidates, RankingSamples
from reccore.arrays import FloatArray
from tests.ranking.samples import board_setting, candidates_of, history_batch

NAN = np.nan


def values_of(feature: str, member: str, match: list[list[float]]) -> FloatArray:
    setting = board_setting()
    item_idx = np.array([[4, 2, 7], [1, 3, -1]])
    column = np.array(match, dtype=np.float32)
    candidates = candidates_of(item_idx).with_features({f"match.{member}": column})
    tables = FeatureTables(setting.items, setting.users)
    batch = FeatureBatch(tables, history_batch([[0], [5]]), candidates)
    values: FloatArray = FEATURES[feature].compute(batch, Fitted(member))
    return values


def test_a_centred_match_keeps_the_channels_unit() -> None:
    found = values_of("recall.{channel}.centred", "net", [[0.5, -0.1, 0.2], [30.0, 10.0, NAN]])
    np.testing.assert_allclose(found, [[0.3, -0.3, 0.0], [10.0, -10.0, NAN]], atol=1e-6)


def test_the_share_of_a_sum_is_over_the_candidates() -> None:
    found = values_of("recall.{channel}.log_share", "counts", [[3.0, 1.0, 0.0], [0.0, 0.0, NAN]])
    expected = np.log(np.array([[0.75, 0.25, 0.0], [0.0, 0.0, NAN]]) + LEAST_SHARE)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_places_are_among_all_candidates_and_equal_scores_share_them() -> None:
    found = values_of("recall.{channel}.match_log_rank", "counts", [[0.0, 0.0, 3.0], [-1.0, NAN, 9.0]])
    np.testing.assert_allclose(found, -np.log([[2.0, 2.0, 1.0], [1.0, NAN, NAN]]), rtol=1e-6)


@pytest.mark.parametrize(
    "feature", ["recall.{channel}.centred", "recall.{channel}.log_share", "recall.{channel}.match_log_rank"]
)
def test_a_channel_without_a_column_says_nothing(feature: str) -> None:
    setting = board_setting()
    batch = FeatureBatch(
        FeatureTables(setting.items, setting.users), history_batch([[0]]), candidates_of(np.array([[4, 2]]))
    )
    assert np.isnan(FEATURES[feature].compute(batch, Fitted("net"))).all()


def test_shares_are_of_channels_that_count_alone() -> None:
    setting = board_setting()
    candidates: Candidates = candidates_of(np.array([[4, 2, -1]])).with_features(
        {
            "match.net": np.array([[0.4, -0.2, NAN]], dtype=np.float32),
            "match.counts": np.array([[3.0, 0.0, NAN]], dtype=np.float32),
        }
    )
    samples = RankingSamples(history_batch([[0]]), candidates, {})
    assert sums_of(samples, FeatureTables(setting.items, setting.users)) == ("counts",)
