"""What a configuration may say about one feature, besides its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, ModelWrapValidatorHandler, PositiveInt, Tag, ValidationError, model_validator

from ranking.features.schema import LISTS, TABLES, FeatureField
from reccore import ComponentConfig, ConfigError
from reccore.config import by_kind, problems

HISTORY_LENGTH = 50
"""Codes that a sequence reads unless its ``length`` says otherwise."""


class MeanPooling(ComponentConfig):
    """Mean of the vectors."""

    kind: Literal["mean"] = "mean"


class SumPooling(ComponentConfig):
    """Sum of the vectors, which grows with their number."""

    kind: Literal["sum"] = "sum"


class DecayedPooling(ComponentConfig):
    """Weighted mean; the weight falls from the latest event of a sequence, or the first label of a list, on.

    Attributes:
        half_life: a code weighs half as much as one that is so many places before it.
    """

    kind: Literal["decayed"] = "decayed"
    half_life: float = Field(default=5.0, gt=0)


PoolingConfig: TypeAlias = Annotated[
    Annotated[MeanPooling, Tag("mean")] | Annotated[SumPooling, Tag("sum")] | Annotated[DecayedPooling, Tag("decayed")],
    by_kind("mean"),
]


class FeatureOptions(ComponentConfig):
    """A feature of a configuration with options of its own.

    Attributes:
        name: of one feature, in full.
        boundaries: of the buckets of a number of the query or the item, increasing; instead of quantiles of the
            training data. A value on a boundary is in the upper bucket; a missing value has the code 0. A number that
            has no buckets gets some.
        embedding_size: size of the vectors of its own table; a linear map, trained with it, takes them to the size of
            the network. Of a number it is that of its buckets.
        shared_with: another feature, whose table it reads in place of one of its own; see ``ranking.features.sharing``.
        pooling: how the vectors of a list or a sequence become one: ``mean``, ``sum`` or ``decayed``.
        length: codes read: the latest of a sequence, the first of a list.
        default: what stands for a missing value: a number, or the name of a category, label or genre.
    """

    name: str
    boundaries: tuple[float, ...] | None = Field(default=None, min_length=1)
    embedding_size: PositiveInt | None = None
    shared_with: str | None = None
    pooling: PoolingConfig | None = None
    length: PositiveInt | None = None
    default: float | str | None = None

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        given = self.boundaries or ()
        if not all(low < high for low, high in pairwise(given)):
            raise ValueError(f"boundaries must increase, got {list(given)}")
        if self.shared_with is not None and self.embedding_size is not None:
            raise ValueError(f"it reads the table of {self.shared_with}; give embedding_size to that feature")
        if self.shared_with == self.name:
            raise ValueError("shared_with names the feature itself; name another one")
        if self.model_fields_set == {"name"}:
            raise ValueError(f"the table has no option; write the name alone, {self.name!r}")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _errors_name_the_feature(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, Mapping | cls):
            raise ValueError("must be the name of a feature, or a table of options with one")
        try:
            return handler(value)  # the validators above are part of it
        except ValidationError as error:
            name = value.get("name", "without a name") if isinstance(value, Mapping) else value.name
            raise ValueError(f"feature {name}: {problems(error, cls)}") from error

    @classmethod
    def none(cls, name: str) -> Self:
        """Of a feature that a configuration says nothing about."""
        return cls.model_construct(name=name)

    def applied_to(self, field: FeatureField) -> FeatureField:
        """The field of the feature, which is not a bucket, with these options.

        Raises:
            ConfigError: the kind of the feature does not take one of them.
        """
        kinds = {"pooling": LISTS, "length": LISTS, "shared_with": (*LISTS, "category")}
        for option, taking in kinds.items():
            if getattr(self, option) is not None and field.kind not in taking:
                raise ConfigError(
                    f"feature {self.name} takes no {option}: it is a {field.kind}, and only those of the kinds "
                    f"{', '.join(taking)} do"
                )
        if self.boundaries is not None and (field.kind != "number" or field.side == "pair"):
            raise ConfigError(
                f"feature {self.name} takes no boundaries: only numbers of a query or an item have buckets"
            )
        size = self.embedding_size or 0 if field.kind in TABLES else 0
        pooling = self.pooling or (MeanPooling() if field.kind == "sequence" else None)
        return replace(
            field,
            embedding_size=size,
            shared_with=self.shared_with or "",
            pooling=pooling.kind if pooling else "",
            half_life=pooling.half_life if isinstance(pooling, DecayedPooling) else 0.0,
            length=self.length or (HISTORY_LENGTH if field.kind == "sequence" else 0),
        )

    def applied_to_buckets(self, field: FeatureField) -> FeatureField:
        """The field of the buckets of the feature, a number, with these options."""
        return replace(field, embedding_size=self.embedding_size or 0)


Choice: TypeAlias = Annotated[
    Annotated[str, Tag("name")] | Annotated[FeatureOptions, Tag("options")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "options"),
]
"""A name, a wildcard such as ``recall.*``, ``default``, one of these after ``!``, or a feature with options."""
