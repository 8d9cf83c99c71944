"""Progress of long work: a bar on a terminal, otherwise a log line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from loguru import logger
from tqdm import tqdm

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(
    label: str, total: int | None, *, unit: str = "it", enabled: bool = True, initial: int = 0
) -> Iterator[Callable[..., None]]:
    """Show count, speed and, if the total is known, the time left, on stderr.

    Speed counts from the end of the first step, which may include compilation.

    Yields ``advance(n=1, **facts)``; ``facts`` such as ``loss=0.3`` are shown beside the count. ``initial`` units were
    done earlier, in another process, and do not count for the speed.
    """
    if enabled and sys.stderr.isatty():
        scale = unit == "B"
        with tqdm(
            total=total,
            desc=label,
            unit=unit,
            unit_scale=scale,
            initial=initial,
            dynamic_ncols=True,
            leave=False,
            smoothing=0,  # the mean speed, in place of one that remembers the first step
        ) as bar:
            is_first = True

            def advance(n: int = 1, **facts: float) -> None:
                nonlocal is_first
                if is_first:
                    is_first = False
                    bar.initial, bar.start_t = bar.n + n, time.time()
                if facts:
                    bar.set_postfix({name: _shown(value) for name, value in facts.items()}, refresh=False)
                bar.update(n)

            yield advance
        return

    done, last = initial, time.monotonic()
    first: tuple[int, float] | None = None  # what was done after the first step, and when

    def report(n: int = 1, **facts: float) -> None:
        nonlocal done, last, first
        done += n
        now = time.monotonic()
        first = first or (done, now)
        if enabled and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = (done - first[0]) / (now - first[1]) if now > first[1] else 0.0
            share = f" ({done / total:.0%})" if total else ""
            shown = "".join(f", {name} {_shown(value)}" for name, value in facts.items())
            left = f", {tqdm.format_interval((total - done) / rate)} left" if total and rate > 0 else ""
            speed = "" if rate <= 0 else f", {rate:,.0f} {unit}/s" if rate >= 10 else f", {rate:.2g} {unit}/s"
            logger.info("{}: {:,} {}{}{}{}{}", label, done, unit, share, speed, shown, left)

    yield report


def track(
    items: Iterable[T], label: str, *, total: int | None = None, unit: str = "it", enabled: bool = True
) -> Iterator[T]:
    """Iterate with a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(label, total, unit=unit, enabled=enabled) as advance:
        for item in items:
            yield item
            advance()


def _shown(value: float) -> str:
    """All digits of an integer, four digits of any other number."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
