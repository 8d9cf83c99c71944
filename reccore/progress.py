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

    Yields ``advance(n=1, **facts)``; ``facts`` such as ``loss=0.3`` are shown beside the count. ``initial`` units were
    done earlier, in another process, and do not count for the speed.
    """
    if enabled and sys.stderr.isatty():
        scale = unit == "B"
        with tqdm(
            total=total, desc=label, unit=unit, unit_scale=scale, initial=initial, dynamic_ncols=True, leave=False
        ) as bar:

            def advance(n: int = 1, **facts: float) -> None:
                if facts:
                    bar.set_postfix({name: _shown(value) for name, value in facts.items()}, refresh=False)
                bar.update(n)

            yield advance
        return

    done, started, last = initial, time.monotonic(), time.monotonic()

    def report(n: int = 1, **facts: float) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if enabled and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = (done - initial) / (now - started)
            share = f" ({done / total:.0%})" if total else ""
            shown = "".join(f", {name} {_shown(value)}" for name, value in facts.items())
            left = f", {tqdm.format_interval((total - done) / rate)} left" if total and rate > 0 else ""
            speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
            logger.info("{}: {:,} {}{}, {} {}/s{}{}", label, done, unit, share, speed, unit, shown, left)

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
