"""The index of the optional vector store Qdrant, on a catalogue large enough for its graph."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recall.index import INDEXES
from recall.index.brute_force import BruteForceIndex
from recall.index.flat import FlatIndex
from recall.index.qdrant import FILE, QdrantIndex
from recall.index.tuning import QuerySample, lower_bound, tune
from recall.two_tower import TwoTower
from reccore import ArtefactError, Candidates, ConfigError, Exclusions, IdMap, Vocabulary
from reccore.arrays import offsets_from_lengths
from reccore.bundle import file_sha256
from tests.helpers import NEEDS_QDRANT

ROOT = Path(__file__).resolve().parents[2]
N, D, K = 1500, 12, 10
VOCABULARY = Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N) * 3 + 1))


def unit_vectors(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


ITEMS, QUERIES = unit_vectors(N, 0), unit_vectors(40, 1)


@pytest.fixture(scope="module")
def built() -> QdrantIndex:
    return QdrantIndex().build(ITEMS)


@pytest.fixture
def index(built: QdrantIndex, monkeypatch: pytest.MonkeyPatch) -> QdrantIndex:
    """Without the fallback to exact search, by which tests of a broken store would pass."""

    def never(*_: object) -> None:
        raise AssertionError("the whole catalogue was searched without the store")

    monkeypatch.setattr(built._exact, "search", never)
    return built.set_options(ef_search=200, exact=False)


def some_exclusions() -> Exclusions:
    """None, few and many for each query, its best items among them."""
    best = BruteForceIndex().build(ITEMS).search(QUERIES, 30).item_idx
    rows = [best[row, : row % 3 * 15] for row in range(len(QUERIES))]
    return Exclusions(offsets_from_lengths(np.array([len(row) for row in rows])), np.concatenate(rows))


def assert_same(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.item_idx, expected.item_idx)
    np.testing.assert_array_equal(found.score, expected.score)


@NEEDS_QDRANT
def test_its_exact_mode_is_flat_search(index: QdrantIndex) -> None:
    exclude = some_exclusions()
    index.set_options(exact=True, ef_search=1)
    assert index.is_exact()
    assert_same(index.search(QUERIES, K, exclude), FlatIndex().build(ITEMS).search(QUERIES, K, exclude))


@NEEDS_QDRANT
def test_its_graph_finds_95_of_100_and_never_what_is_excluded(index: QdrantIndex) -> None:
    exclude = some_exclusions()
    sample = QuerySample.of(FlatIndex().build(ITEMS), QUERIES, K, exclude)
    assert not index.is_exact()
    found = index.search(QUERIES, K, exclude)
    found.validate()
    assert not exclude.contains(found.item_idx).any()
    assert lower_bound(sample.recall(index)) >= 0.95
    same = found.item_idx == sample.truth.item_idx
    np.testing.assert_array_equal(found.score[same], sample.truth.score[same])


@NEEDS_QDRANT
def test_effort_and_links_find_more() -> None:
    sample = QuerySample.of(FlatIndex().build(ITEMS), QUERIES, 1)
    few = QdrantIndex({"neighbours": 8, "ef_construction": 8, "list_length": 1}).build(ITEMS)
    recall = {effort: sample.recall(few.set_options(ef_search=effort)).mean() for effort in (1, 200)}
    assert recall[1] < recall[200]
    many = QdrantIndex({"neighbours": 32, "ef_construction": 200, "list_length": 1, "ef_search": 1}).build(ITEMS)
    assert recall[1] < sample.recall(many).mean()
    assert many.n_bytes > few.n_bytes > ITEMS.nbytes
    tune(few, sample, 0.6)
    assert few.effort < 200
    assert lower_bound(sample.recall(few)) >= 0.6


@NEEDS_QDRANT
def test_more_items_than_there_are(built: QdrantIndex) -> None:
    exclude = some_exclusions()
    found = built.search(QUERIES, N + 5, exclude)
    assert_same(found, FlatIndex().build(ITEMS).search(QUERIES, N + 5, exclude))
    assert found.k == N


@NEEDS_QDRANT
def test_a_fresh_process_finds_the_same(index: QdrantIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index", VOCABULARY)
    np.save(tmp_path / "queries.npy", QUERIES)
    script = (
        "import sys, numpy as np; from recall.index import INDEXES; from recall.index.exact import ExactSearch\n"
        "ExactSearch.search = None\n"
        "index = INDEXES.load(sys.argv[1] + '/index')\n"
        f"found = index.search(np.load(sys.argv[1] + '/queries.npy'), {K})\n"
        "np.savez(sys.argv[1] + '/found.npz', item_idx=found.item_idx, score=found.score)\n"
        "index.save(sys.argv[1] + '/again')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    expected = index.search(QUERIES, K)
    with np.load(tmp_path / "found.npz") as found:
        assert_same(Candidates(found["item_idx"], found["score"]), expected)
    again = INDEXES.load(tmp_path / "again")
    assert isinstance(again, QdrantIndex)
    assert again.config == index.config
    assert_same(again.search(QUERIES, K), expected)
    folder = Path(again._folder.name)
    assert any(folder.iterdir())
    del again
    assert not folder.exists(), "the unpacked shard goes with its index"


@NEEDS_QDRANT
def test_foreign_files_are_refused(built: QdrantIndex, tmp_path: Path) -> None:
    path = tmp_path / "index"
    built.save(path, VOCABULARY)
    smaller = tmp_path / "smaller"
    QdrantIndex().build(ITEMS[:-1]).save(smaller, Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N - 1))))
    whole = (path / FILE).read_bytes()
    for content, message in (
        (b"not an archive", "cannot be unpacked"),
        (whole[: len(whole) // 2], "cannot be unpacked"),
        ((smaller / FILE).read_bytes(), "1499 points for 1500 vectors"),
    ):
        (path / FILE).write_bytes(content)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"][FILE] = file_sha256(path / FILE)
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ArtefactError, match=message):
            QdrantIndex.load(path)


def test_a_channel_chooses_it_by_its_configuration() -> None:
    channel = TwoTower({"index": {"kind": "qdrant", "ef_search": 7}})
    index = channel.config.index.create(N)
    assert isinstance(index, QdrantIndex)
    assert index.effort == 7


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(ConfigError, match=r"qdrant-edge-py: pip install 'movielens-rec\[qdrant\]'.*or hnsw"):
        QdrantIndex().build(ITEMS)


@pytest.mark.parametrize("option", ["neighbours", "ef_construction", "ef_search"])
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        QdrantIndex({option: 0})
