"""Word2Vec: scores against a loop over plain lists, the training against statistics of a known process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recall.skipgram
from recall.skipgram import Sequences, SkipGramConfig, train_skipgram
from recall.word2vec import Word2Vec
from reccore import DataError, Interactions, QueryBatch, RunOptions
from reccore.arrays import offsets_from_lengths
from tests.helpers import training_data

N_ITEMS = 20
UNSEEN = (18, 19)
CONFIG = {"embedding_size": 5, "epochs": 3, "subsample": 0.0}
REPOSITORY = Path(__file__).resolve().parents[2]


def random_events(seed: int = 0, n_users: int = 40) -> Interactions:
    """Histories with repeated films; the last two films have no events."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 15, n_users)
    items = (rng.random(lengths.sum()) ** 2 * (N_ITEMS - len(UNSEEN))).astype(np.int64)
    return Interactions(offsets_from_lengths(lengths), items, N_ITEMS)


def fitted(options: RunOptions, events: Interactions | None = None, **config: Any) -> Word2Vec:
    return Word2Vec({**CONFIG, **config}).fit(training_data(events or random_events()), options=options)


def test_the_score_is_the_logit_of_the_weighted_mean_also_after_loading(options: RunOptions, tmp_path: Path) -> None:
    channel = fitted(options, half_life=2.0)
    channel.save(tmp_path / "word2vec")
    inputs, outputs = channel.input_vectors, channel.item_factors
    mean = (2.0**-1 * inputs[3] + 2.0**-0.5 * inputs[0] + inputs[5]) / (2.0**-1 + 2.0**-0.5 + 1)
    for model in (channel, Word2Vec.load(tmp_path / "word2vec")):
        found = model.retrieve(QueryBatch.from_histories([[3, 0, 5]]), N_ITEMS)
        expected = {item: float(mean @ outputs[item]) for item in range(N_ITEMS) if item not in (3, 0, 5, *UNSEEN)}
        n = found.counts[0]
        assert set(found.item_idx[0, :n].tolist()) == set(expected)
        np.testing.assert_allclose(found.score[0, :n], [expected[i] for i in found.item_idx[0, :n].tolist()], rtol=1e-4)


def test_logits_are_the_log_odds_of_context_against_noise() -> None:
    """The optimum of the logistic loss, by hand, for pairs drawn from a joint distribution of 2 × 2 tokens.

    A pair (t, c) occurs with P(c | t). As noise c is drawn 2 · 1/4 times a pair, and gensim skips it where c is the
    pair's own context, which leaves the share 1 − P(c | t).
    """
    rng = np.random.default_rng(0)
    joint = np.array([[0.4, 0.1], [0.1, 0.4]])
    drawn = rng.choice(4, size=30_000, p=joint.ravel())
    tokens = np.stack([drawn // 2, 2 + drawn % 2], axis=1).ravel()
    config = SkipGramConfig(embedding_size=4, epochs=10, window=1, negative=2, subsample=0.0, learning_rate=0.05)
    inputs, outputs = train_skipgram(Sequences(2 * np.arange(30_001), tokens, 4), config, seed=0)
    logits = inputs[:2] @ outputs[2:].T
    share = joint / joint.sum(axis=1, keepdims=True)
    expected = np.log(share / (2 * 0.25 * (1 - share)))
    np.testing.assert_allclose(logits, expected, atol=0.15)


HASHED = """
import numpy as np
from recall.skipgram import Sequences, SkipGramConfig, train_skipgram
tokens = np.random.default_rng(0).integers(0, 9, 200)
found = train_skipgram(Sequences(20 * np.arange(11), tokens, 9), SkipGramConfig(embedding_size=3, epochs=2), 4)
print(np.concatenate(found).tobytes().hex())
"""


def test_the_seed_alone_decides_not_the_hashes_of_the_process() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", HASHED],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": seed},
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] != ""


def test_a_long_history_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall.skipgram, "LONGEST", 3)
    rows = Sequences(np.array([0, 7, 7, 9]), np.arange(9), 9)
    assert list(rows) == [[0, 1, 2], [3, 4, 5], [6], [7, 8]]


def test_histories_without_known_vectors_get_an_empty_row(options: RunOptions) -> None:
    found = fitted(options).retrieve(QueryBatch.from_histories([[], [18, 19], [-1], [18, 1]]), 5)
    assert found.counts.tolist() == [0, 0, 0, 5]


def test_one_user(options: RunOptions) -> None:
    channel = fitted(options, Interactions(np.array([0, 3]), np.array([0, 1, 2]), 4))
    found = channel.retrieve(QueryBatch.from_histories([[0], [3]]), 4)
    assert [set(row) for row in found.item_idx.tolist()] == [{1, 2, -1}, {-1}]


def test_without_events_there_is_nothing_to_learn_from(options: RunOptions) -> None:
    with pytest.raises(DataError, match="word2vec needs at least one event"):
        fitted(options, Interactions(np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int64), N_ITEMS))


CHANGED = {
    "embedding_size": 4,
    "half_life": 1.0,
    "window": 1,
    "epochs": 1,
    "negative": 1,
    "ns_exponent": 1.0,
    "subsample": 1e-3,
    "learning_rate": 0.2,
}


def test_every_option_has_a_test_value() -> None:
    assert {*CHANGED, "index"} == set(SkipGramConfig.model_fields)


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(option: str, options: RunOptions) -> None:
    queries = random_events().queries()
    plain, changed = fitted(options), fitted(options, **{option: CHANGED[option]})
    assert np.any(plain.retrieve(queries, 5).score != changed.retrieve(queries, 5).score)


def test_events_without_a_neighbour_are_refused(options: RunOptions) -> None:
    """The first data has no neighbours; of the second, 1 of 2 events in 20,000 is kept."""
    alone = Interactions(np.arange(7), np.arange(6), 6)
    with pytest.raises(DataError, match="found none: no user has more than one event; give it longer histories"):
        fitted(options, alone)
    pairs = Interactions(2 * np.arange(3), np.array([0, 1, 1, 0]), 2)
    with pytest.raises(DataError, match="found none: subsample = 1e-09 dropped too many events; set it to 0"):
        fitted(options, pairs, subsample=1e-9)
    assert fitted(options, pairs).item_factors.any()
