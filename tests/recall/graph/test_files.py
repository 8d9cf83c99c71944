"""A given item graph in Parquet: edges between raw movieIds, and files that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from loguru import logger

from recall.graph.files import read_item_graph
from reccore import DataError, IdMap

ITEMS = IdMap(np.array([10, 20, 30, 40, 50]))
# Over movieIds: 50 stands alone.
GIVEN = {(10, 20): 1.0, (20, 30): 4.0, (30, 40): 2.0}
# Beside them: lighter repeats in either direction, an edge to itself, unknown movies, a weight of 0.
FURTHER = [(20, 10, 0.5), (10, 20, 0.25), (30, 30, 7.0), (10, 999, 3.0), (999, 998, 1.0), (10, 40, 0.0)]


def edges(folder: Path, rows: list[tuple[int, int, float]]) -> Path:
    pd.DataFrame(rows, columns=["movieId_1", "movieId_2", "weight"]).to_parquet(folder / "edges.parquet")
    return folder / "edges.parquet"


def given_rows() -> list[tuple[int, int, float]]:
    return [(a, b, weight) for (a, b), weight in GIVEN.items()]


def expected() -> np.ndarray:
    matrix = np.zeros((5, 5))
    for (a, b), weight in GIVEN.items():
        matrix[a // 10 - 1, b // 10 - 1] = matrix[b // 10 - 1, a // 10 - 1] = weight
    return matrix


@pytest.mark.parametrize("order", [1, -1])
def test_edges_by_hand(tmp_path: Path, order: int) -> None:
    """Symmetric, without a diagonal; of repeated edges the heaviest, wherever it stands."""
    found = read_item_graph(edges(tmp_path, [*given_rows(), *FURTHER][::order]), ITEMS)
    np.testing.assert_array_equal(found.toarray(), expected())
    assert (found.format, found.nnz) == ("csr", 6)  # a weight of 0 is no edge


def test_edges_without_weights_weigh_one(tmp_path: Path) -> None:
    pd.DataFrame({"movieId_1": [10, 20], "movieId_2": [20, 30]}).to_parquet(tmp_path / "edges.parquet")
    found = read_item_graph(tmp_path / "edges.parquet", ITEMS).toarray()
    ones = np.zeros((5, 5))
    ones[[0, 1, 1, 2], [1, 0, 2, 1]] = 1.0
    np.testing.assert_array_equal(found, ones)


def test_edges_between_ids_of_text(tmp_path: Path) -> None:
    pd.DataFrame({"movieId_1": ["a", "x"], "movieId_2": ["c", "a"]}).to_parquet(tmp_path / "edges.parquet")
    found = read_item_graph(tmp_path / "edges.parquet", IdMap(np.array(["a", "b", "c"], dtype=object)))
    np.testing.assert_array_equal(found.toarray(), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}")
    yield lines
    logger.remove(sink)


def test_unknown_films_are_counted_in_the_log(tmp_path: Path, log: list[str]) -> None:
    read_item_graph(edges(tmp_path, [*given_rows(), *FURTHER]), ITEMS)
    assert "2 movieIds" in "".join(log)  # 998 and 999
    log.clear()
    read_item_graph(edges(tmp_path, given_rows()), ITEMS)
    assert log == []


def parquet(folder: Path, **columns: Any) -> Path:
    pd.DataFrame(columns).to_parquet(folder / "g.parquet")
    return folder / "g.parquet"


def raw(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda at: at / "none.parquet", "no item graph at"),
    "another format": (lambda at: raw(at, "g.csv", b"1,2"), "is a .parquet file with columns movieId_1, movieId_2 and"),
    "a matrix": (lambda at: raw(at, "g.npz", b"what"), "is a .parquet file with columns movieId_1, movieId_2 and"),
    "no parquet": (lambda at: raw(at, "g.parquet", b"what"), "cannot be read as Parquet"),
    "a column is missing": (lambda at: parquet(at, movieId_1=[1], item=[2]), "lacks the column movieId_2; it holds"),
    "no rows": (lambda at: parquet(at, movieId_1=np.zeros(0, int), movieId_2=np.zeros(0, int)), "no rows"),
    "text ids": (lambda at: parquet(at, movieId_1=["a"], movieId_2=["b"]), "joins no two movies of the data"),
    "an id is empty": (lambda at: parquet(at, movieId_1=[10, None], movieId_2=[20, 30]), "row 2: movieId_1 is empty"),
    "negative weight": (
        lambda at: parquet(at, movieId_1=[10, 20], movieId_2=[20, 30], weight=[1.0, -2.0]),
        r"not negative, got -2.0 between movieId 20 and 30 \(1 such edges\)",
    ),
    "weight NaN": (lambda at: parquet(at, movieId_1=[10], movieId_2=[20], weight=[np.nan]), "row 1: weight is"),
    "weight infinite": (
        lambda at: parquet(at, movieId_1=[10, 20], movieId_2=[20, 30], weight=[1.0, np.inf]),
        "row 2: weight is not a number",
    ),
    "only unknown films": (lambda at: parquet(at, movieId_1=[10, 7], movieId_2=[9, 8]), "joins no two movies"),
    "only zeros": (lambda at: parquet(at, movieId_1=[10], movieId_2=[20], weight=[0.0]), "joins no two movies"),
    "only itself": (lambda at: parquet(at, movieId_1=[10], movieId_2=[10]), "joins no two movies"),
}


@pytest.mark.parametrize("case", WRONG)
def test_malformed_files_are_named(case: str, tmp_path: Path) -> None:
    write, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        read_item_graph(write(tmp_path), ITEMS)
