"""Typed, frozen configuration. An unknown key is an error, and so is a value out of range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError

from reccore.errors import ConfigError

UNKNOWN = "extra_forbidden"
"""What pydantic calls an option that there is none of."""


class ComponentConfig(BaseModel):
    """Base of every component's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values.

        Raises:
            ConfigError: naming each unknown key, wrong type or value out of range; with the known ones for the first.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = error.errors()
            message = f"{cls.__name__}: {'; '.join(map(_problem, found))}"
            if any(problem["type"] == UNKNOWN for problem in found):  # a wrong value is not mended by a list of names
                message += f". Known options: {', '.join(cls.model_fields)}"
            raise ConfigError(message) from error


def by_kind(default: str) -> Discriminator:
    """Discriminator of a union of configurations by their field ``kind``, which may be left out for ``default``.

    Used as ``Annotated[Annotated[A, Tag("a")] | Annotated[B, Tag("b")], by_kind("a")]``.
    """

    def kind_of(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", None)

    return Discriminator(kind_of)


def _problem(error: Mapping[str, Any]) -> str:
    """One problem of pydantic's list in words of ours."""
    if not error["loc"]:  # found by a validator of the whole, whose message says what it looked at
        return str(error["msg"]).removeprefix("Value error, ")
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "union_tag_not_found":
        return f"{where}: must be a table of options with a kind (got {error['input']!r})"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return f"{where}.kind: unknown kind {context['tag']!r}; known: {context['expected_tags']}"
    message = "no such option" if error["type"] == UNKNOWN else str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message} (got {error['input']!r})"
