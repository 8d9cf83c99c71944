"""The search for the highest rate that the service holds, against a service that holds a known one."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving import HIGHEST_P99, MOST_RUNS, PRECISION, highest_held, is_held, next_rate


def figures(rate: float, capacity: float) -> dict[str, Any]:
    return {"rate": rate, "p99_ms": HIGHEST_P99 if rate <= capacity else HIGHEST_P99 + 1.0, "failed": 0}


def test_what_is_held() -> None:
    assert is_held(figures(10.0, 10.0))
    assert not is_held(figures(11.0, 10.0))
    assert not is_held({**figures(10.0, 10.0), "failed": 1})


@pytest.mark.parametrize("capacity", [3.0, 49.0, 50.0, 61.0, 100.0, 140.0, 320.0, 900.0])
@pytest.mark.parametrize("measured", [[50.0], [50.0, 100.0, 200.0], [300.0]])
def test_the_highest_rate_is_found_to_a_tenth_in_few_loads(capacity: float, measured: list[float]) -> None:
    known = [figures(rate, capacity) for rate in measured]
    for _ in range(MOST_RUNS + 1):
        rate = next_rate(known)
        if rate is None:
            break
        assert rate not in [entry["rate"] for entry in known]
        known.append(figures(rate, capacity))
    found = highest_held(known)
    assert found is not None
    assert found["rate"] <= capacity <= found["rate"] * PRECISION


def test_a_rate_above_one_that_failed_does_not_count() -> None:
    known = [figures(50.0, 60.0), figures(100.0, 60.0), figures(200.0, 900.0)]
    assert highest_held(known) == known[0]
    assert 50.0 < (next_rate(known) or 0.0) < 100.0


def test_a_service_that_holds_nothing_ends_the_search() -> None:
    known = [figures(2.0, 0.0)]
    while (rate := next_rate(known)) is not None:
        known.append(figures(rate, 0.0))
    assert highest_held(known) is None
    assert len(known) < 6
