"""Contributions of features: closed forms, completeness on every neural ranker, batch = single."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ranking import RANKERS
from ranking.attribution import ITEM, integrated_gradients
from ranking.base import EXPECTED
from ranking.features import FeatureEncoder, RankingInputs
from ranking.neural import NeuralRanker
from reccore import Candidates, RunOptions
from reccore.arrays import FloatArray
from tests.ranking.samples import NEURAL, Setting, board_setting, options_of

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {"epochs": 6, "learning_rate": 0.02, "hidden": [8, 4], "embedding_size": 4}


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def with_padding(candidates: Candidates) -> Candidates:
    """The first row without its last five candidates."""
    columns = np.tile(np.arange(candidates.k), (len(candidates), 1))
    columns[0, -5:] = -1
    return candidates.take(columns)


def mean_score_at_mean_pair(ranker: NeuralRanker, setting: Setting, candidates: Candidates) -> FloatArray:
    """(B,) mean over the candidates of what each would score with the query's mean pair numbers, in plain loops."""
    found = []
    for row in range(len(candidates)):
        one = slice(row, row + 1)
        inputs = ranker._encoder.encode(setting.valid.queries.select(one), candidates.select(one))
        n = int(candidates.counts[row])
        mean = inputs.pair[:, :n].mean(dim=1, keepdim=True)
        with torch.no_grad():
            flat = RankingInputs(inputs.query, inputs.item_row, mean.expand_as(inputs.pair), inputs.history)
            found.append(float(ranker._network(flat)[0, :n].mean()))
    return np.array(found, dtype=np.float32)


@pytest.mark.parametrize("model", NEURAL)
def test_contributions_add_up_to_the_score(setting: Setting, model: str) -> None:
    tables: Any = setting.tables()
    ranker: Any = RANKERS[model](options_of(model, SMALL)).fit(setting.samples, options=QUIET, **tables)
    candidates = with_padding(setting.valid.candidates)
    found = ranker.contributions(setting.valid.queries, candidates)
    total = np.sum(list(found.values()), axis=0)
    scores = ranker.score(setting.valid.queries, candidates)
    base = mean_score_at_mean_pair(ranker, setting, candidates)
    mask = candidates.mask
    np.testing.assert_allclose(total[mask], scores[mask], atol=0.02)
    np.testing.assert_allclose(found[EXPECTED][mask], np.broadcast_to(base[:, None], mask.shape)[mask], atol=1e-4)
    assert np.std((scores - base[:, None])[mask]) > 0.5
    assert not any(values[~mask].any() for values in found.values())
    np.testing.assert_allclose(found[ITEM].sum(axis=1), 0, atol=1e-3)
    alone = ranker.contributions(setting.valid.queries.select(slice(3, 4)), candidates.select(slice(3, 4)))
    for name, values in alone.items():
        np.testing.assert_allclose(values[0], found[name][3], atol=1e-4)


class Product(nn.Module):
    """The score 3·x₀ + x₁·x₂ + (row of the item)."""

    def forward(self, inputs: RankingInputs) -> Tensor:
        x = inputs.pair
        return 3 * x[..., 0] + x[..., 1] * x[..., 2] + inputs.item_row


def test_closed_form_of_a_sum_and_a_product(setting: Setting) -> None:
    samples = setting.valid
    encoder = FeatureEncoder.fit(samples, setting.items, setting.users, features=["recall.*"])
    found = integrated_gradients(Product(), encoder, samples.queries, samples.candidates)
    x = encoder.encode(samples.queries, samples.candidates).pair.numpy().astype(np.float64)
    names = [field.name for field in encoder.schema.of("pair", "number")]
    mean = x.mean(axis=1, keepdims=True)
    change, middle = x - mean, (x + mean) / 2
    expected = {0: 3 * change[..., 0], 1: change[..., 1] * middle[..., 2], 2: change[..., 2] * middle[..., 1]}
    for column, values in expected.items():
        np.testing.assert_allclose(found[names[column]], values, atol=1e-4)
    for name in names[3:]:  # numbers that the score does not read
        assert not found[name].any()
    row = samples.candidates.item_idx + 1
    np.testing.assert_allclose(found[ITEM], row - row.mean(axis=1, keepdims=True), atol=1e-4)


def test_a_ranker_without_pair_features_has_the_item_alone(setting: Setting) -> None:
    class OfItem(nn.Module):
        def forward(self, inputs: RankingInputs) -> Tensor:
            return inputs.item_row.float()

    samples = setting.valid
    encoder = FeatureEncoder.fit(samples, setting.items, setting.users, features=["item.id"])
    assert list(integrated_gradients(OfItem(), encoder, samples.queries, samples.candidates)) == [EXPECTED, ITEM]
