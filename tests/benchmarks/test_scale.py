"""The table and the slopes of docs/scale.md, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale import draw, read_roots, slope, table
from reccore import DataError

BYTES = 1_000_000_000


def root_of(path: Path, events: int, machine: str, **seconds: float) -> Path:
    steps = {name: {"seconds": 2 * s, "cpu_seconds": s, "peak_bytes": BYTES} for name, s in seconds.items()}
    (path / "reports").mkdir(parents=True)
    (path / "reports" / "costs.json").write_text(json.dumps({"events": events, "machine": machine, "steps": steps}))
    return path


def test_slopes_are_of_the_two_largest_sizes(tmp_path: Path) -> None:
    roots = [
        root_of(tmp_path / "c", 4_000_000, "a box", fit=160.0, sort=40.0, late=1.0),
        root_of(tmp_path / "a", 1_000_000, "a box", fit=10.0, sort=30.0),
        root_of(tmp_path / "b", 2_000_000, "a box", fit=40.0, sort=20.0),
    ]
    runs = read_roots(roots)
    assert slope(runs, "fit") == pytest.approx(2.0)  # four times the seconds for twice the events
    assert slope(runs, "sort") == pytest.approx(1.0)
    assert slope(runs, "late") is None
    lines = [[cell.strip() for cell in line.split("|")] for line in table(runs).splitlines() if line.startswith("|")]
    assert lines[0][1:-1] == ["step", "1M", "2M", "4M", "slope", "expected"]
    rows = {line[1]: line[2:-1] for line in lines[2:]}
    assert rows["fit"] == ["10 (20), 1.0 GB", "40 (80), 1.0 GB", "160 (320), 1.0 GB", "2.00", "1"]
    assert rows["late"] == ["–", "–", "1 (2), 1.0 GB", "–", "1"]
    draw(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


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
