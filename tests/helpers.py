"""Small data sets with a known answer, shared by the tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from reccore import IdMap, Interactions, ItemTable, QueryBatch, TrainingData, UserTable, Vocabulary
from reccore.arrays import IntArray

FIRST_DAY = 1_000_000_000
NEEDS_ANNOY = pytest.mark.skipif(find_spec("annoy") is None, reason="the optional package annoy is not installed")
NEEDS_QDRANT = pytest.mark.skipif(
    find_spec("qdrant_edge") is None, reason="the optional package qdrant-edge-py is not installed"
)


def checkerboard(n_users: int = 60, n_items: int = 24, seen: int = 8, seed: int = 0) -> TrainingData:
    """Even users know ``seen`` random even items, odd users odd ones: whoever learns anything tells them apart.

    Raw user ids are ``10·u + 3``, raw item ids ``7·i + 5``. Items carry a title, a year, the genre of
    their colour and statistics; users a gender that tells nothing.
    """
    rng = np.random.default_rng(seed)
    per_colour = np.arange(n_items // 2)
    rows = [2 * rng.permutation(per_colour)[:seen] + user % 2 for user in range(n_users)]
    item_idx = np.concatenate(rows).astype(np.int64)
    user_idx = np.repeat(np.arange(n_users, dtype=np.int64), seen)
    interactions = Interactions.from_events(
        user_idx,
        item_idx,
        n_users=n_users,
        n_items=n_items,
        rating=rng.integers(3, 6, len(item_idx)).astype(np.float32),
        timestamp=FIRST_DAY + 60 * np.arange(len(item_idx), dtype=np.int64),
    )
    return training_data(interactions, genre_of_item=np.arange(n_items) % 2)


def training_data(interactions: Interactions, genre_of_item: IntArray | None = None) -> TrainingData:
    """Tables and a vocabulary around given events."""
    n_users, n_items = interactions.n_users, interactions.n_items
    genre = np.zeros(n_items, dtype=np.int64) if genre_of_item is None else genre_of_item.astype(np.int64)
    return TrainingData(
        interactions=interactions,
        items=ItemTable(
            n_items=n_items,
            title=np.array([f"Film {i}" for i in range(n_items)], dtype=object),
            year=1980 + np.arange(n_items, dtype=np.int64) % 30,
            genre_names=("Even", "Odd"),
            genre_offsets=np.arange(n_items + 1, dtype=np.int64),
            genre_idx=genre,
            statistics={
                "count": interactions.item_counts().astype(np.float32),
                "mean_rating": np.full(n_items, 4.0, dtype=np.float32),
            },
        ),
        users=UserTable(
            n_users=n_users,
            categories={"gender": np.arange(n_users, dtype=np.int64) // 2 % 2},
            category_names={"gender": ("F", "M")},
        ),
        vocabulary=Vocabulary(
            users=IdMap(10 * np.arange(n_users, dtype=np.int64) + 3),
            items=IdMap(7 * np.arange(n_items, dtype=np.int64) + 5),
        ),
    )


def nested(*bases: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """A nested configuration of flat keys, in which ``__`` separates levels; of equal keys the last one counts.

    ``nested({"encoder__kind": "mlp"}, epochs=2)`` is ``{"encoder": {"kind": "mlp"}, "epochs": 2}``.
    """
    flat: dict[str, Any] = {}
    for base in (*bases, options):
        flat.update(base)
    config: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split("__")
        node = config
        for name in path:
            node = node.setdefault(name, {})
        node[last] = copy.deepcopy(value)
    return config


def as_flags(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``--set`` flags of a nested configuration: ``--set=encoder.kind=mlp``."""
    flags = []
    for name, value in config.items():
        key = f"{prefix}{name}"
        flags += as_flags(value, f"{key}.") if isinstance(value, Mapping) and value else [f"--set={key}={value}"]
    return flags


def rows_of(queries: QueryBatch) -> list[list[int]]:
    """Histories as lists."""
    return [
        queries.history_idx[start:stop].tolist()
        for start, stop in zip(queries.history_offsets[:-1], queries.history_offsets[1:], strict=True)
    ]
