"""One stored answer of TMDb → a checked movie, or the reason why not.

A document counts only as a whole. What is declared below without a default is needed, and a value of another type
than declared, there or in an optional field, rejects the document: it would say something else than we think, and half
a movie is worse than the older answer that may still be there. Fields that are not declared are skipped unread, so
TMDb may add what it likes.

Whole numbers must fit in 64 bits, and ids must not be negative: nothing that people type into TMDb is beyond that, so
such a document is broken, and an id that is wrong would tie the wrong rows together. Numbers that fit but cannot be
true, such as a negative budget, stand beside fields that are fine; they become nulls (``star_rows``).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from data_collector.tmdb.shards import StoredDocument

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Key = Annotated[str, msgspec.Meta(min_length=1)]

DAMAGED = "damaged on disk"
NOT_JSON = "not JSON"
MISSING = "a needed field is missing"
WRONG_TYPE = "a field has the wrong type"
OUT_OF_RANGE = "a number or key is out of range"
OTHER_MOVIE = "the document of another movie"

_DETAIL_LENGTH = 300


class _Person(msgspec.Struct, gc=False):
    """What TMDb repeats about a person in every credit."""

    id: Id
    credit_id: Key
    name: str | None = None
    gender: Whole | None = None
    known_for_department: str | None = None
    popularity: float | None = None
    profile_path: str | None = None


class CastCredit(_Person, gc=False):
    """Somebody who can be seen or heard."""

    character: str | None = None
    order: Whole | None = None


class CrewCredit(_Person, gc=False):
    """Somebody who did a job."""

    department: str | None = None
    job: str | None = None


class Credits(msgspec.Struct):
    """Cast and crew, as TMDb orders them."""

    cast: list[CastCredit]
    crew: list[CrewCredit]


class Named(msgspec.Struct, gc=False):
    """A genre or keyword; its id is not used."""

    name: str | None


class Keywords(msgspec.Struct):
    keywords: list[Named]


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


class Movie(msgspec.Struct):
    """The answer to ``GET /3/movie/{id}?append_to_response=credits,keywords,translations``, as far as it is used."""

    id: Id
    title: str | None
    original_title: str | None
    genres: list[Named]
    credits: Credits
    keywords: Keywords
    imdb_id: str | None = None
    original_language: str | None = None
    overview: str | None = None
    release_date: str | None = None
    runtime: Whole | None = None
    budget: Whole | None = None
    revenue: Whole | None = None
    vote_average: float | None = None
    vote_count: Whole | None = None
    popularity: float | None = None
    poster_path: str | None = None
    production_countries: list[Country] = []
    production_companies: list[Company] = []
    spoken_languages: list[SpokenLanguage] = []
    translations: Translations | None = None

    def translated(self, field: str, language: str | None) -> str | None:
        """The first text that is not blank among the translations into a language, those of the US before others.

        Args:
            field: ``title`` or ``overview``.
            language: ISO 639-1; None has no translations.
        """
        if self.translations is None or language is None:
            return None
        fitting = [entry for entry in self.translations.translations if entry.iso_639_1 == language]
        fitting.sort(key=lambda entry: entry.iso_3166_1 != "US")
        texts = (getattr(entry.data, field) for entry in fitting)
        return next((text for text in texts if text and text.strip(" \0\t\r\n")), None)


class _Line(msgspec.Struct):
    """A line of a shard; what else stands in it the reader has told already."""

    document: Movie


class Rejected(Exception):
    """Why a document is no movie.

    Attributes:
        reason: one of the constants of this module.
        detail: what was found, and where in the document; at most 300 characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:_DETAIL_LENGTH]


_decoder = msgspec.json.Decoder(_Line)


def parse_document(stored: StoredDocument) -> Movie:
    """The movie in a line of a shard; credits and companies that repeat an earlier id in it are left out.

    About 0.1 ms for a document of 20 kB.

    Raises:
        Rejected: the line is damaged, no JSON, lacks a needed field, has a field of another type, or is the
            document of another movie than was asked for.
    """
    if not stored.body:
        raise Rejected(DAMAGED, stored.where)
    try:
        movie = _decoder.decode(stored.body).document
    except msgspec.ValidationError as error:  # first, as it is a kind of DecodeError
        raise Rejected(_kind(str(error)), str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(NOT_JSON, str(error)) from error
    if movie.id != stored.tmdb_id:
        raise Rejected(OTHER_MOVIE, f"it says id {movie.id}, asked for was {stored.tmdb_id}")
    _leave_out_repeated(movie)
    return movie


def _kind(message: str) -> str:
    """The reason for what msgspec says, which names the field as ``$.document.credits.cast[...].id``."""
    if "missing required field" in message:
        return MISSING
    return OUT_OF_RANGE if any(mark in message for mark in ("<=", ">=", "out of range")) else WRONG_TYPE


def _leave_out_repeated(movie: Movie) -> None:
    """Keep the first of what has one key: TMDb does not send such twins, but a key has to be one."""
    cast, crew = movie.credits.cast, movie.credits.crew
    seen = {credit.credit_id for credit in cast} | {credit.credit_id for credit in crew}
    if len(seen) < len(cast) + len(crew):
        firsts = {credit.credit_id: credit for credit in (*reversed(crew), *reversed(cast))}
        movie.credits.cast = [credit for credit in cast if firsts[credit.credit_id] is credit]
        movie.credits.crew = [credit for credit in crew if firsts[credit.credit_id] is credit]
    companies = {company.id: company for company in reversed(movie.production_companies)}
    if len(companies) < len(movie.production_companies):
        movie.production_companies = [c for c in movie.production_companies if companies[c.id] is c]
