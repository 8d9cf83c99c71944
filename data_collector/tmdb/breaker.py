"""A circuit breaker: while a service is down nobody asks it for anything but whether it is back."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from loguru import logger

from data_collector.tmdb.limiter import Halted
from reccore.errors import DataError

# About five minutes together; then somebody should look.
PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)
_LOOK_SECONDS = 0.5


class ServiceDownError(DataError):
    """The service did not come back in time."""


class Breaker:
    """Opens after ``threshold`` faults in a row, over all threads; one thread then asks now and then, the others wait.

    What is asked is ``alive``, and not the request that failed: one movie that the service stumbles over is no sign
    that the service is down.
    """

    def __init__(self, threshold: int, alive: Callable[[], bool], halt: threading.Event) -> None:
        self._threshold = threshold
        self._alive = alive
        self._halt = halt
        self._changed = threading.Condition()
        self._in_a_row = 0
        self._open = False
        self._probing = False
        self._reason = ""

    def success(self) -> None:
        """The service has answered."""
        with self._changed:
            self._in_a_row = 0
            self._close()

    def fault(self, reason: str) -> bool:
        """The service has not answered; False where it is known to be down, so that this says little of the request."""
        with self._changed:
            self._in_a_row += 1
            self._reason = reason
            if self._open:
                return False
            if self._in_a_row >= self._threshold:
                self._open = True
                logger.warning("{} requests in a row have failed ({}); asking now and then", self._in_a_row, reason)
            return True

    def wait(self) -> None:
        """Return once requests make sense.

        Raises:
            ServiceDownError: the service is down, and was at every look of this thread.
            Halted: the crawl ended while waiting.
        """
        with self._changed:
            while self._open and self._probing and not self._halt.is_set():
                self._changed.wait(_LOOK_SECONDS)
            if self._halt.is_set():
                raise Halted
            if not self._open:
                return
            self._probing = True
        try:
            self._probe()
        finally:
            with self._changed:
                self._probing = False

    def _probe(self) -> None:
        """Ask after ever longer pauses until the service answers."""
        for pause in PAUSES_SECONDS:
            if self._halt.wait(pause * random.uniform(0.75, 1.25)):
                raise Halted
            if not self._open or self._alive():  # an answer that was under way may have come
                self.success()
                return
        raise ServiceDownError(self._reason)

    def _close(self) -> None:
        if self._open:
            self._open = False
            logger.info("the service answers again")
            self._changed.notify_all()
