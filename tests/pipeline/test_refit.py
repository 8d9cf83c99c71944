"""A refit for the label window trains as the original did: same learning rates, as long as its best epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataprep.prepare import Prepared
from pipeline.window_refits import refit
from recall import CHANNELS
from tests.pipeline import small
from tests.pipeline.small import QUIET


def test_a_refit_keeps_the_learning_rates_and_stops_at_the_best_epoch(prepared: Prepared, tmp_path: Path) -> None:
    """On the events of the original a refit gives the weights of its best epoch.

    A cosine over the epochs up to the best one would give other learning rates from the first batch on.
    """
    config = {**small.CHANNELS["two_tower"], "epochs": 12, "learning_rate": 0.05}
    data, valid = prepared.training_data(), prepared.split.valid()
    original = CHANNELS["two_tower"](config).fit(data, valid=valid, options=QUIET)
    assert 1 < original.log.best_epoch < 12
    original.save(tmp_path / "two_tower")
    again = refit(original, data, tmp_path / "two_tower", QUIET)
    assert len(again.log.loss) == original.log.best_epoch
    np.testing.assert_array_equal(again.encode_items(), original.encode_items())
    assert again.config == original.config
