"""A buffer of candidates is their concatenation."""

from __future__ import annotations

import numpy as np

from pipeline.candidate_buffer import CandidateBuffer
from reccore import Candidates
from reccore.candidates import concatenate


def batch(rng: np.random.Generator, n: int, k: int, names: tuple[str, ...]) -> Candidates:
    features = {name: rng.random((n, k), dtype=np.float32) for name in names}
    return Candidates(rng.integers(0, 50, (n, k)), rng.random((n, k), dtype=np.float32), features)


def test_equals_the_concatenation_of_the_batches() -> None:
    rng = np.random.default_rng(0)
    # Narrower and wider than the buffer, features that come late or are absent in between, an empty batch.
    parts = [
        batch(rng, 3, 2, ("a",)),
        batch(rng, 0, 4, ("a",)),
        batch(rng, 2, 6, ("a", "b")),
        batch(rng, 4, 4, ("b",)),
    ]
    buffer = CandidateBuffer(20, 4)
    for part in parts:
        buffer.add(part)
    found, expected = buffer.candidates(), concatenate(parts, 4)
    np.testing.assert_array_equal(found.item_idx, expected.item_idx)
    np.testing.assert_array_equal(found.score, expected.score)
    assert found.features.keys() == expected.features.keys() == {"a", "b"}
    for name, values in expected.features.items():
        np.testing.assert_array_equal(found.features[name], values)


def test_features_keep_their_order() -> None:
    names = tuple("zyxwvutsrq")
    part = batch(np.random.default_rng(0), 2, 3, names)
    buffer = CandidateBuffer(2, 3)
    buffer.add(part)
    assert tuple(buffer.candidates().features) == names


def test_without_a_batch_it_is_empty() -> None:
    assert CandidateBuffer(5, 3).candidates().item_idx.shape == (0, 3)
