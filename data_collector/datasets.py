"""Which MovieLens data sets there are, what each consists of, and where it can be had, in order.

The data are GroupLens's and keep their own terms of use: https://grouplens.org/datasets/movielens/.
F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reccore.errors import ConfigError

GROUPLENS = "https://files.grouplens.org/datasets/movielens"


@dataclass(frozen=True)
class ArchiveSource:
    """A zip archive on a server of GroupLens's layout, with its ``.md5`` beside it where there is one.

    Attributes:
        file: name under the server's base address.
        files: what the unpacked archive must hold; it may hold more.
    """

    file: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class WheelSource:
    """A wheel on the package index that carries the data as package files. It is never installed.

    Attributes:
        requirement: what pip is asked for, pinned.
        sha256: hex digest of the wheel file.
        folder: folder inside the wheel.
        files: what to take from that folder.
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
        sources: where to get it, the first that works is used.
    """

    name: str
    sources: tuple[Source, ...]

    @property
    def layouts(self) -> tuple[tuple[str, ...], ...]:
        """The sets of file names, any one of which makes the data set complete."""
        return tuple(source.files for source in self.sources)


_DAT = ("ratings.dat", "movies.dat")
_CSV = ("ratings.csv", "movies.csv", "links.csv", "tags.csv")

# RecBole ships MovieLens-100K as its example, so whoever can install this project can have the data too. The digest is
# the one the package index itself publishes for recbole-1.2.1-py3-none-any.whl (shown by
# `pip install --dry-run --no-deps --report - recbole==1.2.1`). Its .link and .kg files map films to a knowledge graph
# that is no part of MovieLens, and stay behind.
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
    """The data set of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DATASETS:
        raise ConfigError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name]
