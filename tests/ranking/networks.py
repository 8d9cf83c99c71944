"""Networks with random weights, and their inputs looked up by hand, for comparisons with a formula in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ranking.features import FeatureEncoder, RankingInputs
from reccore import RunOptions
from reccore.arrays import FloatArray
from tests.dataprep.tmdb_tables import with_every_feature
from tests.ranking.samples import Setting, board_setting
from tests.ranking.test_deepfm import to_double, vectors_of

PLACES = ((0, 0), (3, 2), (5, 3), (4, 1))
"""(query, column) of the candidates compared."""


@dataclass(frozen=True)
class Reference:
    """What a formula takes and what the network made of it.

    Attributes:
        network: float64, in evaluation mode.
        weights: parameters and buffers by name.
        inputs: 6 queries with 4 candidates.
        logits: what the network returns for them.
    """

    network: Any
    encoder: FeatureEncoder
    weights: dict[str, np.ndarray]
    inputs: RankingInputs
    logits: np.ndarray

    def vectors(self, b: int, k: int, module: str = "") -> list[np.ndarray]:
        """The vector of every field of query and item of one candidate; ``linear.`` for first-order weights."""
        block, row = self.encoder.item_block, int(self.inputs.item_row[b, k])
        query = vectors_of(self.weights, f"{module}query", "query", self.encoder, self.inputs.query, b)
        return [*query, *vectors_of(self.weights, f"{module}item", "item", self.encoder, block, row)]

    def pair(self, b: int, k: int) -> np.ndarray:
        """Numbers of the pair."""
        return np.asarray(self.inputs.pair[b, k].double().numpy())

    def linear(self, b: int, k: int) -> float:
        """First-order logit."""
        of_fields = sum(float(weight[0]) for weight in self.vectors(b, k, "linear."))
        return of_fields + float(self.pair(b, k) @ self.weights["linear.pair"])

    def joined(self, b: int, k: int) -> np.ndarray:
        """Vectors of all fields and numbers of the pair in one row."""
        return np.concatenate([*self.vectors(b, k), self.pair(b, k)])

    def layer(self, name: str, given: np.ndarray) -> np.ndarray:
        """A linear layer by the name of its module."""
        return np.asarray(self.weights[f"{name}.weight"] @ given + self.weights.get(f"{name}.bias", 0.0))

    def deep(self, b: int, k: int) -> float:
        """Deep part of one hidden layer."""
        hidden = np.maximum(self.layer("first", self.joined(b, k)), 0.0)
        return float(self.layer("deep.out", hidden)[0])


def reference(model: type[Any], config: Any, history: int = 0) -> Reference:
    """A network of a ranker's class with random weights."""
    setting = board_setting(n_users=6, k=4)
    items = with_every_feature(setting.items)
    encoder = FeatureEncoder.fit(setting.samples, items, setting.users, history_length=history)
    network = model.Network(encoder, config).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    inputs = encoder.encode(setting.samples.queries, setting.samples.candidates)
    with torch.no_grad():
        logits = network(to_double(inputs)).numpy()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return Reference(network, encoder, weights, inputs, logits)


def outcome(model: type[Any], setting: Setting, **changes: Any) -> FloatArray:
    """Scores after a short training on the checkerboard."""
    config = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02, **changes}
    options = RunOptions(seed=0, device="cpu", progress=False, threads=1)
    tables: Any = setting.tables()
    ranker = model(config).fit(setting.samples, options=options, **tables)
    scores: FloatArray = ranker.score(setting.valid.queries, setting.valid.candidates)
    return scores
