"""The four tables together: latest documents, keys, equality with pandas, atomic replacement."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_collector.tmdb import documents as parsing
from data_collector.tmdb import schema, star, star_tables
from data_collector.tmdb.shards import StoredDocument
from data_collector.tmdb.star import TablesReport, write_star
from data_collector.tmdb.star_tables import check_tables
from reccore.errors import ArtefactError, DataError
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.oracle import pandas_tables
from tests.data_collector.tmdb.stored import Document, broken, read_tables, small, stored

ROOT = Path(__file__).resolve().parents[3]


def made(found: list[StoredDocument], folder: Path) -> tuple[dict[str, pa.Table], TablesReport]:
    report = write_star(iter(found), folder / "tmdb", show_progress=False)
    return read_tables(folder / "tmdb"), report


def person(person_id: int, credit_id: str, **more: Any) -> Document:
    return {"id": person_id, "credit_id": credit_id, **more}


def with_cast(tmdb_id: int, *cast: Document, **fields: Any) -> Document:
    return small(tmdb_id, credits={"cast": list(cast), "crew": []}, **fields)


@pytest.fixture
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and row groups so small that there are many, without thousands of documents."""
    monkeypatch.setattr(star, "CHUNK_DOCUMENTS", 7)
    monkeypatch.setattr(star_tables, "ROW_GROUP_ROWS", dict.fromkeys(schema.KEYS, 150))


def refetched(n: int) -> list[StoredDocument]:
    """Documents of n movies in a scattered order, a third of them once more with other content, in two languages."""
    found = []
    for tmdb_id in range(1, n + 1):
        found.append(stored(movie_document(tmdb_id * 37 % (n + 1)), fetched=1e9 + tmdb_id * 1.0625))
    for tmdb_id in range(1, n + 1, 3):
        other = movie_document(tmdb_id, language="zh-CN", seed=1)
        fetched = 1e9 + tmdb_id + 0.5 + (n if tmdb_id % 2 else -n)
        found.append(stored(other, fetched=fetched, language="zh-CN"))
    return found


@pytest.mark.usefixtures("tiny_parts")
def test_the_tables_equal_those_of_plain_pandas(tmp_path: Path) -> None:
    found = refetched(200)
    tables, report = made(found, tmp_path)
    for name, expected in pandas_tables(found).items():
        target = schema.SCHEMAS[f"{name}.parquet"]
        assert tables[name].schema.equals(target)
        again = pa.Table.from_pandas(expected, schema=_plain(target), preserve_index=False)
        assert tables[name].cast(_plain(target)).equals(again), name
        assert pq.ParquetFile(tmp_path / "tmdb" / f"{name}.parquet").num_row_groups > 1
    assert report.documents == 267
    assert report.superseded == 67
    assert report.rows == {name: len(table) for name, table in tables.items()}


def _plain(target: pa.Schema) -> pa.Schema:
    """The schema with texts where it has categories."""
    kinds = ((field, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in target)
    return pa.schema([field.with_type(kind) for field, kind in kinds])


@pytest.mark.usefixtures("tiny_parts")
def test_the_order_of_the_documents_changes_nothing(tmp_path: Path) -> None:
    found = refetched(60)
    one, _ = made(found, tmp_path / "a")
    other, _ = made(found[::-1], tmp_path / "b")
    assert one == other


def test_the_sizes_of_chunks_and_row_groups_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = refetched(60)
    one, _ = made(found, tmp_path / "a")
    monkeypatch.setattr(star, "CHUNK_DOCUMENTS", 3)
    monkeypatch.setattr(star_tables, "ROW_GROUP_ROWS", dict.fromkeys(schema.KEYS, 50))
    other, _ = made(found, tmp_path / "b")
    assert one == other


def test_the_latest_valid_document_of_a_movie_is_used(tmp_path: Path) -> None:
    found = [
        stored(small(1, title="newest"), fetched=30),
        stored(small(1, title="oldest"), fetched=10),
        stored(small(1, title="middle"), fetched=20),
        broken(b"{", 1, fetched=40),
        stored(small(2, title="first read"), fetched=5),
        stored(small(2, title="read later"), fetched=5),
    ]
    tables, report = made(found, tmp_path)
    assert tables["movies"]["title"].to_pylist() == ["newest", "read later"]
    assert tables["movies"]["fetched"].to_pylist()[0] == datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC)
    assert (report.documents, report.superseded, report.rejects) == (6, 3, {parsing.NOT_JSON: 1})


def test_facts_about_people_come_from_the_latest_document(tmp_path: Path) -> None:
    found = [
        stored(with_cast(1, person(7, "a", name="new", gender=1)), fetched=30),
        stored(with_cast(2, person(7, "b", name="old", gender=2), person(8, "c", name="twice")), fetched=10),
        stored(with_cast(3, person(8, "d", name="once"), person(8, "e", name="again", gender=3)), fetched=20),
    ]
    tables, _ = made(found, tmp_path)
    people = tables["people"].select(["personId", "name", "gender"]).to_pylist()
    assert people == [
        {"personId": 7, "name": "new", "gender": "female"},
        {"personId": 8, "name": "again", "gender": "non-binary"},
    ]
    assert tables["movie_people"]["personId"].to_pylist() == [7, 7, 8, 8, 8]


def test_people_without_a_used_credit_are_dropped(tmp_path: Path) -> None:
    found = [
        stored(with_cast(1, person(7, "a"), person(8, "b")), fetched=10),
        stored(with_cast(1, person(8, "b")), fetched=20),
    ]
    tables, _ = made(found, tmp_path)
    assert tables["people"]["personId"].to_pylist() == [8]
    assert tables["movie_people"]["creditId"].to_pylist() == ["b"]


@pytest.mark.usefixtures("tiny_parts")
def test_a_credit_id_in_two_movies_belongs_to_the_one_fetched_later(tmp_path: Path) -> None:
    found = [
        stored(with_cast(1, person(7, "same"), person(9, "own")), fetched=20),
        stored(with_cast(2, person(8, "same")), fetched=30),
        stored(with_cast(3, person(5, "same")), fetched=10),
        stored(with_cast(4, person(6, "older document")), fetched=40),
        stored(with_cast(4, person(6, "same")), fetched=35),
    ]
    tables, report = made(found, tmp_path)
    assert tables["movie_people"].select(["creditId", "tmdbId"]).to_pylist() == [
        {"creditId": "own", "tmdbId": 1},
        {"creditId": "same", "tmdbId": 2},
        {"creditId": "older document", "tmdbId": 4},
    ]
    assert report.repeated_credits == 2
    assert tables["people"]["personId"].to_pylist() == [6, 8, 9]


def test_of_equal_times_the_person_read_last_counts(tmp_path: Path) -> None:
    found = [
        stored(with_cast(1, person(7, "a", name="first"), person(7, "b", name="second")), fetched=5),
        stored(with_cast(2, person(7, "c", name="third"), person(7, "d", name="fourth")), fetched=5),
        stored(with_cast(3, person(7, "e", name="older")), fetched=4),
    ]
    tables, _ = made(found, tmp_path)
    assert tables["people"]["name"].to_pylist() == ["fourth"]


def test_categories_are_in_alphabetical_order(tmp_path: Path) -> None:
    departments = ("Sound", None, "Art", "Directing", "Art")
    crew = [person(place, f"{place}", department=name) for place, name in enumerate(departments)]
    movies = [stored(small(place + 1, credits={"cast": [], "crew": [one]})) for place, one in enumerate(crew)]
    for order, folder in ((movies, "a"), (movies[::-1], "b")):
        column = made(order, tmp_path / folder)[0]["movie_people"]["department"]
        assert column.to_pylist() == list(departments)
        assert column.chunk(0).dictionary.to_pylist() == ["Art", "Directing", "Sound"]


def test_rejects_have_location_and_reason(tmp_path: Path) -> None:
    found = [
        broken(b"", 5, fetched=1.5),
        stored(small(1)),
        broken(b"{", 6),
        stored(small(7, title=3)),
        stored(small(8, keywords={})),
    ]
    tables, report = made(found, tmp_path)
    rejects = tables["rejects"].to_pylist()
    assert [(row["where"], row["tmdbId"], row["reason"]) for row in rejects] == [
        ("shard at 5", 5, parsing.DAMAGED),
        ("shard at 6", 6, parsing.NOT_JSON),
        ("shard at 7", 7, parsing.WRONG_TYPE),
        ("shard at 8", 8, parsing.MISSING),
    ]
    assert "$.document.title" in rejects[2]["detail"]
    assert rejects[0]["fetched"] == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert report.rejects == {parsing.DAMAGED: 1, parsing.NOT_JSON: 1, parsing.WRONG_TYPE: 1, parsing.MISSING: 1}
    assert len(tables["movies"]) == 1


def test_movies_without_people_or_companies(tmp_path: Path) -> None:
    tables, report = made([stored(small(2)), stored(small(1))], tmp_path)
    assert report.rows == {"movies": 2, "people": 0, "movie_people": 0, "movie_companies": 0, "rejects": 0}
    for name, target in schema.SCHEMAS.items():
        assert tables[name.removesuffix(".parquet")].schema.equals(target)


@settings(max_examples=15, deadline=None)
@given(
    fetches=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 3), st.sampled_from(["en-US", "zh-CN"]), st.integers(0, 5)),
        min_size=1,
        max_size=20,
    ),
    clash=st.booleans(),
)
def test_keys_hold_whatever_was_fetched_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, fetches: list[tuple[int, int, str, int]], clash: bool
) -> None:
    """Random movies, repeated, with other seeds and equal times; sometimes two movies share a credit id."""
    found = []
    for tmdb_id, seed, language, when in fetches:
        document = movie_document(tmdb_id, language=language, seed=seed)
        if clash:
            document["credits"]["cast"][0]["credit_id"] = f"clash {seed}"
        found.append(stored(document, fetched=float(when), language=language))
    tables, _ = made(found, tmp_path_factory.mktemp("tables"))
    for table, columns in schema.KEYS.items():
        frame = tables[table.removesuffix(".parquet")].select(list(columns)).to_pandas()
        assert not frame.duplicated().any()
    for reference in schema.FOREIGN_KEYS:
        values = set(tables[reference.table.removesuffix(".parquet")][reference.column].to_pylist())
        assert values <= set(tables[reference.refers_to.removesuffix(".parquet")][reference.column].to_pylist())
    assert set(tables["movies"]["tmdbId"].to_pylist()) == {tmdb_id for tmdb_id, *_ in fetches}


def _append(name: str, row: int, **values: Any) -> Callable[[Path], None]:
    """Rewrite a table with one row repeated and some values changed."""

    def spoil(folder: Path) -> None:
        table = pq.read_table(folder / name)
        more = pa.Table.from_pylist([{**table.slice(row, 1).to_pylist()[0], **values}], schema=_plain(table.schema))
        pq.write_table(pa.concat_tables([table, more.cast(table.schema)]), folder / name)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_append(schema.MOVIES, 0), r"movies.parquet: tmdbId is not a unique key: 1 occurs more than once"),
        (_append(schema.PEOPLE, 3), r"people.parquet: personId is not a unique key"),
        (_append(schema.MOVIE_PEOPLE, 4), r"movie_people.parquet: creditId is not a unique key: [0-9a-f]{24} occurs"),
        (
            _append(schema.MOVIE_COMPANIES, 0, position=9),
            r"movie_companies.parquet: tmdbId, companyId is not a unique",
        ),
        (_append(schema.MOVIE_PEOPLE, 0, creditId="x", tmdbId=99), r"tmdbId 99 is not in movies.parquet"),
        (_append(schema.MOVIE_PEOPLE, 0, creditId="x", personId=-1), r"personId -1 is not in people.parquet"),
        (_append(schema.MOVIE_COMPANIES, 0, tmdbId=98), r"movie_companies.parquet: tmdbId 98 is not in movies"),
    ],
)
def test_a_violated_key_is_found(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    made([stored(movie_document(tmdb_id)) for tmdb_id in range(1, 5)], tmp_path)
    check_tables(tmp_path / "tmdb", duckdb.connect())
    spoil(tmp_path / "tmdb")
    with pytest.raises(DataError, match=message):
        check_tables(tmp_path / "tmdb", duckdb.connect())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_run_checks_the_keys_and_keeps_the_old_tables_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made([stored(small(1))], tmp_path)
    before = contents(tmp_path / "tmdb")
    write_tables = star.write_tables

    def faulty(database: Any, folder: Path, *args: Any, **options: Any) -> Any:
        written = write_tables(database, folder, *args, **options)
        _append(schema.MOVIES, 0)(folder)
        return written

    monkeypatch.setattr(star, "write_tables", faulty)
    with pytest.raises(DataError, match="tmdbId is not a unique key"):
        made([stored(small(2))], tmp_path)
    assert contents(tmp_path / "tmdb") == before
    assert [path.name for path in tmp_path.iterdir()] == ["tmdb"]


def test_without_a_valid_document_the_old_tables_stay(tmp_path: Path) -> None:
    made([stored(small(1))], tmp_path)
    before = contents(tmp_path / "tmdb")
    with pytest.raises(DataError, match=r"2 × not JSON, 1 × damaged on disk. First: shard at 4, tmdbId 4: "):
        made([broken(b"{", 4), broken(b"", 5), broken(b"]", 6)], tmp_path)
    assert contents(tmp_path / "tmdb") == before


def test_another_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "tmdb").mkdir()
    (tmp_path / "tmdb" / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="is not a bundle"):
        made([stored(small(1))], tmp_path)
    assert contents(tmp_path / "tmdb") == {"notes.txt": b"mine"}


INTERRUPTED = """
import os, resource, signal, sys
from pathlib import Path
from data_collector.tmdb import star
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.stored import stored

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def documents():
    for tmdb_id in range(1, 30):
        yield stored(movie_document(tmdb_id))
    if sys.argv[2] == "reading":
        die()

if sys.argv[2] == "writing":
    star.check_tables = die
if sys.argv[2] == "checked":
    star.TablesReport = die
if sys.argv[2] == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
star.write_star(documents(), Path(sys.argv[1]), show_progress=False)
"""


@pytest.mark.parametrize(
    "moment", ["checked", "full", *(pytest.param(name, marks=pytest.mark.slow) for name in ("reading", "writing"))]
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and limits on file sizes")
def test_a_killed_run_or_a_full_disk_leaves_the_old_tables(tmp_path: Path, moment: str) -> None:
    made([stored(small(1))], tmp_path)
    before = contents(tmp_path / "tmdb")
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "tmdb"), moment],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    if moment == "full":
        assert ended.returncode == 1
        assert "File too large" in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith(("reccore.errors.DataError", "reccore.errors.ArtefactError"))
    else:
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert contents(tmp_path / "tmdb") == before
    tables, _ = made([stored(small(2))], tmp_path)
    assert tables["movies"]["tmdbId"].to_pylist() == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["tmdb"]
