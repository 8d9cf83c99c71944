"""Which columns are hidden from an example, against a comparison of all with all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.kernels.masking import NegativeMask, PositiveItems, negative_mask


def test_hidden_columns_by_search() -> None:
    """Overlapping slices of one array, as examples of one user have, against a comparison of all with all."""
    generator = torch.Generator().manual_seed(0)
    item_idx = torch.randint(12, (30,), generator=generator)
    items = torch.randint(20, (40,), generator=generator)
    target = torch.randint(30, (9,), generator=generator)
    start = torch.randint(20, (9,), generator=generator)
    stop = start + torch.randint(20, (9,), generator=generator)
    for accidental in (True, False):
        hidden = negative_mask(
            item_idx, target, accidental_hits=accidental, positives=PositiveItems(items, start, stop)
        )
        assert hidden is not None
        for first, last in ((0, 9), (0, 4), (4, 9), (8, 9), (5, 5)):
            expected = set()
            for row in range(first, last):
                hides = set(items[start[row] : stop[row]].tolist())
                if accidental:
                    hides.add(int(item_idx[target[row]]))
                columns = [j for j in range(30) if int(item_idx[j]) in hides and j != target[row]]
                expected |= {30 * (row - first) + j for j in columns}
            assert set(hidden.of_rows(first, last).tolist()) == expected
    assert negative_mask(item_idx, target, accidental_hits=False) is None


def random_mask(seed: int, *, accidental: bool, positives: bool) -> NegativeMask:
    """Nine examples over 30 columns; slices of one array overlap, some are empty, some entries are below 0."""
    generator = torch.Generator().manual_seed(seed)
    item_idx = torch.randint(12, (30,), generator=generator)
    target = torch.randint(30, (9,), generator=generator)
    items = torch.randint(-3, 20, (40,), generator=generator)
    start = torch.randint(20, (9,), generator=generator)
    stop = start + torch.randint(20, (9,), generator=generator)
    stop[seed % 9] = start[seed % 9]
    given = PositiveItems(items, start, stop) if positives else None
    return NegativeMask(item_idx, target, accidental_hits=accidental, positives=given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("accidental", "positives"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("width", [30, 37])
@pytest.mark.parametrize(("start", "stop"), [(0, 9), (0, 4), (4, 9), (8, 9), (5, 5)])
def test_hiding_in_place_is_hiding_by_coordinates(
    dtype: torch.dtype, accidental: bool, positives: bool, width: int, start: int, stop: int
) -> None:
    n_hidden = 0
    for seed in range(5):
        mask = random_mask(seed, accidental=accidental, positives=positives)
        scores = torch.randn(stop - start, width, generator=torch.Generator().manual_seed(seed)).to(dtype)
        expected = scores.clone()
        expected.view(-1)[mask.of_rows(start, stop, width)] = -torch.inf
        mask.hide(scores, start)
        assert torch.equal(scores, expected)
        n_hidden += int(scores.isneginf().sum())
        assert not scores[:, 30:].isneginf().any()
        assert not scores[torch.arange(stop - start), mask.target[start:stop]].isneginf().any()
    assert (n_hidden > 0) == (stop > start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [30, 37])
@pytest.mark.parametrize("accidental", [True, False])
def test_distinct_columns_are_hidden_by_one_look_up_each(dtype: torch.dtype, width: int, accidental: bool) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        item_idx = torch.randperm(50, generator=generator)[:30]
        items = torch.randint(-3, 60, (80,), generator=generator)
        start = torch.randint(40, (9,), generator=generator)
        stop = start + torch.randint(40, (9,), generator=generator)
        target = torch.randint(30, (9,), generator=generator)
        given = PositiveItems(items, start, stop)
        mask = NegativeMask(item_idx, target, accidental_hits=accidental, positives=given)
        assert mask.distinct
        scores = torch.randn(6, width, generator=generator, dtype=dtype)
        expected = scores.clone()
        expected.view(-1)[mask.of_rows(2, 8, width)] = -torch.inf
        mask.hide(scores, 2)
        assert torch.equal(scores, expected)
        assert scores.isneginf().any()


def test_entries_below_zero_hide_nothing() -> None:
    item_idx, target = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 2])

    def hidden(items: list[int]) -> Tensor:
        slices = PositiveItems(torch.tensor(items), torch.tensor([0, 2]), torch.tensor([2, 4]))
        scores = torch.zeros(2, 4)
        NegativeMask(item_idx, target, accidental_hits=False, positives=slices).hide(scores, 0)
        return scores.isneginf()

    assert hidden([-1, 0, -7, -1]).tolist() == [[True, False, False, True], [False] * 4]
    assert not hidden([-1, -2, -3, 99]).any()  # nor does an item that no column holds
