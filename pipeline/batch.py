"""Top-k lists for many users as Parquet files, which a run that was cut short can continue."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from pipeline.history import encode_ids
from pipeline.inference import Pipeline
from reccore import Candidates, ConfigError, DataError, RawId
from reccore.arrays import IntArray
from reccore.progress import progress as progress_of

MANIFEST = "_recommendations.json"
"""Readers of Parquet folders skip names that start with an underscore."""
USERS_AT_ONCE = 256
"""Queries that go through the pipeline together: enough for its compiled loops, and some 100 MB of memory."""


class Batch:
    """The lists of many users, cut into files of ``users_per_file`` users.

    Args:
        pipeline: that answers; a failing stage raises.
        users: raw ids in the order of the result; None = all users that the pipeline knows.
        fingerprint: of the pipeline's bundle; a resumed run must have the same.
        k: length of the lists.
        titles: whether the files have a column ``title``.
        as_of: Unix seconds, by default the time of the first run; only for a pipeline that reads the query's time.
        users_per_file: at least 1.

    Raises:
        DataError: no user, a user who is not known or is given twice, or an ``as_of`` that no channel reads.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        users: Sequence[RawId] | None = None,
        *,
        fingerprint: str,
        k: int = 10,
        titles: bool = False,
        as_of: int | None = None,
        users_per_file: int = 5_000,
    ) -> None:
        if as_of is not None and not pipeline.query_time:
            raise DataError(f"as_of {as_of} would change nothing: no channel of this pipeline reads the query's time")
        self.pipeline, self.users = pipeline, _known_users(pipeline, users)
        self.k, self.titles, self.users_per_file = k, titles, users_per_file
        self._as_of = as_of
        self._facts = {
            "pipeline": fingerprint,
            "users": hashlib.sha256(json.dumps(self.users).encode()).hexdigest(),
            "n_users": len(self.users),
            "k": k,
            "titles": titles,
            "users_per_file": users_per_file,
        }

    @property
    def n_files(self) -> int:
        """Number of files of the whole result."""
        return -(-len(self.users) // self.users_per_file)

    def write(self, folder: Path, *, resume: bool = False, progress: bool = True) -> int:
        """Write ``part-00000.parquet``, … with the columns userId, place (from 1), movieId, score and perhaps title.

        Each file appears whole or not at all. The lists are those of ``Pipeline.recommend``; ``score`` is what a list
        is ordered by, null beyond the pool from which a reranker chooses.

        Args:
            folder: of the files, new or empty.
            resume: keep the files that an interrupted run has written into the folder.
            progress: show progress.

        Returns:
            Number of files written; the others were there.

        Raises:
            ConfigError: the folder holds other files, an earlier result that is not to be resumed, or one of other
                settings.
            DataError: a file cannot be written.
        """
        as_of = self._open(folder, resume)
        missing = [number for number in range(self.n_files) if not (folder / _file_name(number)).is_file()]
        done = len(self.users) - sum(len(self._users_of(number)) for number in missing)
        with progress_of("recommendations", len(self.users), unit="users", enabled=progress, initial=done) as advance:
            for number in missing:
                with _whole_file(folder / _file_name(number)) as path:
                    self._write_file(path, self._users_of(number), as_of, advance)
        return len(missing)

    def _open(self, folder: Path, resume: bool) -> int | None:
        """Make the folder, or check that the result in it is an earlier part of this one; returns the query's time."""
        manifest = folder / MANIFEST
        if manifest.is_file():
            if not resume:
                raise ConfigError(
                    f"{folder} holds recommendations already; continue them with --resume, or give another folder by "
                    "--to"
                )
            return self._stored_time(manifest)
        if folder.exists() and (not folder.is_dir() or any(file.name[0] != "." for file in folder.iterdir())):
            raise ConfigError(f"{folder} exists and holds no recommendations; give another folder by --to")
        if resume:
            logger.warning("there are no recommendations at {}: the run starts from the beginning", folder)
        as_of = self._as_of
        if self.pipeline.query_time and as_of is None:
            as_of = int(time.time())
        with _whole_file(manifest) as path:
            path.write_text(json.dumps({**self._facts, "as_of": as_of}, indent=2), encoding="utf-8")
        return as_of

    def _stored_time(self, manifest: Path) -> int | None:
        try:
            stored = json.loads(manifest.read_text(encoding="utf-8"))
            as_of: int | None = stored["as_of"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{manifest} is damaged; delete {manifest.parent}, or give another --to") from error
        given = self._facts if self._as_of is None else {**self._facts, "as_of": self._as_of}
        other = [name for name, value in given.items() if stored.get(name) != value]
        if other:
            raise ConfigError(
                f"{manifest.parent} holds recommendations that differ in {', '.join(other)}; repeat the command as it "
                "was, or give another folder by --to"
            )
        return as_of

    def _users_of(self, number: int) -> list[RawId]:
        return self.users[number * self.users_per_file : (number + 1) * self.users_per_file]

    def _write_file(self, path: Path, users: list[RawId], as_of: int | None, advance: Callable[..., None]) -> None:
        with path.open("wb") as file, pq.ParquetWriter(file, self._schema()) as writer:
            for start in range(0, len(users), USERS_AT_ONCE):
                some = users[start : start + USERS_AT_ONCE]
                queries = self.pipeline.histories.history(some)
                if as_of is not None:
                    queries = replace(queries, as_of=np.full(len(some), as_of, dtype=np.int64))
                candidates, _ = self.pipeline.run(queries, self.k)
                writer.write_table(pa.table(self._columns(some, candidates), schema=self._schema()))
                advance(len(some))

    def _schema(self) -> pa.Schema:
        user, movie = (
            pa.string() if ids.is_text else pa.int64()
            for ids in (self.pipeline.vocabulary.users, self.pipeline.vocabulary.items)
        )
        fields = [("userId", user), ("place", pa.int32()), ("movieId", movie), ("score", pa.float32())]
        return pa.schema([*fields, *([("title", pa.string())] if self.titles else [])])

    def _columns(self, users: list[RawId], candidates: Candidates) -> Mapping[str, Any]:
        """One value for every film of the lists of these users."""
        reranker, items = self.pipeline.reranker, self.pipeline.items
        row, column = np.nonzero(candidates.mask)
        item_idx: IntArray = candidates.item_idx[row, column]
        movies = self.pipeline.vocabulary.items.decode(item_idx).tolist()
        pool = candidates.k if reranker is None or reranker.pool is None else reranker.pool
        columns = {
            "userId": [users[at] for at in row.tolist()],
            "place": column + 1,
            "movieId": movies,
            "score": pa.array(candidates.score[row, column], mask=column >= pool),
        }
        if self.titles:
            columns["title"] = [items.label(*pair) for pair in zip(item_idx.tolist(), movies, strict=True)]
        return columns


def _known_users(pipeline: Pipeline, users: Sequence[RawId] | None) -> list[RawId]:
    """The raw ids as the pipeline has them."""
    ids = pipeline.vocabulary.users
    if users is None:
        everyone: list[RawId] = ids.ids.tolist()
        return everyone
    idx = encode_ids("users", users, ids)
    if len(idx) == 0:
        raise DataError("no user is given; name at least one, or leave the users out for all")
    if (idx < 0).any():
        raise DataError(f"user {users[int(idx.argmin())]} is not known here")
    if len(np.unique(idx)) < len(idx):
        raise DataError("a user is given twice; give every user once")
    known: list[RawId] = ids.decode(idx).tolist()
    return known


def _file_name(number: int) -> str:
    return f"part-{number:05d}.parquet"


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A temporary sibling that takes the file's place when the block has ended and its bytes are on the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; free space, then continue with --resume, or give "
            "another folder by --to"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
