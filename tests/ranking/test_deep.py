"""Deep against its formula: a network over the fields, and recall's order as the only other part."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.config import NeuralRankerConfig
from ranking.deep import Deep, DeepNetwork
from ranking.features import FeatureEncoder
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting


def test_network_equals_the_formula() -> None:
    found = reference(Deep, NeuralRankerConfig(embedding_size=3, hidden=(5,), dropout=0.0))
    column = found.encoder.schema.column("recall.merged.log_rank")
    for b, k in PLACES:
        expected = found.deep(b, k) + found.pair(b, k)[column] * found.weights["linear.weight"]
        assert found.logits[b, k] == pytest.approx(expected, rel=1e-9)


def test_without_the_merged_rank_it_starts_from_nothing() -> None:
    setting = board_setting(n_users=6, k=4)
    for features, start in ((("default",), True), (("item.*",), False)):
        encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=features)
        logits = DeepNetwork(encoder, NeuralRankerConfig()).eval()(
            encoder.encode(setting.samples.queries, setting.samples.candidates)
        )
        assert bool(logits.detach().any()) is start


@pytest.mark.parametrize("change", [{"hidden": [6, 4]}, {"embedding_size": 5}, {"dropout": 0.6}])
def test_its_options_change_the_outcome(change: dict[str, object]) -> None:
    setting = board_setting()
    assert not np.allclose(outcome(Deep, setting), outcome(Deep, setting, **change), atol=1e-4)
