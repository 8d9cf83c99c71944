"""A TMDb test server, a data root with links, and short pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_collector.tmdb import workers
from data_collector.tmdb.crawl import CrawlConfig, CrawlReport, crawl
from data_collector.tmdb.key import VARIABLE, Key
from reccore import RunOptions, Workspace
from tests.data_collector.tmdb.server import V3_KEY, TmdbServer, tmdb_server


@pytest.fixture(autouse=True)
def _quick_and_keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(workers, "LONGEST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(workers, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(workers, "LONGEST_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(workers, "PROBES", 8)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def tmdb() -> Iterator[TmdbServer]:
    with tmdb_server() as running:
        yield running


def write_links(space: Workspace, tmdb_ids: Sequence[int | None]) -> None:
    """Links of movies 1, 2, 3, … as preprocessing writes them."""
    space.processed.mkdir(parents=True, exist_ok=True)
    columns = {"movieId": range(1, len(tmdb_ids) + 1), "imdbId": [1] * len(tmdb_ids), "tmdbId": tmdb_ids}
    table = pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})
    pq.write_table(table, space.processed / "links.parquet")


@pytest.fixture
def crawled(tmdb: TmdbServer, space: Workspace) -> Callable[..., CrawlReport]:
    """``crawled(n)`` crawls the ids 1 to n (or those given) with the options given."""

    def run(tmdb_ids: int | Sequence[int | None], **options: object) -> CrawlReport:
        write_links(space, range(1, tmdb_ids + 1) if isinstance(tmdb_ids, int) else tmdb_ids)
        config = CrawlConfig.parse({"base_url": tmdb.url, "rate": 5000, "workers": 8, **options})
        return crawl(space, Key(V3_KEY), config, RunOptions(progress=False))

    return run
