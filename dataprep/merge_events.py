"""New events among stored ones: rows that are there already, repeated pairs, and the order of preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dataprep import ids, schema
from dataprep.cleaning import tie_hash
from dataprep.readers.times import FRACTION
from dataprep.tables import POSITION
from reccore.arrays import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class EventMerge:
    """Stored events, sorted by (user, time, tie order), followed by new ones in the order of their file.

    Attributes:
        table: the columns of the stored events, of E stored and F new rows.
        n_stored: E.
        user: (E+F,) numbers in the order of the user ids.
        finer: (F,) columns that order new events of equal time, the first one before the second.
    """

    table: pa.Table
    n_stored: int
    user: IntArray
    finer: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, stored: pa.Table, new: pa.Table) -> EventMerge:
        """Join both; columns of ``new`` that ``stored`` lacks only order the new events, if they are made for that."""
        columns = []
        for name in stored.column_names:
            column = pa.chunked_array([*stored[name].chunks, *_as_type(new[name], stored[name].type).chunks])
            columns.append(pa.chunked_array([ids.as_text(column)]) if pa.types.is_dictionary(column.type) else column)
        table = pa.table(columns, names=stored.column_names)
        finer = tuple(np.asarray(new[name].to_numpy()) for name in (FRACTION, POSITION) if name in new.column_names)
        return cls(table, len(stored), ids.numbers(table["userId"]), finer)

    @property
    def _touched(self) -> BoolArray:
        """(E,) whether the user of a stored event has a new one."""
        return np.isin(self.user[: self.n_stored], self.user[self.n_stored :])

    def repeats(self, columns: Sequence[str]) -> BoolArray:
        """(F,) whether the values of a new row in ``columns`` are those of a stored row."""
        place, is_new, same = self._groups(columns)
        of_stored = np.maximum.accumulate(np.where(same, 0, np.arange(len(place))))  # where each group begins
        found = np.zeros(len(self.table) - self.n_stored, dtype=np.bool_)
        found[place[is_new] - self.n_stored] = ~is_new[of_stored][is_new]
        return found

    def later_of_equal(self, columns: Sequence[str]) -> BoolArray:
        """(F,) whether an earlier row, stored or new, has the values of a new row in ``columns``."""
        place, is_new, same = self._groups(columns)
        found = np.zeros(len(self.table) - self.n_stored, dtype=np.bool_)
        found[place[is_new] - self.n_stored] = same[is_new]
        return found

    def without(self, dropped: BoolArray) -> EventMerge:
        """Without the new rows where ``dropped`` (F,)."""
        kept = np.append(np.ones(self.n_stored, dtype=np.bool_), ~dropped)
        return EventMerge(
            self.table.filter(pa.array(kept)),
            self.n_stored,
            self.user[kept],
            tuple(values[~dropped] for values in self.finer),
        )

    def in_order(self, tie_order: str) -> pa.Table:
        """All events by user, time and tie order, as ``dataprep.tables`` writes them.

        Of equal user and time, stored events come before new ones, unless ``tie_order`` is a hash. Only users with new
        events are sorted; the rest is a merge of two sorted runs.
        """
        new = np.lexsort(tuple(reversed(self.finer))) if self.finer else np.arange(len(self.table) - self.n_stored)
        touched = self._touched
        some = np.concatenate([np.flatnonzero(touched), self.n_stored + new])
        keys = [self.user[some]]
        if "timestamp" in self.table.column_names:
            keys.append(self.table["timestamp"].to_numpy()[some])
        if tie_order == schema.TIE_HASH:
            keys.append(tie_hash(self.user[some], ids.numbers(self.table["movieId"])[some]))
        some = some[np.lexsort(tuple(reversed(keys)))]  # stable
        order = np.concatenate([np.flatnonzero(~touched), some])
        return self.table.take(pa.array(order[np.argsort(self.user[order], kind="stable")]))

    def _groups(self, columns: Sequence[str]) -> tuple[IntArray, BoolArray, BoolArray]:
        """Rows of users with new events, sorted by the columns, those of equal values in their order.

        Returns:
            Their places, whether they are new, and whether they equal the one before.
        """
        place = np.concatenate([np.flatnonzero(self._touched), np.arange(self.n_stored, len(self.table))])
        values = [self._values(name)[place] for name in columns]
        order = np.lexsort(tuple(values))
        same = np.ones(len(order), dtype=np.bool_)
        same[:1] = False
        for column in values:
            same[1:] &= column[order][1:] == column[order][:-1]
        return place[order], place[order] >= self.n_stored, same

    def _values(self, name: str) -> np.ndarray:
        return self.user if name == "userId" else np.asarray(ids.numbers(self.table[name]))


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    return column if column.type == kind else column.cast(kind)
