"""Log lines of progress: content and intervals."""

from __future__ import annotations

import io
import re
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
    with progress("films", 10_000, unit="films") as advance:
        advance(5_000, errors=12_345, loss=0.123456)
        advance(2_500, errors=12_346, loss=1234567.0)
    assert lines == [
        "films: 5,000 films (50%), errors 12,345, loss 0.1235",
        "films: 7,500 films (75%), 100 films/s, errors 12,346, loss 1.235e+06, 00:25 left",
    ]


def test_what_was_done_before_does_not_count_for_the_speed(lines: list[str]) -> None:
    with progress("steps", 8_800, unit="steps", initial=1_000) as advance:
        advance(150)
        advance(75)
    assert lines[1:] == ["steps: 1,225 steps (14%), 3 steps/s, 42:05 left"]


def test_a_first_step_with_compilation_does_not_count_for_the_time_left(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of 100 batches takes 60 s, the others 0.36 s each: 36 s are left, not more than an hour."""
    times = iter([0.0, 60.0, *(60.0 + 0.36 * n for n in range(1, 100))])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with progress("two_tower", 100, unit="batches") as advance:
        for _ in range(40):
            advance()
    assert lines == [
        "two_tower: 1 batches (1%)",
        "two_tower: 29 batches (29%), 2.8 batches/s, 00:25 left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_estimates_from_the_steps_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    for clock in ("time.time", "tqdm.std.time"):
        monkeypatch.setattr(clock, lambda: now)
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress("two_tower", 100) as advance:
        now += 60
        advance()
        for _ in range(39):
            now += 0.5
            advance()
        shown = module.sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"40/100 \[00:19<00:30,\s+2\.00it/s\]", shown), shown


def test_without_a_total_or_a_speed_no_time_left_is_shown(lines: list[str]) -> None:
    with progress("rows", None, unit="rows") as advance:
        advance(500)
        advance(500)
    with progress("rows", 10, unit="rows") as advance:
        advance(0)
    assert lines == ["rows: 500 rows", "rows: 1,000 rows, 20 rows/s", "rows: 0 rows (0%)"]


def test_disabled_progress_logs_nothing(lines: list[str]) -> None:
    with progress("rows", 10, enabled=False) as advance:
        advance(5)
    assert lines == []
