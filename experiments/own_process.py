"""A call in a process of its own, so that its peak memory and its crash are its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from loguru import logger

from reccore import RecommenderError

T = TypeVar("T")
GRACE_SECONDS = 5.0


class ProcessEnded(RecommenderError):
    """The process of a call ended without a result."""


def in_own_process(function: Callable[..., T], *args: Any) -> T:
    """``function(*args)`` in a new process; both must be picklable.

    The process ends with this one, even if this one is killed.

    Raises:
        ProcessEnded: it ended without a result: killed, out of memory, or by an exception whose traceback it printed.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        result: T = receiver.recv()
    except EOFError:
        process.join()
        raise ProcessEnded(f"its process ended with {_describe(process.exitcode)}") from None
    finally:
        process.join(GRACE_SECONDS)  # after Ctrl-C, which the child receives too
        process.terminate()
        process.join()
        receiver.close()
    return result


def _answer(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logger.remove()
    logger.add(sys.stderr, level="INFO", format="<dim>{time:HH:mm:ss}</dim> {message}")
    try:
        sender.send(function(*args))
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """Wait until the parent has ended, then end without any clean-up: files are written atomically."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _describe(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}; its last lines on stderr say why"
    return f"{signal.Signals(-exit_code).name}" + (" (out of memory?)" if exit_code == -signal.SIGKILL else "")
