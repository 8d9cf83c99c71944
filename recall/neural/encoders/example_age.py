"""The MLP encoder with the age of the training example as one more input.

Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016, section 3.3: a model trained on a
long window learns the average of what was popular in it. Given each example's age, it learns how that changes, and
serves at age 0, the end of the window. That fits requests after the window (``global_time``); under ``leave_one_out``
the targets of users lie all over it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from recall.neural.encoders.mlp import MLPEncoder, MLPEncoderConfig
from recall.neural.encoders.prefix import PrefixExamples, PrefixInputs
from recall.neural.user_codes import UserCodes
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import FloatArray, IntArray

N_POWERS = 3
"""The paper feeds x, x² and √x of a normalised continuous feature."""


class AgedMLPEncoderConfig(MLPEncoderConfig):
    """Options of ``AgedMLPEncoder``, besides those of ``MLPEncoder``.

    Attributes:
        example_age: read the age of the example in training; false = the MLP encoder as it is.
    """

    example_age: bool = True


@dataclass(frozen=True, eq=False)
class AgedInputs(PrefixInputs):
    """A batch of queries with ages.

    Attributes:
        age: (B,) float32, share of the fit events that are younger than the example; 0 in serving.
    """

    age: Tensor

    @classmethod
    def of(cls, inputs: PrefixInputs, age: Tensor) -> AgedInputs:
        return cls(**{field.name: getattr(inputs, field.name) for field in fields(inputs)}, age=age)

    def to(self, device: torch.device) -> AgedInputs:
        return AgedInputs(*(part.to(device) for part in vars(self).values()))


def example_ages(interactions: Interactions) -> FloatArray:
    """(E,) share of events that are younger than each: 0 for the newest, below 1 for the oldest.

    Age is the time from an event to the end of the fit split. Without times it is the number of later events of the
    same user, since the events of different users have no order. Shares take the place of seconds, as the paper's
    normalisation by the cumulative distribution does. O(E·log E).
    """
    if interactions.timestamp is not None:
        age = interactions.timestamp.max(initial=0) - interactions.timestamp
    else:
        stops = interactions.user_offsets[1:]
        age = np.repeat(stops, interactions.lengths) - 1 - np.arange(interactions.n_events)
    younger = np.sort(age).searchsorted(age, side="left")
    shares: FloatArray = (younger / max(interactions.n_events, 1)).astype(np.float32)
    return shares


class AgedMLPEncoder(MLPEncoder):
    """``MLPEncoder`` whose facts include Σ_p w_p · age^p for the powers 1, 2 and ½: nothing at age 0."""

    config: AgedMLPEncoderConfig

    def __init__(self, config: AgedMLPEncoderConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__(config, codes, items, size)
        self.ages = nn.Linear(N_POWERS, size, bias=False) if config.example_age else None

    def inputs(self, queries: QueryBatch) -> AgedInputs:
        return AgedInputs.of(super().inputs(queries), torch.zeros(len(queries)))

    def examples(self, interactions: Interactions, batch_size: int, since: IntArray | None = None) -> AgedExamples:
        return AgedExamples(interactions, self.items, self.codes, self.config.history_length, batch_size, since)

    def _about(self, inputs: PrefixInputs, generator: torch.Generator | None) -> Tensor:
        about = super()._about(inputs, generator)
        if self.ages is None:
            return about
        assert isinstance(inputs, AgedInputs)
        age = inputs.age
        powers: Tensor = self.ages(torch.stack([age, age**2, age.sqrt()], dim=1))
        return about + powers


class AgedExamples(PrefixExamples):
    """``PrefixExamples`` that carry their age."""

    def __init__(
        self,
        interactions: Interactions,
        items: ItemTable,
        codes: UserCodes,
        history_length: int,
        batch_size: int,
        since: IntArray | None = None,
    ) -> None:
        super().__init__(interactions, items, codes, history_length, batch_size, since)
        self.age = torch.from_numpy(example_ages(interactions))

    def batch(self, rows: IntArray, *, width: int | None = None) -> tuple[AgedInputs, Tensor]:
        inputs, targets = super().batch(rows, width=width)
        return AgedInputs.of(inputs, self.age[torch.from_numpy(rows)]), targets
