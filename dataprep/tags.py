"""Tags that users gave to films, and the selection of those that a model may see.

A tag shows that its user knows the film, and it has a time, so it can leak held-out events. Given the events that a
model may see, normally the fit split, a tag by user u on film i is used only if

* (u, i) is one of these events: a tag on a held-out film would reveal a target, and a tag on a film without an event
  looks the same;
* the tag is not later than u's last event among them: later tags are beyond u's cut, and under ``global_time`` beyond
  the common cut.

Both conditions depend on the given events only, so held-out events cannot change the tags of a film.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from dataprep import ids
from dataprep.labels import frequent_labels
from reccore import Interactions, ItemTable, Vocabulary
from reccore.arrays import BoolArray, IntArray, offsets_from_lengths, sorted_distinct

TAG = "tag"
"""Name of these labels among ``ItemTable.labels``."""
MIN_USERS = 2
"""A tag of a single user is often a private note ("in netflix queue")."""
MIN_ITEMS = 3
MAX_TAGS = 1000
MAX_PER_ITEM = 16


@dataclass(frozen=True, eq=False)
class TagEvents:
    """A distinct triples (user, item, tag), each with its earliest time.

    Attributes:
        names: (T,) normalised tags, sorted.
        user_idx: (A,) int64.
        item_idx: (A,) int64.
        tag_idx: (A,) int64 in 0 … T-1.
        timestamp: (A,) int64, Unix seconds.
    """

    names: tuple[str, ...]
    user_idx: IntArray
    item_idx: IntArray
    tag_idx: IntArray
    timestamp: IntArray

    def __len__(self) -> int:
        return len(self.tag_idx)

    @classmethod
    def of(cls, table: pa.Table, vocabulary: Vocabulary, *, min_users: int = MIN_USERS) -> TagEvents:
        """Encode a table (userId, movieId, tag, timestamp) without unknown users, unknown films and empty tags.

        Tags of fewer than ``min_users`` users are dropped, since no selection of events can give them more.
        """
        distinct = pc.unique(table["tag"].combine_chunks())
        normal = np.array([normalise(text) for text in distinct.to_pylist()], dtype=object)
        names, code = np.unique(normal.astype(np.str_), return_inverse=True)
        tag_idx = code[pc.index_in(table["tag"], value_set=distinct).to_numpy()].astype(np.int64)
        user_idx = ids.encode(vocabulary.users, table["userId"])
        item_idx = ids.encode(vocabulary.items, table["movieId"])
        every = cls(tuple(names.tolist()), user_idx, item_idx, tag_idx, table["timestamp"].to_numpy().astype(np.int64))
        known = every.select((user_idx >= 0) & (item_idx >= 0) & (names != "")[tag_idx])
        by_time = known.select(np.argsort(known.timestamp, kind="stable"))
        triple = (by_time.tag_idx * len(vocabulary.users) + by_time.user_idx) * len(vocabulary.items) + by_time.item_idx
        _, first = np.unique(triple, return_index=True)
        return by_time.select(first)._of_several_users(min_users)

    def select(self, rows: IntArray | BoolArray) -> TagEvents:
        """The given rows."""
        parts = (self.user_idx, self.item_idx, self.tag_idx, self.timestamp)
        return TagEvents(self.names, *(part[rows] for part in parts))

    def _of_several_users(self, min_users: int) -> TagEvents:
        kept = distinct_count(self.tag_idx, self.user_idx, len(self.names)) >= min_users
        rows = self.select(kept[self.tag_idx])
        names = tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)
        return replace(rows, names=names, tag_idx=(np.cumsum(kept) - 1)[rows.tag_idx].astype(np.int64))

    def known_from(self, events: Interactions) -> TagEvents:
        """The rows that a model may see, given these events: see the top of the file. O(A log A + E)."""
        known = np.zeros(len(self), dtype=np.bool_)
        if len(self) == 0 or events.n_events == 0:
            return self.select(known)
        by_user = np.argsort(self.user_idx, kind="stable")
        rows_of_user = offsets_from_lengths(np.bincount(self.user_idx, minlength=events.n_users))
        _mark_events(events.user_offsets, events.item_idx, events.n_items, rows_of_user, by_user, self.item_idx, known)
        if events.timestamp is not None:
            some = events.lengths > 0
            last = np.full(events.n_users, np.iinfo(np.int64).min)
            last[some] = events.timestamp[events.user_offsets[1:][some] - 1]
            known &= self.timestamp <= last[self.user_idx]
        return self.select(known)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        columns = ("user_idx", "item_idx", "tag_idx", "timestamp")
        return {"names": np.array(self.names, dtype=np.str_)} | {name: getattr(self, name) for name in columns}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TagEvents:
        """Inverse of ``to_arrays``."""
        names = tuple(str(name) for name in arrays["names"])
        return cls(names, *(arrays[name] for name in ("user_idx", "item_idx", "tag_idx", "timestamp")))


def normalise(tag: str) -> str:
    """Lower case, Unicode NFKC, single spaces: ``" Sci-Fi\u00a0 EPIC"`` becomes ``"sci-fi epic"``."""
    return " ".join(unicodedata.normalize("NFKC", tag).casefold().split())


def distinct_count(group: IntArray, value: IntArray, n_groups: int) -> IntArray:
    """(n_groups,) number of distinct values in each group."""
    width = int(value.max(initial=0)) + 1
    return np.bincount(sorted_distinct(group * width + value) // width, minlength=n_groups).astype(np.int64)


@njit(nogil=True, cache=True)
def _mark_events(
    user_offsets: np.ndarray,
    event_item: np.ndarray,
    n_items: int,
    rows_of_user: np.ndarray,
    by_user: np.ndarray,
    item_idx: np.ndarray,
    known: np.ndarray,
) -> None:
    """Set ``known`` on the tags whose user has an event on their film; ``by_user`` lists the tags user by user."""
    seen_by = np.full(n_items, -1, dtype=np.int64)
    for user in range(len(user_offsets) - 1):
        if rows_of_user[user] == rows_of_user[user + 1]:
            continue
        for event in range(user_offsets[user], user_offsets[user + 1]):
            seen_by[event_item[event]] = user
        for at in range(rows_of_user[user], rows_of_user[user + 1]):
            row = by_user[at]
            known[row] = seen_by[item_idx[row]] == user


def with_tags(
    items: ItemTable,
    tags: TagEvents,
    events: Interactions,
    *,
    min_users: int = MIN_USERS,
    min_items: int = MIN_ITEMS,
    max_tags: int = MAX_TAGS,
    max_per_item: int = MAX_PER_ITEM,
) -> ItemTable:
    """Add to the item table the tags that a model may see.

    Args:
        items: the catalogue.
        tags: all tags.
        events: the events that a model may see, normally the fit split.
        min_users: keep tags of at least this many users, among the visible ones.
        min_items: keep tags on at least this many films.
        max_tags: keep at most this many tags, those on the most films, ties in alphabetical order.
        max_per_item: keep at most this many tags per film, those of the most users, ties to the tag on more films.
    """
    known = tags.known_from(events)
    by_users = distinct_count(known.tag_idx, known.user_idx, len(known.names))
    read = known.select(by_users[known.tag_idx] >= min_users)
    width = max(len(known.names), 1)
    pairs, n_users = np.unique(read.item_idx * width + read.tag_idx, return_counts=True)
    item, tag = pairs // width, pairs % width
    on_items = np.bincount(tag, minlength=width)
    best_first = np.lexsort((tag, -on_items[tag], -n_users, item))
    labels = frequent_labels(
        item[best_first],
        tag[best_first],
        known.names,
        items.n_items,
        min_items=min_items,
        max_labels=max_tags,
        max_per_item=max_per_item,
    )
    return replace(items, labels={**items.labels, TAG: labels})
