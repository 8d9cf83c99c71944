"""Recall measured by hand, tuned to a target, and the choice of an index."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.index import mixture, unit_centres
from recall.index import INDEXES
from recall.index import choose as choose_module
from recall.index import tuning as tuning_module
from recall.index.approximate import ApproximateIndex, FaissIndex
from recall.index.base import BaseIndex
from recall.index.brute_force import BruteForceIndex
from recall.index.choose import AutoConfig, build_best, configs_to_try, parse_index
from recall.index.flat import FlatConfig, FlatIndex
from recall.index.hnsw import HNSWConfig, HNSWIndex
from recall.index.ivf import IVFConfig, IVFIndex
from recall.index.pq import PQConfig
from recall.index.tuning import (
    QuerySample,
    RecallTooLow,
    interleaved_qps,
    lower_bound,
    recall_per_query,
    tune,
)
from reccore import Candidates, ConfigError, Exclusions
from reccore.arrays import FloatArray, offsets_from_lengths
from reccore.threads import limit_threads

APPROXIMATE = [name for name in INDEXES if issubclass(INDEXES[name], FaissIndex)]


def candidates(rows: list[list[int]], scores: list[list[float]]) -> Candidates:
    return Candidates(np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float32))


def test_recall_by_hand() -> None:
    inf = -np.inf
    truth = candidates([[1, 2, 3], [4, 5, -1], [-1, -1, -1], [1, 2, 3]], [[9, 8, 7], [3, 2, inf], [inf] * 3, [9, 8, 7]])
    found = candidates([[1, 3, 8], [5, 6, -1], [-1, -1, -1], [1, 2, 9]], [[9, 7, 6], [2, 1, inf], [inf] * 3, [9, 8, 7]])
    # two of three; one of two; nothing to find; all three, for item 9 is tied with item 3
    np.testing.assert_allclose(recall_per_query(found, truth), [2 / 3, 1 / 2, 1, 1])


def test_the_bound_is_the_mean_less_its_errors() -> None:
    recall = np.array([1.0, 0.9, 1.0, 0.9])
    assert lower_bound(recall) == pytest.approx(0.95 - 1.645 * 0.05 / 2)
    assert lower_bound(np.ones(5)) == 1.0


@pytest.fixture(scope="module")
def catalogue() -> tuple[FloatArray, FloatArray, FloatArray]:
    """20,000 items around 200 centres, and two samples of queries."""
    centres = unit_centres(200, 48, seed=0)
    items, one, other = (mixture(n, centres, 0.5, seed) for n, seed in ((20_000, 1), (200, 2), (200, 3)))
    return items, one, other


def test_the_mixture_is_what_it_says() -> None:
    centres = unit_centres(50, 64, seed=0)
    vectors = mixture(2000, centres, 0.5, seed=1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    nearest = (vectors @ centres.T).max(axis=1)
    assert nearest.mean() == pytest.approx(1 / np.sqrt(1 + 0.5**2), abs=0.01)  # cosine with one's own centre
    assert len(np.unique((vectors @ centres.T).argmax(axis=1))) == 50


@pytest.mark.parametrize("name", APPROXIMATE)
def test_tuned_on_one_sample_it_holds_on_another(
    name: str, catalogue: tuple[FloatArray, FloatArray, FloatArray]
) -> None:
    items, queries, others = catalogue
    flat = FlatIndex().build(items)
    index = INDEXES[name]().build(items, seed=1)
    assert isinstance(index, ApproximateIndex)
    tune(index, QuerySample.of(flat, queries, 100), 0.99)
    assert index.config.list_length == 100
    truth, found = flat.search(others, 100), index.search(others, 100)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(truth.item_idx, found.item_idx, strict=True)]
    assert np.mean(shared) / 100 >= 0.99
    assert index.effort < index.most_effort / 2


def test_the_least_effort_is_taken(catalogue: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    items, queries, _ = catalogue
    sample = QuerySample.of(FlatIndex().build(items), queries, 100)
    index = IVFIndex({"nprobe": 300}).build(items)
    tune(index, sample, 0.995)
    chosen = index.effort
    assert lower_bound(sample.recall(index)) >= 0.995
    assert 1 < chosen < 100
    assert lower_bound(sample.recall(index.set_options(nprobe=chosen - 1))) < 0.995


def test_excluded_items_are_part_of_the_measure(
    catalogue: tuple[FloatArray, FloatArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If all near items are excluded, the same recall takes more effort."""
    monkeypatch.setattr("recall.index.approximate.EXACT_BEYOND", 1)
    items, queries, _ = catalogue
    flat = FlatIndex().build(items)
    near = flat.search(queries, 150).item_idx
    exclude = Exclusions(offsets_from_lengths(np.full(len(queries), 150)), near.ravel())
    index = IVFIndex().build(items)
    tune(index, QuerySample.of(flat, queries, 20), 0.99)
    easy = index.effort
    sample = QuerySample.of(flat, queries, 20, exclude)
    tune(index, sample, 0.99)
    assert not np.isin(sample.truth.item_idx[0], near[0]).any()
    assert index.effort > easy


def test_a_target_out_of_reach_is_refused_by_name() -> None:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((3000, 64)).astype(np.float32)
    flat, queries = FlatIndex().build(items), rng.standard_normal((60, 64)).astype(np.float32)
    poor = HNSWIndex({"neighbours": 2, "ef_construction": 2}).build(items)
    with pytest.raises(RecallTooLow, match=r"the hnsw index finds at most 0\.\d+ of the exact top 10"):
        tune(poor, QuerySample.of(flat, queries, 10), 0.9999)
    tune(flat, QuerySample.of(flat, queries, 10), 0.9999)  # an exact index has nothing to tune


def test_auto_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configs_to_try(AutoConfig(), 100_000) == (FlatConfig(),)
    assert configs_to_try(AutoConfig(), 100_001) == (IVFConfig(), PQConfig(), HNSWConfig())
    assert configs_to_try(AutoConfig(), 1_000_000) == (IVFConfig(), PQConfig())
    assert configs_to_try(HNSWConfig(ef_search=3), 10) == (HNSWConfig(ef_search=3),)


def rates(monkeypatch: pytest.MonkeyPatch, speed: dict[str, float]) -> None:
    def given(indexes: list[BaseIndex], *_: object, **__: object) -> list[float]:
        return [speed[index.name] for index in indexes]

    monkeypatch.setattr(choose_module, "EXACT_UP_TO", 1000)
    monkeypatch.setattr(choose_module, "interleaved_qps", given)
    monkeypatch.setattr(tuning_module, "interleaved_qps", given)


@pytest.mark.parametrize(
    ("speed", "chosen"),
    [
        ({"flat": 1, "ivf": 5, "pq": 3, "hnsw": 9}, "hnsw"),
        ({"flat": 1, "ivf": 5, "pq": 3, "hnsw": 2}, "ivf"),
        ({"flat": 7, "ivf": 5, "pq": 3, "hnsw": 2}, "flat"),
    ],
)
def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch, speed: dict[str, float], chosen: str) -> None:
    rates(monkeypatch, speed)
    centres = unit_centres(20, 8, seed=0)
    items, queries = mixture(2000, centres, 0.5, 1), mixture(40, centres, 0.5, 2)
    best, measured = build_best(AutoConfig(), items, lambda exact: QuerySample.of(exact, queries, 10), 0.9)
    assert best.name == chosen
    assert [one.kind for one in measured] == ["flat", "ivf", "pq", "hnsw"]
    assert measured[1].speedup == speed["ivf"] / speed["flat"]
    assert all(one.recall_at_least >= 0.9 for one in measured)


def test_auto_falls_back_to_what_reaches_the_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    rates(monkeypatch, {"flat": 1, "ivf": 5, "pq": 3, "hnsw": 9})

    def refuse(index: BaseIndex, *_: object) -> None:
        if index.name != "pq":
            raise RecallTooLow(f"{index.name} misses")

    monkeypatch.setattr(choose_module, "tune", refuse)
    items = mixture(2000, unit_centres(20, 8, seed=0), 0.5, 1)
    best, measured = build_best(AutoConfig(), items, lambda exact: QuerySample.of(exact, items[:30], 10), 0.9)
    assert (best.name, [one.kind for one in measured]) == ("pq", ["flat", "pq"])
    with pytest.raises(RecallTooLow, match="ivf misses"):
        build_best(IVFConfig(), items, lambda exact: QuerySample.of(exact, items[:30], 10), 0.9)


def test_plain_values_become_options() -> None:
    assert parse_index("ivf", {"nprobe": 3}) == IVFConfig(nprobe=3)
    assert parse_index("auto", {}) == AutoConfig()
    for kind in ("hnsw", "auto"):
        with pytest.raises(ConfigError, match="nprobe: no such option"):
            parse_index(kind, {"nprobe": 3})
    with pytest.raises(ConfigError, match="unknown index 'scann'"):
        parse_index("scann", {})


def test_rates_are_queries_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(tuning_module, "perf_counter", lambda: float(next(clock)))  # each turn takes a second
    items = unit_centres(30, 4, seed=0)
    flat, brute = FlatIndex().build(items), BruteForceIndex().build(items)
    assert interleaved_qps([flat, brute], QuerySample.of(flat, items[:12], 3)) == [12.0, 12.0]


@pytest.mark.slow
def test_a_million_items_ten_times_as_fast_as_exact() -> None:
    """Recall@100 of .99 on queries that the tuning has not seen; threads and batches alike on both sides."""
    centres = unit_centres(10_000, 128, seed=0)
    items = mixture(1_000_000, centres, 0.5, seed=1)
    flat = FlatIndex().build(items)
    index = IVFIndex().build(items)
    limit_threads(torch.get_num_threads())
    tune(index, QuerySample.of(flat, mixture(192, centres, 0.5, seed=2), 100), 0.99)
    test = QuerySample.of(flat, mixture(192, centres, 0.5, seed=3), 100)
    assert test.recall(index).mean() >= 0.99
    exact_rate, rate = interleaved_qps([flat, index], test)
    assert rate >= 10 * exact_rate
