"""Reader of recommendations that another program made: one row per user and film, with a rank or a score."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from dataprep.readers.columns import Kind
from dataprep.readers.own_files import read_own_file
from dataprep.readers.roles import ITEM, USER, ColumnNames, Role
from reccore import DataError

RANK = Role("rank", "rank", Kind.ORDER, ("rank", "place"))
SCORE = Role("score", "score", Kind.ORDER, ("score", "prediction"))
LIST_ROLES = (USER, ITEM, RANK, SCORE)


def read_lists(path: Path) -> pa.Table:
    """Read lists in Parquet, CSV or .csv.gz; further columns are ignored.

    Returns:
        userId, movieId, and of ``rank`` (small is first) and ``score`` (great is first) what the file has, float64, in
        the order of the file.

    Raises:
        DataError: no such file, not readable, a missing or ambiguous column, neither rank nor score, or an invalid row.
    """
    raw = read_own_file(path, LIST_ROLES, show=False, names=ColumnNames(option=None))
    raw.check_all_valid("mend the file, which says what was recommended to whom")
    if not {RANK.name, SCORE.name} & set(raw.table.column_names):
        raise DataError(f"{path} has neither a column rank nor a column score, so its lists have no order; add one")
    return raw.table
