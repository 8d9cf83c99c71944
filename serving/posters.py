"""Poster images of films: a folder of them named by movie id, or what the crawler of TMDb has fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pyarrow as pa

from dataprep.parquet import read_typed
from reccore import RawId, Workspace

TYPES = {".jpg": "image/jpeg", ".png": "image/png"}
TMDB_NOTICE = "This product uses the TMDB API but is not endorsed or certified by TMDB."
"""TMDb's conditions want it wherever its images are shown."""
_LINKS = pa.schema([("movieId", pa.int64()), ("tmdbId", pa.int64())])
_PATHS = pa.schema([("tmdbId", pa.int64()), ("posterPath", pa.string())])


class Posters:
    """Files of posters by movie id.

    Args:
        files: movie id → image.
        notice: sentence to show where they are shown; None = none.
    """

    def __init__(self, files: Mapping[int, Path], notice: str | None = None) -> None:
        self._files, self.notice = files, notice if files else None

    def __len__(self) -> int:
        return len(self._files)

    @classmethod
    def named_by_id(cls, folder: Path) -> Self:
        """The images ``MOVIE_ID.jpg`` and ``MOVIE_ID.png`` of a folder."""
        files = [file for file in sorted(folder.iterdir()) if file.suffix in TYPES and file.is_file()]
        return cls({int(file.stem): file for file in files if file.stem.isdecimal()})

    @classmethod
    def crawled(cls, workspace: Workspace) -> Self:
        """The images that ``run_batch_crawl.py --posters`` has put into a data root; none where it did not run.

        Raises:
            DataError: a table of the data root is not in its format.
        """
        sizes = sorted(path for path in (workspace.raw / "tmdb" / "posters").glob("*") if path.is_dir())
        links = read_typed(workspace.processed / "links.parquet", _LINKS) if sizes else None
        movies = read_typed(workspace.processed / "tmdb" / "movies.parquet", _PATHS) if sizes else None
        if links is None or movies is None:
            return cls({})
        paths = dict(zip(movies["tmdbId"].to_pylist(), movies["posterPath"].to_pylist(), strict=True))
        names = (
            (movie, paths.get(tmdb)) for movie, tmdb in zip(*(column.to_pylist() for column in links), strict=True)
        )
        images = {file.name: file for size in sizes for file in size.iterdir() if file.suffix in TYPES}
        found = {movie: images.get(name.removeprefix("/")) for movie, name in names if name}
        return cls({movie: file for movie, file in found.items() if file is not None}, TMDB_NOTICE)

    def of(self, movie_id: RawId) -> Path | None:
        """The image of a film."""
        return self._files.get(movie_id) if isinstance(movie_id, int) else None
