"""A query encoder added in one file trains, validates and answers; the contract of recall runs over it too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reccore import ConfigError, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.gru_channel import GRU4Rec
from tests.recall.neural.tiny import TINY, last_events


def test_it_trains_and_finds_the_colour(board: TrainingData, options: RunOptions) -> None:
    data, valid = last_events(board)
    channel = GRU4Rec(nested(TINY, encoder__kind="gru", epochs=12)).fit(data, valid=valid, options=options)
    assert channel.log.loss[-1] < channel.log.loss[0] - 0.2
    assert len(channel.log.validation) > 0
    users = board.interactions.queries()
    found = channel.retrieve(users, 3)
    assert (found.item_idx % 2 == (users.user_idx % 2)[:, None]).mean() > 0.9


def test_it_reads_the_order_of_the_history(board: TrainingData, options: RunOptions) -> None:
    channel = GRU4Rec(nested(TINY, encoder__kind="gru")).fit(board, options=options)
    users = board.interactions.queries()
    events = users.history_idx.reshape(60, 8)
    turned = events[:, [0, 1, 2, 3, 5, 4, 6, 7]].ravel()  # among the latest four, and not the last
    one = channel.encode_queries(users)
    other = channel.encode_queries(replace(users, history_idx=turned))
    assert np.abs(one - other).max() > 1e-4


def test_it_knows_its_own_options_alone() -> None:
    assert GRU4Rec(nested(encoder__layers=2)).config.encoder.layers == 2
    with pytest.raises(ConfigError, match=r"encoder\.blocks: no such option"):
        GRU4Rec(nested(encoder__blocks=2))
    with pytest.raises(ConfigError, match=r"encoder\.kind"):
        GRU4Rec(nested(encoder__kind="mlp"))
