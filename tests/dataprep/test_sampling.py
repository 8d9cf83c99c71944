"""A sample of users keeps whole users and their cuts."""

from __future__ import annotations

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LeaveLastN
from dataprep.sampling import sample_users
from reccore import ConfigError, TrainingData


def prepared_of(board: TrainingData) -> Prepared:
    return Prepared(LeaveLastN(1).split(board.interactions), board.items, board.users, board.vocabulary, {})


def test_whole_users_up_to_the_limit(board: TrainingData) -> None:
    prepared = prepared_of(board)  # 60 users of 8 events
    part = sample_users(prepared, 100, seed=1)
    events, kept = part.split.interactions, np.flatnonzero(part.split.interactions.lengths)
    assert len(kept) == 12
    assert events.n_events == 96
    for user in kept.tolist():
        np.testing.assert_array_equal(events.history(user), board.interactions.history(user))
    assert part.split.test().queries.user_idx.tolist() == kept.tolist()
    whole = prepared.split.test().select(kept)
    np.testing.assert_array_equal(part.split.test().target_idx, whole.target_idx)
    np.testing.assert_array_equal(part.split.test().queries.history_idx, whole.queries.history_idx)
    assert part.split.fit().n_events == 12 * 6
    assert part.vocabulary is prepared.vocabulary


def test_the_seed_selects_the_users_and_small_data_is_unchanged(board: TrainingData) -> None:
    prepared = prepared_of(board)
    drawn = [sample_users(prepared, 100, seed=seed).split.interactions.lengths.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sample_users(prepared, 480) is prepared
    assert sample_users(prepared, 1).split.interactions.n_events == 8  # one user at least
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        sample_users(prepared, 0)
