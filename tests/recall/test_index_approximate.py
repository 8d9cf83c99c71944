"""Approximate indexes of FAISS on catalogues large enough for their structures."""

from __future__ import annotations

import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from recall.index import INDEXES
from recall.index.approximate import SMALLEST, ApproximateIndex, FaissIndex
from recall.index.base import BaseIndex
from recall.index.brute_force import BruteForceIndex
from recall.index.exact import ExactSearch
from recall.index.hnsw import HNSWIndex
from recall.index.ivf import IVFIndex, spherical_kmeans
from recall.index.pq import PQIndex
from reccore import ArtefactError, Candidates, ConfigError, Exclusions, IdMap, Vocabulary
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths
from reccore.bundle import file_sha256

APPROXIMATE = [INDEXES[name] for name in INDEXES if issubclass(INDEXES[name], FaissIndex)]
EVERY = pytest.mark.parametrize("cls", APPROXIMATE, ids=[cls.name for cls in APPROXIMATE])
N, D = 2000, 16


def groups(n: int, seed: int, centres: int = 40, dimension: int = D) -> FloatArray:
    """Unit vectors around ``centres`` directions, which do not depend on the seed."""
    rng = np.random.default_rng(99)
    middle = rng.standard_normal((centres, dimension))
    rng = np.random.default_rng(seed)
    vectors = middle[rng.integers(0, centres, n)] + 0.5 * rng.standard_normal((n, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


ITEMS, QUERIES = groups(N, 0), groups(50, 1)
BUILT = {cls.name: cls().build(ITEMS, seed=5) for cls in APPROXIMATE}


def exclusions(rows: list[list[int]]) -> Exclusions:
    flat = np.array([item for row in rows for item in row], dtype=np.int64)
    return Exclusions(offsets_from_lengths(np.array([len(row) for row in rows])), flat)


def recall(found: Candidates, truth: Candidates) -> float:
    """Mean size of the intersection; vectors here have no ties."""
    shared = [len(np.intersect1d(a, b)) for a, b in zip(found.item_idx, truth.item_idx, strict=True)]
    return float(np.mean(shared)) / truth.k


def assert_same(left: Candidates, right: Candidates) -> None:
    np.testing.assert_array_equal(left.item_idx, right.item_idx)
    np.testing.assert_array_equal(left.score, right.score)


def test_the_three_are_registered() -> None:
    assert {IVFIndex, HNSWIndex, PQIndex} == set(APPROXIMATE)


@EVERY
def test_it_is_not_the_fallback_that_answers(cls: type[ApproximateIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests of this file would prove nothing if the whole catalogue were searched."""

    def never(*_: object) -> None:
        raise AssertionError("searched exactly")

    monkeypatch.setattr(ExactSearch, "search", never)
    found = BUILT[cls.name].search(QUERIES, 20, exclusions([[row, row + 1] for row in range(50)]))
    found.validate()
    assert found.mask.all()
    assert not BUILT[cls.name].is_exact()


@EVERY
def test_finds_nearly_all_and_scores_as_the_exact_index_does(cls: type[ApproximateIndex]) -> None:
    rng = np.random.default_rng(2)
    excluded = [rng.integers(0, N, size).tolist() for size in rng.integers(0, 300, 50)]
    exact = BruteForceIndex().build(ITEMS)
    truth = exact.search(QUERIES, 20, exclusions(excluded))
    found = BUILT[cls.name].search(QUERIES, 20, exclusions(excluded))
    found.validate()
    assert recall(found, truth) > 0.97
    products = QUERIES.astype(np.float64) @ ITEMS.T.astype(np.float64)
    np.testing.assert_array_equal(found.score, np.take_along_axis(products, found.item_idx, axis=1).astype(np.float32))
    assert not any(np.isin(row, banned).any() for row, banned in zip(found.item_idx, excluded, strict=True))


@EVERY
def test_more_effort_finds_more(cls: type[ApproximateIndex]) -> None:
    truth = BruteForceIndex().build(ITEMS).search(QUERIES, 5)
    poor = {"hnsw": {"neighbours": 4, "ef_construction": 8}, "pq": {"rerank": 16}}  # a good graph finds all at once
    index = cls({"list_length": 5, **poor.get(cls.name, {})}).build(ITEMS, seed=5)
    low = recall(index.set_options(**{cls.parameter: 1}).search(QUERIES, 5), truth)
    high = recall(index.set_options(**{cls.parameter: index.most_effort}).search(QUERIES, 5), truth)
    assert low < high
    assert high > 0.98
    assert index.effort == index.most_effort


@EVERY
def test_a_batch_equals_its_rows(cls: type[ApproximateIndex]) -> None:
    rng = np.random.default_rng(3)
    excluded = exclusions([rng.integers(0, N, 30 * row).tolist() for row in range(50)])
    batch = BUILT[cls.name].search(QUERIES, 30, excluded)
    for row in range(50):
        single = BUILT[cls.name].search(QUERIES[row : row + 1], 30, excluded.rows(row, row + 1))
        assert_same(single, batch.select(slice(row, row + 1)))


@EVERY
@pytest.mark.parametrize("k", [700, N - 1, N, N + 5])
def test_long_lists_are_exact(cls: type[ApproximateIndex], k: int) -> None:
    exact = BruteForceIndex().build(ITEMS)
    excluded = exclusions([[0, 3, 3, -1, N + 7], *([[]] * 49)])
    found, truth = BUILT[cls.name].search(QUERIES, k, excluded), exact.search(QUERIES, k, excluded)
    found.validate()
    if k < N / 2 - 100:
        assert found.mask.all()
        assert recall(found, truth) > 0.95
    else:
        assert_same(found, truth)


@EVERY
def test_a_long_history_is_searched_exactly(cls: type[ApproximateIndex], monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS is never asked for thousands of items, and near items in the history cost no recall."""
    exact = BruteForceIndex().build(ITEMS)
    index = BUILT[cls.name]
    lengths = []
    nearest = index._nearest

    def spy(queries: FloatArray, n: int, effort: int) -> IntArray:
        lengths.append(n)
        return nearest(queries, n, effort)

    monkeypatch.setattr(index, "_nearest", spy)
    near = exact.search(QUERIES[:2], 300).item_idx
    excluded = exclusions([near[0].tolist(), []])
    found = index.search(QUERIES[:2], 20, excluded)
    assert set(lengths) == {32}
    assert_same(found.select(slice(0, 1)), exact.search(QUERIES[:1], 20, excluded.rows(0, 1)))


@EVERY
def test_a_query_that_finds_too_few_searches_wider(
    cls: type[ApproximateIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All items near the query are excluded; the others are in lists, or behind links, far from it."""
    monkeypatch.setattr("recall.index.approximate.EXACT_BEYOND", 1)
    exact = BruteForceIndex().build(ITEMS)
    near = exact.search(QUERIES[:1], 900).item_idx[0]
    banned = exclusions([np.setdiff1d(np.arange(N), near[-3:]).tolist(), near[:400].tolist()])
    queries = QUERIES[[0, 0]]
    found = BUILT[cls.name].search(queries, 10, banned)
    assert found.item_idx[0].tolist() == [*near[-3:].tolist(), *([-1] * 7)]
    assert found.mask[1].all()
    assert not np.isin(found.item_idx[1], near[:400]).any()


@EVERY
def test_the_same_seed_builds_the_same_index(cls: type[ApproximateIndex]) -> None:
    codes = [faiss.serialize_index(cls().build(ITEMS, seed=seed)._index).tobytes() for seed in (5, 5, 6)]
    assert codes[0] == codes[1]
    assert codes[0] != codes[2]


@EVERY
def test_saved_and_loaded(cls: type[ApproximateIndex], tmp_path: Path) -> None:
    index = cls({"list_length": 20}).build(ITEMS, seed=5)
    index.set_options(**{cls.parameter: 7})
    index.save(tmp_path / "index", Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N) * 3 + 1)))
    loaded = INDEXES.load(tmp_path / "index")
    assert isinstance(loaded, cls)
    assert loaded.config == index.config
    assert loaded.effort == 7
    assert_same(loaded.search(QUERIES, 20), index.search(QUERIES, 20))
    assert loaded.n_bytes == index.n_bytes
    assert {path.suffix for path in (tmp_path / "index").iterdir()} == {".json", ".npz", ".npy", ".faiss"}
    loaded.save(tmp_path / "index")  # over the files that its vectors are mapped from
    assert_same(INDEXES.load(tmp_path / "index").search(QUERIES, 20), loaded.search(QUERIES, 20))


@EVERY
def test_foreign_files_are_refused(cls: type[ApproximateIndex], tmp_path: Path) -> None:
    path = tmp_path / "index"
    BUILT[cls.name].save(path, Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N))))

    def put(name: str, content: bytes) -> None:
        (path / name).write_bytes(content)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"][name] = file_sha256(path / name)
        (path / "manifest.json").write_text(json.dumps(manifest))

    codes, vectors = (path / "index.faiss").read_bytes(), (path / "vectors.npy").read_bytes()
    put("index.faiss", b"not an index")
    with pytest.raises(ArtefactError, match="not a FAISS index"):
        cls.load(path)
    put("index.faiss", faiss.serialize_index(faiss.IndexFlatIP(D)).tobytes())
    with pytest.raises(ArtefactError, match="holds FAISS's IndexFlatIP, not Index"):
        cls.load(path)
    put("index.faiss", codes)
    put("vectors.npy", b"not an array")
    with pytest.raises(ArtefactError, match="cannot be read"):
        cls.load(path)
    np.save(path / "vectors.npy", ITEMS.astype(np.float64))
    put("vectors.npy", (path / "vectors.npy").read_bytes())
    with pytest.raises(ArtefactError, match="float32"):
        cls.load(path)
    np.save(path / "vectors.npy", ITEMS[:-1])
    put("vectors.npy", (path / "vectors.npy").read_bytes())
    with pytest.raises(ArtefactError, match="damaged"):
        cls.load(path)
    put("vectors.npy", vectors)
    assert cls.load(path).n_items == N


@EVERY
@pytest.mark.parametrize("degenerate", ["equal", "zero", "two"])
def test_catalogues_without_any_structure(cls: type[ApproximateIndex], degenerate: str) -> None:
    vectors = np.zeros((SMALLEST, 4), dtype=np.float32)
    if degenerate != "zero":
        vectors[:] = 1.0
    if degenerate == "two":
        vectors[::2] = -1.0
    found = cls().build(vectors).search(np.ones((3, 4), dtype=np.float32), 10)
    found.validate()
    if (cls, degenerate) == (HNSWIndex, "two"):
        return  # the graph falls into two parts
    best = 4.0 if degenerate != "zero" else 0.0
    np.testing.assert_array_equal(found.score, np.full((3, 10), best, dtype=np.float32))


@pytest.mark.parametrize(("option", "value"), [("nprobe", 0), ("n_lists", 0), ("list_length", 0), ("rerank", 0)])
def test_options_out_of_range(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=option):
        PQIndex({option: value})
    with pytest.raises(ConfigError, match=option):
        BUILT["pq"].set_options(**{option: value})


def test_options_of_the_structure() -> None:
    def size(cls: type[BaseIndex], **options: int) -> int:
        return cls(options).build(ITEMS).n_bytes

    assert size(HNSWIndex, neighbours=8) < size(HNSWIndex, neighbours=32)
    assert size(PQIndex, subvectors=2) < size(PQIndex, subvectors=8) == size(PQIndex, subvectors=15)
    index = IVFIndex({"n_lists": 50}).build(ITEMS)
    assert isinstance(index, IVFIndex)
    assert index.most_effort == 50
    truth = BruteForceIndex().build(ITEMS).search(QUERIES, 10)
    links = [HNSWIndex({"neighbours": 4, "ef_construction": ef}).build(ITEMS).search(QUERIES, 10) for ef in (4, 200)]
    assert recall(links[0], truth) < recall(links[1], truth)
    codes = PQIndex({"subvectors": 2, "nprobe": 31}).build(ITEMS)
    found = [recall(codes.set_options(rerank=rerank).search(QUERIES, 10), truth) for rerank in (1, 8)]
    assert found[0] < found[1]


def test_kmeans_finds_well_separated_groups() -> None:
    """With as many centres as groups every group has a centre of its own, which is the mean direction."""
    rng = np.random.default_rng(0)
    directions = np.eye(12, dtype=np.float32)
    group = rng.integers(0, 12, 3000)
    vectors = directions[group] + 0.05 * rng.standard_normal((3000, 12)).astype(np.float32)
    vectors *= rng.uniform(0.5, 2.0, (3000, 1)).astype(np.float32)  # lengths do not matter
    kmeans = spherical_kmeans(vectors, 12, seed=1)
    centres = kmeans.centroids
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1.0, rtol=1e-6)
    lists = kmeans.index.search(vectors, 1)[1][:, 0]
    pairs = np.unique(np.stack([group, lists]), axis=1)
    assert pairs.shape[1] == 12
    assert (centres @ directions.T).max(axis=0).min() > 0.99
