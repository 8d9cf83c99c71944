"""Options of the two-tower channel."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from reccore import ComponentConfig


class TwoTowerConfig(ComponentConfig):
    """Options of ``TwoTower``.

    Attributes:
        embedding_size: dimension D of ids, towers and index.
        hidden_size: width of the hidden layer of either tower.
        history_length: the latest so many events of a history are read.
        half_lives: the history is pooled once per entry, an event counting half for every so many later ones.
        id_dropout: share of movie ids replaced by the unknown id in training, so that content carries new films.
        user_dropout: the same for user ids.
        history_dropout: share of history events left out at random in training.
        temperature: τ; scores are cosines divided by it.
        logq: ``counts`` subtracts log Q of the sampling distribution from every logit, ``none`` does not.
        uniform_negatives: negatives drawn uniformly from the catalogue for each batch, beside the in-batch ones.
        mask_accidental_hits: hide negatives that are the example's own target.
        batch_size: examples of a training step.
        epochs: passes over the training events.
        learning_rate: of Adam, falling to zero along a cosine.
        weight_decay: decoupled, on everything.
        patience: stop after so many epochs without a better validation NDCG@10; the best epoch is kept.
        index: how the item vectors are searched.
    """

    embedding_size: int = Field(default=64, ge=1)
    hidden_size: int = Field(default=128, ge=1)
    history_length: int = Field(default=100, ge=1)
    half_lives: tuple[PositiveFloat, ...] = Field(default=(2.0, 10.0, 50.0), min_length=1)
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    user_dropout: float = Field(default=0.5, ge=0, le=1)
    history_dropout: float = Field(default=0.2, ge=0, lt=1)
    temperature: float = Field(default=0.1, gt=0)
    logq: Literal["none", "counts"] = "counts"
    uniform_negatives: int = Field(default=1024, ge=0)
    mask_accidental_hits: bool = True
    batch_size: int = Field(default=1024, ge=2)
    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    patience: int = Field(default=4, ge=1)
    index: Literal["flat", "brute_force"] = "flat"
