"""The index of the optional package Annoy, on a catalogue large enough for its trees."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recall.index import INDEXES
from recall.index.annoy import FILE, AnnoyIndex
from recall.index.approximate import SMALLEST
from recall.index.brute_force import BruteForceIndex
from recall.index.tuning import QuerySample, lower_bound, tune
from reccore import ArtefactError, ConfigError, Exclusions, IdMap, Vocabulary
from reccore.bundle import file_sha256
from tests.helpers import NEEDS_ANNOY

N, D = 1500, 12
VOCABULARY = Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N) * 3 + 1))


def unit_vectors(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


ITEMS, QUERIES = unit_vectors(N, 0), unit_vectors(40, 1)


@NEEDS_ANNOY
def test_more_trees_and_more_effort_find_more() -> None:
    sample = QuerySample.of(BruteForceIndex().build(ITEMS), QUERIES, 10)
    recall = {
        (trees, effort): sample.recall(AnnoyIndex({"n_trees": trees, "search_k": effort}).build(ITEMS)).mean()
        for trees in (1, 20)
        for effort in (60, 600)
    }
    assert recall[1, 60] < recall[1, 600] < recall[20, 600]
    assert recall[20, 60] < recall[20, 600]
    few, many = (AnnoyIndex({"n_trees": trees}).build(ITEMS).n_bytes for trees in (1, 20))
    assert ITEMS.nbytes < few < many


@NEEDS_ANNOY
def test_scores_and_exclusions_are_those_of_the_exact_index() -> None:
    index, exact = AnnoyIndex().build(ITEMS), BruteForceIndex().build(ITEMS)
    assert not index.is_exact()
    exclude = Exclusions(np.arange(len(QUERIES) + 1), exact.search(QUERIES, 1).item_idx[:, 0])
    found, truth = index.search(QUERIES, 5, exclude), exact.search(QUERIES, 5, exclude)
    assert (found.item_idx == truth.item_idx).mean() > 0.9
    same = found.item_idx == truth.item_idx
    np.testing.assert_array_equal(found.score[same], truth.score[same])
    assert not exclude.contains(found.item_idx).any()


@NEEDS_ANNOY
def test_tuning_finds_the_least_effort() -> None:
    sample = QuerySample.of(BruteForceIndex().build(ITEMS), QUERIES, 10)
    index = AnnoyIndex({"search_k": 1}).build(ITEMS)
    tune(index, sample, 0.9)
    assert 10 <= index.effort <= 2000
    assert lower_bound(sample.recall(index)) >= 0.9


@NEEDS_ANNOY
def test_the_seed_decides_the_forest_and_a_loaded_one_is_the_same(tmp_path: Path) -> None:
    files = []
    for number, seed in enumerate((5, 5, 6)):
        index = AnnoyIndex({"n_trees": 3, "search_k": 50}).build(ITEMS, seed=seed)
        before = index.search(QUERIES, 20)
        index.save(tmp_path / str(number), VOCABULARY)
        files.append((tmp_path / str(number) / FILE).read_bytes())
        loaded = INDEXES.load(tmp_path / str(number))
        assert isinstance(loaded, AnnoyIndex)
        assert (loaded.config, loaded.n_bytes) == (index.config, index.n_bytes)
        for again in (loaded, index):
            np.testing.assert_array_equal(again.search(QUERIES, 20).item_idx, before.item_idx)
        loaded.save(tmp_path / str(number))  # over the files that it is mapped from
        np.testing.assert_array_equal(loaded.search(QUERIES, 20).item_idx, before.item_idx)
    assert files[0] == files[1] != files[2]
    assert {path.suffix for path in (tmp_path / "0").iterdir()} == {".json", ".npz", ".npy", ".ann"}


@NEEDS_ANNOY
def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "index"
    AnnoyIndex({"n_trees": 2}).build(ITEMS).save(path, VOCABULARY)
    smaller = AnnoyIndex({"n_trees": 2}).build(ITEMS[:-1])
    smaller.save(tmp_path / "smaller", Vocabulary(IdMap(np.arange(2)), IdMap(np.arange(N - 1))))
    for content, message in (
        (b"not an index", "not an Annoy index of vectors of 12 entries"),
        ((tmp_path / "smaller" / FILE).read_bytes(), "1499 items for 1500 vectors"),
    ):
        (path / FILE).write_bytes(content)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"][FILE] = file_sha256(path / FILE)
        (path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ArtefactError, match=message):
            AnnoyIndex.load(path)


@NEEDS_ANNOY
def test_equal_vectors() -> None:
    found = AnnoyIndex({"n_trees": 2}).build(np.ones((SMALLEST, 4), dtype=np.float32)).search(np.eye(4)[:2], 10)
    found.validate()
    np.testing.assert_array_equal(found.score, np.ones((2, 10)))


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "annoy", None)
    with pytest.raises(ConfigError, match=r"needs the package annoy: pip install 'movielens-rec\[annoy\]'.*or hnsw"):
        AnnoyIndex().build(ITEMS)


@pytest.mark.parametrize("option", ["n_trees", "search_k"])
def test_options_out_of_range(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        AnnoyIndex({option: 0})
