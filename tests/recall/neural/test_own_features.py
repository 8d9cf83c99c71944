"""Own columns of items and users in the towers: by hand, each of use, only those named are read and stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recall.neural.user_content import UserContent
from recall.two_tower import TwoTower
from reccore import ConfigError, DataError, Labels, QueryBatch, RunOptions, TrainingData, UserTable
from tests.helpers import checkerboard, nested

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {
    "embedding_size": 6,
    "item__hidden_size": 8,
    "encoder__hidden_size": 8,
    "epochs": 1,
    "negatives__uniform": 4,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "transformer": {"encoder__kind": "transformer", "encoder__heads": 1, "encoder__blocks": 1},
}
NAMES = ("brand", "parts", "price", "plot")


def columns(n: int) -> dict[str, Any]:
    """One column of each kind, the last third missing."""
    rng = np.random.default_rng(1)
    known = np.arange(n) < n * 2 // 3
    offsets = {most: np.concatenate([[0], np.cumsum(most * known)]) for most in (1, 2)}
    plot = rng.normal(size=(n, 3)).astype(np.float32)
    return {
        "labels": {
            "brand": Labels(("x", "y"), offsets[1], np.arange(offsets[1][-1]) % 2),
            "parts": Labels(("a", "b", "c"), offsets[2], np.arange(offsets[2][-1]) % 3),
        },
        "numbers": {"price": np.where(known, rng.normal(size=n), np.nan).astype(np.float32)},
        "vectors": {"plot": plot * known[:, None]},
    }


def with_own_columns(board: TrainingData) -> TrainingData:
    items = replace(board.items, **columns(board.items.n_items), own=frozenset(NAMES))
    return replace(board, items=items, users=replace(board.users, **columns(board.users.n_users)))


def fitted(data: TrainingData | None = None, **config: Any) -> TwoTower:
    data = with_own_columns(checkerboard()) if data is None else data
    return TwoTower(nested(SMALL, config)).fit(data, options=QUIET)


def queries(data: TrainingData) -> QueryBatch:
    """Some known users and an unknown one, with and without a history."""
    users = np.array([0, 1, data.users.n_users - 1, -1])
    return QueryBatch.from_histories([[1, 2], [], [3], [4]], user_idx=users)


@pytest.mark.parametrize("kind", ENCODERS)
def test_none_is_read_unless_named(kind: str) -> None:
    plain, own = (fitted(data, **ENCODERS[kind]) for data in (checkerboard(), None))
    np.testing.assert_array_equal(own.encode_items(), plain.encode_items())
    asked = queries(checkerboard())
    np.testing.assert_array_equal(own.encode_queries(asked), plain.encode_queries(asked))


def test_each_column_of_items_changes_what_is_learnt() -> None:
    plain = fitted().encode_items()
    for name in NAMES:
        assert np.abs(fitted(item__features=[name]).encode_items() - plain).max() > 1e-4, name


@pytest.mark.parametrize("kind", ENCODERS)
def test_each_column_of_users_changes_what_is_learnt(kind: str) -> None:
    asked = queries(checkerboard())
    plain = fitted(**ENCODERS[kind]).encode_queries(asked)
    for name in NAMES:
        found = fitted(**ENCODERS[kind], encoder__features=[name]).encode_queries(asked)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert np.abs(found - plain).max(axis=1).min() > 1e-5, name


def test_content_of_users_by_hand() -> None:
    users = UserTable(
        3,
        labels={"parts": Labels(("a", "b"), np.array([0, 2, 2, 3]), np.array([0, 1, 1]))},
        numbers={"price": np.array([np.nan, 1.0, 2.0], dtype=np.float32)},
        vectors={"plot": np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]], dtype=np.float32)},
    )
    content = UserContent(users, 4)
    (price,), (parts,), linear = content.code_tables, content.label_tables, content.linear
    assert linear is not None
    a, b = parts.detach()
    weight, buckets = linear.weight.detach(), price.weight.detach()
    by_hand = torch.stack(
        [
            (a + b) / 2 + buckets[0] + weight @ torch.tensor([1.0, 2.0]),
            buckets[1],
            b + buckets[10] + weight @ torch.tensor([3.0, 0.0]),
            buckets[0],  # unknown users have the code of a missing number
        ]
    )
    torch.testing.assert_close(content(torch.tensor([0, 1, 2, -1])).detach(), by_hand)
    assert UserContent.of(UserTable(3), 4) is None


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_bundle_carries_what_it_read(kind: str, tmp_path: Path) -> None:
    channel = fitted(**ENCODERS[kind], item__features=["brand", "plot"], encoder__features=["parts", "price"])
    channel.save(tmp_path / "model")
    stored = {}
    for what in ("items", "users"):
        with np.load(tmp_path / "model" / f"{what}.npz", allow_pickle=False) as arrays:
            names = [
                name.split(".")[1] for name in arrays.files if name.startswith(("labels.", "numbers.", "vectors."))
            ]
            stored[what] = set(names)
    assert stored == {"items": {"brand", "plot"}, "users": {"parts", "price"}}
    again, asked = TwoTower.load(tmp_path / "model"), queries(checkerboard())
    np.testing.assert_array_equal(again.encode_items(), channel.encode_items())
    np.testing.assert_array_equal(again.encode_queries(asked), channel.encode_queries(asked))


def test_names_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"item.features: no own column colour of items.* brand, parts, plot, price"):
        fitted(item__features=["price", "colour"])
    with pytest.raises(ConfigError, match=r"encoder.features: no own column colour of users"):
        fitted(encoder__features=["colour"])
    own = with_own_columns(checkerboard())
    budget = replace(own.items, numbers={"budget": own.items.numbers["price"]}, own=frozenset({"budget"}))
    with pytest.raises(DataError, match="metadata budget is not in this data"):  # that is TMDb's, and this is not
        fitted(replace(own, items=budget), item__metadata=["budget"])
