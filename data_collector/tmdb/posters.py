"""Fetching posters: where TMDb keeps its images, and one file for each."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from data_collector.tmdb.client import Client, Fault, checked_address
from data_collector.tmdb.journal import Poster, Status, now
from data_collector.tmdb.store import Store, refused
from reccore.errors import ConfigError, DataError

CONFIGURATION = "/configuration"
IMAGE_BYTES = 32 << 20
_CONFIGURATION_BYTES = 1 << 20
_STRANGE_ANSWERS = 20
_STRANGE_ATTEMPTS = 3  # while they wait, others bring images
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
                "TMDb's /configuration does not say where images are; give the address by --image_base_url, such as "
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
        raise DataError(f"TMDb does not say where images are ({reason}); give the address by --image_base_url")


def wanted_posters(paths: Iterable[str], folder: Path, known: Mapping[str, Poster]) -> list[str]:
    """Those paths that are neither on the disk nor known to be absent, each once."""
    there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
    return [
        path
        for path in dict.fromkeys(paths)
        if not (path in known and (known[path].status == "absent" or path.removeprefix("/") in there))
    ]


class PosterFetcher:
    """Asks for images of one size and keeps each as a file of its own name, which TMDb gives to one image only.

    Args:
        client: of the server of images.
        store: where results are written down.
        folder: where files go; made where it is not there.
        size: such as ``w342``.
        known: what the journal holds, by path.
        has_images: whether the server is known to be that of the images, rather than an address that was typed.
    """

    label = "TMDb posters"
    unit = "poster"

    def __init__(
        self,
        client: Client,
        store: Store,
        folder: Path,
        size: str,
        known: Mapping[str, Poster],
        *,
        has_images: bool,
    ) -> None:
        self._has_images = has_images
        self._strange = 0
        self._client = client
        self._store = store
        self._folder = folder
        self._size = size
        self._known = known
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for half in folder.glob(".*.part"):  # of a crawl that was killed
                half.unlink()
        except OSError as error:
            raise refused(folder, error) from error

    def fetch(self, path: str, attempt: int) -> None:
        """Get an image and keep it, or that there is none.

        Raises:
            Fault: no usable answer.
            ConfigError: the address is none of images.
            DataError: the disk refused.
        """
        if not _NAME.fullmatch(path):  # it becomes a file name here
            raise Fault(f"{path[:80]!r} is no name of an image", of_service=False, final=True)
        answer = self._client.get(f"/{self._size}{path}", limit=IMAGE_BYTES)
        if answer.status == 200:
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not kind.startswith("image/") or not answer.body:
                raise Fault(f"the answer is no image but {len(answer.body):,} bytes of {kind or 'no type'}")
            self._has_images = True
            self._write(path.removeprefix("/"), answer.body)
        elif answer.status == 304:
            raise Fault("the server answered 304 Not Modified to a request without conditions")
        else:
            self._check_absence(attempt)
        self._keep(path, attempt, "done" if answer.status == 200 else "absent")

    def give_up(self, path: str, attempts: int, reason: str) -> None:
        """Keep that no attempt brought the image."""
        self._keep(path, attempts, "failed", reason)

    def _check_absence(self, attempt: int) -> None:
        """A 404 counts once an image has come from there; a mistyped address would mark all as absent for good."""
        if self._has_images:
            return
        self._strange += 1
        if self._strange > _STRANGE_ANSWERS:
            raise ConfigError(f"{self._client.base_url} answers 404 to every poster; give another --image_base_url")
        raise Fault(
            "the server answered 404 Not Found, and has not sent any image yet",
            of_service=False,
            final=attempt >= _STRANGE_ATTEMPTS,
        )

    def _keep(self, path: str, attempts: int, status: Status, error: str | None = None) -> None:
        before = self._known.get(path)
        attempts += before.attempts if before is not None else 0
        self._store.keep(Poster(path, self._size, status, attempts, now(), error))

    def _write(self, name: str, body: bytes) -> None:
        """The file appears whole or not at all."""
        half = self._folder / f".{name}.{threading.get_ident()}.part"
        try:
            with half.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self._folder / name)
        except OSError as error:
            half.unlink(missing_ok=True)
            raise refused(self._folder, error) from error
