"""docs/tmdb.md is correct: its example runs, its diagram is the schema, its commands and options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data_collector.tmdb import schema
from data_collector.tmdb.crawl import CrawlConfig
from data_collector.tmdb.star import write_star
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.stored import stored

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "tmdb.md").read_text(encoding="utf-8")
ATTRIBUTION = "This product uses the TMDB API but is not endorsed or certified by TMDB."


def kind(column: pa.DataType) -> str:
    """A type as in the diagram, which allows no blanks and brackets."""
    if pa.types.is_dictionary(column):
        return "category"
    if pa.types.is_list(column):
        return "list-string"
    return {"timestamp[ms, tz=UTC]": "timestamp-ms", "date32[day]": "date32"}.get(str(column), str(column))


@pytest.mark.parametrize("table", schema.KEYS)
def test_the_diagram_is_the_schema(table: str) -> None:
    block = re.search(rf"    {table.removesuffix('.parquet')} {{\n(.*?)\n    }}", DOCS, flags=re.DOTALL)
    assert block is not None
    told = [tuple(line.split('"')[0].replace(",", " ").split()) for line in block[1].splitlines()]
    foreign = {reference.column for reference in schema.FOREIGN_KEYS if reference.table == table}
    assert told == [
        (
            kind(field.type),
            field.name,
            *(["PK"] if field.name in schema.KEYS[table] else []),
            *(["FK"] if field.name in foreign else []),
        )
        for field in schema.SCHEMAS[table]
    ]


def test_the_relations_are_the_foreign_keys() -> None:
    lines = re.findall(r"^    (\w+) \|\|--.\{ (\w+) : (\w+)$", DOCS, flags=re.MULTILINE)
    told = {(f"{child}.parquet", column, f"{parent}.parquet") for parent, child, column in lines}
    assert told == {(key.table, key.column, key.refers_to) for key in schema.FOREIGN_KEYS}


def test_the_columns_of_the_rejects_are_documented() -> None:
    assert all(f"`{name}`" in DOCS for name in schema.REJECTS_SCHEMA.names)


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_star((stored(movie_document(tmdb_id)) for tmdb_id in (10, 11)), tmp_path / "data/processed/tmdb")
    links = pd.DataFrame({"movieId": [1, 2, 3, 4], "tmdbId": pd.array([10, 11, None, 10], "Int64")})
    links.to_parquet(tmp_path / "data/processed/links.parquet")
    films = pd.DataFrame({"movieId": [1, 2, 3, 4], "title": ["One", "Two", "Three", "One again"]})
    films.to_parquet(tmp_path / "data/processed/movies.parquet")
    monkeypatch.chdir(tmp_path)
    scope: dict[str, pd.DataFrame] = {}
    (code,) = re.findall(r"### Joining with MovieLens.*?```python\n(.*?)```", DOCS, flags=re.DOTALL)
    exec(compile(code, "docs/tmdb.md", "exec"), scope)
    joined = scope["films"]
    assert joined["movieId"].tolist() == [1, 2, 4]
    crew = movie_document(10)["credits"]["crew"]
    names = [credit["name"] for credit in crew if credit["job"] == "Director"]
    assert joined["directors"].tolist()[0] == joined["directors"].tolist()[2] == ", ".join(names)
    assert "One again" in capsys.readouterr().out


def test_commands_and_options_exist() -> None:
    commands = set(re.findall(r"python (scripts/[\w/]+\.py)", DOCS))
    assert commands
    assert all((ROOT / command).is_file() for command in commands)
    table = DOCS[DOCS.index("| option | default |") : DOCS.index("### Stopping and resuming")]
    assert set(re.findall(r"--(\w+)", table)) == set(CrawlConfig.model_fields)
    for line in table.splitlines()[2:]:
        names, _, defaults = line.strip("| ").partition(" | ")
        for name, default in zip(re.findall(r"--(\w+)", names), defaults.split(" | ")[0].split(", "), strict=False):
            told = CrawlConfig().model_dump()[name]
            assert default.strip("`") == str(told) or told in (None, False) or "TMDb" in default


def test_the_notice_required_by_tmdb_is_shown() -> None:
    assert ATTRIBUTION in " ".join(DOCS.split())
