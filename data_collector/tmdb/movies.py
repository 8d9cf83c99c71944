"""Fetching one movie: details with credits, keywords and translations in one call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from data_collector.tmdb.client import Answer, Client, Fault
from data_collector.tmdb.journal import Movie, Status, now
from data_collector.tmdb.shards import encode_record
from data_collector.tmdb.store import Store
from reccore.errors import ConfigError

APPENDED = "credits,keywords,translations"
DOCUMENT_BYTES = 16 << 20  # the longest of TMDb's have about 1 MB
_ETAG_CHARACTERS = 1000
_STRANGE_ANSWERS = 20
_NO_SUCH_RESOURCE = 34  # TMDb's own number, beside the 404


class _Document(msgspec.Struct):
    """What the crawl itself needs of a document."""

    id: int
    poster_path: object = None


class MovieFetcher:
    """Asks for movies and keeps what comes.

    Args:
        client: of TMDb's API, with ``language`` and ``append_to_response`` among its parameters.
        store: where documents go.
        language: that of the client's requests.
        known: what the journal holds, by tmdbId.
    """

    label = "TMDb movies"
    unit = "movie"

    def __init__(self, client: Client, store: Store, language: str, known: Mapping[int, Movie]) -> None:
        self._client = client
        self._store = store
        self._language = language
        self._known = known
        self._is_tmdb = False
        self._strange = 0

    def fetch(self, tmdb_id: int, attempt: int) -> None:
        """Get a movie and keep its document, or that there is none, or that the one kept still holds.

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
            self._store.keep(self._still(before, attempt, "done"))
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
        """Keep that no attempt brought the movie; a document from before stays."""
        before = self._known.get(tmdb_id)
        if before is None:
            self._store.keep(replace(self._movie(tmdb_id, attempts, "failed"), error=reason))
        else:
            self._store.keep(replace(self._still(before, attempts, "failed"), error=reason))

    def _check_absence(self, answer: Answer) -> None:
        """A 404 counts once the server has shown that it speaks as TMDb does.

        Otherwise a mistyped address would mark every movie as absent for good.
        """
        if self._is_tmdb or _says_absent(answer.body):
            self._is_tmdb = True
            return
        self._strange += 1
        if self._strange > _STRANGE_ANSWERS:
            raise ConfigError(f"{self._client.base_url} answers 404 to every movie; give TMDb's address by --base_url")
        raise Fault("the server answered 404 Not Found, but not in TMDb's way", of_service=False)

    def _movie(self, tmdb_id: int, attempts: int, status: Status) -> Movie:
        """A movie of which nothing from before holds but the attempts."""
        before = self._known.get(tmdb_id)
        return Movie(tmdb_id, self._language, status, attempts + (before.attempts if before else 0), now())

    def _still(self, before: Movie, attempts: int, status: Status) -> Movie:
        """A movie whose document from before holds, if there is one."""
        return replace(before, status=status, attempts=before.attempts + attempts, checked=now(), error=None)


def _document(body: bytes, tmdb_id: int) -> _Document:
    """What is read of the document, which must be JSON in UTF-8 and that of the movie asked for."""
    try:
        body.decode()  # what is skipped below is checked for its form as JSON only
        document = msgspec.json.decode(body, type=_Document)
    except (ValueError, RecursionError) as error:
        raise Fault(f"the answer is no movie as JSON ({error})", of_service=False) from None
    if document.id != tmdb_id:
        raise Fault(f"the answer is of another movie, its id is {document.id}", of_service=False)
    return document


def _says_absent(body: bytes) -> bool:
    """Whether a 404's body is TMDb's."""
    try:
        said = json.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("status_code") == _NO_SUCH_RESOURCE
