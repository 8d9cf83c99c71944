"""Typed, frozen configuration. Unknown keys and values out of range are errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError

from reccore.errors import ConfigError

UNKNOWN = "extra_forbidden"
"""Pydantic's type of the error for an unknown option."""

TABLE_EXPECTED = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
"""Pydantic's types of the error for a plain value in place of a table."""


class ComponentConfig(BaseModel):
    """Base class of all configurations."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values.

        Raises:
            ConfigError: names each wrong type, value out of range and unknown key, the latter with the known ones.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(problems(error, cls)) from error

    @classmethod
    def has_option(cls, key: str) -> bool:
        """Whether there is an option of this dotted key, such as ``item.graph``; in a union some kind must have it."""
        first, _, rest = key.partition(".")
        info = cls.model_fields.get(first)
        return info is not None and (not rest or any(config.has_option(rest) for config in _configs(info.annotation)))


def _configs(annotation: Any) -> Iterator[type[ComponentConfig]]:
    """The configurations that a field's type consists of."""
    if isinstance(annotation, type) and issubclass(annotation, ComponentConfig):
        yield annotation
    for part in get_args(annotation):
        yield from _configs(part)


def problems(error: ValidationError, config: type[ComponentConfig]) -> str:
    """All errors of one configuration; for an unknown option also the known ones."""
    found = error.errors()
    message = "; ".join(map(_problem, found))
    if any(problem["type"] == UNKNOWN for problem in found):  # the names do not help with a wrong value
        message += f". Known options: {', '.join(config.model_fields)}"
    return message


def by_kind(default: str) -> Discriminator:
    """Discriminator of a union of configurations by their field ``kind``, which may be left out for ``default``.

    Used as ``Annotated[Annotated[A, Tag("a")] | Annotated[B, Tag("b")], by_kind("a")]``.
    """

    def kind_of(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", None)

    return Discriminator(kind_of)


def _problem(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a sentence."""
    if not error["loc"]:  # from a validator of the whole model, whose message names the fields
        return str(error["msg"]).removeprefix("Value error, ")
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "union_tag_not_found":
        return f"{where}: must be a table of options with a kind (got {error['input']!r})"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"{where}.kind: unknown kind {context['tag']!r}; known: {context['expected_tags']}"
    return f"{where}: {_requirement(error)} (got {error['input']!r})"


def _requirement(error: Mapping[str, Any]) -> str:
    """What pydantic's error demands, without the names of classes."""
    if error["type"] == UNKNOWN:
        return "no such option"
    if error["type"] in TABLE_EXPECTED:
        return "must be a table of options"
    return str(error["msg"]).removeprefix("Value error, ")
