"""Windows of histories: codes of events by hand, and the batches of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recall.neural.encoders.windows import WindowCodes, WindowExamples, gap_codes
from recall.neural.user_codes import UserCodes
from reccore import Interactions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data


def random_events(lengths: list[int], n_items: int = 40, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return Interactions(
        user_offsets=offsets_from_lengths(np.array(lengths)),
        item_idx=rng.integers(0, n_items, n),
        n_items=n_items,
        rating=rng.integers(1, 11, n).astype(np.float32) / 2,
        timestamp=np.sort(rng.integers(0, 10**8, n)),
    )


def test_gap_codes_by_hand() -> None:
    time = np.array([100, 100, 101, 104, 50, 50 + 2**20, 7])
    assert gap_codes(time, np.array([0, 4, 4, 6, 7])).tolist() == [0, 1, 2, 3, 0, 21, 0]
    assert gap_codes(np.empty(0, dtype=np.int64), np.array([0, 0])).tolist() == []


@pytest.mark.parametrize(("batch_size", "history_length"), [(7, 5), (64, 5), (3, 50), (1000, 3)])
def test_every_event_is_a_target_once_an_epoch(batch_size: int, history_length: int) -> None:
    lengths = [0, 1, 2, 5, 6, 10, 11, 23, 40, 0, 3]
    events = random_events(lengths, n_items=10_000)
    events = Interactions(events.user_offsets, np.arange(events.n_events), 10_000)
    codes = WindowCodes(UserCodes(None, training_data(events).users, longest=9))
    examples = WindowExamples(events, codes, history_length, batch_size)
    shuffle = np.random.default_rng(0)
    epochs = []
    for _ in range(3):
        batches = examples.batches(shuffle)
        assert len(batches) == examples.n_batches
        assert min(len(windows) for windows in batches) > 0
        targets = [examples.batch(windows)[1] for windows in batches]
        assert sorted(torch.cat(targets).tolist()) == list(range(len(examples)))
        epochs.append(np.concatenate(batches).tolist())
    assert epochs[0] != epochs[1]


def test_batches_are_even_and_hold_windows_of_like_length() -> None:
    rng = np.random.default_rng(0)
    events = random_events(rng.integers(1, 60, 400).tolist())
    codes = WindowCodes(UserCodes(None, training_data(events).users, longest=9))
    examples = WindowExamples(events, codes, 30, 256)
    sizes, padding = [], []
    for windows in examples.batches(rng):
        inputs, targets = examples.batch(windows)
        sizes.append(len(targets))
        padding.append(float((inputs.history < 0).float().mean()))
    assert max(sizes) <= 256 + 2 * 30
    assert min(sizes) >= 256 - 3 * 30
    assert np.mean(padding) < 0.15  # random batches of these windows are about half padding


def test_masks_and_windows_follow_the_seed() -> None:
    events = random_events([30, 40])
    examples = WindowExamples(events, WindowCodes(UserCodes(None, training_data(events).users, longest=9)), 5, 16)
    one, other = (np.concatenate(examples.batches(np.random.default_rng(3))) for _ in range(2))
    np.testing.assert_array_equal(one, other)
