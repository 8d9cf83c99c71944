"""Shards: append-only files of TMDb's documents, one gzip member with one line per document; zcat reads them.

A line: ``{"tmdbId": 603, "language": "en-US", "fetched": <Unix seconds>, "etag": "…", "document": {…}}``. The journal
records the valid length of each shard. Bytes after it come from a killed crawl, and the next crawl cuts them off.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from loguru import logger

from data_collector.tmdb.journal import ByteRange, Journal, committed_documents

SHARDS = f"movies-{'[0-9]' * 5}.jsonl.gz"
SHARD_BYTES = 64 << 20
# On documents of realistic size, level 6 takes 50% more time and saves 5% of the bytes.
COMPRESSION_LEVEL = 4


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"movies-{shard:05d}.jsonl.gz"


def encode_record(tmdb_id: int, language: str, fetched: float, etag: str | None, body: bytes) -> bytes:
    """Encode a JSON document in UTF-8 as one gzip member with one line."""
    head = json.dumps({"tmdbId": tmdb_id, "language": language, "fetched": fetched, "etag": etag})
    # JSON has line breaks only between tokens, where a space means the same.
    document = body.replace(b"\r", b" ").replace(b"\n", b" ")
    line = b'%s, "document": %s}\n' % (head[:-1].encode(), document)
    return gzip.compress(line, COMPRESSION_LEVEL, mtime=0)


class ShardWriter:
    """Appends records to the last shard of a folder, and starts a new shard after ``SHARD_BYTES``.

    Bytes are valid when ``sync`` has returned and the journal has the new lengths.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        """Make shards and journal consistent.

        Bytes after the valid length are cut off. If a shard is too short or missing, the records of its lost documents
        are deleted from the journal.

        Raises:
            OSError: a disk error.
        """
        self.folder = folder
        self._lengths = journal.lengths()
        for shard, length in self._lengths.items():
            path = shard_path(folder, shard)
            size = path.stat().st_size if path.exists() else 0
            if size < length:
                self._lengths[shard], lost = journal.shorten(shard, size)
                logger.warning("{} has lost bytes; {:,} movies will be fetched again", path, lost)
        self._cut_tails()
        self._shard = max(self._lengths, default=0)
        self._synced: dict[int, int] = {}
        self._file = self._open()

    def append(self, member: bytes) -> ByteRange:
        """Append a record.

        Raises:
            OSError: a disk error; call ``roll_back``.
        """
        if self._length >= SHARD_BYTES:
            self.sync()
            self._file.close()
            self._shard += 1
            self._file = self._open()
        place = ByteRange(self._shard, self._length, len(member))
        left = memoryview(member)
        while left:
            left = left[self._file.write(left) :]
        self._lengths[self._shard] = place.offset + place.length
        return place

    def sync(self) -> None:
        """Flush the bytes to the disk.

        Raises:
            OSError: a disk error; call ``roll_back``.
        """
        os.fsync(self._file.fileno())
        self._synced[self._shard] = self._length

    def take_lengths(self) -> dict[int, int]:
        """Lengths of shards synced since the last call, for the journal."""
        grown, self._synced = self._synced, {}
        return grown

    def roll_back(self, journal: Journal) -> None:
        """Cut off the bytes that the journal does not record, after a failed write. Needs no disk space."""
        self._lengths = journal.lengths()
        self._synced = {}
        self._cut_tails()

    def close(self) -> None:
        self._file.close()

    @property
    def _length(self) -> int:
        return self._lengths.get(self._shard, 0)

    def _cut_tails(self) -> None:
        for path in self.folder.glob(SHARDS):
            length = self._lengths.get(int(path.name[7:12]), 0)
            if (size := path.stat().st_size) > length:
                logger.debug("{}: cut off {:,} bytes from a killed crawl", path, size - length)
                os.truncate(path, length)

    def _open(self) -> io.FileIO:
        """Open the current shard unbuffered, so that written bytes survive a kill."""
        path = shard_path(self.folder, self._shard)
        existed = path.exists()
        file = path.open("ab", buffering=0)
        if not existed:
            _sync_folder(self.folder)
        return file


@dataclass(frozen=True)
class StoredDocument:
    """One record as it was stored.

    Attributes:
        tmdb_id: TMDb's id.
        fetched: Unix seconds at which the document was fetched.
        language: requested language.
        body: the line, with the document under ``document``; empty if its bytes on disk are damaged.
        where: shard, offset and any damage, for messages.
    """

    tmdb_id: int
    fetched: float
    language: str
    body: bytes
    where: str


def read_documents(folder: Path) -> Iterator[StoredDocument]:
    """Read the latest document of every movie and language, in the order of the shards, one at a time.

    A crawl may be running; the result is the state when the first document is read.

    Raises:
        NotReadyError: there is no journal.
        DataError: the journal is damaged or has another version.
    """
    for shard, documents in groupby(committed_documents(folder), key=lambda document: document[0].shard):
        path = shard_path(folder, shard)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb")) if path.exists() else None
            for place, tmdb_id, language, fetched in documents:
                where = f"{path.name} at byte {place.offset}"
                body = b""
                try:
                    if file is None:
                        raise EOFError("the file is missing")
                    file.seek(place.offset)
                    body = gzip.decompress(file.read(place.length))
                    if not body:
                        raise EOFError("the file ends too early")
                except (gzip.BadGzipFile, zlib.error, EOFError) as error:
                    where = f"{where} (damaged: {error})"
                yield StoredDocument(tmdb_id, fetched, language, body, where)


def _sync_folder(folder: Path) -> None:
    """Flush the entry of a new file in its folder to the disk; Windows does not support this."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
