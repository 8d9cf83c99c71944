"""The command that creates the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reccore import Workspace
from scripts import _cli
from scripts.data_collector.process_tmdb_json import main
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.stored import small, stored, write_shards

CRAWL = "run first: PYTHONPATH=. python scripts/data_collector/run_batch_crawl.py --data_dir"


@pytest.fixture
def crawled(space: Workspace) -> Workspace:
    """Three movies in English, one of them also in Chinese, and one invalid document."""
    english = [stored(movie_document(tmdb_id), fetched=float(tmdb_id)) for tmdb_id in (1, 2, 3)]
    chinese = stored(movie_document(2, language="zh-CN"), fetched=9.0, language="zh-CN")
    write_shards(space.raw / "tmdb", [*english, chinese, stored(small(4, genres=None))])
    return space


def test_prints_a_summary(crawled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data_dir", str(crawled.root)])
    lines = capsys.readouterr().out.splitlines()
    folder = crawled.processed / "tmdb"
    rows = {name: pq.read_metadata(folder / f"{name}.parquet").num_rows for name in ("movie_people", "people")}
    assert lines[0].startswith(
        f"{folder}: 3 movies, {rows['movie_people']:,} movie_people, {rows['people']:,} people, "
    )
    assert lines[1].startswith("read: 5 documents, 1 of them superseded by a later one of the same movie, in ")
    assert lines[2:] == ["rejected: 1 documents", "  1 × a field has the wrong type"]
    assert pq.read_table(folder / "movies.parquet")["language"].to_pylist() == ["en-US", "zh-CN", "en-US"]
    assert json.loads((folder / "manifest.json").read_text())["report"]["rows"]["movies"] == 3


def test_reads_one_language(crawled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data_dir", str(crawled.root), "--language", "zh-CN", "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == str(crawled.processed / "tmdb")
    assert result["rows"]["movies"] == result["documents"] == 1
    assert pq.read_table(crawled.processed / "tmdb" / "movies.parquet")["tmdbId"].to_pylist() == [2]


def test_prints_impossible_values(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(space.raw / "tmdb", [stored(small(1, budget=-5, release_date="1999-02-30"))])
    main(["--data_dir", str(space.root)])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "rejected: 0 documents",
        "impossible values, replaced by null:",
        "  1 × budget out of range",
        "  1 × release_date malformed",
    ]


def sentence(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of an error."""
    with pytest.raises(SystemExit) as stopped:
        _cli.run(main, list(argv))
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    return line


def test_without_a_crawl_it_names_the_command(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{CRAWL} {space.root}" in sentence(capsys, "--data_dir", str(space.root))
    write_shards(space.raw / "tmdb", [])
    assert f"{CRAWL} {space.root}" in sentence(capsys, "--data_dir", str(space.root))
    assert not space.processed.exists()


def test_a_language_that_was_not_fetched_is_an_error(crawled: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    error = sentence(capsys, "--data_dir", str(crawled.root), "--language", "fr-FR")
    assert f"in fr-FR, only in en-US, zh-CN; {CRAWL} {crawled.root} --language fr-FR" in error


def test_an_unknown_option_is_refused(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert "langauge: no such option" in sentence(capsys, "--data_dir", str(space.root), "--set", "langauge=fr-FR")


def test_a_damaged_document_is_rejected(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(space.raw / "tmdb", [stored(small(tmdb_id)) for tmdb_id in (1, 2)])
    shard: Path = space.raw / "tmdb" / "movies-00000.jsonl.gz"
    shard.write_bytes(shard.read_bytes()[:-20])
    main(["--data_dir", str(space.root)])
    assert "  1 × damaged on disk" in capsys.readouterr().out
    rejects = pq.read_table(space.processed / "tmdb" / "rejects.parquet").to_pylist()
    assert [row["tmdbId"] for row in rejects] == [2]
    assert rejects[0]["where"].startswith("movies-00000.jsonl.gz at byte ")
