"""Options of every ranker around a torch network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from dataprep.tmdb import MetadataName
from ranking.features import DEFAULT, Choice, check_names
from training import TrainingConfig


class NeuralRankerConfig(TrainingConfig):
    """Options of every neural ranker, besides those of the training loop; a sample is a query.

    ``weight_decay`` spares biases, slopes and first-order weights. On the label window of MovieLens-100K, DeepFM's
    NDCG@10 of held-out users is the same from 0.01 to 10 (0.149, mean of 3 seeds) and lower at 100 (0.148).

    Attributes:
        task: the labels to learn.
        features: names of features (``ranking.features``), wildcards such as ``recall.*``, and ``default`` for the
            default set; ``!`` before one takes it out again, and a table gives a feature options, as in
            ``{name = "item.year", boundaries = [1960, 1980, 2000]}``. ``configs/features`` holds sets to extend. A
            feature named in full is an error where the data lacks a column it needs; a wildcard leaves it out. Own
            columns of items and users (``dataprep.own_features``) are ``item.<column>`` and ``user.<column>``, and
            never in the default set.
        metadata: features of TMDb to read (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``; an
            error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` are of
            the day of the crawl, later than the events to predict: a leak in time.
        loss: ``softmax`` (listwise, over a query's candidates) or ``bce`` (pointwise).
        negatives: unchosen candidates drawn anew for each query and epoch.
        user_dropout: share of queries whose user id is hidden in a training step, so that unknown users have a
            trained embedding too.
        embedding_size: d, size of every field's vector.
        hidden: widths of the deep part's layers.
        dropout: after each of them.
    """

    batch_size: PositiveInt = 64
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "constant"
    task: str = "click"
    features: tuple[Choice, ...] = Field(default=(DEFAULT,), min_length=1)
    metadata: tuple[MetadataName, ...] = ()
    loss: Literal["softmax", "bce"] = "softmax"
    negatives: PositiveInt = 100
    user_dropout: float = Field(default=0.5, ge=0, le=1)
    embedding_size: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = Field(default=(64, 32), min_length=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @field_validator("features")
    @classmethod
    def _features_exist(cls, names: tuple[Choice, ...]) -> tuple[Choice, ...]:
        check_names(names)
        return names
