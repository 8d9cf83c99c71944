"""Options that several rankers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from dataprep.tmdb import MetadataName
from ranking.calibration import CalibrationKind
from ranking.debias import DebiasConfig, NoDebiasConfig
from ranking.features import DEFAULT, Choice, check_names, chooses
from ranking.losses import LossName
from reccore import ComponentConfig
from training import AverageConfig, TrainingConfig

LIKE = "like"
"""The task whose labels depend on ratings."""
LIKED_FROM = 4.0
USER_ID = "user.id"
USER_DROPOUT = 0.5


class RankerConfig(ComponentConfig):
    """Base of the configuration of every ranker.

    Attributes:
        calibration: how scores become click probabilities (``BaseRanker.probability``), fitted on the validation
            samples: ``isotonic`` (a step-wise linear function, for thousands of labels), ``platt`` (a logistic curve
            of two parameters, for few), or ``none``.
    """

    calibration: CalibrationKind = "isotonic"


class FeatureRankerConfig(RankerConfig):
    """Options of a ranker that reads the features of a ``FeatureEncoder``.

    Attributes:
        features: names of features (``ranking.features``), wildcards such as ``recall.*``, and ``default`` for the
            default set; ``!`` before one takes it out again, and a table gives a feature options
            (``ranking.features.options``), as in ``{name = "item.year", boundaries = [1960, 1980, 2000]}``.
            ``configs/features`` holds sets to extend. A
            feature named in full is an error where the data lacks a column it needs; a wildcard leaves it out. Own
            columns of items and users (``dataprep.own_features``) are ``item.<column>`` and ``user.<column>``, and
            never in the default set.
        metadata: features of TMDb to read (``dataprep.tmdb``), such as ``director``, ``keywords``, ``overview``; an
            error where they were not prepared. ``vote_average``, ``vote_count``, ``popularity`` and ``revenue`` are of
            the day of the crawl, later than the events to predict: a leak in time.
    """

    without_effect: ClassVar[Mapping[str, str]] = {}
    """Options of a feature that a ranker refuses, because they would have no effect in it: name → reason."""

    features: tuple[Choice, ...] = (DEFAULT,)
    metadata: tuple[MetadataName, ...] = ()

    @field_validator("features")
    @classmethod
    def _features_exist(cls, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        check_names(choices)
        for choice in choices:
            for option, reason in cls.without_effect.items():
                if not isinstance(choice, str) and getattr(choice, option) is not None:
                    raise ValueError(f"feature {choice.name}: {option} has no effect, since {reason}; leave it out")
        return choices


class LabelsConfig(ComponentConfig):
    """Options of the labels that a ranker learns.

    Attributes:
        liked_from: for the task ``like``: least rating, in the data's own scale, of an item that counts as liked.
    """

    liked_from: float = LIKED_FROM

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the labels to learn."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _likes_are_learned(self) -> Self:
        if self.liked_from != LIKED_FROM and LIKE not in self.learned:
            raise ValueError(
                f"liked_from has no effect, since no task of the ranker is {LIKE!r}; its tasks: "
                f"{', '.join(self.learned)}"
            )
        return self


class RankerTrainingConfig(FeatureRankerConfig, TrainingConfig):
    """What every ranker around a torch network is trained with, besides the options of the loop; a sample is a query.

    ``weight_decay`` applies to tables with one row per category (ids, genres, keywords) and spares all other weights.
    ``average`` evens out the last hundred steps: without it the best epoch of a few thousand queries is often the first
    or second (ml-latest-small, NDCG@10 of users kept out: .100 without, .103 with it).

    Attributes:
        loss: ``softmax`` (listwise, over a query's candidates), ``bce`` (pointwise) or ``bpr`` (pairwise).
        select_by: validation figure that decides which epoch is kept: ``ndcg`` (NDCG@10 of each query) or ``auc`` (over
            all labelled rows), which samples with one candidate per query need, since their NDCG never changes.
        negatives: unchosen candidates drawn anew for each query and epoch.
        debias: correction of popularity bias: ``none``, ``ipw`` or ``bias_tower`` (``ranking.debias``).
        user_dropout: share of queries whose user id is hidden in a training step, so that unknown users have a
            trained embedding too; another value is an error where ``features`` leave out ``user.id``.
    """

    without_effect: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("embedding_size", "shared_with"), "this ranker embeds no field"
    )

    batch_size: PositiveInt = 64
    learning_rate: float = Field(default=1e-3, gt=0)
    average: AverageConfig | None = AverageConfig(decay=0.99, every=1)
    schedule: Literal["cosine", "constant"] = "constant"
    loss: LossName = "softmax"
    select_by: Literal["ndcg", "auc"] = "ndcg"
    negatives: PositiveInt = 100
    debias: DebiasConfig = NoDebiasConfig()
    user_dropout: float = Field(default=USER_DROPOUT, ge=0, lt=1)

    @model_validator(mode="after")
    def _users_are_read(self) -> Self:
        if self.user_dropout != USER_DROPOUT and not chooses(self.features, USER_ID):
            raise ValueError(f"user_dropout has no effect, since {USER_ID} is not among the features; leave it out")
        return self


class SingleTaskConfig(RankerTrainingConfig, LabelsConfig):
    """Options of a ranker that learns one task.

    Attributes:
        task: the labels to learn.
    """

    task: str = "click"

    @property
    def learned(self) -> tuple[str, ...]:
        """The task."""
        return (self.task,)


class EmbeddingConfig(RankerTrainingConfig):
    """Options of a ranker that embeds its fields.

    Attributes:
        embedding_size: d, size of every field's vector. A feature whose table has another size
            (``FeatureOptions.embedding_size``) is projected to it.
    """

    without_effect: ClassVar[Mapping[str, str]] = {}

    embedding_size: PositiveInt = 16


class DeepConfig(EmbeddingConfig):
    """Options of a ranker with a deep part.

    Attributes:
        hidden: widths of the deep part's layers.
        dropout: after each of them.
    """

    hidden: tuple[PositiveInt, ...] = Field(default=(64, 32), min_length=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class FMConfig(EmbeddingConfig, SingleTaskConfig):
    """Options of a ranker of one task that embeds its fields and has no deep part."""


class NeuralRankerConfig(DeepConfig, SingleTaskConfig):
    """Options of a ranker of one task with embedded fields and a deep part."""
