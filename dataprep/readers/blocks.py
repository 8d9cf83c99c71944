"""Reading of text files in blocks of whole lines, with bounded memory and with line numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reccore.arrays import IntArray
from reccore.errors import DataError

BLOCK_BYTES = 32 << 20
_BOM = b"\xef\xbb\xbf"
_CONTENT_CHARACTERS = 500


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


def line_blocks(path: Path, *, skip: int = 0, size: int = BLOCK_BYTES) -> Iterator[TextBlock]:
    """Yield the file in blocks of about ``size`` bytes, without its first ``skip`` lines and without a BOM.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
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
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def first_line(path: Path) -> str:
    """First line of a text file, without BOM and line end.

    Raises:
        DataError: the file cannot be read, is empty, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            line = file.readline().removeprefix(_BOM)
        if not line.strip():
            raise DataError(f"{path} is empty")
        return line.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
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
