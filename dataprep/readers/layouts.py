"""Detection of the layout of a folder of raw files.

Layouts: ``ml-100k`` (u.data, u.item, u.user), ``ml-1m`` and ``ml-10m`` (.dat), ``csv`` (ml-latest-small, ml-20m and
later) and ``atomic`` (RecBole's .inter, .item, .user).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dataprep.readers.atomic import atomic_scale, ratings_atomic, read_atomic
from dataprep.readers.columns import Scale
from dataprep.readers.delimited import DelimitedFile
from dataprep.readers.movielens import (
    ratings_1m,
    ratings_10m,
    ratings_100k,
    ratings_csv,
    read_1m,
    read_10m,
    read_100k,
    read_csv,
)
from dataprep.readers.raw import RawData, RawTable
from reccore.errors import DataError

_SCALES = {
    "ml-100k": Scale.WHOLE_STARS,
    "ml-1m": Scale.WHOLE_STARS,
    "ml-10m": Scale.HALF_STARS,
    "csv": Scale.HALF_STARS,
}


@dataclass(frozen=True)
class Layout:
    """A layout: its name, required and optional files, how to read its ratings, and reader of the other tables."""

    name: str
    files: tuple[str, ...]
    optional: tuple[str, ...]
    ratings: Callable[[Path], DelimitedFile] = field(repr=False)
    complete: Callable[[Path, RawTable, bool], RawData] = field(repr=False)

    def read(self, folder: Path, show: bool) -> RawData:
        """Read all files."""
        return self.complete(folder, self.ratings(folder).read(show), show)


def find_layout(folder: Path) -> tuple[Layout, Path]:
    """Layout of a data set and folder of its files, which may be a single subfolder.

    Raises:
        DataError: no such folder, an unknown layout, or a missing file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    while True:
        layout = _recognise(folder)
        if layout is not None:
            break
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        if len(inside) != 1:
            names = ", ".join(path.name for path in sorted(folder.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{folder} has no known MovieLens layout (u.data, ratings.dat, ratings.csv or *.inter); "
                f"it contains {names}. For other data use --interactions FILE"
            )
        folder = inside[0]
    missing = [name for name in layout.files if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} looks like {layout.name} but {', '.join(missing)} is missing; download it again")
    return layout, folder


def rating_scale(layout: str, files: Iterable[str]) -> Scale:
    """The scale of the ratings of a data set: of its layout, and of own data any finite number.

    Args:
        layout: its name, or that of own data.
        files: that were read; of RecBole's, their name says which release they hold.
    """
    if layout == "atomic":
        return atomic_scale(next((Path(file).stem for file in files if file.endswith(".inter")), ""))
    return _SCALES.get(layout, Scale.ANY)


def source_files(folder: Path) -> list[Path]:
    """The files of a data set that are read, sorted by name."""
    layout, folder = find_layout(folder)
    return sorted(folder / name for name in (*layout.files, *layout.optional) if (folder / name).is_file())


def _recognise(folder: Path) -> Layout | None:
    if (folder / "u.data").is_file() or (folder / "u.item").is_file():
        return Layout("ml-100k", ("u.data", "u.item", "u.user"), ("u.genre",), ratings_100k, read_100k)
    if (folder / "ratings.dat").is_file() or (folder / "movies.dat").is_file():
        if (folder / "users.dat").is_file() or ("1m" in folder.name and not (folder / "tags.dat").is_file()):
            return Layout("ml-1m", ("ratings.dat", "movies.dat", "users.dat"), (), ratings_1m, read_1m)
        return Layout("ml-10m", ("ratings.dat", "movies.dat"), ("tags.dat",), ratings_10m, read_10m)
    if (folder / "ratings.csv").is_file() or (folder / "movies.csv").is_file():
        return Layout("csv", ("ratings.csv", "movies.csv"), ("links.csv", "tags.csv"), ratings_csv, read_csv)
    atomic = sorted(folder.glob("*.inter"))
    if len(atomic) > 1:
        raise DataError(f"{folder} has several .inter files: {', '.join(path.name for path in atomic)}; keep one")
    if atomic:
        stem = atomic[0].stem
        return Layout("atomic", (f"{stem}.inter", f"{stem}.item"), (f"{stem}.user",), ratings_atomic, read_atomic)
    return None
