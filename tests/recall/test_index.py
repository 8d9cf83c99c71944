"""Every index against a slow sort; the flat index against brute force to the last tie."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recall.index import INDEXES
from recall.index import brute_force as brute_force_module
from recall.index import exact as exact_module
from recall.index.base import BaseIndex
from recall.index.brute_force import BruteForceIndex, rescore
from recall.index.flat import FlatIndex
from reccore import ArtefactError, Candidates, ConfigError, DataError, Exclusions, IdMap, NotFittedError, Vocabulary
from reccore.arrays import offsets_from_lengths
from tests.helpers import NEEDS_ANNOY, NEEDS_QDRANT

EXACT = {"flat", "brute_force"}
NEEDS = {"annoy": NEEDS_ANNOY, "qdrant": NEEDS_QDRANT}
EVERY = pytest.mark.parametrize(
    "cls",
    [pytest.param(INDEXES[name], marks=NEEDS.get(name, ()), id=name) for name in INDEXES],
)


def exclusions(rows: list[list[int]]) -> Exclusions:
    flat = [item for row in rows for item in row]
    return Exclusions(offsets_from_lengths(np.array([len(row) for row in rows])), np.array(flat, dtype=np.int64))


def slow_search(vectors: np.ndarray, queries: np.ndarray, k: int, excluded: list[list[int]]) -> list[list[int]]:
    """Sort by (−score, index) with plain Python; exact where products are small integers."""
    answer = []
    for query, row in zip(queries, excluded, strict=True):
        scores = [sum(float(a) * float(b) for a, b in zip(query, vector, strict=True)) for vector in vectors]
        order = sorted((i for i in range(len(vectors)) if i not in row), key=lambda i: (-scores[i], i))
        answer.append(order[:k])
    return answer


def items(found: Candidates) -> list[list[int]]:
    return [[int(i) for i in row if i >= 0] for row in found.item_idx]


def assert_same(left: Candidates, right: Candidates) -> None:
    np.testing.assert_array_equal(left.item_idx, right.item_idx)
    np.testing.assert_array_equal(left.score, right.score)


@EVERY
def test_hand_computed(cls: type[BaseIndex]) -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 1], [-1, 0]], dtype=np.float32)
    queries = np.array([[1, 0], [2, 3]], dtype=np.float32)
    found = cls().build(vectors).search(queries, 3)
    # Query 0: scores 1, 0, 1, −1, and item 0 goes before item 2 by its index. Query 1: 2, 3, 5, −2.
    assert found.item_idx.tolist() == [[0, 2, 1], [2, 1, 0]]
    assert found.score.tolist() == [[1, 1, 0], [5, 3, 2]]


@EVERY
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_a_slow_sort(cls: type[BaseIndex], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    dimension = data.draw(st.integers(1, 3))
    entries = st.integers(-2, 2)  # so few values that ties abound
    rows = st.lists(entries, min_size=dimension, max_size=dimension)
    vectors = np.array(data.draw(st.lists(rows, min_size=n, max_size=n)), dtype=np.float32)
    queries = np.array(data.draw(st.lists(rows, min_size=1, max_size=4)), dtype=np.float32)
    excluded = [data.draw(st.lists(st.integers(-1, n + 2), max_size=n)) for _ in queries]
    k = data.draw(st.integers(1, n + 5))
    found = cls().build(vectors).search(queries, k, exclusions(excluded))
    found.validate()
    assert found.item_idx.shape == (len(queries), min(k, n))
    assert items(found) == slow_search(vectors, queries, k, excluded)


@pytest.mark.parametrize("duplicated", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_flat_equals_brute_force(duplicated: bool, normalised: bool) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3000, 16)).astype(np.float32)
    if duplicated:
        vectors[600:] = vectors[rng.integers(0, 40, 2400)]  # groups of about 60 equal vectors
    queries = rng.standard_normal((70, 16)).astype(np.float32)
    if normalised:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    excluded = [rng.integers(0, 3000, rng.integers(0, 2) * rng.integers(0, 900)).tolist() for _ in queries]
    flat, brute = FlatIndex().build(vectors), BruteForceIndex().build(vectors)
    for k in (1, 10, 200, 2999, 4000):
        assert_same(flat.search(queries, k, exclusions(excluded)), brute.search(queries, k, exclusions(excluded)))


@EVERY
def test_a_batch_of_one_equals_its_row(cls: type[BaseIndex]) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((2000, 24)).astype(np.float32)
    queries = rng.standard_normal((64, 24)).astype(np.float32)
    excluded = exclusions([rng.integers(0, 2000, n).tolist() for n in range(64)])
    index = cls().build(vectors)
    batch = index.search(queries, 50, excluded)
    for row in range(0, 64, 7):
        single = index.search(queries[row : row + 1], 50, excluded.rows(row, row + 1))
        assert_same(single, batch.select(slice(row, row + 1)))


@EVERY
def test_all_vectors_equal_gives_the_first_items(cls: type[BaseIndex]) -> None:
    index = cls().build(np.ones((500, 4), dtype=np.float32))
    found = index.search(np.ones((2, 4), dtype=np.float32), 5, exclusions([[], [0, 2]]))
    assert found.item_idx.tolist() == [[0, 1, 2, 3, 4], [1, 3, 4, 5, 6]]


def test_flat_repairs_the_order_of_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proposals come with ties in the wrong order and the wrong one of two tied items at the k-th place."""
    vectors = np.zeros((400, 1), dtype=np.float32)
    vectors[[3, 7, 100]] = 2.0
    vectors[[50, 60]] = 1.0
    index = FlatIndex().build(vectors)
    lengths = []

    def ties_reversed(queries: np.ndarray, n: int, exclude: Exclusions) -> Candidates:
        lengths.append(n)
        order = np.lexsort((-np.arange(400), -vectors[:, 0]))[:n]
        return Candidates(np.tile(order, (len(queries), 1)), np.tile(vectors[order, 0], (len(queries), 1)))

    monkeypatch.setattr(index._exact, "_propose", ties_reversed)
    query = np.ones((1, 1), dtype=np.float32)
    assert index.search(query, 4).item_idx.tolist() == [[3, 7, 100, 50]]
    assert index.search(query, 6).item_idx.tolist() == [[3, 7, 100, 50, 60, 0]]  # a tie of 395 at the end
    assert lengths == [12, 14, 56]  # the tie is wider than 56, too, and then everything is scored


def test_flat_proposes_no_more_for_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3000, 8)).astype(np.float32)
    index = FlatIndex().build(vectors)
    proposed = []

    def spy(queries: np.ndarray, vectors: np.ndarray, item_idx: np.ndarray) -> np.ndarray:
        proposed.append(item_idx.shape[1])
        return rescore(queries, vectors, item_idx)

    monkeypatch.setattr(exact_module, "rescore", spy)
    monkeypatch.setattr(exact_module, "ITEMS_PER_BLOCK", 700)
    monkeypatch.setattr(exact_module, "QUERIES_PER_CHUNK", 2)
    queries = vectors[:5]
    excluded = exclusions([rng.choice(3000, n, replace=False).tolist() for n in (0, 500, 1000, 2000, 2995)])
    found = index.search(queries, 10, excluded)
    assert found.counts.tolist() == [10, 10, 10, 10, 5]
    assert_same(found, BruteForceIndex().build(vectors).search(queries, 10, excluded))
    assert max(proposed) <= 10 + exact_module.SLACK


@EVERY
def test_everything_excluded_gives_an_empty_row(cls: type[BaseIndex]) -> None:
    index = cls().build(np.eye(3, dtype=np.float32))
    found = index.search(np.ones((2, 3), dtype=np.float32), 2, exclusions([[0, 1, 2, 2, -1, 99], [1]]))
    assert found.item_idx.tolist() == [[-1, -1], [0, 2]]
    assert np.isneginf(found.score[0]).all()


@EVERY
def test_edges_of_size(cls: type[BaseIndex]) -> None:
    one = cls().build(np.array([[2.0]], dtype=np.float32))
    assert one.search(np.array([[-3.0]], dtype=np.float32), 10).score.tolist() == [[-6.0]]
    empty = one.search(np.empty((0, 1), dtype=np.float32), 10)
    assert empty.item_idx.shape == (0, 1)
    assert one.is_exact() == (cls.name in EXACT)
    assert (one.n_items, one.dimension) == (1, 1)


def test_brute_force_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    index = BruteForceIndex().build(rng.standard_normal((100, 5)).astype(np.float32))
    queries = rng.standard_normal((23, 5)).astype(np.float32)
    excluded = exclusions([[row] for row in range(23)])
    whole = index.search(queries, 7, excluded)
    monkeypatch.setattr(brute_force_module, "CELLS_PER_CHUNK", 450)
    monkeypatch.setattr(brute_force_module, "ITEMS_PER_BLOCK", 33)
    assert_same(index.search(queries, 7, excluded), whole)


@EVERY
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_bad_vectors_are_named(cls: type[BaseIndex], bad: float) -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    vectors[2, 1] = bad
    with pytest.raises(DataError, match="item vector 2 holds"):
        cls().build(vectors)
    with pytest.raises(DataError, match="query vector 2 holds"):
        cls().build(np.ones((4, 3), dtype=np.float32)).search(vectors, 1)


@EVERY
def test_wrong_arguments(cls: type[BaseIndex]) -> None:
    with pytest.raises(NotFittedError):
        cls().search(np.ones((1, 3), dtype=np.float32), 1)
    for shape in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match="at least one vector"):
            cls().build(np.ones(shape, dtype=np.float32))
    index = cls().build(np.ones((4, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(np.ones((1, 3), dtype=np.float32), 0)
    with pytest.raises(ValueError, match="2 entries, the index holds 3"):
        index.search(np.ones((1, 2), dtype=np.float32), 1)
    with pytest.raises(ValueError, match="array of floats"):
        index.search(np.ones(3, dtype=np.float32), 1)
    with pytest.raises(ValueError, match="1 queries but 2 rows"):
        index.search(np.ones((1, 3), dtype=np.float32), 1, Exclusions.nothing(2))
    with pytest.raises(ConfigError, match="lists"):
        cls({"lists": 4})


@EVERY
def test_ids_survive_the_round_trip(cls: type[BaseIndex], tmp_path: Path) -> None:
    """Each item is its own nearest neighbour, before and after saving, down to the raw id."""
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    raw = np.sort(rng.choice(10_000, 50, replace=False)).astype(np.int64)
    vocabulary = Vocabulary(IdMap(np.arange(3)), IdMap(raw))
    index = cls().build(vectors)
    index.save(tmp_path / "index", vocabulary, seed=5)
    loaded = INDEXES.load(tmp_path / "index")
    assert type(loaded) is cls
    assert loaded.vocabulary.fingerprint == vocabulary.fingerprint
    found = loaded.search(vectors, 5)
    assert loaded.vocabulary.items.decode(found.item_idx[:, 0]).tolist() == raw.tolist()
    assert_same(found, index.search(vectors, 5))
    loaded.save(tmp_path / "again")  # a loaded index knows its vocabulary
    assert_same(cls.load(tmp_path / "again").search(vectors, 5), found)


def test_saving_needs_a_vocabulary_that_fits(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        FlatIndex().save(tmp_path / "x")
    index = FlatIndex().build(np.ones((4, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="needs the vocabulary"):
        index.save(tmp_path / "x")
    with pytest.raises(ValueError, match="4 vectors but 3 items"):
        index.save(tmp_path / "x", Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(3))))
    assert not (tmp_path / "x").exists()


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    from reccore.bundle import file_sha256

    vocabulary = Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(4)))
    path = tmp_path / "index"
    FlatIndex().build(np.eye(4, dtype=np.float32)).save(path, vocabulary)
    file = path / "index.faiss"

    def replace(content: bytes, *, rehash: bool) -> None:
        file.write_bytes(content)
        if rehash:
            manifest = json.loads((path / "manifest.json").read_text())
            manifest["files"]["index.faiss"] = file_sha256(file)
            (path / "manifest.json").write_text(json.dumps(manifest))

    original = file.read_bytes()
    replace(original[:-1] + bytes([original[-1] ^ 1]), rehash=False)
    with pytest.raises(ArtefactError, match="does not have the hash"):
        FlatIndex.load(path)
    replace(b"not an index", rehash=True)
    with pytest.raises(ArtefactError, match="not a FAISS index"):
        FlatIndex.load(path)
    replace(faiss.serialize_index(faiss.IndexFlatL2(4)).tobytes(), rehash=True)
    with pytest.raises(ArtefactError, match="an IndexFlatIP is needed"):
        FlatIndex.load(path)
    short = faiss.IndexFlatIP(4)
    short.add(np.eye(4, dtype=np.float32)[:3])
    replace(faiss.serialize_index(short).tobytes(), rehash=True)
    with pytest.raises(ArtefactError, match="3 vectors but 4 items"):
        FlatIndex.load(path)
