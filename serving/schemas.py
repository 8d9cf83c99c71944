"""Bodies of requests, checked strictly: no unknown keys, no conversion of types, no NaN.

A body becomes one object of pydantic. Events of its history, of which there may be 2,000, stay plain dictionaries.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, with_config
from typing_extensions import TypedDict

from reccore import RawId

MAX_K = 200
MAX_HISTORY = 2_000
MAX_IDS = 2_000
MAX_TEXT = 200
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def check_id(value: Any) -> RawId:
    """A whole number of 64 bits, or a short text that can be written as UTF-8."""
    if isinstance(value, int) and not isinstance(value, bool) and MIN_INT <= value <= MAX_INT:
        return value
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and is_unicode(value):
        return value
    raise ValueError(f"must be a whole number of 64 bits, or a text of 1 to {MAX_TEXT} characters")


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: JSON can escape halves of surrogate pairs, which are no characters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_text(value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and is_unicode(value):
        return value
    raise ValueError(f"must be a text of 1 to {MAX_TEXT} characters")


ID_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "integer", "minimum": MIN_INT, "maximum": MAX_INT},
        {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
    ]
}
Id = Annotated[RawId, PlainValidator(check_id), WithJsonSchema(ID_SCHEMA)]
Text = Annotated[
    str,
    PlainValidator(_check_text),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT}),
]
Time = Annotated[int, Field(ge=0, lt=2**53, description="Unix seconds, at most a day in the future")]
Rating = Annotated[float, Field(ge=-1e6, le=1e6, description="in the scale of the data, see /v1/info")]
Year = Annotated[int, Field(ge=0, le=9999)]


@with_config(STRICT)
class HistoryEvent(TypedDict):
    """A film of a history."""

    movie_id: Id
    rating: NotRequired[Rating | None]
    time: NotRequired[Time | None]


class Filters(BaseModel):
    """Which films a request admits; empty = all."""

    model_config = STRICT

    genres: list[Text] = Field(default_factory=list, max_length=50, description="has any of them")
    not_genres: list[Text] = Field(default_factory=list, max_length=50, description="has none of them")
    year_from: Year | None = None
    year_to: Year | None = None
    min_ratings: int | None = Field(default=None, ge=0, lt=2**53, description="rated at least so often in the fit data")


class ListRequest(BaseModel):
    """Whose list it is, and which films it admits."""

    model_config = STRICT

    user_id: Id | None = Field(default=None, description="alone: the stored history with the live events")
    history: list[HistoryEvent] | None = Field(
        default=None,
        max_length=MAX_HISTORY,
        description="oldest first; even if empty it takes the place of the stored history for this one request",
    )
    k: int = Field(default=10, ge=1, le=MAX_K, description="length of the list")
    exclude: list[Id] = Field(
        default_factory=list, max_length=MAX_IDS, description="films not to offer, besides the history"
    )
    must_include: list[Id] = Field(
        default_factory=list, max_length=MAX_K, description="films that are shown in any case"
    )
    filters: Filters = Field(default_factory=Filters)


class TradeOffsRequest(ListRequest):
    """The list whose settings of diversity are compared."""

    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [{"user_id": 1, "k": 10}]})


class DiverseListRequest(ListRequest):
    """The same with a choice of diversity."""

    diversity: float | None = Field(
        default=None, ge=0, le=1, description="0 = the ranker's order, 1 = all diversity; null = as configured"
    )


class RecommendationRequest(DiverseListRequest):
    """A list of films for a user or a history."""

    model_config = STRICT | ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": 1, "k": 10},
                {"history": [{"movie_id": 50, "rating": 5}, {"movie_id": 172, "rating": 4}], "k": 5, "explain": True},
            ]
        }
    )

    explain: bool = Field(default=False, description="with the events of the history that lifted each film most")


class ExplainRequest(DiverseListRequest):
    """The same request, and the film that it is about."""

    model_config = STRICT | ConfigDict(json_schema_extra={"examples": [{"user_id": 1, "movie_id": 443}]})

    movie_id: Id


class EventRequest(BaseModel):
    """What a user did."""

    model_config = STRICT | ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": 1, "movie_id": 313, "kind": "rating", "rating": 5, "idempotency_key": "a1b2c3"}]
        }
    )

    user_id: Id
    movie_id: Id
    kind: Literal["rating", "watch"] = "rating"
    rating: Rating | None = Field(default=None, description="of kind rating alone")
    time: Time | None = Field(default=None, description="Unix seconds, at most a day in the future; null = now")
    idempotency_key: Text | None = Field(default=None, description="the same key of the same user is applied once")
