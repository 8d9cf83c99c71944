"""FM against the double loop of its definition."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.config import FMConfig
from ranking.fm import FM
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting


def test_network_equals_the_double_loop_over_pairs_of_fields() -> None:
    found = reference(FM, FMConfig(embedding_size=3))
    for b, k in PLACES:
        vectors = found.vectors(b, k)
        vectors += [x * v for x, v in zip(found.pair(b, k), found.weights["pair"], strict=True)]
        second = 0.0
        for i in range(len(vectors)):
            for j in range(i + 1, len(vectors)):
                second += sum(vectors[i][d] * vectors[j][d] for d in range(3))
        assert found.logits[b, k] == pytest.approx(found.linear(b, k) + second, rel=1e-9)


def test_its_option_changes_the_outcome() -> None:
    setting = board_setting()
    assert not np.allclose(outcome(FM, setting), outcome(FM, setting, embedding_size=5), atol=1e-4)
