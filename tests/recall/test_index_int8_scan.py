"""The scan of 8-bit codes against brute force: no true best item may be lost, whatever the vectors are like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recall.index.brute_force import BruteForceIndex, dense_scores
from recall.index.exact import FEW_QUERIES, MANY_ITEMS
from recall.index.flat import FlatIndex
from recall.index.int8_scan import ROOM, Int8Scan
from recall.topk_kernels import SAMPLE
from reccore import Exclusions
from reccore.arrays import offsets_from_lengths

N, D = MANY_ITEMS + 123, 24
NOTHING = np.empty(0, dtype=np.int64)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, D)).astype(np.float32)


def lengths_differ(vectors: np.ndarray) -> np.ndarray:
    lengths = 10.0 ** np.random.default_rng(5).uniform(-4, 3, len(vectors))
    return (vectors * lengths[:, None]).astype(np.float32)


def duplicated(vectors: np.ndarray) -> np.ndarray:
    return vectors[np.random.default_rng(6).integers(0, 300, len(vectors))]


def nearly_equal(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors[:1] + 1e-4 * vectors)


def one_great_entry(vectors: np.ndarray) -> np.ndarray:
    changed = vectors.copy()
    changed[::7, 3] = 1e4
    return changed


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unit": unit,
    "lengths differ": lengths_differ,
    "duplicated": duplicated,
    "nearly equal": nearly_equal,
    "one great entry": one_great_entry,
    "tiny": lambda vectors: vectors * np.float32(1e-38),
    "great": lambda vectors: vectors * np.float32(1e13),
    "some zero": lambda vectors: np.where(np.arange(N)[:, None] % 3 == 0, vectors, np.float32(0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_queries_equal_brute_force_to_the_last_tie(kind: str) -> None:
    vectors = KINDS[kind](drawn(1))
    queries = np.concatenate([drawn(2)[:2], vectors[:1], np.zeros((1, D), dtype=np.float32)])
    rng = np.random.default_rng(3)
    flat, brute = FlatIndex().build(vectors), BruteForceIndex().build(vectors)
    for k, n_excluded in ((1, 0), (10, 2000), (500, 40), (500, N - 200), (N - 50, 5)):
        for query in queries:
            rows = [rng.integers(-1, N + 3, n_excluded) if n_excluded < N // 2 else rng.permutation(N)[:n_excluded]]
            exclude = Exclusions(offsets_from_lengths(np.array([n_excluded])), np.concatenate(rows))
            found, truth = flat.search(query[None], k, exclude), brute.search(query[None], k, exclude)
            np.testing.assert_array_equal(found.item_idx, truth.item_idx)
            np.testing.assert_array_equal(found.score, truth.score)


def test_the_survivors_hold_all_best_items_and_few_others() -> None:
    vectors, queries = unit(drawn(1)), drawn(2)[:20]
    scan, scores = Int8Scan(vectors), dense_scores(queries, vectors)
    for query, row in zip(queries, scores, strict=True):
        excluded = np.argsort(-row)[:30]
        kept = scan.survivors(query, 100, excluded)
        assert kept is not None
        best = np.flatnonzero(row >= np.sort(np.delete(row, excluded))[-100])
        assert set(best) - set(excluded) <= set(kept.tolist())
        assert not set(excluded) & set(kept.tolist())
        assert len(kept) < 200
        assert (np.diff(kept) > 0).all()


def test_the_bound_holds_for_every_pair() -> None:
    """The exact product lies within the error that the scan assumes, at the hardest vectors too."""
    for kind in ("unit", "lengths differ", "one great entry"):
        vectors, query = KINDS[kind](drawn(1)), drawn(2)[0]
        scan = Int8Scan(vectors)
        step = np.abs(query.astype(np.float64)).max() / scan._largest_query
        codes = np.rint(query.astype(np.float64) / step)
        by_codes = scan._codes.codes[:, :D].astype(np.float64) @ codes * step * scan._codes.scale
        off = np.abs(by_codes - vectors[scan._codes.item].astype(np.float64) @ query.astype(np.float64))
        bound = scan._codes.bound.astype(np.float64) * np.linalg.norm(query.astype(np.float64))
        assert (off <= bound).all()
        assert (off > 0.1 * bound).any()  # a bound of any size would pass the line above


def test_short_vectors_are_not_read_once_the_best_are_known() -> None:
    """Vectors of falling length: codes of short ones that cannot reach the best may hold anything."""
    vectors = (unit(drawn(1)) * (0.999 ** np.arange(N))[:, None]).astype(np.float32)
    query = drawn(2)[0]
    whole, cut = Int8Scan(vectors), Int8Scan(vectors)
    short = np.arange(6000, N)
    short = short[short % (N // SAMPLE) != 0]  # others are read to estimate where the best begin
    cut._codes.scale[short], cut._codes.codes[short, :D] = 1e9, np.sign(query)  # scores beyond all others
    np.testing.assert_array_equal(cut.survivors(query, 20, NOTHING), whole.survivors(query, 20, NOTHING))


def test_items_that_codes_cannot_tell_apart_are_left_to_products() -> None:
    scan = Int8Scan(np.ones((N, D), dtype=np.float32))
    assert scan.survivors(np.ones(D, dtype=np.float32), 10, NOTHING) is None
    assert ROOM * 10 < N
    flat = FlatIndex().build(np.ones((N, D), dtype=np.float32))
    assert flat.search(np.ones((1, D), dtype=np.float32), 3).item_idx.tolist() == [[0, 1, 2]]


def test_many_entries_do_not_overflow() -> None:
    vectors = np.full((MANY_ITEMS, 1500), -1.0, dtype=np.float32)
    vectors[5] = 1.0
    kept = Int8Scan(vectors).survivors(np.full(1500, 2.0, dtype=np.float32), 1, NOTHING)
    assert kept is not None
    assert kept.tolist() == [5]


def test_codes_are_made_for_few_queries_alone() -> None:
    flat = FlatIndex().build(unit(drawn(1)))
    flat.search(drawn(2)[: FEW_QUERIES + 1], 10)
    assert flat.n_bytes == 4 * N * D
    flat.search(drawn(2)[:FEW_QUERIES], 10)
    assert 4 * N * D + N * D < flat.n_bytes <= 4 * N * D + N * 49
