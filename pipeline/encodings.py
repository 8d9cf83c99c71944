"""What channels encoded for the latest single queries, so that the next request of the same history need not."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from threading import Lock
from typing import Any

from recall.base import BaseRecall
from reccore import QueryBatch

CAPACITY = 4096
"""Encodings of one query by one channel. A vector of 64 numbers takes 0.3 KB; a sparse row grows with the history."""


class Encodings:
    """Keeps the latest encodings of single queries by what is in them.

    The key is every input of a channel: user, time, and the events with their ratings and times. An event or its undo
    makes another key, so nothing here can be out of date; what is not asked for again makes room.

    Args:
        capacity: encodings to keep.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, name: str, channel: BaseRecall, queries: QueryBatch) -> Any:
        """``channel.prepare(queries)``, kept if it is an encoding of one query.

        Args:
            name: of the channel.
            channel: fitted, and always the same one of this name.
            queries: any number of them.
        """
        if len(queries) != 1:
            return channel.prepare(queries)
        key = name, digest(queries)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = channel.prepare(queries)
        if isinstance(found, QueryBatch):  # the channel encodes nothing
            return found
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return found


def digest(query: QueryBatch) -> bytes:
    """16 bytes that stand for everything in a batch of one."""
    hasher = blake2b(digest_size=16)
    for column in (query.user_idx, query.as_of, query.history_idx, query.history_rating, query.history_time):
        hasher.update(b"-" if column is None else b"%d:" % len(column))
        if column is not None:
            hasher.update(column.tobytes())
    return hasher.digest()
