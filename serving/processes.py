"""Processes of one service, forked from one that has loaded the model: they share its memory until they change it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from loguru import logger

SHORTEST = 1.0
"""Seconds: a process that ends sooner is started again only after as many."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Processes:
    """Runs a function in several processes and starts one again that ends by itself.

    The caller must have no other thread, and no open connection that the processes would share.

    Args:
        serve: to call in each process, until it gets SIGTERM, with its place from 0, which the one after it takes over.
        number: of processes.
    """

    def __init__(self, serve: Callable[[int], None], number: int) -> None:
        self._serve, self._number = serve, number
        self._started: dict[int, tuple[int, float]] = {}  # process → its place, and since when it runs
        self._ending = False

    def run(self) -> None:
        """Return when SIGTERM or Ctrl-C has ended all processes."""
        self._read, self._write = os.pipe()
        before = {number: signal.signal(number, self._end) for number in SIGNALS}
        try:
            for place in range(self._number):
                self._start(place)
            while self._started:
                pid, status = os.wait()
                place, since = self._started.pop(pid)
                if self._ending:
                    continue
                logger.error("process {} has ended with {}; another one starts", pid, os.waitstatus_to_exitcode(status))
                if time.monotonic() - since < SHORTEST:
                    time.sleep(SHORTEST)
                self._start(place)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._write)
            os.close(self._read)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        for pid in self._started:
            os.kill(pid, signal.SIGTERM)

    def _start(self, place: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # none may come between the fork and the note of it
        pid = os.fork()
        if pid == 0:
            self._be_one(place)
        self._started[pid] = place, time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if self._ending:
            os.kill(pid, signal.SIGTERM)

    def _be_one(self, place: int) -> None:
        """In the new process; never returns."""
        code = 1
        try:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(self._write)
            threading.Thread(target=_end_with_parent, args=(self._read,), daemon=True).start()
            self._serve(place)
            code = 0
        except BaseException:
            logger.exception("a process of the service failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # what the first process does at its end is not to be done here


def _end_with_parent(pipe: int) -> None:
    """End this process when the parent is gone, killed ones included: its end of the pipe closes then."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
