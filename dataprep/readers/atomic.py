"""RecBole's atomic files: tab-separated, with a typed header such as ``user_id:token``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from dataprep.cleaning import find_years, split_genres, split_titles
from dataprep.readers.columns import TABS, ColumnSpec, Kind, Scale
from dataprep.readers.delimited import DelimitedFile, header_specs
from dataprep.readers.raw import RawData, RawTable
from dataprep.readers.records import AGE, MOVIE, RATING, USER, column, movie_records, text, user_records
from dataprep.schema import TIE_FILE, TIE_HASH


def ratings_atomic(folder: Path) -> DelimitedFile:
    """The .inter file of a folder."""
    path = next(folder.glob("*.inter"))
    time = ColumnSpec("timestamp", Kind.FLOAT_TIME)
    known = {"user_id:token": USER, "item_id:token": MOVIE, "rating:float": RATING, "timestamp:float": time}
    return _atomic_file(path, known, ("userId", "movieId"), atomic_scale(path.stem))


def atomic_scale(dataset: str) -> Scale:
    """The scale of the ratings of a data set as RecBole names it."""
    return Scale.WHOLE_STARS if dataset in {"ml-100k", "ml-1m"} else Scale.HALF_STARS


def read_atomic(folder: Path, ratings: RawTable, show: bool) -> RawData:
    """Ratings with the .item and, if present, .user file of a folder."""
    path = next(folder.glob("*.inter"))
    known = {
        "item_id:token": MOVIE,
        "movie_title:token_seq": text("title"),
        "release_year:token": text("year"),
        "class:token_seq": text("genres"),
        "genre:token_seq": text("genres"),
    }
    raw = _atomic_file(path.with_suffix(".item"), known, ("movieId", "title", "genres")).read(show)
    title, year = split_titles(column(raw, "title"), unknown_words=True)
    if "year" in raw.table.column_names:  # "V" for one film, whose year is still in the title
        year = pc.coalesce(year, find_years(column(raw, "year")))
    movies = movie_records(raw, title, year, split_genres(column(raw, "genres"), " "))
    users = None
    if path.with_suffix(".user").is_file():
        known = {
            "user_id:token": USER,
            "age:token": AGE,
            "gender:token": text("gender"),
            "occupation:token": text("occupation"),
            "zip_code:token": text("zip"),
        }
        required = ("userId", "age", "gender", "occupation", "zip")
        users = _atomic_file(path.with_suffix(".user"), known, required).read(show)
        users = user_records(users, column(users, "occupation"))
    return RawData("atomic", _atomic_tie_order(ratings), ratings, movies, users)


def _atomic_file(
    path: Path, known: dict[str, ColumnSpec], required: tuple[str, ...], scale: Scale = Scale.ANY
) -> DelimitedFile:
    return DelimitedFile(path, replace(TABS, skip=1), header_specs(path, known, required, separator="\t"), scale)


def _atomic_tie_order(ratings: RawTable) -> str:
    """``hash`` if the rows are sorted by (user, movie), as in conversions of ml-20m, otherwise ``file``."""
    user, movie = np.asarray(ratings.table["userId"]), np.asarray(ratings.table["movieId"])
    same = user[1:] == user[:-1]
    by_ids = len(user) > 1 and bool(same.any()) and np.all((user[1:] > user[:-1]) | (same & (movie[1:] > movie[:-1])))
    return TIE_HASH if by_ids else TIE_FILE
