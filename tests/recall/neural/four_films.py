"""Four films and two queries whose loss is worked out by hand, shared by the tests of objectives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recall.neural.encoders.prefix import PrefixInputs
from recall.neural.objective import Objective
from recall.two_tower import TwoTowerConfig
from reccore import Exclusions, Interactions, QueryBatch
from reccore.arrays import IntArray
from tests.helpers import nested

CPU = torch.device("cpu")
# Cosines with the first query are 1, 0, .6, .8, with the second 0, 1, .8, .6; at τ = .5 twice that.
ITEMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
QUERIES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
E0, E12, E16, E2 = 1.0, math.exp(1.2), math.exp(1.6), math.exp(2.0)  # 1, 3.32012, 4.95303, 7.38906
FIRST, SECOND = [E2, E0, E12, E16], [E0, E2, E16, E12]
# Film 0 was watched twice among five events, the others once.
FIT = Interactions(
    user_offsets=np.array([0, 3, 5]),
    item_idx=np.array([0, 2, 3, 1, 0]),
    n_items=4,
    rating=np.array([4.0, 1.0, 2.0, 3.0, 4.0], dtype=np.float32),
)
SHARE = [0.4, 0.2, 0.2, 0.2]


class Fixed(nn.Module):
    """A network that has nothing to learn but the vectors."""

    n_items = 4
    frequency = None
    temperature = None

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Parameter(ITEMS.clone())
        self.queries = nn.Parameter(QUERIES.clone())

    def forward(
        self, inputs: PrefixInputs, item_idx: Tensor, draws: torch.Generator, part: None = None
    ) -> tuple[Tensor, Tensor]:
        return self.queries[: len(inputs.user)], self.items[item_idx]


def inputs_of(*histories: list[int]) -> PrefixInputs:
    n, length = len(histories), max(max(map(len, histories)), 1)
    padded = torch.tensor([history + [-1] * (length - len(history)) for history in histories])
    nothing = torch.zeros(n, 0, dtype=torch.long)
    return PrefixInputs(padded, torch.tensor([len(h) for h in histories]), torch.arange(n), nothing, nothing)


def config_of(**config: Any) -> TwoTowerConfig:
    uniform = {} if config.get("negatives__kind") == "catalogue" else {"negatives__uniform": 0}
    return TwoTowerConfig.parse(nested({"temperature": 0.5, "embedding_size": 2}, uniform, config))


def objective_of(retrieve: Any = None, **config: Any) -> Objective:
    return Objective(Fixed(), FIT, 2.0, config_of(**config), CPU, retrieve=retrieve)


def step(goal: Objective, targets: list[int], events: list[int], seed: int = 0) -> float:
    found = goal(
        inputs_of(*[[]] * len(targets)),
        torch.tensor(targets),
        np.array(events),
        torch.Generator().manual_seed(seed),
    )
    return float(found.detach())


def loss_by_hand(rows: list[list[float]], reward: tuple[float, ...] = (1.0, 1.0)) -> float:
    """Each row: the target's weight e^s/q first, then those of the rest of its softmax."""
    losses = [-math.log(row[0] / sum(row)) for row in rows]
    return sum(w * loss for w, loss in zip(reward, losses, strict=True)) / sum(reward)


class Answers:
    """Retrieves the films 3, 2, 1, 0 in this order, without those excluded; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[QueryBatch, int, Exclusions]] = []

    def __call__(self, queries: QueryBatch, depth: int, exclude: Exclusions) -> IntArray:
        self.asked.append((queries, depth, exclude))
        order = np.tile([3, 2, 1, 0], (len(queries), 1))
        kept = [
            [film for film, out in zip(row, gone, strict=True) if not out]
            for row, gone in zip(order.tolist(), exclude.contains(order), strict=True)
        ]
        return np.array([(row + [-1] * 4)[: min(depth, 4)] for row in kept])
