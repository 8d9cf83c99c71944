"""A query encoder with two vectors per query: trained, validated, mined with, and searched by the best of both."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evaluation.metrics import per_query_metrics
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.mlp import MLPEncoder
from recall.two_tower import TwoTower
from reccore import Candidates, Exclusions, QueryBatch, RunOptions, TrainingData
from tests.helpers import nested
from tests.recall.neural.tiny import TINY, last_events


class TwoInterests(MLPEncoder):
    """The vector of the MLP, and a linear map of it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.second = nn.Linear(parts[-1], parts[-1])

    def forward(self, inputs: Any, items: Any, generator: torch.Generator | None) -> Tensor:
        first = super().forward(inputs, items, generator)
        return torch.stack([first, F.normalize(self.second(first), dim=-1)], dim=1)


class Interests(TwoTower):
    name: ClassVar[str] = "interests"

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return TwoInterests


def fitted(board: TrainingData, options: RunOptions, **config: Any) -> Interests:
    data, valid = last_events(board)
    return Interests(nested(TINY, config)).fit(data, valid=valid, options=options)


@pytest.fixture(scope="module")
def channel(board: TrainingData) -> Interests:
    return fitted(board, RunOptions(device="cpu", progress=False, threads=1), epochs=12)


def best_scores(channel: Interests, queries: QueryBatch) -> np.ndarray:
    """(B, N): of each item the greater of its two inner products."""
    vectors = channel.encode_queries(queries)
    assert vectors.shape == (len(queries), 2, 8)
    return (vectors @ channel.encode_items().T).max(axis=1)


def test_both_interests_learn(channel: Interests) -> None:
    assert channel.log.loss[-1] < channel.log.loss[0] - 0.2
    second = channel.network.query_encoder.second.weight.detach()
    torch.manual_seed(0)
    untrained = channel._build_network().query_encoder.second.weight.detach()
    assert float((second - untrained).abs().max()) > 0.05


def test_an_item_is_scored_by_the_best_of_the_interests(board: TrainingData, channel: Interests) -> None:
    queries = board.interactions.queries()
    scores = best_scores(channel, queries)
    everything = channel.retrieve(queries, 24, exclude=Exclusions.nothing(60))
    everything.validate()
    assert everything.counts.tolist() == [24] * 60
    np.testing.assert_allclose(everything.score, np.take_along_axis(scores, everything.item_idx, axis=1), atol=1e-6)
    some = Candidates(np.tile([5, 0, 23], (60, 1)), np.zeros((60, 3), dtype=np.float32))
    np.testing.assert_allclose(channel.score(queries, some), scores[:, [5, 0, 23]], atol=1e-6)
    by_first, by_second = (channel.encode_queries(queries) @ channel.encode_items().T).argmax(axis=2).T
    assert (by_first != by_second).any()  # both vectors take part
    colour = channel.retrieve(queries, 3).item_idx % 2
    assert (colour == (np.arange(60) % 2)[:, None]).mean() > 0.7  # by chance 5 of 17


def test_validation_takes_the_best_of_the_interests(board: TrainingData, channel: Interests) -> None:
    _, valid = last_events(board)
    expected = per_query_metrics(channel.retrieve(valid.queries, 10), valid, (10,))["ndcg@10"].mean()
    assert channel.log.best_validation == pytest.approx(float(expected), abs=1e-6)


def test_negatives_are_mined_by_the_best_of_the_interests(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieve, minings = Interests._retrieve_while_training, []

    def watched(channel: Interests, queries: QueryBatch, depth: int, exclude: Exclusions) -> np.ndarray:
        found = retrieve(channel, queries, depth, exclude)
        scores = best_scores(channel, queries)
        exclude.mask_scores(scores)
        np.testing.assert_array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :depth])
        minings.append(len(found))
        return found

    monkeypatch.setattr(Interests, "_retrieve_while_training", watched)
    fitted(board, options, negatives__mined={"per_batch": 6, "queries": 5, "depth": 4, "every": 7})
    assert minings == [5, 5]


def test_loaded_it_answers_alike(board: TrainingData, channel: Interests, tmp_path: Any) -> None:
    channel.save(tmp_path / "model")
    queries = board.interactions.queries()
    again = Interests.load(tmp_path / "model").retrieve(queries, 9)
    np.testing.assert_array_equal(again.item_idx, channel.retrieve(queries, 9).item_idx)
