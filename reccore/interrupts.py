"""Defer Ctrl-C to a safe point of the work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def defer_sigint(*, enabled: bool = True) -> Iterator[Callable[[], bool]]:
    """Record the first Ctrl-C inside the block instead of raising it; a second one raises ``KeyboardInterrupt``.

    Yields a function that returns whether Ctrl-C was pressed; the caller then raises ``KeyboardInterrupt`` at a safe
    point. Without ``enabled``, and outside the main thread, which alone receives signals, nothing changes.
    """
    pressed = False
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
