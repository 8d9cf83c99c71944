"""One command at a time in a folder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from loguru import logger

from reccore.errors import DataError


@contextlib.contextmanager
def only_one(folder: Path, work: str) -> Iterator[None]:
    """Hold a folder, made where it is not there, while it changes: two runs that append to one file would spoil it.

    The lock is on the folder itself and ends with the process, so a killed run leaves nothing behind.

    Args:
        folder: what to hold.
        work: what runs there, for messages, such as ``download``.

    Raises:
        DataError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder}: {error.strerror or error}; choose another --data_dir") from error
    if sys.platform == "win32":  # has no lock on folders
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder, work)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, work: str) -> None:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"another {work} into {folder} is running; wait for it to end") from error
    except OSError as error:  # some network file systems
        logger.warning("{} cannot be locked ({}); start no second {} into it", folder, error, work)
