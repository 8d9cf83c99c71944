"""Shards and their journal: documents recorded in the journal, and no others, are read back."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from data_collector.tmdb.journal import FILE, Journal, MovieRecord, PosterRecord
from data_collector.tmdb.shards import ShardWriter, StoredDocument, encode_record, read_documents, shard_path
from reccore.errors import DataError, NotReadyError


def store(
    journal: Journal, shards: ShardWriter, tmdb_id: int, title: str, *, language: str = "en-US", fetched: float = 1.5
) -> None:
    """Store one small document."""
    body = json.dumps({"id": tmdb_id, "title": title}).encode()
    place = shards.append(encode_record(tmdb_id, language, fetched, '"tag"', body))
    shards.sync()
    movie = MovieRecord(tmdb_id, language, "done", 1, fetched, fetched, place, '"tag"')
    journal.commit(movies=[movie], lengths=shards.take_lengths())


def titles(folder: Path) -> list[tuple[int, str, str]]:
    return [(d.tmdb_id, d.language, json.loads(d.body)["document"]["title"]) for d in read_documents(folder)]


def opened(folder: Path) -> tuple[Journal, ShardWriter]:
    journal = Journal(folder)
    return journal, ShardWriter(folder, journal)


def test_stored_documents_are_read_back(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 603, "The Matrix", fetched=12.25)
    store(journal, shards, 11, "Star Wars", language="zh-CN")
    found = list(read_documents(tmp_path))
    assert [(d.tmdb_id, d.language, d.fetched) for d in found] == [(603, "en-US", 12.25), (11, "zh-CN", 1.5)]
    assert json.loads(found[0].body) == {
        "tmdbId": 603,
        "language": "en-US",
        "fetched": 12.25,
        "etag": '"tag"',
        "document": {"id": 603, "title": "The Matrix"},
    }
    assert found[0].where == "movies-00000.jsonl.gz at byte 0"
    # as zcat would: the members one behind the other are lines of JSON
    lines = gzip.decompress(shard_path(tmp_path, 0).read_bytes()).decode().splitlines()
    assert [json.loads(line)["tmdbId"] for line in lines] == [603, 11]


def test_a_document_over_many_lines_becomes_one_line_of_equal_content(tmp_path: Path) -> None:
    document = {"id": 1, "title": "Zwei\nZeilen", "genres": [{"id": 2, "name": "Drame é"}]}
    body = json.dumps(document, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode()
    line = gzip.decompress(encode_record(1, "de-DE", 0.0, None, body))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["document"] == document


def test_a_full_shard_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_collector.tmdb.shards.SHARD_BYTES", 200)
    journal, shards = opened(tmp_path)
    for tmdb_id in range(10):
        store(journal, shards, tmdb_id, f"title {tmdb_id}")
    assert [title for _, _, title in titles(tmp_path)] == [f"title {n}" for n in range(10)]
    assert {path.name for path in tmp_path.glob("movies-*")} == {f"movies-0000{n}.jsonl.gz" for n in range(5)}
    assert journal.lengths() == {n: shard_path(tmp_path, n).stat().st_size for n in range(5)}


def test_the_latest_document_of_a_movie_is_read(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "old")
    store(journal, shards, 2, "other")
    store(journal, shards, 1, "new")
    assert titles(tmp_path) == [(2, "en-US", "other"), (1, "en-US", "new")]


def test_uncommitted_bytes_are_neither_read_nor_kept(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "whole")
    length = shard_path(tmp_path, 0).stat().st_size
    shards.append(encode_record(2, "en-US", 0.0, None, b'{"id": 2}')[:-3])  # the kill
    assert titles(tmp_path) == [(1, "en-US", "whole")]
    journal, shards = opened(tmp_path)
    assert shard_path(tmp_path, 0).stat().st_size == length
    store(journal, shards, 2, "again")
    assert titles(tmp_path) == [(1, "en-US", "whole"), (2, "en-US", "again")]


def test_a_shard_without_a_commit_is_emptied(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    shards.append(b"something")
    shards.close()
    journal.close()
    journal, shards = opened(tmp_path)
    assert shard_path(tmp_path, 0).stat().st_size == 0
    store(journal, shards, 1, "first")
    assert titles(tmp_path) == [(1, "en-US", "first")]


def test_a_shard_that_lost_bytes_is_fetched_again(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    for tmdb_id in (1, 2, 3):
        store(journal, shards, tmdb_id, f"title {tmdb_id}")
    second = journal.movies("en-US")[2].place
    assert second is not None
    with shard_path(tmp_path, 0).open("r+b") as file:
        file.truncate(second.offset + 5)
    journal, shards = opened(tmp_path)
    assert set(journal.movies("en-US")) == {1}
    assert shard_path(tmp_path, 0).stat().st_size == second.offset
    shard_path(tmp_path, 0).unlink()
    journal, shards = opened(tmp_path)
    assert journal.movies("en-US") == {}


def test_damaged_documents_are_reported_and_the_others_read(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    for tmdb_id in (1, 2):
        store(journal, shards, tmdb_id, "x" * 50)
    data = bytearray(shard_path(tmp_path, 0).read_bytes())
    data[30] ^= 0xFF
    shard_path(tmp_path, 0).write_bytes(data)
    first, second = read_documents(tmp_path)
    assert (first.tmdb_id, first.body) == (1, b"")
    assert "damaged" in first.where
    assert json.loads(second.body)["tmdbId"] == 2


def test_a_missing_shard_is_reported_for_each_of_its_documents(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "x")
    shard_path(tmp_path, 0).unlink()
    (document,) = read_documents(tmp_path)
    assert document == StoredDocument(
        1, 1.5, "en-US", b"", "movies-00000.jsonl.gz at byte 0 (damaged: the file is missing)"
    )


def test_a_failed_write_is_undone(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "whole")
    length = shard_path(tmp_path, 0).stat().st_size
    shards.append(b"half a rec")
    shards.roll_back(journal)
    assert shard_path(tmp_path, 0).stat().st_size == length
    store(journal, shards, 2, "next")
    assert titles(tmp_path) == [(1, "en-US", "whole"), (2, "en-US", "next")]


def test_documents_written_during_a_read_are_not_seen(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "one")
    reading = read_documents(tmp_path)
    assert next(reading).tmdb_id == 1
    store(journal, shards, 2, "two")
    assert list(reading) == []
    assert len(titles(tmp_path)) == 2


def test_the_journal_keeps_movies_posters_and_movies_without_id(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    failed = MovieRecord(7, "en-US", "failed", 10, 3.5, error="no answer within 30 s")
    absent = MovieRecord(8, "en-US", "absent", 1, 4.0)
    other = MovieRecord(9, "fr-FR", "failed", 1, 4.0)
    poster = PosterRecord("/a.jpg", "w342", "done", 2, 5.0)
    journal.commit(movies=[failed, absent, other], posters=[poster])
    journal.set_unlinked([5, 3])
    journal.close()
    journal = Journal(tmp_path)
    assert journal.movies("en-US") == {7: failed, 8: absent}
    assert journal.movies("fr-FR") == {8: absent, 9: other}  # no movie in one language is none in another
    assert journal.posters("w342") == {"/a.jpg": poster}
    assert journal.posters("w500") == {}
    assert journal.unlinked() == [3, 5]
    assert list(read_documents(tmp_path)) == []


def test_a_record_in_the_language_comes_before_an_absence_in_another(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "here")
    journal.commit(movies=[MovieRecord(1, "fr-FR", "absent", 1, 9.0)])
    assert journal.movies("en-US")[1].status == "done"


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    good, bad = MovieRecord(1, "en-US", "done", 1, 0.0), MovieRecord(2, "en-US", "lost", 1, 0.0)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        journal.commit(movies=[good, bad])
    assert journal.movies("en-US") == {}


def test_no_crawl_yet_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"run first: .*run_batch_crawl\.py"):
        next(read_documents(tmp_path))


def test_another_format_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(DataError, match="format 99"):
        Journal(tmp_path)
    with pytest.raises(DataError, match="format 99"):
        next(read_documents(tmp_path))


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is not a database" * 100)
    with pytest.raises(DataError, match="damaged"):
        Journal(tmp_path)
    with pytest.raises(DataError, match="damaged"):
        next(read_documents(tmp_path))


def test_shards_without_their_journal_are_not_overwritten(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "precious")
    journal.close()
    for path in tmp_path.glob(f"{FILE}*"):
        path.unlink()
    with pytest.raises(DataError, match="put it back"):
        Journal(tmp_path)
    assert shard_path(tmp_path, 0).stat().st_size


def test_a_closed_journal_is_readable_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    journal, shards = opened(tmp_path)
    store(journal, shards, 1, "there")
    journal.close()
    tmp_path.chmod(0o555)
    try:
        assert titles(tmp_path) == [(1, "en-US", "there")]
    finally:
        tmp_path.chmod(0o755)
