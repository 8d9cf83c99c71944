"""Popularity debiasing: weights by hand, and what each option does to a ranker of biased choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.debias import (
    BiasTower,
    BiasTowerConfig,
    InversePropensityConfig,
    bias_inputs,
    exposure,
    inverse_propensity,
)
from ranking.lr import LR
from reccore import (
    Candidates,
    ConfigError,
    IdMap,
    ItemTable,
    QueryBatch,
    RankingSamples,
    RunOptions,
    UserTable,
    Vocabulary,
)
from tests.ranking.samples import labelled

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
OFFERED = Candidates(
    np.array([[0, 1], [0, 2], [0, -1], [0, 1]]),
    np.array([[2, 1], [2, 1], [2, -np.inf], [2, 1]], dtype=np.float32),
)


def test_exposure_and_weights_by_hand() -> None:
    exposed = exposure(OFFERED)
    assert exposed.tolist() == [[4, 2], [4, 1], [4, 0], [4, 2]]
    positive = np.array([[True, False], [False, True], [True, False], [False, True]])
    # η = ½: 1 / propensity is √(4/4), √(4/1), √(4/4), √(4/2) at the positives; η = 1 with clip 3: 1, 3, 1, 2.
    weight = inverse_propensity(exposed, positive, InversePropensityConfig(power=0.5))
    np.testing.assert_allclose(weight[positive], np.array([1, 2, 1, 2**0.5]) / ((4 + 2**0.5) / 4), rtol=1e-6)
    clipped = inverse_propensity(exposed, positive, InversePropensityConfig(power=1.0, clip=3.0))
    np.testing.assert_allclose(clipped[positive], np.array([1, 3, 1, 2]) / 1.75, rtol=1e-6)
    assert clipped[positive].mean() == pytest.approx(1.0)


def test_what_the_tower_reads_by_hand() -> None:
    mask = OFFERED.mask
    for reads, plain in (
        ("exposure", np.log1p([[4, 2], [4, 1], [4, 0], [4, 2]])),
        ("place", -np.log([[1, 2]] * 4)),
    ):
        values = bias_inputs(OFFERED, BiasTowerConfig.parse({"reads": reads}))
        known = plain[mask]
        np.testing.assert_allclose(values[mask], (known - known.mean()) / known.std(), rtol=1e-5)
    tower = BiasTower(3)
    assert not tower(torch.randn(2, 5)).any()  # it starts at 0


N_ITEMS, K = 30, 8


def popular_choices(seed: int) -> RankingSamples:
    """Items 0…9 are offered some eight times as often as the others, and have e^1.5 times the odds of being chosen."""
    rng = np.random.default_rng(seed)
    popularity = np.where(np.arange(N_ITEMS) < 10, 5.0, 1.0)
    keys = rng.exponential(size=(400, N_ITEMS)) / popularity
    item_idx = np.argsort(keys, axis=1)[:, :K].astype(np.int64)
    item_idx = rng.permuted(item_idx, axis=1)
    utility = 1.5 * (item_idx < 10) + rng.gumbel(size=item_idx.shape)
    return labelled(QueryBatch.from_histories([[]] * 400), item_idx, utility.argmax(axis=1), seed)


def preference_for_popular(**debias: Any) -> float:
    """Mean score of the popular items less that of the others, after training on popular choices."""
    samples = popular_choices(1)
    tables: Any = {
        "items": ItemTable(N_ITEMS), "users": UserTable(1),
        "vocabulary": Vocabulary(IdMap(np.arange(1)), IdMap(np.arange(N_ITEMS))),
    }  # fmt: skip
    config: dict[str, Any] = {"epochs": 8, "learning_rate": 0.05, "features": ["item.id"]}
    ranker = LR({**config, "debias": debias} if debias else config).fit(samples, options=QUIET, **tables)
    items = np.arange(N_ITEMS)[None]
    scores = ranker.score(
        QueryBatch.from_histories([[]]), Candidates(items, np.zeros(items.shape, dtype=np.float32), {})
    )[0]
    return float(scores[:10].mean() - scores[10:].mean())


def test_both_kinds_lower_the_preference_for_what_is_exposed() -> None:
    plain = preference_for_popular()
    assert plain > 0.8
    assert preference_for_popular(kind="ipw", power=1.0) < 0.7 * plain
    assert preference_for_popular(kind="bias_tower", size=16) < 0.7 * plain


def test_their_options_change_the_outcome() -> None:
    found = [
        preference_for_popular(**debias)
        for debias in (
            {"kind": "ipw", "power": 0.5},
            {"kind": "ipw", "power": 1.0},
            {"kind": "ipw", "power": 1.0, "clip": 1.5},
            {"kind": "bias_tower", "size": 8},
            {"kind": "bias_tower", "size": 3},
            {"kind": "bias_tower", "size": 8, "reads": "place"},
        )
    ]
    assert np.diff(np.sort(found)).min() > 1e-4


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown kind 'ips'; known: 'none', 'ipw', 'bias_tower'"):
        LR({"debias": {"kind": "ips"}})
    with pytest.raises(ConfigError, match="power"):
        LR({"debias": {"kind": "ipw", "power": 0.0}})
    with pytest.raises(ConfigError, match="size"):
        LR({"debias": {"kind": "ipw", "size": 8}})
