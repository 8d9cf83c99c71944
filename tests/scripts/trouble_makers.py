"""How malformed inputs and wrong uses come about: files of the user, and changes of a data root."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reccore import Workspace

Make = Callable[[Workspace], object]


@dataclass(frozen=True)
class Trouble:
    """One wrong use.

    Attributes:
        what: in a few words, for the test's name.
        make: changes the data root beforehand; files of the user are made under ``mine/``.
        command: name of the script.
        argv: its options; ``ROOT`` stands for the data root.
        sentence: of the page, or its beginning; ``…`` stands for what depends on the case.
    """

    what: str
    make: Make
    command: str
    argv: Sequence[str]
    sentence: str


def nothing(space: Workspace) -> None:
    """The data root as it is: prepared, trained, evaluated."""


def text(name: str, content: str) -> Make:
    """A file of the user."""

    def make(space: Workspace) -> None:
        file = space.root / "mine" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")

    return make


def parquet(name: str, **columns: object) -> Make:
    """A Parquet file of the user."""

    def make(space: Workspace) -> None:
        (space.root / "mine").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), space.root / "mine" / name)

    return make


def without(*parts: str) -> Make:
    """Folders of the data root that are not there yet."""

    def make(space: Workspace) -> None:
        import shutil

        for part in parts:
            shutil.rmtree(space.root / part)

    return make


def manifest_of(model: str, change: Callable[[dict], object]) -> Make:  # type: ignore[type-arg]
    """Another content of a manifest."""

    def make(space: Workspace) -> None:
        file = space.model(model) / "manifest.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return make


def bytes_of(model: str, name: str) -> Make:
    """A flipped byte in a file of a model."""

    def make(space: Workspace) -> None:
        file = space.model(model) / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))

    return make


def vectors(space: Workspace) -> None:
    """A matrix with more rows than ids."""
    folder = space.root / "mine"
    folder.mkdir()
    np.save(folder / "cover.npy", np.zeros((3, 2), dtype=np.float32))
    (folder / "cover.csv").write_text("movieId\n5\n12\n")


def shorter_ratings(space: Workspace) -> None:
    """Tables that changed after the data was prepared."""
    file = space.processed / "ratings.parquet"
    pq.write_table(pq.read_table(file).slice(0, 1000), file)


def references(space: Workspace) -> None:
    """A pipeline that does not hold its parts, as earlier versions wrote it."""
    file = space.model("pipeline") / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if not name.startswith("parts/")}
    file.write_text(json.dumps(manifest))


def no_split(space: Workspace) -> None:
    from pipeline.train_channel import train_channel
    from tests.pipeline.small import QUIET

    train_channel(space, "popularity", {}, protocol="none", options=QUIET)


def two_events(space: Workspace) -> None:
    from dataprep.readers.own import EventFile
    from pipeline.train_channel import train_channel
    from tests.pipeline.small import QUIET

    parquet("events.parquet", userId=[1, 1, 2, 2], movieId=[5, 12, 5, 19])(space)
    file = EventFile(space.root / "mine" / "events.parquet")
    train_channel(space, "popularity", {}, input_file=file, protocol="leave_one_out", options=QUIET)
