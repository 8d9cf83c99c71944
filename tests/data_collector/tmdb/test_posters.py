"""Posters: their address, complete files, one request each."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from data_collector.tmdb import workers
from data_collector.tmdb.crawl import CrawlReport
from data_collector.tmdb.journal import Journal, MovieRecord, PosterRecord
from data_collector.tmdb.shards import read_documents
from reccore import ConfigError, DataError, Workspace
from tests.data_collector.tmdb.server import IMAGE, TmdbServer

Crawled = Callable[..., CrawlReport]


def paths(space: Workspace) -> list[str]:
    """The poster paths of the stored documents."""
    documents = [json.loads(document.body)["document"] for document in read_documents(space.raw / "tmdb")]
    return [document["poster_path"] for document in documents if document["poster_path"]]


def posters(space: Workspace, size: str = "w342") -> dict[str, PosterRecord]:
    journal = Journal(space.raw / "tmdb")
    try:
        return journal.posters(size)
    finally:
        journal.close()


def test_every_poster_is_stored_under_its_name(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    report = crawled(12, posters=True)
    wanted = paths(space)
    assert report.posters == len(wanted) > 5
    files = {file.name: file.read_bytes() for file in (space.raw / "tmdb" / "posters" / "w342").iterdir()}
    assert files == {path[1:]: IMAGE + f"/t/p/w342{path}".encode() for path in wanted}
    asked = [seen.path for seen in tmdb.seen if seen.tmdb_id is None]
    assert sorted(asked) == sorted(["/3/configuration", *(f"/t/p/w342{path}" for path in wanted)])
    assert set(posters(space)) == set(wanted)
    tmdb.reset()
    assert crawled(12, posters=True).posters == len(wanted)
    assert tmdb.seen == []


def test_without_the_option_no_image_is_requested(tmdb: TmdbServer, crawled: Crawled) -> None:
    assert crawled(3).posters is None
    assert all(seen.tmdb_id for seen in tmdb.seen)


def test_two_sizes_are_kept_and_an_unknown_one_is_refused(tmdb: TmdbServer, space: Workspace, crawled: Crawled) -> None:
    crawled(3, posters=True)
    crawled(3, posters=True, poster_size="original")
    folders = space.raw / "tmdb" / "posters"
    names = [sorted(file.name for file in (folders / size).iterdir()) for size in ("w342", "original")]
    assert names[0] == names[1]
    with pytest.raises(ConfigError, match="--poster_size must be one of w92, w342, original, got 'w343'"):
        crawled(3, posters=True, poster_size="w343")
    with pytest.raises(ConfigError, match="poster_size"):
        crawled(3, posters=True, poster_size="../w342")


def test_with_an_address_the_configuration_is_not_requested(tmdb: TmdbServer, crawled: Crawled) -> None:
    assert crawled(3, posters=True, image_base_url=f"{tmdb.origin}/t/p").posters
    assert not any(seen.path == "/3/configuration" for seen in tmdb.seen)
    with pytest.raises(ConfigError, match="--image_base_url must begin with https://"):
        crawled(3, posters=True, image_base_url="http://images.example.org", poster_size="w92")


@pytest.mark.parametrize("fault", ["500", "cut", "silent", "text", "304", "not json"])
def test_a_fault_is_tried_again_and_leaves_no_file(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, fault: str
) -> None:
    crawled(4)
    path = paths(space)[0]
    tmdb.scripts[f"/t/p/w342{path}"] = [fault] * 3
    report = crawled(4, posters=True)
    assert report.posters == len(paths(space))
    assert report.posters_failed == 0
    folder = space.raw / "tmdb" / "posters" / "w342"
    assert (folder / path[1:]).read_bytes() == IMAGE + f"/t/p/w342{path}".encode()
    assert posters(space)[path].attempts == 4
    assert not list(folder.glob("*.part"))


def test_the_next_run_requests_failed_posters_and_not_absent_ones(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    crawled(6)
    absent, failed = paths(space)[:2]
    tmdb.scripts = {f"/t/p/w342{absent}": ["bare 404"], f"/t/p/w342{failed}": ["text"] * 10}
    report = crawled(6, posters=True)
    assert (report.posters_absent, report.posters_failed) == (1, 1)
    assert "not an image but 26 bytes of text/html" in (posters(space)[failed].error or "")
    tmdb.reset()
    report = crawled(6, posters=True)
    assert (report.posters_absent, report.posters_failed) == (1, 0)
    assert [seen.path for seen in tmdb.seen if seen.path.startswith("/t/p/")] == [f"/t/p/w342{failed}"]


def test_a_404_from_a_typed_address_is_accepted_after_the_first_image(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LONGEST_BACKOFF_SECONDS", 0.2)
    monkeypatch.setattr(workers, "BACKOFF_SECONDS", 0.2)
    crawled(60, workers=1)  # so that documents are stored in the order of their poster requests
    address = {"posters": True, "workers": 1, "image_base_url": f"{tmdb.origin}/t/p"}
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:\d+/wrong answers 404 to every poster; give another --image_"):
        crawled(60, **(address | {"image_base_url": f"{tmdb.origin}/wrong"}))
    assert "absent" not in {poster.status for poster in posters(space).values()}

    first, second = (f"/t/p/w342{path}" for path in paths(space)[:2])
    tmdb.scripts = {first: ["bare 404"] * 9, second: ["bare 404"]}
    report = crawled(60, **address)  # both come before any image, and are tried again
    assert (report.posters_absent, report.posters_failed) == (1, 0)
    assert posters(space)[paths(space)[0]].status == "absent"
    assert report.posters == len(paths(space)) - 1


def test_a_typed_address_without_images_marks_nothing_absent(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    crawled(4)
    report = crawled(4, posters=True, image_base_url=f"{tmdb.origin}/wrong")
    assert (report.posters, report.posters_absent, report.posters_failed) == (0, 0, len(paths(space)))
    assert all(poster.error for poster in posters(space).values())
    assert crawled(4, posters=True).posters == len(paths(space))


def test_a_removed_file_is_fetched_again_and_a_partial_one_deleted(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled
) -> None:
    crawled(4, posters=True)
    folder = space.raw / "tmdb" / "posters" / "w342"
    path = paths(space)[0]
    (folder / path[1:]).unlink()
    (folder / ".a.jpg.1.part").write_bytes(b"half")
    tmdb.reset()
    crawled(4, posters=True)
    assert [seen.path for seen in tmdb.seen if seen.path.startswith("/t/p/")] == [f"/t/p/w342{path}"]
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize("path", ["/../../../escaped.jpg", "/a/b.jpg", "//host/a.jpg", "/.hidden", "/a b.jpg"])
def test_an_invalid_poster_path_is_not_requested_or_written(
    tmdb: TmdbServer, space: Workspace, crawled: Crawled, path: str
) -> None:
    crawled(1)
    journal = Journal(space.raw / "tmdb")
    movie = journal.movies("en-US")[1]
    journal.commit(movies=[MovieRecord(1, "en-US", "done", 1, movie.checked, movie.fetched, movie.place, poster=path)])
    journal.close()
    before = {file for file in space.root.parent.rglob("*") if "tmdb" not in file.parts}
    report = crawled(1, posters=True)
    assert report.posters_failed == 1
    assert not [seen for seen in tmdb.seen if seen.path.startswith("/t/p/")]
    assert {file for file in space.root.parent.rglob("*") if "tmdb" not in file.parts} == before


def test_an_invalid_configuration_is_an_error(tmdb: TmdbServer, crawled: Crawled) -> None:
    tmdb.scripts["/3/configuration"] = ["bare"]
    with pytest.raises(DataError, match="has no address of images; give it with --image_base_url"):
        crawled(2, posters=True)


def test_a_failed_configuration_is_retried(tmdb: TmdbServer, crawled: Crawled) -> None:
    tmdb.scripts["/3/configuration"] = ["500", "cut"]
    assert crawled(4, posters=True).posters
    tmdb.scripts["/3/configuration"] = ["422"]
    with pytest.raises(DataError, match=r"\(the server answered 422 Unprocessable Entity\); give it with"):
        crawled(5, posters=True, poster_size="w92")
