"""The MovieLens data sets: their files, and the sources to download them from, in order of preference.

The data belong to GroupLens, which sets the terms of use: https://grouplens.org/datasets/movielens/.
F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reccore.errors import ConfigError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class ArchiveSource:
    """A zip archive on a server with GroupLens's layout, usually with an ``.md5`` file beside it.

    Attributes:
        file: name under the server's base address.
        files: files that the archive must contain; it may contain more.
    """

    file: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class WheelSource:
    """A wheel on the package index that contains the data as package files. It is never installed.

    Attributes:
        requirement: pinned requirement for pip.
        sha256: hex digest of the wheel file.
        folder: folder inside the wheel.
        files: files to extract from that folder.
    """

    requirement: str
    sha256: str
    folder: str
    files: tuple[str, ...]


Source: TypeAlias = ArchiveSource | WheelSource


@dataclass(frozen=True)
class Dataset:
    """One release of MovieLens.

    Attributes:
        name: as in ``--dataset`` and ``raw/<name>/``.
        sources: where to download it; the first source that works is used.
    """

    name: str
    sources: tuple[Source, ...]

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """Sets of file names; a folder with all files of one set is complete."""
        return tuple(source.files for source in self.sources)


_DAT = ("ratings.dat", "movies.dat")
_CSV = ("ratings.csv", "movies.csv", "links.csv", "tags.csv")

# RecBole ships MovieLens-100K as its example, so anyone who can install this project can download the data too. The
# package index publishes this digest for recbole-1.2.1-py3-none-any.whl (`pip install --dry-run --no-deps --report -
# recbole==1.2.1` shows it). The wheel's .link and .kg files map films to a knowledge graph that is not part of
# MovieLens; they are not extracted.
_RECBOLE_WHEEL = WheelSource(
    requirement="recbole==1.2.1",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    folder="recbole/dataset_example/ml-100k",
    files=("ml-100k.inter", "ml-100k.item", "ml-100k.user"),
)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset("ml-100k", (ArchiveSource("ml-100k.zip", ("u.data", "u.item", "u.user")), _RECBOLE_WHEEL)),
        Dataset("ml-1m", (ArchiveSource("ml-1m.zip", (*_DAT, "users.dat")),)),
        Dataset("ml-latest-small", (ArchiveSource("ml-latest-small.zip", _CSV),)),
        Dataset("ml-10m", (ArchiveSource("ml-10m.zip", (*_DAT, "tags.dat")),)),
        Dataset("ml-20m", (ArchiveSource("ml-20m.zip", _CSV),)),
        Dataset("ml-25m", (ArchiveSource("ml-25m.zip", _CSV),)),
        Dataset("ml-32m", (ArchiveSource("ml-32m.zip", _CSV),)),
    )
}


def find_dataset(name: str) -> Dataset:
    """Look up a data set by name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in DATASETS:
        raise ConfigError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]
