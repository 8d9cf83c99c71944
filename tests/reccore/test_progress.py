"""Log lines of progress: content and intervals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from reccore import progress as module
from reccore.progress import progress


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is logged, on a clock that goes on by 25 seconds whenever it is looked at."""
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), format="{message}")
    yield found
    logger.remove(sink)


def test_a_line_shows_count_speed_facts_and_time_left(lines: list[str]) -> None:
    with progress("films", 10_000, unit="films") as advance:  # looks at the clock twice, so it begins at 0
        advance(5_000, errors=12_345, loss=0.123456)
        advance(2_500, errors=12_346, loss=1234567.0)
    assert lines == [
        "films: 5,000 films (50%), 100 films/s, errors 12,345, loss 0.1235, 00:50 left",
        "films: 7,500 films (75%), 100 films/s, errors 12,346, loss 1.235e+06, 00:25 left",
    ]


def test_what_was_done_before_does_not_count_for_the_speed(lines: list[str]) -> None:
    with progress("steps", 8_650, unit="steps", initial=1_000) as advance:
        advance(150)
    assert lines == ["steps: 1,150 steps (13%), 3 steps/s, 41:40 left"]


def test_without_a_total_or_a_speed_no_time_left_is_shown(lines: list[str]) -> None:
    with progress("rows", None, unit="rows") as advance:
        advance(500)
    with progress("rows", 10, unit="rows") as advance:
        advance(0)
    assert lines == ["rows: 500 rows, 10 rows/s", "rows: 0 rows (0%), 0 rows/s"]


def test_disabled_progress_logs_nothing(lines: list[str]) -> None:
    with progress("rows", 10, enabled=False) as advance:
        advance(5)
    assert lines == []
