"""Fetch movies: details, credits, keywords and translations in one request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from data_collector.tmdb.client import Client, Fault, HttpResponse
from data_collector.tmdb.journal import MovieRecord, Status, now
from data_collector.tmdb.shards import encode_record
from data_collector.tmdb.store import Store
from reccore.errors import ConfigError

APPENDED = "credits,keywords,translations"
DOCUMENT_BYTES = 16 << 20  # the largest documents of TMDb have about 1 MB
_ETAG_CHARACTERS = 1000
_MAX_UNCONFIRMED_404 = 20
_NO_SUCH_RESOURCE = 34  # TMDb's status_code in the body of a 404


class _Document(msgspec.Struct):
    """The fields of a document that the crawl uses."""

    id: int
    poster_path: object = None


class MovieFetcher:
    """Fetches movies and stores the results.

    Args:
        client: client of TMDb's API, with the parameters ``language`` and ``append_to_response``.
        store: store for documents.
        language: language of the client's requests.
        known: records of the journal, by tmdbId.
    """

    label = "TMDb movies"
    unit = "movie"

    def __init__(self, client: Client, store: Store, language: str, known: Mapping[int, MovieRecord]) -> None:
        self._client = client
        self._store = store
        self._language = language
        self._known = known
        self._is_tmdb = False
        self._unconfirmed_404 = 0

    def fetch(self, tmdb_id: int, attempt: int) -> None:
        """Fetch a movie and store its document, its absence, or that the stored document is unchanged.

        Raises:
            Fault: no usable answer.
        """
        before = self._known.get(tmdb_id)
        etag = before.etag if before is not None and before.place is not None else None
        answer = self._client.get(f"/movie/{tmdb_id}", etag=etag, limit=DOCUMENT_BYTES)
        if answer.status == 404:
            self._check_absence(answer)
            self._store.keep(self._movie(tmdb_id, attempt, "absent"))
        elif answer.status == 304:
            if before is None or etag is None:
                raise Fault("the server answered 304 Not Modified to a request without conditions", of_service=False)
            self._store.keep(self._updated_record(before, attempt, "done"))
        else:
            document = _document(answer.body, tmdb_id)
            self._is_tmdb = True
            movie = self._movie(tmdb_id, attempt, "done")
            poster = document.poster_path if isinstance(document.poster_path, str) else None
            tag = answer.headers.get("ETag")
            tag = tag if tag is not None and len(tag) <= _ETAG_CHARACTERS else None
            record = encode_record(tmdb_id, self._language, movie.checked, tag, answer.body)
            self._store.keep(replace(movie, fetched=movie.checked, etag=tag, poster=poster or None), record)

    def give_up(self, tmdb_id: int, attempts: int, reason: str) -> None:
        """Record that all attempts failed; an older document stays."""
        before = self._known.get(tmdb_id)
        new = self._updated_record(before, attempts, "failed") if before else self._movie(tmdb_id, attempts, "failed")
        self._store.keep(replace(new, error=reason))

    def _check_absence(self, answer: HttpResponse) -> None:
        """Accept a 404 only after the server has answered in TMDb's format.

        Otherwise a mistyped address would mark every movie as absent for good.
        """
        if self._is_tmdb or _says_absent(answer.body):
            self._is_tmdb = True
            return
        self._unconfirmed_404 += 1
        if self._unconfirmed_404 > _MAX_UNCONFIRMED_404:
            raise ConfigError(
                f"{self._client.base_url} answers 404 to every movie; give TMDb's address with --base_url"
            )
        raise Fault("the server answered 404 Not Found, but not in TMDb's format", of_service=False)

    def _movie(self, tmdb_id: int, attempts: int, status: Status) -> MovieRecord:
        """A new record, which keeps only the attempts of the old one."""
        before = self._known.get(tmdb_id)
        return MovieRecord(tmdb_id, self._language, status, attempts + (before.attempts if before else 0), now())

    def _updated_record(self, before: MovieRecord, attempts: int, status: Status) -> MovieRecord:
        """The old record and its document, with a new status."""
        return replace(before, status=status, attempts=before.attempts + attempts, checked=now(), error=None)


def _document(body: bytes, tmdb_id: int) -> _Document:
    """Decode a document, which must be UTF-8 JSON of the requested movie."""
    try:
        body.decode()  # msgspec does not check the UTF-8 of fields that it skips
        document = msgspec.json.decode(body, type=_Document)
    except (ValueError, RecursionError) as error:
        raise Fault(f"the answer is not a movie in JSON ({error})", of_service=False) from None
    if document.id != tmdb_id:
        raise Fault(f"the answer is another movie, with id {document.id}", of_service=False)
    return document


def _says_absent(body: bytes) -> bool:
    """Whether the body of a 404 has TMDb's format."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("status_code") == _NO_SUCH_RESOURCE
