"""TMDb's answers on disk: append-only files of compressed lines, one gzip member for each, so that zcat reads them.

A line: ``{"tmdbId": 603, "language": "en-US", "fetched": <Unix seconds>, "etag": "…", "document": {…}}``. The journal
says which bytes count; what lies behind them in a shard is the torn tail of a killed crawl, and the next one cuts it.
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

from data_collector.tmdb.journal import Journal, Place, vouched_documents

SHARDS = f"movies-{'[0-9]' * 5}.jsonl.gz"
SHARD_BYTES = 64 << 20
# On documents of a real one's size level 6 saves 5% of the bytes for half as much time again.
COMPRESSION_LEVEL = 4
_GZIP = 31  # zlib's number for: a gzip header, 32 KiB window


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"movies-{shard:05d}.jsonl.gz"


def encode_record(tmdb_id: int, language: str, fetched: float, etag: str | None, body: bytes) -> bytes:
    """One gzip member with one line; ``body`` is a JSON document in UTF-8, and goes in as it came."""
    head = json.dumps({"tmdbId": tmdb_id, "language": language, "fetched": fetched, "etag": etag})
    # JSON has line ends only between its tokens, where a space does as well.
    document = body.replace(b"\r", b" ").replace(b"\n", b" ")
    line = b'%s, "document": %s}\n' % (head[:-1].encode(), document)
    return gzip.compress(line, COMPRESSION_LEVEL, mtime=0)


class ShardWriter:
    """Appends records to the last shard of a folder, and begins another when that has ``SHARD_BYTES``.

    Bytes count once ``sync`` has returned and the journal has the new ``lengths``.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        """Bring the shards to what the journal says of them.

        Torn tails are cut off. Where a shard is shorter than it should be, or gone, the journal forgets what is lost.

        Raises:
            OSError: the disk refused.
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

    def append(self, member: bytes) -> Place:
        """Write a record behind the others.

        Raises:
            OSError: the disk refused; call ``roll_back``.
        """
        if self._length >= SHARD_BYTES:
            self.sync()
            self._file.close()
            self._shard += 1
            self._file = self._open()
        place = Place(self._shard, self._length, len(member))
        left = memoryview(member)
        while left:
            left = left[self._file.write(left) :]
        self._lengths[self._shard] = place.offset + place.length
        return place

    def sync(self) -> None:
        """See that the bytes are on the disk.

        Raises:
            OSError: the disk refused; call ``roll_back``.
        """
        os.fsync(self._file.fileno())
        self._synced[self._shard] = self._length

    def take_lengths(self) -> dict[int, int]:
        """Lengths of the shards that grew and were synced since the last call, for the journal."""
        grown, self._synced = self._synced, {}
        return grown

    def roll_back(self, journal: Journal) -> None:
        """Cut off what the journal does not know, after a failed write. Needs no room on the disk."""
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
                logger.debug("{}: {:,} bytes of a crawl that was killed are cut off", path, size - length)
                os.truncate(path, length)

    def _open(self) -> io.FileIO:
        """The current shard, unbuffered: what was written is in the file, whatever becomes of this process."""
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
        fetched: Unix seconds at which the document came.
        language: as asked for.
        body: the line, with the document under ``document``; empty where its bytes on disk are damaged.
        where: shard and offset, and what the damage is, for messages.
    """

    tmdb_id: int
    fetched: float
    language: str
    body: bytes
    where: str


def read_documents(folder: Path) -> Iterator[StoredDocument]:
    """The latest document of every movie and language, in the order of the shards, one at a time in memory.

    A crawl may be going on in the folder; what it adds after the first document is asked for is not seen.

    Raises:
        NotReadyError: there was no crawl.
        DataError: the journal is damaged or of another version.
    """
    for shard, documents in groupby(vouched_documents(folder), key=lambda document: document.place.shard):
        path = shard_path(folder, shard)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb")) if path.exists() else None
            for document in documents:
                place = document.place
                where = f"{path.name} at byte {place.offset}"
                body = b""
                try:
                    if file is None:
                        raise EOFError("the file is missing")
                    file.seek(place.offset)
                    body = _decode(file.read(place.length), place.length)
                except (zlib.error, EOFError) as error:
                    where = f"{where} (damaged: {error})"
                yield StoredDocument(document.tmdb_id, document.fetched, document.language, body, where)


def _decode(member: bytes, length: int) -> bytes:
    """Unpack one gzip member, whose checksum is compared."""
    if len(member) < length:
        raise EOFError("the file ends before it")
    decoder = zlib.decompressobj(_GZIP)
    line = decoder.decompress(member)
    if not decoder.eof or decoder.unused_data:
        raise EOFError("not one whole gzip member")
    return line


def _sync_folder(folder: Path) -> None:
    """See that a new file's name is on the disk too; Windows has no such thing."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
