"""Selection of item labels: the most frequent labels, and the first few of each item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reccore import Labels
from reccore.arrays import IntArray, offsets_from_lengths


def frequent_labels(
    item: IntArray,
    label: IntArray,
    names: Sequence[str],
    n_items: int,
    *,
    min_items: int,
    max_labels: int,
    max_per_item: int,
) -> Labels:
    """Keep the labels of many items.

    Args:
        item: (P,) item of each distinct pair (item, label); an item's most important pairs come first.
        label: (P,) index into ``names``.
        names: names of all labels.
        n_items: N.
        min_items: keep labels of at least this many items.
        max_labels: keep at most this many labels, those of the most items, ties to the lower index.
        max_per_item: keep at most this many labels per item, the first in the given order.
    """
    on_items = np.bincount(label, minlength=len(names))
    most_first = np.argsort(-on_items, kind="stable")
    chosen = most_first[on_items[most_first] >= max(min_items, 1)][:max_labels]
    place = np.full(len(names), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    known = np.flatnonzero(place[label] >= 0)
    known = known[np.argsort(item[known], kind="stable")]
    rows = item[known]
    kept = np.arange(len(rows)) - np.searchsorted(rows, rows) < max_per_item
    offsets = offsets_from_lengths(np.bincount(rows[kept], minlength=n_items))
    return Labels(tuple(names[at] for at in chosen), offsets, place[label[known[kept]]])


def pairs_of_lists(lists: pa.ListArray) -> tuple[tuple[str, ...], IntArray, IntArray]:
    """Sorted names (L,) and the distinct pairs (row, label) of the lists, in order; "" and null are ignored."""
    values = pc.list_flatten(lists).cast(pa.string())
    names = sorted(name for name in pc.unique(values).to_pylist() if name)
    label = pc.index_in(values, value_set=pa.array(names, pa.string())).fill_null(-1).to_numpy().astype(np.int64)
    row = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    named = np.flatnonzero(label >= 0)
    kept = named[first_of_each(row[named], label[named], len(names))]
    return tuple(names), row[kept], label[kept]


def first_of_each(item: IntArray, label: IntArray, n_labels: int) -> IntArray:
    """Position of the first occurrence of each distinct pair (item, label), ascending."""
    _, first = np.unique(item * max(n_labels, 1) + label, return_index=True)
    return np.sort(first)
