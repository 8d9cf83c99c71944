"""The item graph: by hand, from events, and from every kind of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from loguru import logger
from scipy import sparse

from recall.two_tower import graph_files
from recall.two_tower.graph import ItemGraph, cooccurrence_graph
from recall.two_tower.graph_files import read_item_graph
from reccore import DataError, IdMap, Interactions
from reccore.arrays import offsets_from_lengths

ITEMS = IdMap(np.array([10, 20, 30, 40, 50]))
# Over movieIds: weights 1, 4 and 2; 50 stands alone.
GIVEN = {(10, 20): 1.0, (20, 30): 4.0, (30, 40): 2.0}


def dense(graph: ItemGraph) -> np.ndarray:
    shape = (graph.n_items, graph.n_items)
    return sparse.csr_matrix((graph.weights, graph.indices, graph.indptr), shape=shape).toarray()


def expected() -> np.ndarray:
    """Degrees are 1, 5, 6, 2, 0."""
    matrix = np.zeros((5, 5))
    for (a, b), weight in {(0, 1): 1 / 5**0.5, (1, 2): 4 / 30**0.5, (2, 3): 2 / 12**0.5}.items():
        matrix[a, b] = matrix[b, a] = weight
    return matrix


def events_of(*histories: list[int], n_items: int) -> Interactions:
    lengths = np.array([len(history) for history in histories])
    return Interactions(offsets_from_lengths(lengths), np.concatenate(histories).astype(np.int64), n_items)


# Normalising ---------------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    raw = np.zeros((5, 5))
    for (a, b), weight in GIVEN.items():
        raw[a // 10 - 1, b // 10 - 1] = weight
    for given in (raw, raw.T, np.maximum(raw, raw.T), raw + 9 * np.eye(5), np.maximum(raw, 0.5 * raw.T)):
        graph = ItemGraph.of(sparse.csr_matrix(given))
        np.testing.assert_allclose(dense(graph), expected(), rtol=1e-6)
        assert (graph.n_edges, graph.n_isolated) == (3, 1)
        assert (graph.indptr.dtype, graph.indices.dtype, graph.weights.dtype) == (np.int64, np.int64, np.float32)


def test_the_greatest_eigenvalue_is_one() -> None:
    """So that layers neither grow nor die out, whatever the weights."""
    graph = ItemGraph.of(sparse.random(60, 60, density=0.1, random_state=0) * 1e3)
    values = np.linalg.eigvalsh(dense(graph))
    assert values.max() == pytest.approx(1.0, abs=1e-6)
    assert values.min() >= -1.0 - 1e-6


def test_arrays_there_and_back() -> None:
    graph = ItemGraph.of(sparse.random(20, 20, density=0.2, random_state=0))
    again = ItemGraph.from_arrays(graph.to_arrays())
    np.testing.assert_array_equal(dense(again), dense(graph))


def test_arrays_that_do_not_fit_are_refused() -> None:
    indptr, indices, weights = np.array([0, 1, 2]), np.array([1, 0]), np.ones(2, dtype=np.float32)
    for wrong in ((indptr[:-1], indices, weights), (indptr, indices + 1, weights), (indptr, indices, weights[:1])):
        with pytest.raises(ValueError):
            ItemGraph(*wrong)


# From events ---------------------------------------------------------------------------------------------


def test_a_graph_of_events_by_hand() -> None:
    events = events_of([0, 1, 2], [1, 0], [2, 3], [], n_items=5)
    # c = 2, 2, 2, 1, 0. One apart: 01 twice, 12 once, 23 once.
    edges = {(0, 1): 1.0, (1, 2): 0.5, (2, 3): 1 / 2**0.5}
    raw = np.zeros((5, 5))
    for (a, b), weight in edges.items():
        raw[a, b] = weight
    graph = cooccurrence_graph(events, neighbours=5, window=1)
    np.testing.assert_allclose(dense(graph), dense(ItemGraph.of(sparse.csr_matrix(raw))), rtol=1e-6)
    wider = cooccurrence_graph(events, neighbours=5, window=2)
    assert (graph.n_edges, wider.n_edges) == (3, 4)  # 0 and 2 lie two apart


def test_each_item_brings_its_heaviest_edges() -> None:
    """A hub keeps all that others bring, and nobody is left without the neighbour they chose."""
    events = events_of(*([[0, other] for other in range(1, 7)] * 3), [5, 6], n_items=7)
    graph = cooccurrence_graph(events, neighbours=1, window=1)
    found = dense(graph) > 0
    assert found[0, 1:].all()
    assert found.sum() == 12


def test_later_events_are_not_looked_at() -> None:
    rng = np.random.default_rng(0)
    events = events_of(*(rng.permutation(12)[:6].tolist() for _ in range(30)), n_items=12)
    stops = events.lengths - 1
    other_last = events.item_idx.copy()
    other_last[events.user_offsets[1:] - 1] = 3  # another film to be predicted
    changed = Interactions(events.user_offsets, other_last, 12)
    one, other = (cooccurrence_graph(e.first(stops), neighbours=3, window=4) for e in (events, changed))
    np.testing.assert_array_equal(dense(one), dense(other))
    whole = cooccurrence_graph(changed, neighbours=3, window=4)
    assert np.abs(dense(whole) - dense(one)).max() > 0


def test_events_that_join_nothing() -> None:
    graph = cooccurrence_graph(events_of([1], [2], n_items=4), neighbours=3, window=9)
    assert (graph.n_items, graph.n_edges, graph.n_isolated) == (4, 0, 4)


# From files ----------------------------------------------------------------------------------------------


def matrix_of(ids: list[int]) -> np.ndarray:
    """GIVEN as a matrix in the order of ``ids``; one triangle alone, as either is enough."""
    matrix = np.zeros((len(ids), len(ids)))
    for (a, b), weight in GIVEN.items():
        matrix[ids.index(a), ids.index(b)] = weight
    return matrix


def as_parquet(folder: Path) -> Path:
    rows = [(a, b, weight) for (a, b), weight in GIVEN.items()]
    rows += [(20, 10, 0.5), (10, 20, 0.25), (30, 30, 7.0), (10, 999, 3.0), (999, 998, 1.0), (10, 40, 0.0)]
    pd.DataFrame(rows, columns=["movieId_1", "movieId_2", "weight"]).to_parquet(folder / "edges.parquet")
    return folder / "edges.parquet"


def as_npz(folder: Path) -> Path:
    order = [40, 999, 20, 30, 10]
    matrix = matrix_of(order)
    matrix[1, 0] = 5.0  # an edge of a film nobody knows
    sparse.save_npz(folder / "graph.npz", sparse.csc_matrix(matrix))
    np.save(folder / "graph_ids.npy", np.array(order))
    return folder / "graph.npz"


def as_npz_with_ids(folder: Path) -> Path:
    order = [30, 20, 40, 10]
    matrix = sparse.csr_matrix(matrix_of(order))
    np.savez(
        folder / "one.npz",
        data=matrix.data,
        indices=matrix.indices,
        indptr=matrix.indptr,
        shape=matrix.shape,
        format=b"csr",
        ids=np.array(order, dtype=np.int32),
    )
    return folder / "one.npz"


def as_npy(folder: Path) -> Path:
    order = [20, 50, 10, 40, 30]
    np.save(folder / "dense.npy", matrix_of(order).astype(np.float32))
    np.save(folder / "dense_ids.npy", np.array(order))
    return folder / "dense.npy"


@pytest.mark.parametrize("write", [as_parquet, as_npz, as_npz_with_ids, as_npy])
def test_every_format_gives_the_same_graph(write: Callable[[Path], Path], tmp_path: Path) -> None:
    np.testing.assert_allclose(dense(read_item_graph(write(tmp_path), ITEMS)), expected(), rtol=1e-6)


def test_blocks_of_rows_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_files, "ROWS_PER_BLOCK", 2)
    np.testing.assert_allclose(dense(read_item_graph(as_npy(tmp_path), ITEMS)), expected(), rtol=1e-6)


def test_edges_without_weights_weigh_one(tmp_path: Path) -> None:
    pd.DataFrame({"movieId_1": [10, 20], "movieId_2": [20, 30]}).to_parquet(tmp_path / "edges.parquet")
    found = dense(read_item_graph(tmp_path / "edges.parquet", ITEMS))
    np.testing.assert_allclose(found[found > 0], 1 / 2**0.5, rtol=1e-6)


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{message}")
    yield lines
    logger.remove(sink)


def test_unknown_films_are_counted_in_the_log(tmp_path: Path, log: list[str]) -> None:
    read_item_graph(as_parquet(tmp_path), ITEMS)
    assert "2 movieIds" in "".join(log)  # 998 and 999
    log.clear()
    read_item_graph(as_npy(tmp_path), ITEMS)
    assert log == []


def parquet(folder: Path, **columns: Any) -> Path:
    pd.DataFrame(columns).to_parquet(folder / "g.parquet")
    return folder / "g.parquet"


def npy(folder: Path, matrix: Any, ids: Any = None) -> Path:
    np.save(folder / "g.npy", np.asarray(matrix))
    if ids is not None:
        np.save(folder / "g_ids.npy", np.asarray(ids))
    return folder / "g.npy"


def raw(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "g.npz", **arrays)
    return folder / "g.npz"


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda at: at / "none.parquet", "no item graph at"),
    "another format": (lambda at: raw(at, "g.csv", b"1,2"), "ending in .parquet, .npz, .npy, got"),
    "no parquet": (lambda at: raw(at, "g.parquet", b"what"), "cannot be read as Parquet"),
    "a column is missing": (lambda at: parquet(at, movieId_1=[1], item=[2]), "lacks the column movieId_2; it holds"),
    "no rows": (lambda at: parquet(at, movieId_1=np.zeros(0, int), movieId_2=np.zeros(0, int)), "no rows"),
    "text ids": (lambda at: parquet(at, movieId_1=["a"], movieId_2=["b"]), "column movieId_1 .* whole numbers"),
    "an id is empty": (lambda at: parquet(at, movieId_1=[10, None], movieId_2=[20, 30]), "row 2: movieId_1 is empty"),
    "negative weight": (
        lambda at: parquet(at, movieId_1=[10, 20], movieId_2=[20, 30], weight=[1.0, -2.0]),
        r"not negative, got -2.0 between movieId 20 and 30 \(1 such edges\)",
    ),
    "weight NaN": (lambda at: parquet(at, movieId_1=[10], movieId_2=[20], weight=[np.nan]), "row 1: weight is"),
    "weight infinite": (lambda at: npy(at, [[0, np.inf], [0, 0]], [10, 20]), "finite and not negative, got inf"),
    "dense NaN": (lambda at: npy(at, [[0, np.nan], [0, 0]], [10, 20]), "finite and not negative, got nan"),
    "only unknown films": (lambda at: parquet(at, movieId_1=[10, 7], movieId_2=[9, 8]), "joins no two movies"),
    "only zeros": (lambda at: npy(at, np.zeros((2, 2)), [10, 20]), "joins no two movies"),
    "only itself": (lambda at: parquet(at, movieId_1=[10], movieId_2=[10]), "joins no two movies"),
    "not square": (lambda at: npy(at, np.ones((2, 3)), [10, 20]), r"square matrix, .* shape is \(2, 3\)"),
    "a vector": (lambda at: npy(at, np.ones(4), [10, 20]), r"square matrix, .* shape is \(4,\)"),
    "nothing at all": (lambda at: npy(at, np.ones((0, 0)), []), "square matrix"),
    "text": (lambda at: npy(at, [["a", "b"], ["c", "d"]], [10, 20]), "must hold numbers"),
    "complex": (lambda at: npy(at, np.ones((2, 2), dtype=complex), [10, 20]), "must hold numbers, got complex"),
    "objects": (lambda at: npy(at, np.array([[None, 1], [1, None]])), "cannot be read as an array of numbers"),
    "no ids": (lambda at: npy(at, np.ones((2, 2))), "needs the movieId of each of its rows: put them in .*g_ids.npy"),
    "too few ids": (lambda at: npy(at, np.ones((2, 2)), [10]), "names 1 movieIds, but the matrix has 2 rows"),
    "an id twice": (lambda at: npy(at, np.ones((2, 2)), [10, 10]), "names a movieId twice"),
    "broken ids": (lambda at: npy(at, np.ones((2, 2)), [10.5, 20]), "list of whole numbers, got float64"),
    "no npz": (lambda at: raw(at, "g.npz", b"what"), "cannot be read as a sparse matrix"),
    "another npz": (lambda at: npz(at, x=np.ones(3)), "cannot be read as a sparse matrix"),
    "npz without ids": (
        lambda at: (sparse.save_npz(at / "g.npz", sparse.eye(2, format="csr")), at / "g.npz")[1],
        "under the key ids of g.npz, or in .*g_ids.npy",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_malformed_files_are_named(case: str, tmp_path: Path) -> None:
    write, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        read_item_graph(write(tmp_path), ITEMS)
