"""Genre cosines of the candidate to the latest events, by hand and against a loop."""

from __future__ import annotations

import numpy as np

from ranking.features import FEATURES, FeatureBatch, FeatureTables, Fitted
from reccore import Candidates, ItemTable, QueryBatch, UserTable
from reccore.arrays import offsets_from_lengths

NAN = np.nan
GENRES = [[0], [0, 1], [1, 2], [], [2]]
ITEMS = ItemTable(
    5,
    genre_names=("A", "B", "C"),
    genre_offsets=offsets_from_lengths(np.array([len(row) for row in GENRES])),
    genre_idx=np.array([genre for row in GENRES for genre in row]),
)


def values(queries: QueryBatch, item_idx: list[list[int]], name: str, member: str = "") -> np.ndarray:
    scores = np.where(np.array(item_idx) >= 0, 0.0, -np.inf).astype(np.float32)
    batch = FeatureBatch(FeatureTables(ITEMS, UserTable(0)), queries, Candidates(np.array(item_idx), scores))
    return np.asarray(FEATURES[name].compute(batch, Fitted(member)))


def cosine(one: int, other: int) -> float:
    both = set(GENRES[one]) & set(GENRES[other])
    return len(both) / np.sqrt(len(GENRES[one]) * len(GENRES[other])) if both else 0.0


def test_of_few_events_by_hand() -> None:
    queries = QueryBatch.from_histories([[4, 1, 0], [3], []], ratings=[[1, 3, 5], [4], []])
    item_idx = [[0, 2, 3, -1], [0, 1, -1, -1], [0, -1, -1, -1]]
    half = np.sqrt(0.5)  # of film 0, or film 4, and a film of two genres
    cases = {
        ("mean", "1"): [1, 0],  # to film 0 alone
        ("mean", "3"): [(1 + half + 0) / 3, (0 + 0.5 + half) / 3],
        ("mean", "20"): [(1 + half + 0) / 3, (0 + 0.5 + half) / 3],
        ("max", "3"): [1, half],
    }
    for (pool, member), expected in cases.items():
        found = values(queries, item_idx, f"cross.genre_cosine_{pool}.{{window}}", member)
        rows = [[*expected, NAN, NAN], [0, 0, NAN, NAN], [NAN] * 4]
        np.testing.assert_allclose(found, rows, atol=1e-6, err_msg=f"{pool} {member}")
    decay = 0.5 ** (1 / 5)
    found = values(queries, item_idx, "cross.genre_cosine_decayed")
    rows = [[1 + decay * half, decay * 0.5 + decay**2 * half, NAN, NAN], [0, 0, NAN, NAN], [NAN] * 4]
    np.testing.assert_allclose(found, rows, atol=1e-6)
    found = values(queries, item_idx, "cross.genre_cosine_rated")
    rows = [[2 * 1 / 3, -2 * half / 3, NAN, NAN], [0, 0, NAN, NAN], [NAN] * 4]  # film 0 was rated 2 above the mean of 3
    np.testing.assert_allclose(found, rows, atol=1e-6)


def test_ratings_count_where_there_are_some() -> None:
    queries = QueryBatch.from_histories([[0, 4, 0], [0]], ratings=[[5, 3, NAN], [NAN]])
    found = values(queries, [[0, 4], [0, 4]], "cross.genre_cosine_rated")
    np.testing.assert_allclose(found, [[1 / 2, -1 / 2], [NAN, NAN]])


def test_of_long_histories_against_a_loop() -> None:
    rng = np.random.default_rng(3)
    histories = [rng.integers(0, 5, n).tolist() for n in (2, 4, 19, 20, 21, 60)]
    queries = QueryBatch.from_histories(histories)
    item_idx = [[0, 1, 2, 4]] * len(histories)
    for window in (1, 3, 5, 20):
        cosines = [[[cosine(item, e) for e in row[-window:]] for item in (0, 1, 2, 4)] for row in histories]
        found = values(queries, item_idx, "cross.genre_cosine_mean.{window}", str(window))
        np.testing.assert_allclose(found, [[np.mean(c) for c in row] for row in cosines], atol=1e-6)
        if window > 1:
            found = values(queries, item_idx, "cross.genre_cosine_max.{window}", str(window))
            np.testing.assert_allclose(found, [[np.max(c) for c in row] for row in cosines], atol=1e-6)
    found = values(queries, item_idx, "cross.genre_cosine_decayed")
    for row, history in enumerate(histories):
        for column, item in enumerate((0, 1, 2, 4)):
            terms = [0.5 ** (ago / 5) * cosine(item, event) for ago, event in enumerate(history[::-1][:20])]
            np.testing.assert_allclose(found[row, column], sum(terms), rtol=1e-5)
