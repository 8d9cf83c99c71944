"""Parse and check one stored document of TMDb.

A document is accepted or rejected as a whole. Fields below without a default are required. A missing required field,
or a value of the wrong type in any declared field, rejects the document; an older valid document of the movie is then
used instead. Fields that are not declared are ignored, so TMDb may add fields.

Integers must fit in 64 bits and ids must not be negative, because a wrong id would join the wrong rows. Impossible
values that fit, such as a negative budget, do not reject the document; they become nulls (``star_rows``).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from data_collector.tmdb.shards import StoredDocument

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
NonEmptyStr = Annotated[str, msgspec.Meta(min_length=1)]

DAMAGED = "damaged on disk"
NOT_JSON = "not JSON"
MISSING = "a required field is missing"
WRONG_TYPE = "a field has the wrong type"
OUT_OF_RANGE = "a number or key is out of range"
OTHER_MOVIE = "document of another movie"

_DETAIL_LENGTH = 300


class _Person(msgspec.Struct, gc=False):
    """Facts about a person, which TMDb repeats in every credit."""

    id: Id
    credit_id: NonEmptyStr
    name: str | None = None
    gender: Int64 | None = None
    known_for_department: str | None = None
    popularity: float | None = None
    profile_path: str | None = None


class CastCredit(_Person, gc=False):
    """A cast member."""

    character: str | None = None
    order: Int64 | None = None


class CrewCredit(_Person, gc=False):
    """A crew member."""

    department: str | None = None
    job: str | None = None


class Credits(msgspec.Struct):
    """Cast and crew, as TMDb orders them."""

    cast: list[CastCredit]
    crew: list[CrewCredit]


class NamedEntry(msgspec.Struct, gc=False):
    """A genre or keyword; its id is not used."""

    name: str | None


class Keywords(msgspec.Struct):
    keywords: list[NamedEntry]


class Country(msgspec.Struct, gc=False):
    iso_3166_1: str | None


class SpokenLanguage(msgspec.Struct, gc=False):
    iso_639_1: str | None


class Company(msgspec.Struct, gc=False):
    id: Id
    name: str | None = None
    origin_country: str | None = None


class Texts(msgspec.Struct, gc=False):
    title: str | None = None
    overview: str | None = None


class Translation(msgspec.Struct, gc=False):
    iso_639_1: str | None
    data: Texts
    iso_3166_1: str | None = None


class Translations(msgspec.Struct):
    translations: list[Translation]


class MovieDocument(msgspec.Struct):
    """The used fields of ``GET /3/movie/{id}?append_to_response=credits,keywords,translations``."""

    id: Id
    title: str | None
    original_title: str | None
    genres: list[NamedEntry]
    credits: Credits
    keywords: Keywords
    imdb_id: str | None = None
    original_language: str | None = None
    overview: str | None = None
    release_date: str | None = None
    runtime: Int64 | None = None
    budget: Int64 | None = None
    revenue: Int64 | None = None
    vote_average: float | None = None
    vote_count: Int64 | None = None
    popularity: float | None = None
    poster_path: str | None = None
    production_countries: list[Country] = []
    production_companies: list[Company] = []
    spoken_languages: list[SpokenLanguage] = []
    translations: Translations | None = None

    def translated(self, field: str, language: str | None) -> str | None:
        """The first non-blank translation into a language; translations for the US come first.

        Args:
            field: ``title`` or ``overview``.
            language: ISO 639-1 code; None gives None.
        """
        if self.translations is None or language is None:
            return None
        fitting = [entry for entry in self.translations.translations if entry.iso_639_1 == language]
        fitting.sort(key=lambda entry: entry.iso_3166_1 != "US")
        texts = (getattr(entry.data, field) for entry in fitting)
        return next((text for text in texts if text and text.strip(" \0\t\r\n")), None)


class _Line(msgspec.Struct):
    """A line of a shard; ``StoredDocument`` has its other fields."""

    document: MovieDocument


class InvalidDocumentError(Exception):
    """A document was rejected.

    Attributes:
        reason: one of the constants of this module.
        detail: the value found and its path in the document; at most 300 characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:_DETAIL_LENGTH]


_decoder = msgspec.json.Decoder(_Line)


def parse_document(stored: StoredDocument) -> MovieDocument:
    """Parse a line of a shard; of credits or companies with equal ids only the first is kept.

    Takes about 0.1 ms for a document of 20 kB.

    Raises:
        InvalidDocumentError: the line is damaged or not JSON, a required field is missing, a field has the wrong type,
            or the document has another id than the requested one.
    """
    if not stored.body:
        raise InvalidDocumentError(DAMAGED, stored.where)
    try:
        movie = _decoder.decode(stored.body).document
    except msgspec.ValidationError as error:  # first, as it is a kind of DecodeError
        raise InvalidDocumentError(_kind(str(error)), str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocumentError(NOT_JSON, str(error)) from error
    if movie.id != stored.tmdb_id:
        raise InvalidDocumentError(OTHER_MOVIE, f"its id is {movie.id}, requested was {stored.tmdb_id}")
    _drop_repeated(movie)
    return movie


def _kind(message: str) -> str:
    """The reason for a message of msgspec."""
    if "missing required field" in message:
        return MISSING
    return OUT_OF_RANGE if any(mark in message for mark in ("<=", ">=", "out of range")) else WRONG_TYPE


def _drop_repeated(movie: MovieDocument) -> None:
    """Keep the first of credits or companies with equal ids. TMDb sends none, but keys must be unique."""
    cast, crew = movie.credits.cast, movie.credits.crew
    seen = {credit.credit_id for credit in cast} | {credit.credit_id for credit in crew}
    if len(seen) < len(cast) + len(crew):
        firsts = {credit.credit_id: credit for credit in (*reversed(crew), *reversed(cast))}
        movie.credits.cast = [credit for credit in cast if firsts[credit.credit_id] is credit]
        movie.credits.crew = [credit for credit in crew if firsts[credit.credit_id] is credit]
    companies = {company.id: company for company in reversed(movie.production_companies)}
    if len(companies) < len(movie.production_companies):
        movie.production_companies = [c for c in movie.production_companies if companies[c.id] is c]
