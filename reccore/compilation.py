"""Log that Numba compiles, which can take half a minute in which nothing else is shown."""

from __future__ import annotations

from functools import lru_cache

from loguru import logger
from numba.core.event import Event, Listener, register


class CompilationNote(Listener):
    """Logs one line at the first compilation of the process; what is loaded from Numba's cache logs nothing."""

    def __init__(self) -> None:
        self.is_said = False

    def on_start(self, event: Event) -> None:
        if not self.is_said:
            self.is_said = True
            logger.info("compiling loops for this machine; the first run takes up to half a minute longer")

    def on_end(self, event: Event) -> None:
        """Nothing: the work that follows reports its own progress."""


@lru_cache
def announce_compilation() -> None:
    """Have the first compilation of this process logged. Modules with compiled loops call it when they are imported."""
    register("numba:compile", CompilationNote())  # type: ignore[no-untyped-call]
