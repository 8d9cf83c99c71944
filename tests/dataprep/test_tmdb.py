"""TMDb tables as columns of the item table: joins, labels, numbers, texts and invalid tables."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep import tmdb
from dataprep.overview_vectors import has_sentence_encoder
from dataprep.tmdb import LATER, MetadataName, metadata_to_read, with_tmdb
from reccore import DataError, IdMap, ItemTable
from tests.dataprep.tmdb_tables import credit, write_links, write_tables

# Films 10, 20, 30 have their own tmdbIds, 40 has that of 30, 50 has none, 60 has one unknown to TMDb,
# and 70 is not in links.
IDS = IdMap(np.array([10, 20, 30, 40, 50, 60, 70]))
LINKS = [(30, 3), (10, 1), (20, 2), (40, 3), (50, None), (60, 99), (80, 4)]
NUMBER = count()

TABLES: dict[str, list[dict[str, Any]]] = {
    "movies.parquet": [
        {
            "tmdbId": 3,
            "originalLanguage": "fr",
            "overview": "A cop hunts a thief by night",
            "keywords": ["heist", "night"],
            "budget": 51_361_001,
            "runtime": 95,
            "voteAverage": 7.5,
            "voteCount": 10,
        },
        {"tmdbId": 1, "originalLanguage": "en", "overview": "A thief and a cop meet", "keywords": ["lone", "heist"]},
        {"tmdbId": 2, "originalLanguage": "en", "overview": "", "runtime": 120},
        {"tmdbId": 4, "originalLanguage": "de", "overview": "A cop", "keywords": ["lone"], "runtime": 7},
    ],
    "people.parquet": [{"personId": person, "name": f"Person {person}"} for person in (5, 6, 7, 8)]
    + [{"personId": 9, "name": None}],
    "movie_people.parquet": [
        credit(next(NUMBER), 1, 5, billing=1),
        credit(next(NUMBER), 1, 6, billing=0),
        credit(next(NUMBER), 1, 6, billing=4),  # two roles
        credit(next(NUMBER), 1, 9, billing=2),
        credit(next(NUMBER), 1, 7, billing=5),  # beyond MAX_CAST
        credit(next(NUMBER), 3, 6, billing=1),
        credit(next(NUMBER), 3, 9, billing=0),
        credit(next(NUMBER), 3, 7, billing=5),
        credit(next(NUMBER), 2, 8, billing=0),  # of a single film
        credit(next(NUMBER), 1, 8, job="Director"),
        credit(next(NUMBER), 2, 8, job="Director"),
        credit(next(NUMBER), 3, 8, job="Script Supervisor"),
        credit(next(NUMBER), 4, 8, job="Director"),
    ],
    "movie_companies.parquet": [
        {"tmdbId": 3, "companyId": 2, "name": "Late", "position": 1},
        {"tmdbId": 3, "companyId": 1, "name": "Early", "position": 0},
        {"tmdbId": 1, "companyId": 1, "name": "Early", "position": 0},
    ],
}


def joined(processed: Path, tables: dict[str, list[dict[str, Any]]] | None = None) -> ItemTable:
    write_links(processed, LINKS)
    write_tables(processed / "tmdb", TABLES if tables is None else tables)
    return with_tmdb(ItemTable(len(IDS), numbers={"own": np.ones(7, dtype=np.float32)}), IDS, processed)


def labels_of(table: ItemTable, name: str) -> list[list[str]]:
    return [table.labels[name].of(item) for item in range(table.n_items)]


def test_labels_by_hand(tmp_path: Path) -> None:
    table = joined(tmp_path)
    # The fourth film has the tmdbId of the third, so labels of the third are on two films.
    third = ["Person 6"]
    assert labels_of(table, "cast") == [["Person 6", "9"], [], ["9", *third], ["9", *third], [], [], []]
    assert labels_of(table, "director") == [["Person 8"], ["Person 8"], [], [], [], [], []]
    assert labels_of(table, "company") == [["Early"], [], ["Early", "Late"], ["Early", "Late"], [], [], []]
    assert labels_of(table, "keywords") == [["heist"], [], ["heist", "night"], ["heist", "night"], [], [], []]
    assert labels_of(table, "language") == [["en"], ["en"], ["fr"], ["fr"], [], [], []]


def test_numbers_by_hand(tmp_path: Path) -> None:
    numbers = joined(tmp_path).numbers
    nan = np.nan
    np.testing.assert_array_equal(numbers["budget"], np.float32([nan, nan, 51361001, 51361001, nan, nan, nan]))
    np.testing.assert_array_equal(numbers["runtime"], np.float32([nan, 120, 95, 95, nan, nan, nan]))
    np.testing.assert_array_equal(numbers["vote_average"], np.float32([nan, nan, 7.5, 7.5, nan, nan, nan]))
    np.testing.assert_array_equal(numbers["own"], np.ones(7))  # existing numbers are kept
    assert "revenue" not in numbers  # no film has it


def test_similar_overviews_have_similar_vectors(tmp_path: Path) -> None:
    vectors = joined(tmp_path).vectors["overview"]
    alike = vectors @ vectors.T
    assert alike[2, 3] == pytest.approx(1, abs=1e-5)
    assert alike[0, 2] > 0.2
    assert not vectors[[1, 4, 5, 6]].any()


@pytest.mark.parametrize(
    "limit", ["MIN_ITEMS", "MAX_LABELS", "MAX_DIRECTORS", "MAX_CAST", "MAX_COMPANIES", "MAX_KEYWORDS"]
)
def test_every_limit_has_an_effect(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = joined(tmp_path).labels
    monkeypatch.setattr(tmdb, limit, {"MIN_ITEMS": 4, "MAX_DIRECTORS": 0}.get(limit, 1))
    changed = joined(tmp_path).labels
    name = {"MAX_DIRECTORS": "director", "MAX_COMPANIES": "company", "MAX_KEYWORDS": "keywords"}.get(limit, "cast")
    assert name not in changed or len(changed[name].idx) < len(before[name].idx)


def test_without_tables_the_items_are_unchanged(tmp_path: Path) -> None:
    items = ItemTable(len(IDS))
    assert with_tmdb(items, IDS, tmp_path) is items
    write_tables(tmp_path / "tmdb", TABLES)  # without links no film has a tmdbId
    assert with_tmdb(items, IDS, tmp_path) is items


def test_tables_are_recovered_after_a_killed_replacement(tmp_path: Path) -> None:
    known = joined(tmp_path)
    (tmp_path / "tmdb").rename(tmp_path / ".tmdb.previous")  # as write_bundle does before it writes the new ones
    found = with_tmdb(ItemTable(len(IDS)), IDS, tmp_path)
    assert set(found.labels) == set(known.labels) != set()
    assert (tmp_path / "tmdb").is_dir()


def test_tables_without_a_known_film_add_nothing(tmp_path: Path) -> None:
    table = joined(tmp_path, {"movies.parquet": [{"tmdbId": 5, "overview": "x y x", "originalLanguage": "en"}]})
    assert (dict(table.labels), list(table.numbers), dict(table.vectors)) == ({}, ["own"], {})


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    joined(tmp_path)
    items, folder = ItemTable(len(IDS)), tmp_path / "tmdb"
    twice = {**TABLES, "movies.parquet": TABLES["movies.parquet"] * 2}
    for change, message in (
        (lambda: (folder / "people.parquet").unlink(), r"people\.parquet is missing, .*process_tmdb_json\.py"),
        (lambda: (folder / "people.parquet").write_bytes(b"no"), r"people\.parquet is not a readable Parquet file"),
        (lambda: pq.write_table(pa.table({"a": [1]}), folder / "people.parquet"), "has no column personId, name; it"),
        (
            lambda: pq.write_table(pa.table({"personId": ["x"], "name": ["y"]}), folder / "people.parquet"),
            "has columns of types other than",
        ),
        (lambda: write_tables(folder, twice), "has a repeated tmdbId"),
    ):
        change()
        with pytest.raises(DataError, match=message):
            with_tmdb(items, IDS, tmp_path)


def test_requested_metadata_must_exist(tmp_path: Path) -> None:
    table = joined(tmp_path)
    assert metadata_to_read(table, ("cast", "budget", "overview")) == ("cast", "budget", "overview")
    assert metadata_to_read(ItemTable(1), ()) == ()
    with pytest.raises(
        DataError, match=r"revenue is not in this data, which has director, cast, .*run_batch_crawl\.py"
    ):
        metadata_to_read(table, ("cast", "revenue"))
    with pytest.raises(DataError, match=r"not in this data, which has no metadata of TMDb; run first: .*process_tmdb"):
        metadata_to_read(ItemTable(1), ("cast",))


def test_the_feature_names_are_those_of_the_tables(tmp_path: Path) -> None:
    table = joined(tmp_path)
    found = {*table.labels, *table.numbers, *table.vectors} - {"own"}
    never = {"revenue", "popularity"}
    assert found | never | {"overview_sentences"} == set(get_args(MetadataName))
    assert set(get_args(MetadataName)) >= LATER


@pytest.mark.skipif(not has_sentence_encoder(), reason="the optional package wordllama is not installed")
def test_the_sentence_encoder_adds_vectors(tmp_path: Path) -> None:
    vectors = joined(tmp_path).vectors
    assert set(vectors) == {"overview", "overview_sentences"}
    sentences = vectors["overview_sentences"]
    assert sentences[2] @ sentences[3] == pytest.approx(1, abs=1e-5)
    assert not sentences[[1, 4, 5, 6]].any()


def test_the_sentence_encoder_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    monkeypatch.setattr(tmdb, "has_sentence_encoder", lambda: False)
    table = joined(tmp_path)
    assert list(table.vectors) == ["overview"]
    with pytest.raises(DataError, match=r"needs the package wordllama.*pip install wordllama.*or use overview"):
        metadata_to_read(table, ("cast", "overview_sentences"))
