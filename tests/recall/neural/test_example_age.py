"""Example age: by hand with and without times, an input of training alone, and 0 in serving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recall.neural.encoders.example_age import AgedMLPEncoder, AgedMLPEncoderConfig, example_ages
from recall.neural.user_codes import UserCodes
from recall.youtube_dnn import YouTubeDNN
from reccore import Interactions, QueryBatch, RunOptions, TrainingData
from tests.helpers import nested, training_data
from tests.recall.neural.tiny import TINY

EVENTS = Interactions(
    user_offsets=np.array([0, 3, 5]),
    item_idx=np.array([0, 2, 3, 1, 0]),
    n_items=4,
    timestamp=np.array([10, 50, 90, 50, 100]),
)


def test_ages_by_hand() -> None:
    # Ages 90, 50, 10, 50 and 0 seconds: 4, 2, 1, 2 and 0 of five events are younger.
    np.testing.assert_allclose(example_ages(EVENTS), [0.8, 0.4, 0.2, 0.4, 0.0])


def test_without_times_age_counts_later_events_of_the_user() -> None:
    # 2, 1, 0 and 1, 0 later events: 4, 2, 0, 2, 0 of five events have fewer.
    np.testing.assert_allclose(example_ages(replace(EVENTS, timestamp=None)), [0.8, 0.4, 0.0, 0.4, 0.0])


def encoder_of(board: TrainingData) -> AgedMLPEncoder:
    torch.manual_seed(0)
    codes = UserCodes.fit(board, query_time=False)
    encoder = AgedMLPEncoder(AgedMLPEncoderConfig(hidden_size=8), codes, board.items, 6)
    torch.nn.init.normal_(encoder.out.weight)
    return encoder.eval()


def test_training_reads_the_age_and_serving_reads_none(board: TrainingData) -> None:
    encoder, events = encoder_of(board), board.interactions
    rows = np.array([3, 100, 479])
    inputs, _ = encoder.examples(events, 64).batch(rows)
    np.testing.assert_array_equal(inputs.age, example_ages(events)[rows])
    users = events.user_idx[rows]
    served = encoder.inputs(events.queries(users, rows - events.user_offsets[users]))
    assert served.age.tolist() == [0.0] * 3
    for name in ("history", "lengths", "user", "codes", "top_genres"):
        np.testing.assert_array_equal(getattr(inputs, name), getattr(served, name))
    assert inputs.to(torch.device("cpu")).age is inputs.age


def test_age_adds_its_powers_to_the_facts(board: TrainingData) -> None:
    encoder = encoder_of(board)
    served = encoder.inputs(board.interactions.queries())
    aged = replace(served, age=torch.full((60,), 0.25))
    assert encoder.ages is not None
    expected = encoder.ages.weight @ torch.tensor([0.25, 0.0625, 0.5])
    difference = encoder._about(aged, None) - encoder._about(served, None)
    torch.testing.assert_close(difference, expected.expand_as(difference), rtol=1e-4, atol=1e-6)


def test_popularity_that_moved_is_served_as_it_was_at_the_end() -> None:
    """Films 0 and 2 were watched in the first half of the time, 1 and 3 in the second; there are no histories."""
    users = np.arange(200, dtype=np.int64)
    item = 2 * (users % 2) + (users >= 100)
    events = Interactions.from_events(users, item, n_users=200, n_items=4, timestamp=60 * users)
    data = training_data(events)
    shares = {}
    for read in (True, False):
        config = nested(
            {name: value for name, value in TINY.items() if name != "negatives__uniform"},
            encoder__example_age=read,
            encoder__user_dropout=1.0,
            epochs=20,
            negatives__kind="catalogue",
        )
        channel = YouTubeDNN(config).fit(data, options=RunOptions(device="cpu", progress=False, threads=1))
        scores = channel.encode_queries(QueryBatch.from_histories([[]])) @ channel.encode_items().T
        shares[read] = float(torch.softmax(torch.from_numpy(scores[0] / 0.1), dim=0)[[1, 3]].sum())
    assert shares[True] > 0.8
    assert shares[False] == pytest.approx(0.5, abs=0.15)


def test_the_option_decides(board: TrainingData, options: RunOptions) -> None:
    one, other = (
        YouTubeDNN(nested(TINY, encoder__example_age=read)).fit(board, options=options) for read in (True, False)
    )
    assert np.abs(one.encode_items() - other.encode_items()).max() > 1e-4
