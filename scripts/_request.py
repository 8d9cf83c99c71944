"""Options shared by the commands that answer one user's request."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reccore import ComponentConfig, ConfigError
from scripts._cli import RawId, RawIds, split_commas


def read_events(value: Any) -> Any:
    """Events from ``50:5,172:4.5@881250949``, a number, or a list of what ``Event.of`` takes.

    Raises:
        DataError: an invalid event.
    """
    from pipeline.history import Event

    parts = split_commas(value)
    if not isinstance(parts, list | tuple):
        return parts
    return tuple(Event.parse(part) if isinstance(part, str) else Event.of(part) for part in parts)


class RequestSettings(ComponentConfig):
    """Whose request it is, and what it asks for."""

    user: RawId | None = Field(default=None, description="raw user id")
    history: Annotated[tuple[Any, ...], BeforeValidator(read_events)] | None = Field(
        default=None,
        description="films, oldest first, separated by commas: ID, ID:RATING or ID:RATING@TIME; may be empty",
    )
    k: int = Field(default=10, ge=1, description="number of films")
    exclude: RawIds = Field(default=(), description="raw movie ids not to offer, separated by commas")
    as_of: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Unix seconds to recommend for, where query time is read (default: now)",
    )

    def check(self) -> None:
        """Raise ``ConfigError`` unless a user or a history is given."""
        if self.user is None and self.history is None:
            raise ConfigError("give --user ID, --history IDS, or both")

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``Pipeline.recommend``."""
        return {name: getattr(self, name) for name in ("user", "history", "k", "exclude", "as_of")}
