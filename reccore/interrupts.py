"""Ctrl-C at a moment that suits the work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def defer_sigint(*, enabled: bool = True) -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C is noted and not raised; a second one is raised at once, as ever.

    Yields ``asked()``: whether it was pressed. Who sees that raises ``KeyboardInterrupt`` when all is in order.
    Outside the main thread, which alone gets signals, and where not ``enabled``, nothing is changed.
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
