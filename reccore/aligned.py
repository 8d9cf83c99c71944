"""Grown tables in the terms of the tables that a model was fitted on.

A model knows genres, labels and categories by their numbers, and vectors by their axes. When films and users are added,
these must not change: names keep their numbers, those that the model has not learnt are left out, and vectors that were
computed anew are mapped to the old axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from reccore.arrays import FloatArray, IntArray, offsets_from_lengths
from reccore.labels import Labels
from reccore.tables import ItemTable, UserTable


def aligned_items(items: ItemTable, old: ItemTable) -> ItemTable:
    """The items with the genres, labels, numbers and vectors of ``old``, whose items come first; statistics are theirs.

    Columns that ``items`` lacks are empty.
    """
    genres = None
    if old.genres is not None:
        genres = _labels(items.genres, old.genres, items.n_items)
    return replace(
        items,
        year=None if old.year is None else items.year,
        genre_names=old.genre_names,
        genre_offsets=None if genres is None else genres.offsets,
        genre_idx=None if genres is None else genres.idx,
        labels={name: _labels(items.labels.get(name), labels, items.n_items) for name, labels in old.labels.items()},
        numbers=_numbers(items.numbers, old.numbers, items.n_items),
        vectors=_vectors(items.vectors, old.vectors, items.n_items),
        own=old.own,
    )


def aligned_users(users: UserTable, old: UserTable) -> UserTable:
    """The same for users and their categories."""
    return UserTable(
        users.n_users,
        categories={name: _codes(users, name, names) for name, names in old.category_names.items()},
        category_names=old.category_names,
        labels={name: _labels(users.labels.get(name), labels, users.n_users) for name, labels in old.labels.items()},
        numbers=_numbers(users.numbers, old.numbers, users.n_users),
        vectors=_vectors(users.vectors, old.vectors, users.n_users),
    )


def _labels(given: Labels | None, old: Labels, n: int) -> Labels:
    if given is None:
        return Labels(old.names, np.zeros(n + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
    idx = _numbers_of(given.names, old.names)[given.idx]
    kept = idx >= 0
    return Labels(old.names, offsets_from_lengths(kept)[given.offsets], idx[kept])


def _codes(users: UserTable, name: str, names: tuple[str, ...]) -> IntArray:
    if name not in users.categories:
        return np.full(users.n_users, -1, dtype=np.int64)
    return np.append(_numbers_of(users.category_names[name], names), -1)[users.categories[name]]


def _numbers_of(names: tuple[str, ...], old: tuple[str, ...]) -> IntArray:
    """(L,) number in ``old`` of each name, -1 = none."""
    known = {name: number for number, name in enumerate(old)}
    return np.array([known.get(name, -1) for name in names], dtype=np.int64)


def _numbers(given: Mapping[str, FloatArray], old: Mapping[str, FloatArray], n: int) -> dict[str, FloatArray]:
    return {name: given.get(name, np.full(n, np.nan, dtype=np.float32)) for name in old}


def _vectors(given: Mapping[str, FloatArray], old: Mapping[str, FloatArray], n: int) -> dict[str, FloatArray]:
    return {
        name: _mapped(given[name], rows) if name in given else np.pad(rows, ((0, n - len(rows)), (0, 0)))
        for name, rows in old.items()
    }


def _mapped(given: FloatArray, old: FloatArray) -> FloatArray:
    """(N, D) the old rows, then the new ones by the affine map that takes old rows as given to the old ones.

    The map is that of least squares over the rows that both know. Zero rows, of which nothing is known, stay zero.
    """
    rows: FloatArray = np.zeros((len(given), old.shape[1]), dtype=np.float32)
    rows[: len(old)] = old
    both = given[: len(old)].any(axis=1) & old.any(axis=1)
    new = np.flatnonzero(given[len(old) :].any(axis=1)) + len(old)
    if both.any() and len(new):
        ones = np.ones((len(given), 1))
        wide = np.concatenate([given.astype(np.float64), ones], axis=1)
        solution = np.linalg.lstsq(wide[: len(old)][both], old[both].astype(np.float64), rcond=None)[0]
        rows[new] = wide[new] @ solution
    return rows
