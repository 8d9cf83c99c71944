"""Base of rankers of several tasks: a tower for each, and how their logits become one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, Tag, model_validator
from torch import Tensor, nn

from ranking.balance import BalanceConfig, FixedBalanceConfig, LossBalance, loss_weights
from ranking.config import LIKE, DeepConfig, LabelsConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.layers import MLP
from ranking.losses import LOSSES
from ranking.network import FieldNetwork, Fields
from ranking.neural import NeuralRanker
from reccore import ComponentConfig
from reccore.config import by_kind


class WeightedCombinationConfig(ComponentConfig):
    """Score = Σ_t weight_t · log p_t, a product of powers of the tasks' probabilities.

    Attributes:
        weights: by task; a task that is not named has 1.
    """

    kind: Literal["weighted"] = "weighted"
    weights: dict[str, NonNegativeFloat] = Field(default_factory=dict)


class FirstTaskConfig(ComponentConfig):
    """Score = log p of the first task; the others only help to learn what the tasks share."""

    kind: Literal["first"] = "first"


CombinationConfig: TypeAlias = Annotated[
    Annotated[WeightedCombinationConfig, Tag("weighted")] | Annotated[FirstTaskConfig, Tag("first")],
    by_kind("weighted"),
]


class MultiTaskConfig(DeepConfig, LabelsConfig):
    """Options of every ranker of several tasks.

    Attributes:
        tasks: the labels to learn. The first decides which epoch is kept, by NDCG@10 of the combined score.
        balance: weights of the losses: ``fixed`` or ``uncertainty``. The first task and those that the score counts
            need one above 0.
        combine: how the tasks become a score: ``weighted`` or ``first``.
        hidden: width of the experts, then those of the layers of each task's tower.
        dropout: after each of them.
    """

    hidden: tuple[PositiveInt, ...] = Field(default=(64, 32), min_length=2)
    tasks: tuple[str, ...] = Field(default=("click", LIKE), min_length=2)
    balance: BalanceConfig = FixedBalanceConfig()
    combine: CombinationConfig = WeightedCombinationConfig()

    @property
    def learned(self) -> tuple[str, ...]:
        """The tasks."""
        return self.tasks

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: a task is named twice in {', '.join(self.tasks)}")
        for option in ("balance", "combine"):
            named: Mapping[str, float] = getattr(getattr(self, option), "weights", {})
            for task in named:
                if task not in self.tasks:
                    raise ValueError(f"{option}.weights: {task!r} is none of the tasks {', '.join(self.tasks)}")
        if not any(score_weights(self)):
            raise ValueError("combine.weights: at least one task must have a weight above 0")
        return self

    @model_validator(mode="after")
    def _what_counts_is_learned(self) -> Self:
        losses = loss_weights(self.tasks, self.balance)
        for task, loss, score in zip(self.tasks, losses, score_weights(self), strict=True):
            if loss > 0:
                continue
            if score > 0:
                raise ValueError(
                    f"balance.weights: the score counts the task {task!r} with weight {score:g}, so its loss needs a "
                    "weight above 0 too, got 0; or take the task out of the score as well (combine.weights)"
                )
            if task == self.tasks[0]:
                raise ValueError(
                    f"balance.weights: the first task, {task!r}, decides which epoch is kept, so its loss needs a "
                    "weight above 0, got 0; or name another task first"
                )
        return self


def score_weights(config: MultiTaskConfig) -> list[float]:
    """Weight of each task's log-probability in the score."""
    if config.combine.kind == "first":
        return [1.0] + [0.0] * (len(config.tasks) - 1)
    return [config.combine.weights.get(task, 1.0) for task in config.tasks]


class Towers(nn.Module):
    """One network per task over what the experts gave it; each starts at logit 0."""

    def __init__(self, n_tasks: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        width, *layers = hidden
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(width, layers[0]), MLP(layers, dropout)) for _ in range(n_tasks)
        )

    def forward(self, mixed: Sequence[Tensor]) -> Tensor:
        """S inputs (B, K, hidden[0]) to logits (B, K, S)."""
        return torch.stack([tower(given) for tower, given in zip(self.towers, mixed, strict=True)], dim=2)


class MultiTaskNetwork(FieldNetwork):
    """Logits of S tasks, and their combination. The linear part is shared: every task starts from recall's order."""

    weights: Tensor

    def __init__(self, encoder: FeatureEncoder, config: MultiTaskConfig) -> None:
        super().__init__(encoder, config.embedding_size)
        self.register_buffer("weights", torch.tensor(score_weights(config)), persistent=False)
        self.log_probability = LOSSES[config.loss].log_probability
        self.towers = Towers(len(config.tasks), config.hidden, config.dropout)

    def mixed(self, fields: Fields) -> list[Tensor]:
        """What the experts give to each task's tower, S × (B, K, hidden[0])."""
        raise NotImplementedError

    def task_logits(self, inputs: RankingInputs) -> Tensor:
        """Logits of each task, (B, K, S)."""
        items, at = self.distinct_items(inputs.item_row)
        towers = self.towers(self.mixed(self.embed(inputs, items, at)))  # (B, K, S)
        logits: Tensor = self.linear(inputs, items, at)[:, :, None] + towers
        return logits

    def forward(self, inputs: RankingInputs) -> Tensor:
        """Σ_t weight_t · log p_t of B queries with K candidates, (B, K)."""
        return self.log_probability(self.task_logits(inputs)) @ self.weights


class MultiTaskRanker(NeuralRanker):
    """A ranker of several tasks. Subclasses set ``name``, ``Config`` and ``Network``, a ``MultiTaskNetwork``."""

    Config: ClassVar[type[MultiTaskConfig]] = MultiTaskConfig
    config: MultiTaskConfig

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks it learns."""
        return self.config.tasks

    def _balance(self) -> LossBalance:
        return LossBalance(self.tasks, self.config.balance)
