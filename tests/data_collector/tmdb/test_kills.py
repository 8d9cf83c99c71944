"""Many movies, faults and kills: each movie is stored once, within the rate, and the tables are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from reccore import Workspace
from tests.data_collector.tmdb.conftest import write_links
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.lives import (
    WORKERS,
    check_rate,
    documents_of,
    live,
    live_and_die,
    tables_of,
)
from tests.data_collector.tmdb.server import Plan, Remote, Seen, tmdb_process

FAULTS = 0.2
N_SMALL, N_FULL = 400, 10_000


@dataclass(frozen=True)
class Undisturbed:
    """An undisturbed crawl, and its server."""

    root: Path
    server: Remote
    seen: list[Seen]

    @cached_property
    def documents(self) -> dict[int, bytes]:
        return documents_of(self.root)


def undisturbed(root: Path, n_movies: int) -> Iterator[Undisturbed]:
    """Crawl movies 1 to n, of which each hundredth is absent."""
    absent = list(range(100, n_movies + 1, 100))
    with tmdb_process(Plan(faults=FAULTS, absent=absent)) as server:
        write_links(Workspace(root), range(1, n_movies + 1))
        report = live(root, server.url)
        assert (report.documents, report.absent, report.failed) == (n_movies - len(absent), len(absent), 0)
        check_rate(server)
        seen = server.seen()
        server.reset()
        yield Undisturbed(root, server, seen)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    yield from undisturbed(tmp_path_factory.mktemp("small"), N_SMALL)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    yield from undisturbed(tmp_path_factory.mktemp("full"), N_FULL)


def whole(seen: list[Seen]) -> Counter[int | None]:
    """How often each movie was sent completely or answered with 404."""
    return Counter(one.tmdb_id for one in seen if one.tmdb_id is not None and one.answer in ("ok", "slow", "404"))


def check_whole(crawl: Undisturbed, n_movies: int) -> None:
    """Every movie is stored and was sent once, with the expected share of faults."""
    answers = Counter(one.answer for one in crawl.seen)
    assert whole(crawl.seen) == dict.fromkeys(range(1, n_movies + 1), 1)
    faults = sum(count for answer, count in answers.items() if answer not in ("ok", "404"))
    assert 0.17 < faults / len(crawl.seen) < 0.23
    assert set(answers) >= {"ok", "404", "500", "502", "503", "cut", "silent", "slow", "not json", "other id"}
    found = crawl.documents
    assert set(found) == {n for n in range(1, n_movies + 1) if n % 100}
    assert min(map(len, found.values())) > 10_000  # a realistic size


def check_kills(crawl: Undisturbed, root: Path, n_movies: int, kills: int) -> None:
    """A crawl with kills and resumes has the same result."""
    write_links(Workspace(root), range(1, n_movies + 1))
    moments = live_and_die(root, crawl.server, kills, most_requests=n_movies // kills)
    report = live(root, crawl.server.url)
    assert report.documents == n_movies - n_movies // 100
    seen = crawl.server.seen()
    crawl.server.reset()
    # no movie in the journal is requested again; only requests in flight are lost
    for moment, there in moments:
        assert not [one.tmdb_id for one in seen if one.time > moment and one.tmdb_id in there]
    extra = sum(whole(seen).values()) - n_movies
    assert 0 <= extra <= kills * WORKERS
    assert 0 < len(moments[-1][1]) < n_movies
    assert documents_of(root) == crawl.documents


def test_some_movies_with_faults_are_fetched_completely(small: Undisturbed) -> None:
    check_whole(small, N_SMALL)
    document = small.documents[1]
    assert document.startswith(b"{")
    assert movie_document(1)["title"].encode() in document


def test_a_few_kills_change_nothing(small: Undisturbed, tmp_path: Path) -> None:
    check_kills(small, tmp_path, N_SMALL, kills=4)
    assert tables_of(tmp_path) == tables_of(small.root)


@pytest.mark.slow
def test_ten_thousand_movies_with_faults_are_fetched_completely(full: Undisturbed) -> None:
    check_whole(full, N_FULL)


@pytest.mark.slow
def test_twenty_kills_change_nothing(full: Undisturbed, tmp_path: Path) -> None:
    check_kills(full, tmp_path, N_FULL, kills=20)
    assert tables_of(tmp_path) == tables_of(full.root)
