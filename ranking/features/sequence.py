"""Sequences: what the latest events of the history were, in order, the last one first.

A configuration says how many events are read (``length``) and how their vectors become one (``pooling``). The attention
of DIN over the history is apart from them: it compares all that is known of an item, not one code.
"""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, feature, still_seen
from ranking.features.item import label_names, seen_items
from reccore.arrays import IntArray


def latest_items(batch: FeatureBatch, length: int) -> IntArray:
    """(B, T) the latest events, the last one first; -1 = none."""
    found: IntArray = np.append(batch.queries.history_idx, -1)[batch.queries.latest_positions(length)]
    return found


@feature(
    "history.id",
    side="query",
    kind="sequence",
    vocabulary="items",
    fit=seen_items,
    grow=lambda state, tables: still_seen(state, tables.items.n_items),
    size=lambda tables, _: tables.items.n_items + 1,
)
def history_id(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """The items of the history; those that training never met are passed over."""
    items = latest_items(batch, fitted.length)
    return np.where(np.append(fitted.state["seen"], False)[items], items + 1, 0)


def first_label_rows(tables: FeatureTables) -> dict[str, IntArray]:
    """Column → (N+1,) code of each item's first label, 0 = none; the last row is of no item."""
    found = {}
    for name, labels in tables.items.labels.items():
        codes = np.zeros(tables.items.n_items + 1, dtype=np.int64)
        labelled = np.flatnonzero(np.diff(labels.offsets))
        codes[labelled] = labels.idx[labels.offsets[labelled]] + 1
        found[name] = codes
    return found


@feature(
    "history.{label}",
    side="query",
    kind="sequence",
    columns="items",
    vocabulary=label_names,
    members=lambda samples, tables: sorted(tables.items.labels),
    size=lambda tables, name: len(tables.items.labels[name]) + 1,
)
def history_label(batch: FeatureBatch, fitted: Fitted) -> IntArray:
    """The first, most important label of each item of the history: its director or brand, for example."""
    return batch.tables.once(first_label_rows)[fitted.member][latest_items(batch, fitted.length)]
