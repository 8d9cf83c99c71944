"""Bodies of answers. They are encoded by msgspec, whose structures cost a fraction of what models of pydantic do."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import Response

from pipeline.facts import Facts
from pipeline.views import ChannelView, Contribution, StageView
from reccore import RawId


class NamedFilm(msgspec.Struct, frozen=True):
    """What a film is called, and its kind; ``label`` is the title with the year."""

    movie_id: RawId
    title: str
    label: str
    year: int | None
    genres: tuple[str, ...]


class Film(NamedFilm, frozen=True):
    """A film of the catalogue; ``label`` is the title with the year, ``ratings`` counts those of the fit data."""

    ratings: int
    mean_rating: float | None
    poster: str | None


class FoundBy(msgspec.Struct, frozen=True):
    """A channel that offered a film, at a rank from 1."""

    name: str
    rank: int


class Reason(msgspec.Struct, frozen=True):
    """An event of the history that lifted a film, and by how much of the ranker's score."""

    movie_id: RawId
    title: str
    lift: float


class Recommended(Film, frozen=True):
    """A film of a list, with the way it took: ``places`` and ``scores`` are by stage (merge, rank, final)."""

    place: int
    places: dict[str, int]
    scores: dict[str, float]
    channels: list[FoundBy]
    reasons: list[Reason]


class StageTime(msgspec.Struct, frozen=True):
    """One stage of the trace."""

    stage: str
    name: str
    items_in: int
    items_out: int
    milliseconds: float
    error: str | None


class TraceAnswer(msgspec.Struct, frozen=True):
    """What each stage did; ``milliseconds`` is the time of the whole request in the pipeline."""

    milliseconds: float
    stages: list[StageTime]


class RecommendationAnswer(msgspec.Struct, frozen=True):
    """A list of films; ``degraded`` if a part of the service failed and the list was made without it."""

    trace_id: str
    model_version: str
    degraded: bool
    user_id: RawId | None
    history_length: int
    unknown: list[RawId]
    items: list[Recommended]
    genre_diversity: float | None
    trace: TraceAnswer


class TradeOffPoint(msgspec.Struct, frozen=True):
    """One setting of diversity: the list it gives, and its relevance as a share of the most relevant list's."""

    diversity: float
    relevance: float
    genre_diversity: float | None
    movie_ids: tuple[RawId, ...]


class TradeOffsAnswer(msgspec.Struct, frozen=True):
    """What diversity costs and gains, from 0 to 1."""

    points: list[TradeOffPoint]


class ExplainAnswer(msgspec.Struct, frozen=True):
    """What became of one film: fields of ``pipeline.explain.Explanation``, and ``fate`` in words.

    ``facts`` has every figure of ``why`` and ``would_help`` that the other fields do not show.
    """

    movie_id: RawId
    title: str
    genres: tuple[str, ...]
    fate: str
    fate_label: str
    place: int | None
    k: int
    why: str
    would_help: tuple[str, ...]
    channels: tuple[ChannelView, ...]
    stages: tuple[StageView, ...]
    facts: Facts
    ranker_share: float
    contributions: tuple[Contribution, ...]
    skipped: tuple[str, ...]


class UserSummary(msgspec.Struct, frozen=True):
    """A user: number of events and the three most frequent genres."""

    user_id: RawId
    events: int
    genres: list[str]


class UsersAnswer(msgspec.Struct, frozen=True):
    users: list[UserSummary]


class PastEvent(NamedFilm, frozen=True):
    """An event of a history; ``event_id`` is null for one of the data that the model was built with."""

    rating: float | None
    time: int | None
    event_id: str | None


class HistoryAnswer(msgspec.Struct, frozen=True):
    """A part of a history, the latest event first."""

    user_id: RawId
    total: int
    events: list[PastEvent]


class MoviesAnswer(msgspec.Struct, frozen=True):
    movies: list[Film]


class SimilarMovie(Film, frozen=True):
    """A film and its similarity to another."""

    score: float


class SimilarAnswer(msgspec.Struct, frozen=True):
    movie_id: RawId
    channel: str
    movies: list[SimilarMovie]


class InfoAnswer(msgspec.Struct, frozen=True):
    """What the service answers with; ``notice`` is to be shown with the posters, which are ``posters`` images."""

    model_version: str
    movies: int
    users: int
    channels: list[str]
    similarity_channels: list[str]
    ranker: str | None
    reranker: str | None
    genres: list[str]
    years: list[int] | None
    rating_scale: list[float] | None
    rating_step: float | None
    has_diversity: bool
    default_diversity: float | None
    posters: int
    notice: str | None


class EventAnswer(msgspec.Struct, frozen=True):
    """An event that is stored; ``applied`` is false where its idempotency key was known.

    ``undone`` is true if the event of that key was taken back, and so does not count.
    """

    event_id: str
    applied: bool
    undone: bool


class UndoAnswer(msgspec.Struct, frozen=True):
    event_id: str
    undone: bool


class HealthAnswer(msgspec.Struct, frozen=True):
    alive: bool


class ReadyAnswer(msgspec.Struct, frozen=True):
    """Whether requests are answered; ``refused`` says why a newer model is not used."""

    ready: bool
    model_version: str | None
    store: str
    refused: str | None


ANSWERS = (
    RecommendationAnswer,
    TradeOffsAnswer,
    ExplainAnswer,
    UsersAnswer,
    HistoryAnswer,
    Film,
    MoviesAnswer,
    SimilarAnswer,
    InfoAnswer,
    EventAnswer,
    UndoAnswer,
    HealthAnswer,
    ReadyAnswer,
)
_encoder = msgspec.json.Encoder()


def encode(answer: Any) -> bytes:
    """JSON; NaN and infinity become null."""
    return _encoder.encode(answer)


class JsonResponse(Response):
    """An answer that is encoded already, or a structure to encode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode(content)
