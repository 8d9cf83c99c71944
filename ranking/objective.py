"""What a ranker is trained on: its network, and the parameters that only its training has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ranking.balance import LossBalance
from ranking.debias import BiasTower
from ranking.features import RankingInputs
from ranking.losses import RankingLoss
from training.ranks import joined_mean, sum_number


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Queries with labels for a training step.

    Attributes:
        inputs: of B queries with K candidates.
        labels: (B, K, S) of each task, NaN = none.
        weight: (B,) of the queries.
        gain: (B, K) factors on positives, or None.
        bias: (B, K) what the bias tower reads, or None.
        counts: False for a rank without a query in the batch: its queries belong to others.
    """

    inputs: RankingInputs
    labels: Tensor
    weight: Tensor
    gain: Tensor | None
    bias: Tensor | None
    counts: bool = True


class TrainingObjective(nn.Module):
    """A ranker's network, the balance of its tasks' losses, and the bias tower, if any.

    The tower's logit is added to that of every task here and nowhere else, so that what popularity explains need not be
    learned by the network.
    """

    def __init__(self, network: nn.Module, loss: RankingLoss, balance: LossBalance, tower: BiasTower | None) -> None:
        super().__init__()
        self.network, self.balance, self.tower = network, balance, tower
        self._loss = loss

    def forward(self, batch: LabelledBatch) -> Tensor:
        """Balanced loss of the tasks, ()."""
        logits: Tensor = self.network.task_logits(batch.inputs)  # type: ignore[operator]  # (B, K, S)
        if self.tower is not None and batch.bias is not None:
            logits = logits + self.tower(batch.bias)[:, :, None]
        losses = {}
        for task, labels in enumerate(batch.labels.unbind(dim=2)):
            usable = self._loss.usable(labels.numpy(force=True))  # (B,)
            weight = float(batch.weight.numpy(force=True)[usable].sum(dtype=np.float64)) if batch.counts else 0.0
            if sum_number(float(batch.counts and usable.any())):
                loss = self._loss.compute(logits[:, :, task], labels, batch.weight, batch.gain)
                losses[task] = joined_mean(loss, weight)
        total: Tensor = self.balance(losses)
        return total

    def exempt_from_decay(self) -> None:
        """Keep weight decay off everything but tables with one row per category: ids, genres, labels."""
        tables = {id(table) for module in self.modules() for table in getattr(module, "tables", ())}
        for module in self.modules():
            own = module.named_parameters(recurse=False)
            module.no_decay = [name for name, values in own if id(values) not in tables]  # type: ignore[assignment]
