"""LR against its formula, term by term."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.config import SingleTaskConfig
from ranking.lr import LR
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting


def test_network_equals_the_formula() -> None:
    found = reference(LR, SingleTaskConfig())
    for b, k in PLACES:
        assert found.logits[b, k] == pytest.approx(found.linear(b, k), rel=1e-9)


def test_decay_reaches_the_weights_of_ids() -> None:
    setting = board_setting()
    free, decayed = (outcome(LR, setting, weight_decay=decay) for decay in (0.0, 20.0))
    assert np.ptp(decayed - free, axis=1).max() > 1e-3
