"""Reading of text files in blocks of whole lines, with bounded memory and with line numbers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reccore.arrays import IntArray
from reccore.errors import DataError

BLOCK_BYTES = 32 << 20
_BOM = b"\xef\xbb\xbf"
_CONTENT_CHARACTERS = 500
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class TextBlock:
    """Consecutive whole lines of a file.

    Attributes:
        data: the bytes, line ends included.
        first_line: line number of the first line in the file, from 1.
        n_lines: number of lines, blank ones included.
    """

    data: bytes
    first_line: int
    n_lines: int


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a text file, unpacked if it is compressed with gzip.

    Raises:
        DataError: the file cannot be read, is a zip archive, or its compressed content is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
            if start == _ZIP:
                raise DataError(f"{path} is a zip archive; unpack it, or compress the file with gzip")
            file.seek(0)
            if not start.startswith(_GZIP):
                yield file
                return
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile has the methods of IO[bytes] that are used here
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short ({error}); download or export it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def is_compressed(path: Path) -> bool:
    """Whether the file is compressed with gzip."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def line_blocks(path: Path, *, skip: int = 0, size: int = BLOCK_BYTES) -> Iterator[TextBlock]:
    """Yield the file in blocks of about ``size`` bytes, without its first ``skip`` lines and without a BOM.

    Raises:
        DataError: the file cannot be read.
    """
    with open_text(path) as file:
        if file.read(len(_BOM)) != _BOM:
            file.seek(0)
        for _ in range(skip):
            file.readline()
        line = 1 + skip
        while data := file.read(size):
            if not data.endswith(b"\n"):
                data += file.readline()
            n_lines = data.count(b"\n") + (not data.endswith(b"\n"))
            yield TextBlock(data, line, n_lines)
            line += n_lines


def first_line(path: Path) -> str:
    """First line of a text file, without BOM and line end.

    Raises:
        DataError: the file cannot be read, is empty, or is not UTF-8.
    """
    with open_text(path) as file:
        line = file.readline().removeprefix(_BOM)
    if not line.strip():
        raise DataError(f"{path} is empty")
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"the first line of {path} is not UTF-8 text") from error


def lines_at(path: Path, wanted: IntArray) -> list[str]:
    """Text of the given lines, read up to the last of them; a line that is not UTF-8 is read as Latin-1.

    Args:
        path: the file.
        wanted: (n,) line numbers from 1, ascending.
    """
    found: list[str] = []
    for block in line_blocks(path):
        stop = block.first_line + block.n_lines
        here = wanted[(wanted >= block.first_line) & (wanted < stop)]
        if len(here):
            lines = block.data.split(b"\n")
            found.extend(_text(lines[line - block.first_line]) for line in here.tolist())
        if len(found) == len(wanted):
            break
    return found


def _text(line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    return text.rstrip("\r")[:_CONTENT_CHARACTERS]


def is_utf8(path: Path) -> bool:
    """Whether the file is valid UTF-8, which accented Latin-1 text practically never is."""
    for block in line_blocks(path):
        try:
            block.data.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True
