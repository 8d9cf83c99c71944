"""Rows come back by key, whatever the sizes of runs, batches and parts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_collector.tmdb import star_runs
from data_collector.tmdb.star_collect import hash64, latest_rows_of_people
from data_collector.tmdb.star_runs import SortedRuns


def rows(keys: list[int], first: int = 0) -> pa.Table:
    """Rows with keys and a text that numbers them."""
    texts = [f"row {first + place}" for place in range(len(keys))]
    return pa.table({"key": pa.array(keys, pa.int64()), "text": pa.array(texts, pa.string())})


@settings(max_examples=60, deadline=None)
@given(
    tables=st.lists(st.lists(st.integers(-3, 12), max_size=30), max_size=8),
    run_bytes=st.sampled_from([1, 200, 10**6]),
    batch_rows=st.integers(1, 9),
    part_rows=st.integers(1, 40),
)
def test_parts_are_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[int]], run_bytes: int, batch_rows: int, part_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(star_runs, "RUN_BYTES", run_bytes)
        patch.setattr(star_runs, "BATCH_ROWS", batch_rows)
        runs = SortedRuns(tmp_path_factory.getbasetemp(), "key")
        given_rows = []
        for keys in tables:
            table = rows(keys, len(given_rows))
            given_rows += table.to_pylist()
            runs.add(table)
        for _ in range(2):  # parts may be asked for again
            parts = [part.to_pylist() for part in runs.parts(part_rows)]
            assert [row for part in parts for row in part] == sorted(given_rows, key=lambda row: row["key"])
            assert all(parts)
            assert all(a[-1]["key"] < b[0]["key"] for a, b in pairwise(parts))


def test_parts_have_about_the_requested_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star_runs, "RUN_BYTES", 20_000)
    monkeypatch.setattr(star_runs, "BATCH_ROWS", 50)
    runs = SortedRuns(tmp_path, "key")
    keys = np.random.default_rng(0).permutation(20_000)
    for start in range(0, len(keys), 100):
        runs.add(rows(keys[start : start + 100].tolist()))
    sizes = [len(part) for part in runs.parts(1_000)]
    assert sum(sizes) == 20_000
    assert 15 <= len(sizes) <= 25
    assert max(sizes) < 3_000


def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(star_runs, "RUN_BYTES", 1)
    runs = SortedRuns(tmp_path, "key")
    runs.add(rows([2, 1]))
    assert len(list(runs.parts(10))) == 1
    del runs
    assert not list(tmp_path.iterdir())


def test_the_latest_row_of_a_person_is_by_time_then_document_then_place() -> None:
    people = pa.table(
        {
            "personId": [1, 1, 1, 2, 2, 3, 3],
            "fetched": [5.0, 9.0, 7.0, 4.0, 4.0, 1.0, 1.0],
            "doc": pa.array([0, 1, 2, 4, 3, 5, 5], pa.int32()),
            "name": ["a", "b", "c", "d", "e", "f", "g"],
        }
    )
    assert latest_rows_of_people(people)["name"].to_pylist() == ["b", "d", "g"]
    assert len(latest_rows_of_people(people.slice(0, 0))) == 0


def test_different_texts_have_different_hashes() -> None:
    texts = pa.array([f"credit {n % 50_000}" for n in range(60_000)])
    bits = hash64(texts)
    assert len(np.unique(bits)) == 50_000
    np.testing.assert_array_equal(bits, hash64(pa.chunked_array([texts[:7], texts[7:]])))
