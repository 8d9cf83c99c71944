"""One command at a time in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor
from loguru import logger

from reccore.errors import DataError


@contextlib.contextmanager
def exclusive_folder(folder: Path, work: str) -> Iterator[None]:
    """Hold a folder for this process while the block runs; the folder is created if it does not exist.

    The lock is on the folder itself: the operating system releases it when the process ends, and no file is left.

    Args:
        folder: folder to hold.
        work: what runs there, for messages, such as ``download``.

    Raises:
        DataError: another process holds the folder, or it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot create {folder}: {error.strerror or error}; choose another --data_dir") from error
    with contextlib.ExitStack() as cleanup:
        try:
            handle = os.open(folder, os.O_RDONLY)
            cleanup.callback(os.close, handle)
            is_free = lock_descriptor(handle, blocking=False)
        except OSError as error:  # Windows and some network file systems cannot lock a folder
            logger.warning("cannot lock {} ({}); do not start a second {} into it", folder, error, work)
            is_free = True
        if not is_free:
            raise DataError(f"another {work} into {folder} is running; wait for it to end")
        yield
