"""The benchmark of the tables, large enough to show whether memory grows with the documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.tmdb_tables import DISTINCT, renumbered
from data_collector.tmdb.documents import parse_document
from tests.data_collector.tmdb.stored import broken

ROOT = Path(__file__).resolve().parents[3]


def test_a_renumbered_document_is_another_movie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.tmdb_tables.DISTINCT", 3)
    movies = []
    for tmdb_id, body in renumbered(7):
        movies.append(parse_document(broken(b'{"document": %s}' % body, tmdb_id)))
    credits = [[*movie.credits.cast, *movie.credits.crew] for movie in movies]
    ids = [credit.credit_id for of_movie in credits for credit in of_movie]
    assert len(set(ids)) == len(ids)
    assert [movie.id for movie in movies] == list(range(1, 8))
    assert len(credits[1]) == len(credits[4])
    assert not {credit.id for credit in credits[1]} & {credit.id for credit in credits[4]}
    assert movies[4].title == movies[1].title


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_documents(tmp_path: Path) -> None:
    def measured(n_movies: int) -> dict[str, Any]:
        ended = subprocess.run(
            [sys.executable, "benchmarks/tmdb_tables.py", "--movies", str(n_movies), "--folder", tmp_path, "--json"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        result: dict[str, Any] = json.loads(ended.stdout)
        assert result["rows"]["movies"] == result["documents"] == n_movies
        return result

    some, more = measured(DISTINCT * 2), measured(DISTINCT * 8)
    assert more["rows"]["movie_people"] > 1_000_000
    assert more["peak_bytes"] < min(1e9, some["peak_bytes"] + 300e6)  # the documents alone are 250 MB more
    assert more["cpu_seconds"] < 120 * more["documents"] / 100_000 + 10
