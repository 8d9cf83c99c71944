"""Tags and title vectors in the item encoder: by hand, in training, in the bundle, and refused where there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recall.neural.item_content import ItemContent
from recall.neural.item_encoder import ItemEncoder, ItemEncoderConfig, mean_rows
from recall.two_tower import TwoTower
from reccore import DataError, Labels, RunOptions, TrainingData
from tests.helpers import checkerboard, nested

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {
    "embedding_size": 6,
    "item__hidden_size": 8,
    "encoder__hidden_size": 8,
    "epochs": 1,
    "negatives__uniform": 4,
}


def rich_board() -> TrainingData:
    """Even films are called "even", every third film also "third"; a vector tells the rest by three."""
    board = checkerboard()
    n = board.items.n_items
    lists = [([0] if i % 2 == 0 else []) + ([1] if i % 3 == 0 else []) for i in range(n)]
    items = replace(
        board.items,
        labels={
            "tag": Labels(
                ("even", "third"),
                np.cumsum([0, *map(len, lists)]),
                np.array([tag for tags in lists for tag in tags]),
            )
        },
        vectors={"title": np.eye(3, dtype=np.float32)[np.arange(n) % 3], "plot": np.ones((n, 2), dtype=np.float32)},
    )
    return replace(board, items=items)


def fitted(**config: Any) -> TwoTower:
    return TwoTower(nested(SMALL, config)).fit(rich_board(), options=QUIET)


def test_means_of_rows_by_hand_and_by_autograd() -> None:
    table = torch.tensor([[1.0, 2], [3, 5], [10, 20]], dtype=torch.float64, requires_grad=True)
    idx = torch.tensor([[0, 1], [2, -1], [-1, -1]])
    means = mean_rows(table, idx)
    assert means.tolist() == [[2, 3.5], [10, 20], [0, 0]]
    (means * torch.tensor([[1.0], [10], [100]])).sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0.5, 0.5], [0.5, 0.5], [10, 10]]


def test_tags_and_vectors_move_the_item_encoder() -> None:
    torch.manual_seed(0)
    content = ItemContent.of(rich_board().items)
    encoder = ItemEncoder(24, content, ItemEncoderConfig(hidden_size=8), 6).eval()
    one = content.of_items(torch.tensor([5]))
    plain = encoder(torch.tensor([5]), one, None)
    for change in ({"labels": (torch.tensor([[1, 0]]),)}, {"vectors": one.vectors + 1}):
        assert (encoder(torch.tensor([5]), replace(one, **change), None) - plain).abs().max() > 1e-3
    same = encoder(torch.tensor([5]), replace(one, labels=(torch.tensor([[-1, -1]]),)), None)
    torch.testing.assert_close(same, plain)  # film 5 has no tag


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ({}, set()),
        ({"item__tags": True}, {"labels.tag.names", "labels.tag.offsets", "labels.tag.idx"}),
        ({"item__title_vectors": True}, {"vectors.title"}),
    ],
)
def test_a_bundle_carries_what_is_read_and_no_more(config: dict[str, Any], columns: set[str], tmp_path: Path) -> None:
    channel = fitted(**config)
    channel.save(tmp_path / "model")
    with np.load(tmp_path / "model" / "items.npz", allow_pickle=False) as arrays:
        optional = {name for name in arrays.files if name.startswith(("labels.", "vectors."))}
    assert optional == columns
    again = TwoTower.load(tmp_path / "model")
    np.testing.assert_array_equal(again.encode_items(), channel.encode_items())


def test_off_by_default_they_change_nothing() -> None:
    plain = TwoTower(nested(SMALL)).fit(checkerboard(), options=QUIET)
    np.testing.assert_array_equal(fitted().encode_items(), plain.encode_items())


def test_each_changes_what_is_learnt() -> None:
    vectors = [fitted(**config).encode_items() for config in ({}, {"item__tags": True}, {"item__title_vectors": True})]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(vectors[one] - vectors[other]).max() > 1e-3


@pytest.mark.parametrize("name", ["tags", "title_vectors"])
def test_asked_for_without_such_data(name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} = true needs .* this data has none"):
        ItemEncoderConfig(**{name: True}).columns_of(checkerboard().items)
