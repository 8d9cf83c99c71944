"""What every registered reranker promises. A registered class without an entry in ``BUILDERS`` fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reccore import ArtefactError, Candidates, ConfigError, IdMap, ItemTable, NotFittedError, QueryBatch, Vocabulary
from rerank import RERANKERS
from rerank.base import BaseReranker
from rerank.calibrated import Calibrated
from rerank.chain import Chain
from rerank.dpp import DPP
from rerank.explore import Explore
from rerank.mmr import MMR
from rerank.rules import Rules

ROOT = Path(__file__).resolve().parents[2]
N_ITEMS, N_QUERIES, WIDTH = 60, 24, 30

VOCABULARY = Vocabulary(IdMap.of(np.arange(1, 9)), IdMap.of(np.arange(N_ITEMS) * 3 + 1))


def _items() -> ItemTable:
    genre_idx = np.random.default_rng(1).integers(5, size=N_ITEMS)
    year = np.random.default_rng(5).integers(1980, 2001, size=N_ITEMS)
    return ItemTable(
        N_ITEMS,
        title=np.array([f"Film {'abcdefghij'[i % 10]} {i}" for i in range(N_ITEMS)], dtype=object),
        year=year,
        genre_names=("Action", "Comedy", "Drama", "Horror", "War"),
        genre_offsets=np.arange(N_ITEMS + 1),
        genre_idx=genre_idx,
        statistics={"count": np.arange(N_ITEMS, dtype=np.float32)},
    )


def _vectors() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(N_ITEMS, 8)).astype(np.float32)


# Registered name → rerankers ready for use, one for each way of building it that takes another path.
BUILDERS: dict[str, list[Callable[[], BaseReranker]]] = {
    "mmr": [
        lambda: MMR({"trade_off": 0.6}).fit(_items(), _vectors(), VOCABULARY),
        lambda: MMR({"trade_off": 0.3, "pool": 7}).fit(_items(), _vectors(), VOCABULARY),
        lambda: MMR({"similarity": {"kind": "genres"}, "relevance": "rank"}).fit(_items(), None, VOCABULARY),
    ],
    "dpp": [
        lambda: DPP({"trade_off": 0.6}).fit(_items(), _vectors(), VOCABULARY),
        lambda: DPP({"trade_off": 0.1, "pool": 7, "sort_first": 5}).fit(_items(), _vectors(), VOCABULARY),
        lambda: DPP({"similarity": {"kind": "genres"}, "relevance": "rank"}).fit(_items(), None, VOCABULARY),
    ],
    "calibrated": [
        lambda: Calibrated({"trade_off": 0.4}).fit(_items(), None, VOCABULARY),
        lambda: Calibrated({"trade_off": 0.1, "pool": 7, "half_life": None, "sort_first": 99}).fit(
            _items(), None, VOCABULARY
        ),
    ],
    "rules": [
        lambda: Rules({"max_per_genre": 2, "max_per_decade": 3}).fit(_items(), None, VOCABULARY),
        lambda: Rules({"min_new_share": 0.5, "new_years": 5, "no_adjacent_sequels": True, "max_per_franchise": 1}).fit(
            _items(), None, VOCABULARY
        ),
    ],
    "explore": [
        lambda: Explore({"places": [1, 3], "policy": {"epsilon": 0.7}}).fit(_items(), None, VOCABULARY),
        lambda: Explore({"policy": {"kind": "thompson"}, "pool": 7}).fit(_items(), None, VOCABULARY),
    ],
    "chain": [
        lambda: Chain({"steps": [{"method": "calibrated", "pool": 20}, {"method": "mmr", "pool": 12}]}).fit(
            _items(), _vectors(), VOCABULARY
        ),
        lambda: Chain({"steps": [{"method": "dpp", "pool": 9}, {"method": "rules", "max_per_genre": 2}]}).fit(
            _items(), _vectors(), VOCABULARY
        ),
    ],
}
CASES = [
    pytest.param(build, id=f"{name}-{number}")
    for name, builds in BUILDERS.items()
    for number, build in enumerate(builds)
]
each_reranker = pytest.mark.parametrize("build", CASES)
Build = Callable[[], BaseReranker]


def _candidates() -> Candidates:
    """Rows of every length from empty to full, with a feature."""
    rng = np.random.default_rng(3)
    item_idx = np.argsort(rng.random((N_QUERIES, N_ITEMS)), axis=1)[:, :WIDTH]
    lengths = np.concatenate([[0, 1, 2, WIDTH], rng.integers(0, WIDTH + 1, size=N_QUERIES - 4)])
    item_idx[np.arange(WIDTH) >= lengths[:, None]] = -1
    score = -np.sort(-rng.normal(size=item_idx.shape), axis=1)
    mask = item_idx >= 0
    return Candidates(
        item_idx,
        np.where(mask, score, -np.inf).astype(np.float32),
        {"recall_score.x": np.where(mask, rng.random(item_idx.shape), np.nan).astype(np.float32)},
    )


def _queries(n: int = N_QUERIES) -> QueryBatch:
    rng = np.random.default_rng(4)
    return QueryBatch.from_histories([rng.integers(-1, N_ITEMS, size=i % 5).tolist() for i in range(n)])


def assert_same(a: Candidates, b: Candidates) -> None:
    np.testing.assert_array_equal(a.item_idx, b.item_idx)
    np.testing.assert_array_equal(a.score, b.score)
    assert list(a.features) == list(b.features)
    for name, values in a.features.items():
        np.testing.assert_array_equal(values, b.features[name], err_msg=name)


@pytest.mark.parametrize("name", list(RERANKERS))
def test_every_registered_class_is_under_contract(name: str) -> None:
    assert BUILDERS.get(name), f"add {name} to BUILDERS"
    assert all(type(build()) is RERANKERS[name] for build in BUILDERS[name])


@each_reranker
@pytest.mark.parametrize("k", [1, 5, WIDTH])
def test_output_is_a_subset_without_duplicates_and_as_long_as_it_can_be(build: Build, k: int) -> None:
    given = _candidates()
    found = build().rerank(_queries(), given, k)
    found.validate()
    assert found.item_idx.shape == (N_QUERIES, k)
    np.testing.assert_array_equal(found.counts, np.minimum(given.counts, k))
    for row in range(N_QUERIES):
        assert set(found.item_idx[row]) - {-1} <= set(given.item_idx[row])


@each_reranker
@pytest.mark.parametrize("k", [1, 6, 9])
def test_a_longer_list_starts_with_the_shorter_one(build: Build, k: int) -> None:
    reranker, given = build(), _candidates()
    short, whole = (reranker.rerank(_queries(), given, length) for length in (k, WIDTH))
    np.testing.assert_array_equal(short.item_idx, whole.item_idx[:, :k])


@each_reranker
def test_features_follow_their_items(build: Build) -> None:
    given = _candidates()
    found = build().rerank(_queries(), given, 10)
    for row in range(N_QUERIES):
        before = dict(zip(given.item_idx[row], given.features["recall_score.x"][row], strict=True))
        for item, value in zip(found.item_idx[row], found.features["recall_score.x"][row], strict=True):
            assert np.isnan(value) if item < 0 else value == before[item]


@each_reranker
def test_a_single_query_is_answered_as_in_a_batch(build: Build) -> None:
    reranker, given, queries = build(), _candidates(), _queries()
    batch = reranker.rerank(queries, given, 8)
    for row in range(N_QUERIES):
        at = slice(row, row + 1)
        assert_same(reranker.rerank(queries.select(at), given.select(at), 8), batch.select(at))


@each_reranker
def test_padding_columns_do_not_matter(build: Build) -> None:
    reranker, given, queries = build(), _candidates().select(slice(0, 3)), _queries(3)
    narrow = given.head(2)  # the three rows hold at most two items
    found, wide = reranker.rerank(queries, narrow, 2), reranker.rerank(queries, given, 2)
    assert_same(found, wide)


@each_reranker
def test_more_than_the_candidates_may_be_asked_for(build: Build) -> None:
    reranker, given = build(), _candidates()
    assert_same(reranker.rerank(_queries(), given, WIDTH * 10), reranker.rerank(_queries(), given, WIDTH))


@each_reranker
def test_rows_and_batches_without_candidates(build: Build) -> None:
    reranker = build()
    empty = reranker.rerank(_queries(2), Candidates.empty(2, 4), 3)
    assert (empty.item_idx == -1).all()
    assert np.isneginf(empty.score).all()
    assert reranker.rerank(_queries(2), Candidates.empty(2, 0), 3).item_idx.shape == (2, 0)
    assert len(reranker.rerank(_queries(0), Candidates.empty(0, 4), 3)) == 0


@each_reranker
def test_input_is_left_alone_and_the_answer_repeats(build: Build) -> None:
    reranker, given = build(), _candidates()
    first = reranker.rerank(_queries(), given, 10)
    assert_same(given, _candidates())
    assert_same(first, reranker.rerank(_queries(), given, 10))


@each_reranker
def test_saved_and_loaded(build: Build, tmp_path: Path) -> None:
    reranker, given = build(), _candidates()
    reranker.save(tmp_path / "r")
    for loaded in (type(reranker).load(tmp_path / "r"), RERANKERS.load(tmp_path / "r")):
        assert loaded.config == reranker.config
        assert loaded.vocabulary.fingerprint == VOCABULARY.fingerprint
        assert_same(loaded.rerank(_queries(), given, 10), reranker.rerank(_queries(), given, 10))


FRESH = """
import sys
import numpy as np
from reccore import Candidates, QueryBatch
from rerank import RERANKERS

given = np.load(sys.argv[1])
candidates = Candidates(given["item_idx"], given["score"])
queries = QueryBatch.from_histories([[]] * len(candidates))
for number, folder in enumerate(sys.argv[3:]):
    found = RERANKERS.load(folder).rerank(queries, candidates, 10)
    np.savez(f"{sys.argv[2]}-{number}.npz", item_idx=found.item_idx, score=found.score)
"""


def test_loaded_in_a_fresh_process(tmp_path: Path) -> None:
    given = _candidates()
    np.savez(tmp_path / "given.npz", item_idx=given.item_idx, score=given.score)
    rerankers = [build() for builds in BUILDERS.values() for build in builds]
    folders = [str(tmp_path / f"r{number}") for number in range(len(rerankers))]
    for reranker, folder in zip(rerankers, folders, strict=True):
        reranker.save(folder)
    command = [sys.executable, "-c", FRESH, str(tmp_path / "given.npz"), str(tmp_path / "found"), *folders]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    queries = QueryBatch.from_histories([[]] * N_QUERIES)
    for number, reranker in enumerate(rerankers):
        expected = reranker.rerank(queries, given, 10)
        with np.load(tmp_path / f"found-{number}.npz") as found:
            np.testing.assert_array_equal(found["item_idx"], expected.item_idx)
            np.testing.assert_array_equal(found["score"], expected.score)


@each_reranker
def test_config_round_trip_and_unknown_keys(build: Build) -> None:
    reranker = build()
    again = type(reranker)(reranker.config.model_dump(mode="json"))
    assert again.config == reranker.config
    with pytest.raises(ConfigError, match="trade_of_typo"):
        type(reranker)({"trade_of_typo": 1})


@each_reranker
def test_refuses_bad_arguments(build: Build) -> None:
    reranker, given = build(), _candidates()
    with pytest.raises(ValueError, match="k must be at least 1"):
        reranker.rerank(_queries(), given, 0)
    with pytest.raises(ValueError, match="24 rows of candidates"):
        reranker.rerank(_queries(2), given, 5)
    outside = Candidates(np.array([[N_ITEMS]]), np.ones((1, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="outside the catalogue"):
        reranker.rerank(_queries(1), outside, 5)
    with pytest.raises(NotFittedError):
        type(reranker)(reranker.config).rerank(_queries(), given, 5)


def test_unknown_names_and_damaged_bundles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"unknown rerank 'nothing'; known: {', '.join(RERANKERS)}"):
        RERANKERS["nothing"]
    with pytest.raises(ArtefactError, match="no bundle"):
        RERANKERS.load(tmp_path / "nowhere")
    BUILDERS["mmr"][0]().save(tmp_path / "r")
    (tmp_path / "r" / "vectors.npz").write_bytes(b"cut short")
    with pytest.raises(ArtefactError, match="damaged"):
        RERANKERS.load(tmp_path / "r")


@each_reranker
def test_a_short_list_comes_from_the_pool(build: Build) -> None:
    reranker, candidates = build(), _candidates()
    pool = WIDTH if reranker.pool is None else reranker.pool
    chosen = reranker.rerank(_queries(), candidates, min(pool, 5))
    for row, offered in zip(chosen.item_idx, candidates.head(pool).item_idx, strict=True):
        assert set(row[row >= 0]) <= set(offered)
