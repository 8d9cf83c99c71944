"""The table and the slopes of docs/scale.md, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale import draw, read_roots, slopes_of, table, with_stored
from reccore import DataError

BYTES = 1_000_000_000


def root_of(path: Path, events: int, machine: str, gigabytes: int = 1, **seconds: float) -> Path:
    peak = gigabytes * BYTES
    steps = {name: {"seconds": 2 * s, "cpu_seconds": s, "peak_bytes": peak} for name, s in seconds.items()}
    (path / "reports").mkdir(parents=True)
    (path / "reports" / "costs.json").write_text(json.dumps({"events": events, "machine": machine, "steps": steps}))
    return path


def test_slopes_are_of_the_two_largest_sizes(tmp_path: Path) -> None:
    roots = [
        root_of(tmp_path / "c", 4_000_000, "a box", 2, fit=160.0, sort=40.0, late=1.0),
        root_of(tmp_path / "a", 1_000_000, "a box", fit=10.0, sort=30.0),
        root_of(tmp_path / "b", 2_000_000, "a box", fit=40.0, sort=20.0),
    ]
    runs = read_roots(roots)
    slopes = {step: steep for step, *steep in slopes_of(runs)}
    assert slopes["fit"] == pytest.approx([2.0, 1.0])  # 4 times the seconds, 2 times the memory
    assert slopes["sort"] == pytest.approx([1.0, 1.0])
    assert slopes["late"] == [None, None]
    lines = [[cell.strip() for cell in line.split("|")] for line in table(runs).splitlines() if line.startswith("|")]
    assert lines[0][1:-1] == ["step", "1M", "2M", "4M", "slope", "expected", "of memory"]
    rows = {line[1]: line[2:-1] for line in lines[2:]}
    assert rows["fit"] == ["10 (20), 1.0 GB", "40 (80), 1.0 GB", "160 (320), 2.0 GB", "2.00", "1", "1.00"]
    assert rows["late"] == ["–", "–", "1 (2), 2.0 GB", "–", "1", "–"]
    draw(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_take_the_place_of_stored_ones_of_their_size(tmp_path: Path) -> None:
    stored = read_roots([
        root_of(tmp_path / "small", 1, "a box", fit=1.0),
        root_of(tmp_path / "big", 9, "a box", fit=9.0),
    ])  # fmt: skip
    runs = read_roots([root_of(tmp_path / "again", 9, "a box", fit=8.0)])
    found = with_stored(runs, stored)
    assert {events: costs["fit"].cpu_seconds for events, costs in found.runs.items()} == {1: 1.0, 9: 8.0}
    elsewhere = read_roots([root_of(tmp_path / "elsewhere", 9, "another box", fit=8.0)])
    assert list(with_stored(elsewhere, stored).runs) == [9]


def test_runs_of_different_machines_do_not_compare(tmp_path: Path) -> None:
    roots = [root_of(tmp_path / name, 1, name, fit=1.0) for name in ("one", "other")]
    with pytest.raises(DataError, match="runs of different machines do not compare: one; other"):
        read_roots(roots)
    with pytest.raises(DataError, match="is not there; run first"):
        read_roots([tmp_path])


@pytest.mark.parametrize("text", ["{", "[]", '{"events": 5, "steps": {}}', '{"events": 5, "machine": "m", "steps": 1}'])
def test_damaged_costs_are_named(tmp_path: Path, text: str) -> None:
    path = root_of(tmp_path / "root", 1, "a box", fit=1.0) / "reports" / "costs.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"{path} does not hold the costs of a run"):
        read_roots([tmp_path / "root"])
