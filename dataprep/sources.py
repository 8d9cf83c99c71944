"""Which files tables were made from, and whether they are still the files at hand."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from dataprep import schema
from reccore.bundle import file_sha256
from reccore.errors import ArtefactError


@dataclass(frozen=True)
class Source:
    """The files that preprocessing read.

    Attributes:
        fingerprint: SHA-256 over names, sizes and contents of the files, how they are read, and the tables' format.
        files: path relative to the folder of the tables → SHA-256.
    """

    fingerprint: str
    files: dict[str, str]

    @classmethod
    def of(cls, files: Sequence[Path], out: Path, reading: Sequence[object] = ()) -> Self:
        """Hash the files once.

        Args:
            files: that are read.
            out: folder of the tables.
            reading: how they are read.
        """
        hashes = [file_sha256(path) for path in files]
        facts: list[object] = [
            [path.name, path.stat().st_size, digest] for path, digest in zip(files, hashes, strict=True)
        ]
        fingerprint = hashlib.sha256(json.dumps([schema.FORMAT_VERSION, [*facts, *reading]]).encode()).hexdigest()
        paths = [os.path.relpath(path, out) for path in files]
        return cls(fingerprint, dict(zip(paths, hashes, strict=True)))


def check_sources(processed: Path, then: Mapping[str, str]) -> None:
    """Refuse tables whose source files changed since; files that are gone are no change.

    Args:
        processed: folder of the tables.
        then: ``Source.files`` of the run that wrote them.

    Raises:
        ArtefactError: names the files that changed and the command that reads them again.
    """
    at_hand = {name: processed / name for name in then}
    changed = [path for name, path in at_hand.items() if path.is_file() and file_sha256(path) != then[name]]
    if changed:
        raise ArtefactError(
            f"{', '.join(path.name for path in changed)} changed after the tables under {processed} were made; "
            "run again: PYTHONPATH=. python scripts/run_preprocessing.py"
        )
