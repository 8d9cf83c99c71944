"""Crawls of a server on loopback: fetching, retries, limits and errors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_collector.tmdb import client, shards, workers
from data_collector.tmdb.crawl import CrawlReport
from data_collector.tmdb.journal import Journal, MovieRecord
from data_collector.tmdb.limiter import RateLimiter
from data_collector.tmdb.shards import read_documents
from data_collector.tmdb.workers import ServiceDownError
from reccore import ConfigError, DataError, Workspace
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.server import Plan, Seen, TmdbServer

Crawled = Callable[..., CrawlReport]


def stored(space: Workspace) -> dict[tuple[int, str], dict]:
    """Document by id and language."""
    found = {}
    for document in read_documents(space.raw / "tmdb"):
        assert (document.tmdb_id, document.language) not in found
        found[document.tmdb_id, document.language] = json.loads(document.body)["document"]
    return found


def movie(space: Workspace, tmdb_id: int, language: str = "en-US") -> MovieRecord:
    journal = Journal(space.raw / "tmdb")
    try:
        return journal.movies(language)[tmdb_id]
    finally:
        journal.close()


def test_every_movie_is_fetched_once_and_stored_unchanged(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    report = crawled([603, None, 11, 603, 862, None])  # one tmdbId may belong to two movies
    assert (report.movies, report.documents, report.fetched, report.faults) == (3, 3, 3, 0)
    assert report.without_tmdb_id == 2
    assert set(stored(space)) == {(603, "en-US"), (11, "en-US"), (862, "en-US")}
    for (tmdb_id, _), document in stored(space).items():
        assert document == movie_document(tmdb_id) | {"popularity": 1.0}
    assert tmdb.served() == {603: 1, 11: 1, 862: 1}
    journal = Journal(space.raw / "tmdb")
    assert journal.unlinked() == [2, 6]


def test_a_second_run_sends_no_request(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.plan = Plan(absent=[3])
    assert crawled(5).documents == 4
    asked = len(tmdb.seen)
    report = crawled(5)
    assert len(tmdb.seen) == asked
    assert (report.documents, report.absent, report.fetched, report.failed) == (4, 1, 0, 0)


def test_only_new_links_are_fetched(tmdb: TmdbServer, crawled: Crawled) -> None:
    crawled(3)
    tmdb.reset()
    assert crawled(5).fetched == 2
    assert set(tmdb.served()) == {4, 5}


def test_the_limit_takes_the_first_movies(tmdb: TmdbServer, crawled: Crawled) -> None:
    report = crawled([9, 8, 7, 6], limit=2)
    assert set(tmdb.served()) == {9, 8}
    assert (report.movies, report.documents) == (2, 2)
    assert crawled([9, 8, 7, 6]).documents == 4
    assert tmdb.served() == dict.fromkeys((9, 8, 7, 6), 1)


def test_documents_of_two_languages_are_kept(space: Workspace, crawled: Crawled) -> None:
    crawled(2)
    crawled(2, language="zh-CN")
    found = stored(space)
    assert set(found) == {(1, "en-US"), (2, "en-US"), (1, "zh-CN"), (2, "zh-CN")}
    assert found[1, "zh-CN"] == movie_document(1, language="zh-CN") | {"popularity": 1.0}


def test_an_absent_movie_is_recorded_and_not_requested_in_any_language(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    tmdb.plan = Plan(absent=[2])
    report = crawled(3)
    assert (report.documents, report.absent) == (2, 1)
    assert movie(space, 2).status == "absent"
    tmdb.reset()
    assert crawled(3, language="fr-FR").absent == 1
    assert set(tmdb.served()) == {1, 3}
    assert all(seen.tmdb_id != 2 for seen in tmdb.seen)


@pytest.mark.parametrize(
    "fault",
    ["500", "502", "503", "429", "403", "cut", "silent", "not json", "nan", "not utf-8", "other id", "text", "304"],
)
def test_a_fault_is_tried_again(tmdb: TmdbServer, space: Workspace, crawled: Crawled, fault: str) -> None:
    tmdb.plan.retry_after = "0"
    tmdb.scripts["/3/movie/1"] = [fault, fault]
    report = crawled(2)
    assert (report.documents, report.failed, report.faults) == (2, 0, 2)
    assert stored(space)[1, "en-US"]["id"] == 1
    assert movie(space, 1).attempts == 3
    assert movie(space, 2).attempts == 1


def test_unknown_and_missing_fields_are_stored_unchanged(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.scripts["/3/movie/1"] = ["bare"]
    assert crawled(1).documents == 1
    assert stored(space)[1, "en-US"] == {"id": 1, "new_field": {"a": 1}}


def test_a_failed_movie_is_recorded_with_its_reason_and_requested_by_the_next_run(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    tmdb.scripts["/3/movie/2"] = ["other id"] * 10
    report = crawled(3)
    assert (report.documents, report.failed) == (2, 1)
    failed = movie(space, 2)
    assert (failed.status, failed.attempts) == ("failed", 10)
    assert failed.error is not None
    assert "is another movie, with id 1234567890" in failed.error
    tmdb.reset()
    report = crawled(3)
    assert (report.documents, report.failed, report.fetched) == (3, 0, 1)
    assert tmdb.served() == {2: 1}
    assert movie(space, 2).attempts == 11
    assert movie(space, 2).error is None


def test_a_refused_request_is_not_repeated(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.scripts["/3/movie/2"] = ["422"]
    assert crawled(3).failed == 1
    assert movie(space, 2).attempts == 1
    assert movie(space, 2).error == "the server answered 422 Unprocessable Entity"


def test_compressed_answers_are_stored_the_same(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.plan = Plan(compressed=True)
    crawled(2)
    assert stored(space)[2, "en-US"] == movie_document(2) | {"popularity": 1.0}


def test_old_documents_are_requested_with_their_etag(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(3)
    first = movie(space, 1)
    size = sum(path.stat().st_size for path in (space.raw / "tmdb").glob("movies-*"))
    tmdb.reset()
    assert crawled(3, max_age_days=1).unchanged == 0
    assert tmdb.seen == []
    report = crawled(3, max_age_days=0)
    assert (report.unchanged, report.fetched, report.documents) == (3, 0, 3)
    assert {seen.answer for seen in tmdb.seen} == {"304"}
    again = movie(space, 1)
    assert again.checked > first.checked
    assert (again.fetched, again.place, again.etag) == (first.fetched, first.place, first.etag)
    assert sum(path.stat().st_size for path in (space.raw / "tmdb").glob("movies-*")) == size


def test_a_changed_document_replaces_the_old_one(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(2)
    tmdb.plan = Plan(version=1)
    report = crawled(2, max_age_days=0)
    assert (report.fetched, report.unchanged, report.documents) == (2, 0, 2)
    assert [document["popularity"] for document in stored(space).values()] == [2.0, 2.0]


def test_a_failed_refresh_keeps_the_old_document(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(2)
    tmdb.scripts["/3/movie/1"] = ["not json"] * 10
    report = crawled(2, max_age_days=0)
    assert (report.documents, report.failed, report.unchanged) == (2, 1, 1)
    assert (1, "en-US") in stored(space)
    assert crawled(2).unchanged == 1


def test_a_movie_removed_from_tmdb_is_no_longer_read(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(2)
    tmdb.plan = Plan(absent=[1])
    assert crawled(2, max_age_days=0).absent == 1
    assert set(stored(space)) == {(2, "en-US")}


def test_a_full_shard_is_followed_by_another(
    space: Workspace, crawled: Crawled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    crawled(20)
    assert len(list((space.raw / "tmdb").glob("movies-*"))) > 2
    assert set(stored(space)) == {(n, "en-US") for n in range(1, 21)}


# -- limits and pauses -------------------------------------------------------------------------------------------------


def test_no_second_has_more_requests_than_the_rate(tmdb: TmdbServer, crawled: Crawled) -> None:
    rate = 100
    tmdb.plan = Plan(faults=0.3, kinds={"500": 1, "cut": 1, "slow": 1, "silent": 1})
    crawled(120, rate=rate, workers=30)
    times = sorted(seen.time for seen in tmdb.seen)
    assert len(times) > 140
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[rate:], strict=False))


@pytest.mark.parametrize("as_date", [False, True])
def test_a_429_holds_up_all_workers(
    tmdb: TmdbServer, crawled: Crawled, monkeypatch: pytest.MonkeyPatch, as_date: bool
) -> None:
    pauses: list[float] = []
    pause = RateLimiter.pause

    def noted(limiter: RateLimiter, seconds: float) -> None:
        pauses.append(time.monotonic())
        pause(limiter, seconds)

    monkeypatch.setattr(RateLimiter, "pause", noted)
    tmdb.plan = Plan(retry_after="1", retry_as_date=as_date)
    tmdb.scripts["/3/movie/5"] = ["429"]
    assert crawled(40, rate=20, workers=4).documents == 40
    (began,) = pauses  # when the client read the 429
    later = sorted(seen.time - began for seen in tmdb.seen if seen.time > began)
    assert len(later) > 25
    assert later[3] >= 1.0  # the three other workers may have a request under way, and send no other


def test_a_requested_wait_of_hours_ends_the_crawl(tmdb: TmdbServer, crawled: Crawled) -> None:
    tmdb.plan.retry_after = "7200"
    tmdb.scripts["/3/movie/2"] = ["429"]
    with pytest.raises(DataError, match=r"asks to wait for 120 minutes; run the same command again then"):
        crawled(3)
    assert crawled(3).documents == 3


def test_a_short_outage_is_waited_out(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.down = True
    looks: list[Seen] = []

    def repair() -> None:
        while len(looks) < 2:
            looks[:] = [seen for seen in tmdb.seen if seen.path == "/3/configuration"]
            time.sleep(0.005)
        tmdb.down = False

    threading.Thread(target=repair, daemon=True).start()
    report = crawled(30)
    assert (report.documents, report.failed) == (30, 0)
    # ten in a row and those in flight; then one worker probes the service and the others wait
    assert sum(seen.answer == "503" for seen in tmdb.movies()) <= 10 + 8
    assert [seen.answer for seen in looks[:2]] == ["503", "503"]


def test_a_long_outage_ends_the_crawl_and_says_what_is_left(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(workers, "PROBES", 3)
    crawled(4)
    tmdb.down = True
    with pytest.raises(ServiceDownError) as stopped:
        crawled(30)
    assert str(stopped.value) == (
        "127.0.0.1 does not answer (the server answered 503 Service Unavailable): 4 of 30 movies are settled, 26 are "
        "left; run the same command again to go on"
    )
    tmdb.down = False
    assert crawled(30).documents == 30


def test_no_server_at_all_is_an_outage(space: Workspace, crawled: Crawled) -> None:
    with pytest.raises(ServiceDownError, match=r"127\.0\.0\.1 does not answer \(.*refused"):
        crawled(30, base_url="http://127.0.0.1:9/3")


def test_single_movies_with_server_errors_are_not_an_outage(tmdb: TmdbServer, crawled: Crawled) -> None:
    for tmdb_id in range(1, 13):
        tmdb.scripts[f"/3/movie/{tmdb_id}"] = ["500"] * 100
    report = crawled(14)
    assert (report.documents, report.failed) == (2, 12)


# -- the end of a crawl ------------------------------------------------------------------------------------------------


def test_a_refused_key_ends_the_crawl_at_once(tmdb: TmdbServer, crawled: Crawled) -> None:
    for tmdb_id in range(1, 100):
        tmdb.scripts[f"/3/movie/{tmdb_id}"] = ["401"]
    with pytest.raises(ConfigError, match=r"TMDb does not accept the key in TMDB_API_KEY \(401\)"):
        crawled(100)
    assert len(tmdb.seen) <= 8  # one for each worker


def test_redirects_are_not_followed(tmdb: TmdbServer, crawled: Crawled) -> None:
    tmdb.scripts["/3/movie/1"] = ["redirect http://localhost:1/3/movie/1?api_key=leaked"]
    with pytest.raises(ConfigError, match=r"redirects to localhost \(302\), which is not followed; give .* --base_url"):
        crawled(1)


def test_a_server_that_is_not_tmdb_does_not_make_every_movie_absent(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    with pytest.raises(ConfigError, match="answers 404 to every movie; give TMDb's address with --base_url"):
        crawled(30, base_url=f"{tmdb.origin}/elsewhere")
    assert Journal(space.raw / "tmdb").movies("en-US") == {}


def test_a_bare_404_is_accepted_after_a_valid_document(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.scripts["/3/movie/1"] = ["bare 404"] * 100
    assert crawled(2, workers=1).absent == 1
    assert movie(space, 1).status == "absent"


def test_two_crawls_of_one_folder_are_refused(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    tmdb.scripts["/3/movie/1"] = ["slow"]
    first = threading.Thread(target=crawled, args=(1,))
    first.start()
    while not tmdb.seen:
        time.sleep(0.005)
    with pytest.raises(DataError, match=r"another crawl into .* is running; wait for it to end"):
        crawled(1)
    first.join()
    assert tmdb.served() == {1: 1}


def test_a_full_disk_ends_the_crawl_and_leaves_no_partial_record(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawled(3)
    before = {path.name: path.stat().st_size for path in (space.raw / "tmdb").glob("movies-*")}

    class Full:
        """A file on a disk with room for ten more bytes."""

        def __init__(self, file: object) -> None:
            self._file = file
            self._room = 10

        def write(self, data: memoryview) -> int:
            if not self._room:
                raise OSError(28, "No space left on device")
            written = self._file.write(data[: self._room])  # type: ignore[attr-defined]
            self._room -= written
            return written

        def __getattr__(self, name: str) -> object:
            return getattr(self._file, name)

    whole = shards.ShardWriter._open
    with monkeypatch.context() as patched:
        patched.setattr(shards.ShardWriter, "_open", lambda self: Full(whole(self)))
        with pytest.raises(DataError, match=r"cannot write .*No space left on device; make room and run the same"):
            crawled(20)
    assert {path.name: path.stat().st_size for path in (space.raw / "tmdb").glob("movies-*")} == before
    assert set(stored(space)) == {(n, "en-US") for n in (1, 2, 3)}
    assert crawled(20).documents == 20


# -- links -------------------------------------------------------------------------------------------------------------


def test_raw_links_are_used_if_nothing_is_prepared(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(1)
    (space.processed / "links.parquet").unlink()
    (space.raw / "ml-mini").mkdir()
    (space.raw / "ml-mini" / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,\n3,0000001,0\n")
    from data_collector.tmdb.links import read_links

    links = read_links(space)
    assert (links.tmdb_ids, links.unlinked) == ([862], [2, 3])
    (space.raw / "ml-other").mkdir()
    (space.raw / "ml-other" / "links.csv").write_text("movieId,imdbId,tmdbId\n")
    with pytest.raises(DataError, match="several data sets have links"):
        read_links(space)


def test_links_without_ids_are_an_error(space: Workspace, tmp_path: Path) -> None:
    from data_collector.tmdb.links import read_links

    (space.raw / "ml-mini").mkdir(parents=True)
    (space.raw / "ml-mini" / "links.csv").write_text("movieId,imdbId\n1,0114709\n")
    with pytest.raises(DataError, match="tmdbId"):
        read_links(space)
    (space.raw / "ml-mini" / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,eight\n")
    with pytest.raises(DataError, match=r"links\.csv"):
        read_links(space)


def test_a_slow_answer_is_retried_after_its_deadline(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 1.5)
    monkeypatch.setattr(client, "READ_SECONDS", 1.0)
    tmdb.scripts = {"/3/movie/1": ["trickle"], "/3/movie/2": ["hang"], "/3/movie/3": ["trickling head"]}
    assert crawled(4).documents == 4
    assert min(movie(space, tmdb_id).attempts for tmdb_id in (1, 2, 3)) >= 2
