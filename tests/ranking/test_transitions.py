"""Transitions from the last event to the candidate, by hand and against a loop."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ranking.deepfm import DeepFM
from ranking.features import FEATURES, FeatureBatch, FeatureTables, Fitted, transitions
from ranking.lambdamart import LambdaMART
from reccore import Candidates, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable
from tests.helpers import rows_of
from tests.ranking.samples import board_setting, candidates_of

NAN = np.nan
FEATURE = FEATURES["cross.transitions.{steps}"]
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


def samples_of(queries: QueryBatch, answers: list[int]) -> RankingSamples:
    """Queries that are offered their answer alone; -1 = nothing."""
    item_idx = np.array(answers)[:, None]
    return RankingSamples(queries, candidates_of(item_idx), {"click": np.where(item_idx >= 0, 1.0, NAN)})


def values(
    samples: RankingSamples, n_items: int, steps: int, asked: QueryBatch, item_idx: list[list[int]]
) -> np.ndarray:
    assert FEATURE.fit is not None
    tables, member = FeatureTables(ItemTable(n_items), UserTable(9)), str(steps)
    state = FEATURE.fit(samples, tables, member)
    candidates = Candidates(np.array(item_idx), np.zeros(np.shape(item_idx), dtype=np.float32))
    return np.expm1(FEATURE.compute(FeatureBatch(tables, asked, candidates), Fitted(member, state)))


def test_by_hand() -> None:
    # User 0: 0 1 2 0 3, of which 3 is the label of an earlier query; user 1: 0 1; a new user is not counted.
    queries = QueryBatch.from_histories([[0, 1, 2, 0, 3], [0, 1, 2, 0], [0, 1], [0, 4]], user_idx=[0, 0, 1, -1])
    samples = samples_of(queries, [-1, 3, -1, -1])
    asked = QueryBatch.from_histories([[2, 0], [1], [4], []])
    item_idx = [[1, 2, 3, 4], [2, 0, 1, -1], [0, 1, 2, 3], [0, 1, 2, 3]]
    none = [NAN] * 4
    expected = {
        1: [[2, 0, 0, 0], [1, 0, 0, NAN], [0] * 4, none],
        3: [[2, 1, 0, 0], [1, 1, 0, NAN], [0] * 4, none],  # an item does not follow itself
        10: [[2, 1, 0, 0], [1, 1, 0, NAN], [0] * 4, none],
    }
    for steps, rows in expected.items():
        np.testing.assert_allclose(values(samples, 5, steps, asked, item_idx), rows, atol=1e-6, err_msg=str(steps))


@pytest.mark.parametrize("kept", [200, 3])
@pytest.mark.parametrize("steps", transitions.STEPS)
def test_is_the_count_of_a_loop(steps: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "FOLLOWERS", kept)
    rng = np.random.default_rng(0)
    queries = QueryBatch.from_histories(
        [rng.integers(0, 12, size=n).tolist() for n in rng.integers(0, 30, size=9)], user_idx=list(range(9))
    )
    counts: dict[int, Counter[int]] = {item: Counter() for item in range(12)}
    for history in rows_of(queries):
        for here, item in enumerate(history):
            counts[item].update(other for other in history[here + 1 : here + steps + 1] if other != item)
    best = {i: dict(sorted(c.items(), key=lambda pair: (-pair[1], pair[0]))[:kept]) for i, c in counts.items()}
    asked = QueryBatch.from_histories([[item] for item in range(12)])
    found = values(samples_of(queries, [-1] * 9), 12, steps, asked, [list(range(12))] * 12)
    expected = [[best[item].get(other, 0) for other in range(12)] for item in range(12)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_histories_and_no_items() -> None:
    nothing = samples_of(QueryBatch.from_histories([[]], user_idx=[0]), [-1])
    found = values(nothing, 3, 3, QueryBatch.from_histories([[1], []]), [[0, -1], [2, 0]])
    np.testing.assert_array_equal(found, [[0, NAN], [NAN, NAN]])


@pytest.mark.parametrize("ranker", [DeepFM, LambdaMART])
def test_rankers_read_it_by_name_alone(ranker: type[DeepFM] | type[LambdaMART]) -> None:
    setting = board_setting()
    names = [f"cross.transitions.{n}" for n in transitions.STEPS]
    options = {"epochs": 1} if ranker is DeepFM else {"trees": 5}
    for features, expected in ((["default"], []), (["default", "cross.transitions.*"], names)):
        fitted = ranker({**options, "features": features}).fit(setting.samples, options=QUIET, **setting.tables())  # type: ignore[arg-type]
        fields = [field["name"] for field in fitted._encoder.schema.to_json()]
        assert [name for name in fields if name.startswith("cross.transitions")] == expected
