"""The crawl: fetch what is missing, keep what is there, and resume after any stop."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from loguru import logger

from data_collector.lock import exclusive_folder
from data_collector.tmdb import FOLDER
from data_collector.tmdb.client import Client, checked_address
from data_collector.tmdb.config import CrawlConfig
from data_collector.tmdb.journal import MovieRecord, now
from data_collector.tmdb.key import Key
from data_collector.tmdb.limiter import RateLimiter
from data_collector.tmdb.links import read_links
from data_collector.tmdb.movies import APPENDED, MovieFetcher
from data_collector.tmdb.posters import CONFIGURATION, ImageAddressFetcher, PosterFetcher, wanted_posters
from data_collector.tmdb.store import Store
from data_collector.tmdb.workers import Fetcher, ServiceDownError, WorkerPool
from reccore.interrupts import defer_sigint
from reccore.options import RunOptions
from reccore.workspace import Workspace

POSTERS = "posters"
_DAY_SECONDS = 86_400.0

K = TypeVar("K")


@dataclass(frozen=True)
class CrawlReport:
    """State of a folder after a crawl.

    Attributes:
        folder: folder of the documents.
        language: language of the documents.
        movies: number of tmdbIds of the data set, up to ``limit``.
        documents: how many of them have a document.
        fetched: documents fetched in this run.
        unchanged: documents that the server confirmed in this run.
        absent: movies that do not exist at TMDb.
        failed: movies for which all attempts of the last run failed; the next run tries again.
        without_tmdb_id: movies of the data set without a tmdbId.
        faults: failed attempts of this run.
        seconds: duration.
        posters: images of the requested size on the disk; None if posters were not requested.
        posters_absent: images that do not exist at TMDb.
        posters_failed: images for which all attempts of the last run failed.
        requested: movies and images requested in this run.
        given_up: those of them for which all attempts failed.
        reason: of one of these failures; None without any.
    """

    folder: Path
    language: str
    movies: int
    documents: int
    fetched: int
    unchanged: int
    absent: int
    failed: int
    without_tmdb_id: int
    faults: int
    seconds: float
    posters: int | None = None
    posters_absent: int | None = None
    posters_failed: int | None = None
    requested: int = 0
    given_up: int = 0
    reason: str | None = None

    @property
    def all_failed(self) -> bool:
        """Whether this run requested something and nothing came."""
        return 0 < self.requested == self.given_up


def crawl(
    workspace: Workspace, key: Key, config: CrawlConfig | None = None, options: RunOptions | None = None
) -> CrawlReport:
    """Fetch what is missing in ``raw/tmdb/``: a document for every tmdbId of the data set, and posters on request.

    A thread continues only when its document is on the disk, so the next crawl resumes after any kind of stop. Ctrl-C
    first finishes the requests in flight; a second Ctrl-C stops at once.

    Args:
        workspace: the data root.
        key: TMDb key.
        config: what to fetch, and the rate.
        options: only ``progress`` is used.

    Raises:
        ConfigError: an address or a poster size is invalid, or TMDb refuses the key.
        NotReadyError: the data set has no links.
        ServiceDownError: TMDb did not answer for minutes.
        DataError: links or journal cannot be used, a disk error, or another crawl is running in the folder.
        KeyboardInterrupt: after Ctrl-C, when everything is on the disk.
    """
    config = config or CrawlConfig()
    address = api_address(config.base_url)
    links = read_links(workspace)
    folder = workspace.raw / FOLDER
    with exclusive_folder(folder, "crawl"), defer_sigint() as interrupted:
        store = Store(folder)
        try:
            store.journal.set_unlinked(links.unlinked)
            run = _Crawl(config, key, address, store, interrupted, (options or RunOptions()).progress)
            return run.run(links.tmdb_ids[: config.limit], len(links.unlinked))
        finally:
            store.close()


class _Crawl:
    """One crawl of one folder."""

    def __init__(
        self,
        config: CrawlConfig,
        key: Key,
        address: str,
        store: Store,
        interrupted: Callable[[], bool],
        show_progress: bool,
    ) -> None:
        self._config = config
        self._store = store
        self._interrupted = interrupted
        self._show_progress = show_progress
        self._stop = threading.Event()
        self._limiter = RateLimiter(config.rate, self._stop)
        parameters = {"language": config.language, "append_to_response": APPENDED}
        self._client = Client(address, self._limiter, connections=config.workers, key=key, parameters=parameters)
        self._started = now()
        self._faults = self._requested = self._given_up = 0
        self._reason: str | None = None

    def run(self, tmdb_ids: list[int], n_unlinked: int) -> CrawlReport:
        """Fetch movies, then posters."""
        try:
            self._fetch_movies(tmdb_ids)
            if self._config.posters:
                self._fetch_posters(tmdb_ids)
        finally:
            self._stop.set()
            self._client.close()
        return self._report(tmdb_ids, n_unlinked)

    def _fetch_movies(self, tmdb_ids: list[int]) -> None:
        known = self._store.journal.movies(self._config.language)
        wanted = wanted_movies(tmdb_ids, known, self._config.max_age_days, self._started)
        fetcher = MovieFetcher(self._client, self._store, self._config.language, known)
        self._fetch_all(wanted, fetcher, self._client, CONFIGURATION, len(tmdb_ids) - len(wanted))

    def _fetch_posters(self, tmdb_ids: list[int]) -> None:
        size = self._config.poster_size
        paths = self._poster_paths(tmdb_ids)
        known = self._store.journal.posters(size)
        folder = self._store.folder / POSTERS / size
        wanted = wanted_posters(paths, folder, known)
        if not wanted:
            return
        client = Client(
            self._image_address(), self._limiter, connections=self._config.workers, option="--image_base_url"
        )
        is_configured = self._config.image_base_url is None
        fetcher = PosterFetcher(client, self._store, folder, size, known, has_images=is_configured)
        try:
            self._fetch_all(wanted, fetcher, client, f"/{size}{wanted[0]}", len(paths) - len(wanted))
        finally:
            client.close()

    def _image_address(self) -> str:
        """The configured address, else the one from TMDb's configuration."""
        given = self._config.image_base_url
        if given is not None:
            return checked_address(given, "--image_base_url")
        fetcher = ImageAddressFetcher(self._client, self._config.poster_size)
        self._fetch_all([CONFIGURATION], fetcher, self._client, CONFIGURATION, 0)
        return fetcher.address

    def _fetch_all(self, keys: list[K], fetcher: Fetcher[K], client: Client, probe: str, settled: int) -> None:
        """Fetch the items that are not settled: neither stored, absent nor given up."""
        pool = WorkerPool(self._config.workers, lambda: client.alive(probe), self._stop)
        try:
            pool.run(keys, fetcher, self._interrupted, show_progress=self._show_progress)
        except ServiceDownError as error:
            host = urlsplit(client.base_url).hostname
            standing = _standing(pool.left, fetcher.unit, len(keys) + settled)
            raise ServiceDownError(f"{host} does not answer ({error}): {standing}") from None
        finally:
            self._faults += pool.faults
            self._requested += len(keys)
            self._given_up += pool.given_up
            self._reason = pool.example or self._reason
        if self._interrupted():
            logger.info("stopped: {}", _standing(pool.left, fetcher.unit, len(keys) + settled))
            raise KeyboardInterrupt

    def _poster_paths(self, tmdb_ids: list[int]) -> list[str]:
        """Poster paths of the stored documents, each once."""
        known = self._store.journal.movies(self._config.language)
        found = (known[movie].poster for movie in tmdb_ids if movie in known)
        return list(dict.fromkeys(path for path in found if path is not None))

    def _report(self, tmdb_ids: list[int], n_unlinked: int) -> CrawlReport:
        journal, config = self._store.journal, self._config
        known = journal.movies(config.language)
        movies = [known[movie] for movie in tmdb_ids if movie in known]
        current = [movie for movie in movies if movie.status == "done" and movie.checked >= self._started]
        fetched = sum(movie.fetched == movie.checked for movie in current)
        posters: dict[str, int] = {}
        if config.posters:
            images = journal.posters(config.poster_size)
            statuses = Counter(images[path].status for path in self._poster_paths(tmdb_ids) if path in images)
            posters = {
                "posters": statuses["done"],
                "posters_absent": statuses["absent"],
                "posters_failed": statuses["failed"],
            }
        return CrawlReport(
            folder=self._store.folder,
            language=config.language,
            movies=len(tmdb_ids),
            documents=sum(movie.place is not None for movie in movies),
            fetched=fetched,
            unchanged=len(current) - fetched,
            absent=sum(movie.status == "absent" for movie in movies),
            failed=sum(movie.status == "failed" for movie in movies),
            without_tmdb_id=n_unlinked,
            faults=self._faults,
            seconds=round(now() - self._started, 1),
            requested=self._requested,
            given_up=self._given_up,
            reason=self._reason,
            **posters,
        )


def api_address(base_url: str) -> str:
    """Check the address of the API, and add the version if it has no path."""
    address = checked_address(base_url, "--base_url")
    return address if urlsplit(address).path else f"{address}/3"


def wanted_movies(
    tmdb_ids: Iterable[int], known: Mapping[int, MovieRecord], max_age_days: float | None, at: float
) -> list[int]:
    """tmdbIds to request: never requested, failed, or last confirmed more than ``max_age_days`` ago."""
    oldest = float("-inf") if max_age_days is None else at - max_age_days * _DAY_SECONDS

    def is_wanted(tmdb_id: int) -> bool:
        movie = known.get(tmdb_id)
        if movie is None or movie.status == "failed":
            return True
        return movie.status == "done" and movie.checked < oldest

    return [tmdb_id for tmdb_id in tmdb_ids if is_wanted(tmdb_id)]


def _standing(left: int, unit: str, total: int) -> str:
    return f"{total - left:,} of {total:,} {unit}s are settled, {left:,} are left; run the same command again to go on"
