"""Typed, frozen configuration. An unknown key is an error, and so is a value out of range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from reccore.errors import ConfigError


class ComponentConfig(BaseModel):
    """Base of every component's configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values.

        Raises:
            ConfigError: naming each unknown key, wrong type or value out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or cls.__name__}: {e['msg']} (got {e['input']!r})"
                for e in error.errors()
            )
            raise ConfigError(f"{cls.__name__}: {problems}. Known options: {known}") from error
