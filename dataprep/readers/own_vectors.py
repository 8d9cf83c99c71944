"""Vectors of items or users from a ``.npy`` matrix, whose rows a file of ids names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataprep import ids as raw_ids
from dataprep.cleaning import repeated_ids
from dataprep.readers.own_columns import ITEM_NAMES, NAME, USER_NAMES, vector_array
from dataprep.readers.own_files import existing, read_own_file
from dataprep.readers.raw import RawData
from dataprep.readers.roles import ITEM_ROLES, USER_ROLES
from reccore.errors import ConfigError, DataError

FORM = "NAME=MATRIX.npy:IDS.csv"


@dataclass(frozen=True)
class VectorSource:
    """Where the vectors of one column come from.

    Attributes:
        name: of the column.
        matrix: ``.npy`` file, (M, D) of any number type.
        ids: CSV or Parquet file with M rows and the column movieId or itemId, or userId: row r names row r of the
            matrix.
    """

    name: str
    matrix: Path
    ids: Path

    @classmethod
    def parse(cls, text: str) -> VectorSource:
        """From ``NAME=MATRIX.npy:IDS.csv``.

        Raises:
            ConfigError: not of this form.
        """
        name, _, files = text.partition("=")
        matrix, _, ids = files.rpartition(":")
        if not (name and matrix and ids):
            raise ConfigError(f"vectors are given as {FORM}, got {text!r}")
        return cls(name, Path(matrix), Path(ids))


def with_vectors(data: RawData, items: Sequence[VectorSource], users: Sequence[VectorSource], show: bool) -> RawData:
    """Add the vectors to the own columns of items and users.

    Raises:
        ConfigError: a name that is reserved, repeated or malformed.
        DataError: a file that does not exist or cannot be read; ids that do not fit the matrix or repeat; missing or
            infinite numbers.
    """
    of_items, of_users = data.item_features, data.user_features
    for source in items:
        of_items = _joined(of_items, "movieId", source, show)
    for source in users:
        of_users = _joined(of_users, "userId", source, show)
    return replace(data, item_features=of_items, user_features=of_users)


def _joined(table: pa.Table | None, key: str, source: VectorSource, show: bool) -> pa.Table:
    """The table with one more column, and rows for the ids that only the matrix has."""
    reserved = ITEM_NAMES if key == "movieId" else USER_NAMES
    taken = source.name in reserved or (table is not None and source.name in table.column_names)
    if taken or not NAME.fullmatch(source.name):
        raise ConfigError(
            f"vectors cannot be called {source.name!r}: "
            + ("another column has this name" if taken else "use letters, digits, _ and -, a letter or digit first")
        )
    ids = _read_ids(source, key, show)
    rows = _read_matrix(source, len(ids))
    listed = ids[:0] if table is None else raw_ids.values(table[key])
    if ids.dtype != listed.dtype:  # numbers here and text there are the same ids as text
        ids, listed = (np.array([str(value) for value in part.tolist()], dtype=object) for part in (ids, listed))
    order = np.argsort(ids)
    ids, rows = ids[order], rows[order]
    every = np.union1d(listed, ids)
    known = np.isin(every, ids)
    columns = {key: raw_ids.array_of(every)}
    if table is not None:
        at = np.argsort(listed)
        place = np.searchsorted(listed[at], every)
        has_row = np.isin(every, listed)
        take = pa.array(at[np.where(has_row, place, 0)], mask=~has_row)
        columns |= {n: table[n].combine_chunks().take(take) for n in table.column_names if n != key}
    return pa.table({**columns, source.name: vector_array(rows, known)})


def _read_ids(source: VectorSource, key: str, show: bool) -> npt.NDArray[Any]:
    roles = ITEM_ROLES if key == "movieId" else USER_ROLES
    raw = read_own_file(source.ids, roles[:1], show)
    raw.check_all_valid(f"every row of {source.matrix.name} needs an id of its own")
    ids = raw_ids.values(raw.table[key])
    repeated = repeated_ids(raw_ids.numbers(raw.table[key]))
    if repeated.any():
        raise DataError(
            f"{source.ids} names {key} {ids[repeated][0]} twice ({int(repeated.sum()):,} repeated rows); every row of "
            f"{source.matrix.name} needs an id of its own"
        )
    return ids


def _read_matrix(source: VectorSource, n_ids: int) -> np.ndarray:
    """(M, D) float32."""
    path = existing(source.matrix)
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy matrix of numbers: {error}") from error
    if not isinstance(matrix, np.ndarray):
        raise DataError(f"{path} holds several arrays; save one with numpy.save")
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.dtype.kind not in "fiu":
        raise DataError(f"{path} must hold numbers of shape (rows, dimensions), got {matrix.dtype} {matrix.shape}")
    if len(matrix) != n_ids:
        raise DataError(f"{path} has {len(matrix):,} rows and {source.ids} {n_ids:,} ids; row r must belong to id r")
    with np.errstate(over="ignore"):
        rows = matrix.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{path} has {int((~finite).sum()):,} rows with NaN or infinite numbers, the first is row "
            f"{int((~finite).argmax())} (from 0); leave out such rows and their ids"
        )
    return rows
