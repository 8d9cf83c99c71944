"""Fetch posters: the address of TMDb's images, and one file per image."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from data_collector.tmdb.client import Client, Fault, checked_address
from data_collector.tmdb.journal import PosterRecord, Status, now
from data_collector.tmdb.store import Store, write_error
from reccore.errors import ConfigError, DataError

CONFIGURATION = "/configuration"
IMAGE_BYTES = 32 << 20
_CONFIGURATION_BYTES = 1 << 20
_MAX_UNCONFIRMED_404 = 20
_ATTEMPTS_AT_404 = 3  # while a path waits for its retry, other images arrive
_NAME = re.compile(r"/[A-Za-z0-9_-]+\.[A-Za-z0-9]+")


class ImageAddressFetcher:
    """Fetches the address of the images from TMDb's configuration; the key is ``CONFIGURATION``."""

    label = "TMDb configuration"
    unit = "request"

    def __init__(self, client: Client, size: str) -> None:
        self._client = client
        self._size = size
        self.address = ""

    def fetch(self, path: str, attempt: int) -> None:
        """Fetch the address below which images lie into ``address``.

        Raises:
            ConfigError: the address is not usable, or TMDb does not offer the size.
            DataError: the configuration has no address.
            Fault: no usable answer.
        """
        answer = self._client.get(path, limit=_CONFIGURATION_BYTES)
        try:
            images = json.loads(answer.body)["images"]
            address, sizes = str(images["secure_base_url"]), [str(known) for known in images["poster_sizes"]]
        except (ValueError, KeyError, TypeError):
            raise DataError(
                "TMDb's /configuration has no address of images; give it with --image_base_url, such as "
                "https://image.tmdb.org/t/p"
            ) from None
        if self._size not in sizes:
            raise ConfigError(f"--poster_size must be one of {', '.join(sizes)}, got {self._size!r}")
        self.address = checked_address(address, "--image_base_url")

    def give_up(self, path: str, attempts: int, reason: str) -> None:
        """Raise the reason, because posters need the address.

        Raises:
            DataError: always.
        """
        raise DataError(f"cannot fetch the address of images from TMDb ({reason}); give it with --image_base_url")


def wanted_posters(paths: Iterable[str], folder: Path, known: Mapping[str, PosterRecord]) -> list[str]:
    """Paths that are neither on the disk nor known to be absent, each once."""
    existing = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    return [
        path
        for path in dict.fromkeys(paths)
        if not (path in known and (known[path].status == "absent" or path.removeprefix("/") in existing))
    ]


class PosterFetcher:
    """Fetches images of one size into files with TMDb's names, which are unique.

    Args:
        client: client of the image server.
        store: store for the results.
        folder: folder for the files; created if it does not exist.
        size: TMDb's size, such as ``w342``.
        known: records of the journal, by path.
        has_images: True if the address comes from TMDb, False if a user typed it.
    """

    label = "TMDb posters"
    unit = "poster"

    def __init__(
        self,
        client: Client,
        store: Store,
        folder: Path,
        size: str,
        known: Mapping[str, PosterRecord],
        *,
        has_images: bool,
    ) -> None:
        self._has_images = has_images
        self._unconfirmed_404 = 0
        self._client = client
        self._store = store
        self._folder = folder
        self._size = size
        self._known = known
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*.part"):  # from a killed crawl
                leftover.unlink()
        except OSError as error:
            raise write_error(folder, error) from error

    def fetch(self, path: str, attempt: int) -> None:
        """Fetch an image and store it, or record its absence.

        Raises:
            Fault: no usable answer.
            ConfigError: the address is not an image server.
            DataError: a disk error.
        """
        if not _NAME.fullmatch(path):  # it becomes a file name here
            raise Fault(f"{path[:80]!r} is not a valid image name", of_service=False, final=True)
        answer = self._client.get(f"/{self._size}{path}", limit=IMAGE_BYTES)
        if answer.status == 200:
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not kind.startswith("image/") or not answer.body:
                raise Fault(f"the answer is not an image but {len(answer.body):,} bytes of {kind or 'unknown type'}")
            self._has_images = True
            self._write(path.removeprefix("/"), answer.body)
        elif answer.status == 304:
            raise Fault("the server answered 304 Not Modified to a request without conditions")
        else:
            self._check_absence(attempt)
        self._keep(path, attempt, "done" if answer.status == 200 else "absent")

    def give_up(self, path: str, attempts: int, reason: str) -> None:
        """Record that all attempts failed."""
        self._keep(path, attempts, "failed", reason)

    def _check_absence(self, attempt: int) -> None:
        """Accept a 404 only after the server has sent an image; else a mistyped address would mark all as absent."""
        if self._has_images:
            return
        self._unconfirmed_404 += 1
        if self._unconfirmed_404 > _MAX_UNCONFIRMED_404:
            raise ConfigError(f"{self._client.base_url} answers 404 to every poster; give another --image_base_url")
        raise Fault(
            "the server answered 404 Not Found, and has not sent any image yet",
            of_service=False,
            final=attempt >= _ATTEMPTS_AT_404,
        )

    def _keep(self, path: str, attempts: int, status: Status, error: str | None = None) -> None:
        before = self._known.get(path)
        attempts += before.attempts if before is not None else 0
        self._store.keep(PosterRecord(path, self._size, status, attempts, now(), error))

    def _write(self, name: str, body: bytes) -> None:
        """Write a file that appears complete or not at all."""
        temporary = self._folder / f".{name}.{threading.get_ident()}.part"
        try:
            with temporary.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise write_error(self._folder, error) from error
