"""DSSM: its defaults are uniform negatives and the point-wise loss, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

from recall.dssm import DSSM
from recall.neural.losses.base import Scores
from recall.neural.losses.bce import BCELoss
from recall.two_tower import TwoTower
from reccore import ConfigError, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.tiny import TINY


def test_it_is_the_two_tower_with_the_point_wise_loss(board: TrainingData, options: RunOptions) -> None:
    dssm = DSSM(nested(TINY)).fit(board, options=options)
    same = TwoTower(nested(TINY, loss__kind="bce", negatives__in_batch=False, negatives__logq__kind="none")).fit(
        board, options=options
    )
    np.testing.assert_array_equal(dssm.encode_items(), same.encode_items())


def test_its_loss_sees_no_targets_of_others(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[int, int]] = []
    run = BCELoss.of_examples

    def watched(loss: BCELoss, scores: Scores, *, corrected: bool) -> Tensor:
        assert not corrected
        batches.append((len(scores.positive), int(scores.count.sum(dim=1).max())))
        return run(loss, scores, corrected=corrected)

    monkeypatch.setattr(BCELoss, "of_examples", watched)
    DSSM(nested(TINY)).fit(board, options=options)
    assert len(batches) == 16
    assert all(n == 60 and most == 8 for n, most in batches)  # 8 uniform draws, none of the 60 targets


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"loss": {"kind": "bpr"}}, r"loss\.kind"),
        ({"negatives": {"kind": "catalogue"}}, r"negatives\.kind"),
        ({"encoder": {"blocks": 2}}, r"encoder\.blocks: no such option"),
    ],
)
def test_what_it_refuses(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        DSSM(wrong)
