"""MMR against a list worked out by hand, a brute-force twin, and each of its options."""

from __future__ import annotations

import numpy as np
import pytest

from reccore import Candidates, ConfigError, DataError, IdMap, ItemTable, QueryBatch, Vocabulary
from rerank.mmr import MMR

N_ITEMS = 40


def vocabulary(n_items: int = N_ITEMS) -> Vocabulary:
    return Vocabulary(IdMap.of(np.array([1])), IdMap.of(np.arange(n_items)))


def genre_table(genres: list[list[int]]) -> ItemTable:
    offsets = np.cumsum([0] + [len(row) for row in genres])
    flat = np.array([g for row in genres for g in row], dtype=np.int64)
    n_genres = int(flat.max(initial=-1)) + 1
    return ItemTable(
        len(genres), genre_names=tuple("abcdefg"[:n_genres]), genre_offsets=offsets.astype(np.int64), genre_idx=flat
    )


def build(vectors: np.ndarray, **config: object) -> MMR:
    return MMR(config).fit(ItemTable(len(vectors)), vectors.astype(np.float32), vocabulary(len(vectors)))


def candidates_of(items: list[list[int]], scores: list[list[float]]) -> Candidates:
    item_idx, score = np.array(items, dtype=np.int64), np.array(scores, dtype=np.float32)
    return Candidates(item_idx, np.where(item_idx >= 0, score, -np.inf).astype(np.float32))


def random_candidates(rng: np.random.Generator, rows: int, width: int) -> Candidates:
    item_idx = np.argsort(rng.random((rows, N_ITEMS)), axis=1)[:, :width]
    score = -np.sort(-rng.normal(size=(rows, width)), axis=1).astype(np.float32)
    item_idx[np.arange(width) >= rng.integers(0, width + 1, size=rows)[:, None]] = -1
    noted = Candidates(item_idx, np.where(item_idx >= 0, score, -np.inf).astype(np.float32))
    feature = np.where(noted.mask, rng.random(item_idx.shape), np.nan).astype(np.float32)
    return noted.with_features({"recall_rank.x": feature})


def queries(n: int) -> QueryBatch:
    return QueryBatch.from_histories([[]] * n)


def brute_force(row: Candidates, vectors: np.ndarray, trade_off: float, pool: int, k: int) -> list[int]:
    """One query, one candidate and one chosen item at a time."""
    items = [int(i) for i in row.item_idx[0] if i >= 0]
    scores = [float(s) for s in row.score[0][: len(items)]]
    head, tail = items[:pool], items[pool:]
    low, high = min(scores[:pool], default=0.0), max(scores[:pool], default=0.0)
    relevance = {i: (s - low) / (high - low) if high > low else 1.0 for i, s in zip(head, scores, strict=False)}

    def cosine(a: int, b: int) -> float:
        lengths = np.linalg.norm(vectors[a]) * np.linalg.norm(vectors[b])
        return float(vectors[a] @ vectors[b] / lengths) if lengths else 0.0

    chosen: list[int] = []
    while head and len(chosen) < k:
        value = {
            i: trade_off * relevance[i] - (1 - trade_off) * max([0.0, *(cosine(i, j) for j in chosen)]) for i in head
        }
        best = max(head, key=lambda i: value[i])
        chosen.append(best)
        head.remove(best)
    return (chosen + tail)[:k]


def test_by_hand() -> None:
    # Items 0 and 1 point the same way, item 2 is orthogonal. Scores 4, 3, 2, 0 scale to 1, .75, .5, 0.
    vectors = np.array([[1, 0], [1, 0], [0, 1], [3, 3]])
    found = build(vectors, trade_off=0.5).rerank(queries(1), candidates_of([[0, 1, 2, 3]], [[4, 3, 2, 0]]), 3)
    # After 0: item 1 has .375 − .5, item 2 has .25, item 3 has 0 − .5·.7071. After 2: 1 → −.125, 3 → −.3536.
    assert found.item_idx.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(found.score, [[0.5, 0.25, -0.125]], atol=1e-7)
    np.testing.assert_array_equal(found.features["rank_score"], [[4, 2, 3]])


@pytest.mark.parametrize(("trade_off", "pool", "k"), [(0.7, 100, 10), (0.3, 12, 12), (0.0, 8, 15), (0.5, 5, 30)])
def test_equals_brute_force(trade_off: float, pool: int, k: int) -> None:
    rng = np.random.default_rng(int(10 * trade_off) + pool)
    vectors = rng.normal(size=(N_ITEMS, 6)).astype(np.float32)
    vectors[5] = 0.0
    candidates = random_candidates(rng, 25, 20)
    found = build(vectors, trade_off=trade_off, pool=pool).rerank(queries(25), candidates, k)
    assert found.k == min(k, 20)
    for row in range(25):
        expected = brute_force(candidates.select(slice(row, row + 1)), vectors, trade_off, pool, k)
        assert [i for i in found.item_idx[row] if i >= 0] == expected


def test_only_relevance_keeps_the_order_even_of_unsorted_scores() -> None:
    rng = np.random.default_rng(1)
    candidates = random_candidates(rng, 30, 15)
    shuffled = np.where(candidates.mask, rng.normal(size=(30, 15)), -np.inf).astype(np.float32)
    unsorted = Candidates(candidates.item_idx, shuffled)
    for relevance in ("min_max", "rank"):
        reranker = build(rng.normal(size=(N_ITEMS, 4)), trade_off=1.0, relevance=relevance, pool=9)
        for given in (candidates, unsorted):
            found = reranker.rerank(queries(30), given, 15)
            np.testing.assert_array_equal(found.item_idx, given.item_idx)


def test_score_never_rises_and_features_travel() -> None:
    rng = np.random.default_rng(2)
    candidates = random_candidates(rng, 40, 20)
    found = build(rng.normal(size=(N_ITEMS, 3)), trade_off=0.4, pool=11).rerank(queries(40), candidates, 20)
    found.validate()
    with np.errstate(invalid="ignore"):
        steps = np.diff(found.score, axis=1)
    assert (steps[found.mask[:, 1:]] <= 1e-6).all()
    assert (np.abs(found.score[:, :11][found.mask[:, :11]]) <= 1.0).all()
    for row in range(40):
        carried = dict(zip(found.item_idx[row], found.features["recall_rank.x"][row], strict=True))
        given = dict(zip(candidates.item_idx[row], candidates.features["recall_rank.x"][row], strict=True))
        assert all(carried[i] == given[i] for i in carried if i >= 0)


def test_lower_trade_off_makes_lists_more_varied() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(N_ITEMS, 3)).astype(np.float32)
    item_idx = np.argsort(rng.random((50, N_ITEMS)), axis=1)
    candidates = Candidates(item_idx, np.tile(-np.arange(N_ITEMS, dtype=np.float32), (50, 1)))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    redundancy = []
    for trade_off in (1.0, 0.7, 0.3):
        chosen = unit[build(vectors, trade_off=trade_off).rerank(queries(50), candidates, 8).item_idx]
        redundancy.append(float(np.square(chosen.sum(axis=1)).sum(axis=1).mean()))
    assert redundancy[0] > redundancy[1] > redundancy[2]


def test_pool_bounds_what_is_considered() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1]])
    given = candidates_of([[0, 1, 2, 3]], [[4, 3, 2, 1]])
    wide = build(vectors, trade_off=0.1, pool=4).rerank(queries(1), given, 2)
    narrow = build(vectors, trade_off=0.1, pool=3).rerank(queries(1), given, 2)
    assert wide.item_idx.tolist() == [[0, 3]]
    assert narrow.item_idx.tolist() == [[0, 1]]
    beyond = build(vectors, trade_off=0.1, pool=2).rerank(queries(1), given, 4)
    assert beyond.item_idx.tolist() == [[0, 1, 2, 3]]
    assert beyond.score[0, 2:].tolist() == [-2.0, -3.0]


@pytest.mark.parametrize("k", [3, 6, 9, 14])
def test_sort_first_keeps_the_choice_and_puts_it_in_the_order_of_the_input(k: int) -> None:
    rng = np.random.default_rng(7)
    vectors, given = rng.normal(size=(N_ITEMS, 4)), random_candidates(rng, 30, 14)
    chosen = build(vectors, trade_off=0.3, pool=9).rerank(queries(30), given, 14)
    found = build(vectors, trade_off=0.3, pool=9, sort_first=6).rerank(queries(30), given, k)
    found.validate()
    for row in range(30):
        place = {item: column for column, item in enumerate(given.item_idx[row].tolist())}
        first = sorted((i for i in chosen.item_idx[row, :6].tolist() if i >= 0), key=place.__getitem__)
        rest = [i for i in chosen.item_idx[row, 6:].tolist() if i >= 0]
        assert [i for i in found.item_idx[row].tolist() if i >= 0] == [*first, *rest][:k]
    np.testing.assert_array_equal(found.score, chosen.score[:, :k])
    assert (found.item_idx[:, :6] != chosen.item_idx[:, : min(k, 6)]).any()  # λ is low enough to change the order


def test_similarity_chooses_between_vectors_and_genres() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)  # 0 like 2
    items = genre_table([[0], [0], [1]])  # 0 like 1
    given = candidates_of([[0, 1, 2]], [[3, 2, 1]])

    def order(kind: str) -> list[list[int]]:
        reranker = MMR({"similarity": {"kind": kind}, "trade_off": 0.1}).fit(items, vectors, vocabulary(3))
        return reranker.rerank(queries(1), given, 3).item_idx.tolist()

    assert order("vectors") == [[0, 1, 2]]
    assert order("genres") == [[0, 2, 1]]


def test_relevance_chooses_between_gaps_and_ranks() -> None:
    # By gaps items 1 and 2 are as good as 0, and the different item 3 is worthless; by rank 3 is not far behind 2.
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]])
    given = candidates_of([[0, 1, 2, 3]], [[10, 9.9, 9.8, 0]])
    by_gap = build(vectors, trade_off=0.55, relevance="min_max").rerank(queries(1), given, 4)
    by_rank = build(vectors, trade_off=0.55, relevance="rank").rerank(queries(1), given, 4)
    assert by_gap.item_idx.tolist() == [[0, 1, 2, 3]]
    assert by_rank.item_idx.tolist() == [[0, 3, 1, 2]]


@pytest.mark.parametrize("relevance", ["min_max", "rank"])
def test_scale_and_offset_of_the_ranker_do_not_matter(relevance: str) -> None:
    rng = np.random.default_rng(4)
    reranker = build(rng.normal(size=(N_ITEMS, 4)), trade_off=0.6, relevance=relevance)
    candidates = random_candidates(rng, 20, 16)
    scaled = Candidates(candidates.item_idx, (64 * candidates.score + 8).astype(np.float32))
    first, second = (reranker.rerank(queries(20), given, 10) for given in (candidates, scaled))
    np.testing.assert_array_equal(first.item_idx, second.item_idx)


def test_an_item_the_ranker_could_not_score_does_not_flatten_the_others() -> None:
    lowest = float(np.finfo(np.float32).min)
    vectors = np.eye(4)
    given = candidates_of([[0, 1, 2, 3]], [[3, 2, 1, lowest]])
    found = build(vectors, trade_off=1.0).rerank(queries(1), given, 4)
    np.testing.assert_allclose(found.score, [[1, 0.5, 0, 0]])


def test_equal_objectives_go_to_the_earlier_candidate() -> None:
    vectors = np.ones((N_ITEMS, 19)) / 7
    given = candidates_of([list(range(30, 3, -1))], [[1.0] * 27])
    for trade_off in (0.0, 0.5, 1.0):
        found = build(vectors, trade_off=trade_off).rerank(queries(1), given, 27)
        np.testing.assert_array_equal(found.item_idx, given.item_idx)


@pytest.mark.parametrize("dimensions", [8, 19, 64])
def test_equal_vectors_tie_wherever_they_stand(dimensions: int) -> None:
    # All but the first item share one vector. A sum that depends on the position in memory, as BLAS's does, would
    # put some of them before others by a rounding error.
    rng = np.random.default_rng(dimensions)
    for n_items in range(20, N_ITEMS):  # BLAS works in blocks and treats what is left over in another way
        vectors = np.tile(np.abs(rng.normal(size=dimensions)), (n_items, 1))
        vectors[0] = np.abs(rng.normal(size=dimensions))
        given = candidates_of([list(range(n_items))], [[1.0] * n_items])
        found = build(vectors, trade_off=0.0).rerank(queries(1), given, n_items)
        np.testing.assert_array_equal(found.item_idx, given.item_idx)


def test_fit_refuses_what_it_cannot_compare() -> None:
    table, vectors = ItemTable(3), np.eye(3, dtype=np.float32)
    with pytest.raises(ConfigError, match=r"channel 'mf' has none.*similarity\.channel"):
        MMR({"similarity": {"channel": "mf"}}).fit(table, None, vocabulary(3))
    with pytest.raises(ConfigError, match="no item has a genre"):
        MMR({"similarity": {"kind": "genres"}}).fit(table, vectors, vocabulary(3))
    with pytest.raises(DataError, match="for 4 items"):
        MMR().fit(table, vectors, vocabulary(4))
    with pytest.raises(DataError, match="finite"):
        MMR().fit(table, vectors * np.nan, vocabulary(3))
    for wrong in (
        {"trade_off": 1.1},
        {"pool": 0},
        {"similarity": {"kind": "titles"}},
        {"similarity": {"kind": "genres", "channel": "mf"}},
        {"relevance": "raw"},
    ):
        with pytest.raises(ConfigError):
            MMR(wrong)


def test_vectors_are_needed_of_the_channel_named_and_of_none_for_genres() -> None:
    assert MMR().vectors_of == "two_tower"
    assert MMR({"similarity": {"channel": "mf"}}).vectors_of == "mf"
    assert MMR({"similarity": {"kind": "genres"}}).vectors_of is None


def test_another_trade_off_leaves_the_original_alone() -> None:
    original = build(np.eye(4), trade_off=0.7, pool=3)
    other = original.with_trade_off(0.2)
    assert (original.trade_off, other.trade_off) == (0.7, 0.2)
    assert other.config.pool == 3
    given = candidates_of([[0, 1, 2, 3]], [[4, 3, 2, 1]])
    expected = build(np.eye(4), trade_off=0.2, pool=3).rerank(queries(1), given, 4)
    np.testing.assert_array_equal(other.rerank(queries(1), given, 4).score, expected.score)
    with pytest.raises(ConfigError, match=r"trade_off: .*got 2"):
        original.with_trade_off(2)
