"""Neural recall as a task of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import Examples
from recall.neural.mining import Retrieve
from recall.neural.network import BatchPart, NeuralNetwork
from recall.neural.objective import Objective
from reccore import RunOptions
from reccore.arrays import IntArray
from training import Task
from training.ranks import share_of

EVENTS_SHOWN = 5
"""An error message shows so many events of its batch."""


class RecallTask(Task):
    """Every event of the fit split is the target of one query an epoch.

    Args:
        network: fresh from ``config`` and the seed.
        examples: queries and targets.
        config: of the channel.
        options: seed and device.
        validate: figure of the network as it stands; None = no validation.
        retrieve: answers queries by the network's current vectors, to mine hard negatives.
    """

    name: ClassVar[str] = "neural recall"

    def __init__(
        self,
        network: NeuralNetwork,
        examples: Examples,
        config: NeuralConfig,
        options: RunOptions,
        *,
        validate: Callable[[], float] | None = None,
        retrieve: Retrieve | None = None,
    ) -> None:
        self.network: NeuralNetwork = network
        self.examples, self.config = examples, config
        self.n_samples, self.n_batches = len(examples), examples.n_batches
        self.n_users = examples.interactions.n_users
        self.device = options.torch_device()
        self.shuffle, self.draws = options.generator("shuffle"), options.torch_generator("negatives")
        self.generators = {"shuffle": self.shuffle, "negatives": self.draws}
        self._validate = validate
        self.objective = Objective(
            network,
            examples.interactions,
            self.n_samples / self.n_batches,
            config,
            self.device,
            retrieve=retrieve,
        )

    def batches(self) -> Sequence[IntArray]:
        return self.examples.batches(self.shuffle)

    def loss(self, batch: IntArray) -> tuple[Tensor, int]:
        examples, events = self.examples, self.examples.events(batch)
        share = share_of(examples.users(batch))
        if share is None:
            inputs, targets = examples.batch(batch)
            return self.objective(inputs.to(self.device), targets.to(self.device), events, self.draws), len(targets)
        part = BatchPart(
            torch.from_numpy(share.rows),
            len(batch),
            torch.from_numpy(examples.targets_of(batch, share.rows)),
            share.counts,
            examples.items_read(batch) if self.network.query_encoder.reads_vectors else torch.zeros(0).long(),
        )
        inputs, _ = examples.batch(batch[share.rows], width=examples.width(batch))
        targets = torch.from_numpy(examples.interactions.item_idx[events])
        loss = self.objective(inputs.to(self.device), targets.to(self.device), events, self.draws, part)
        return loss, len(targets)

    def describe(self, batch: IntArray) -> str:
        return f"it begins with events {self.examples.events(batch)[:EVENTS_SHOWN].tolist()} of the fit split"

    @property
    def validates(self) -> bool:
        return self._validate is not None

    def validate(self) -> float:
        return super().validate() if self._validate is None else self._validate()

    def curves(self) -> dict[str, float]:
        temperature = self.network.temperature
        return {} if temperature is None else {"temperature": temperature().item()}

    def state_dict(self) -> dict[str, Any]:
        return self.objective.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.objective.load_state_dict(dict(state))
