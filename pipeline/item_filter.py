"""Which films a request admits: by genre, by year and by the number of their ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reccore import DataError, ItemTable
from reccore.arrays import BoolArray, IntArray, row_of_each
from reccore.tables import UNKNOWN_YEAR


@dataclass(frozen=True)
class Objection:
    """A condition of a filter that a film fails; as text it is a clause, such as ``it is of 1995``.

    Attributes:
        condition: that it fails.
        genres: ``genres``: those of which it has none; ``not_genres``: those of them that it has.
        year: ``years``: of the film; None = unknown.
        ratings: ``min_ratings``: of the film.
        least: ``min_ratings``: that it needs.
    """

    condition: Literal["genres", "not_genres", "years", "min_ratings"]
    genres: tuple[str, ...] = ()
    year: int | None = None
    ratings: int | None = None
    least: int | None = None

    def __str__(self) -> str:
        if self.condition == "genres":
            return f"it has none of the genres {', '.join(self.genres)}"
        if self.condition == "not_genres":
            return f"it has the genre {', '.join(self.genres)}"
        if self.condition == "years":
            return "its year is unknown" if self.year is None else f"it is of {self.year}"
        return f"it has {self.ratings:,} rating{'' if self.ratings == 1 else 's'}, fewer than {self.least:,}"


@dataclass(frozen=True)
class ItemFilter:
    """The films that a request admits; a field that is left out admits all.

    Attributes:
        genres: a film has at least one of these.
        not_genres: a film has none of these.
        year_from, year_to: first and last year; a film of an unknown year is outside.
        min_ratings: a film has at least so many events in the data that the pipeline was fitted on.

    Raises:
        DataError: one text in place of several genres, a first year after the last one, or fewer than 0 ratings.
    """

    genres: tuple[str, ...] = ()
    not_genres: tuple[str, ...] = ()
    year_from: int | None = None
    year_to: int | None = None
    min_ratings: int | None = None

    def __post_init__(self) -> None:
        for name in ("genres", "not_genres"):
            if isinstance(getattr(self, name), str):
                raise DataError(f"{name} holds names, such as ('Drama',), not the text {getattr(self, name)!r}")
        if self.year_from is not None and self.year_to is not None and self.year_from > self.year_to:
            raise DataError(f"no year is from {self.year_from} to {self.year_to}; swap year_from and year_to")
        if self.min_ratings is not None and self.min_ratings < 0:
            raise DataError(f"min_ratings must be at least 0, got {self.min_ratings}")

    def allowed(self, items: ItemTable) -> BoolArray:
        """(N,) True for the films to admit. Takes time in proportion to the genres of all films.

        Raises:
            DataError: a genre that no film has, or a condition on facts that the catalogue lacks.
        """
        admitted: BoolArray = np.ones(items.n_items, dtype=bool)
        if self.genres:
            admitted &= _with_genres(items, self.genres)
        if self.not_genres:
            admitted &= ~_with_genres(items, self.not_genres)
        if self.year_from is not None or self.year_to is not None:
            admitted &= self._of_these_years(_years(items))
        if self.min_ratings is not None:
            admitted &= _counts(items) >= self.min_ratings
        return admitted

    def objections(self, items: ItemTable, item: int) -> tuple[Objection, ...]:
        """The conditions that a film fails; none of a film that is admitted."""
        found = []
        own = {genre.casefold() for genre in items.genres_of(item)}
        if self.genres and not own & {genre.casefold() for genre in self.genres}:
            found.append(Objection("genres", self.genres))
        unwanted = tuple(genre for genre in self.not_genres if genre.casefold() in own)
        if unwanted:
            found.append(Objection("not_genres", unwanted))
        if self.year_from is not None or self.year_to is not None:
            year = _years(items)[item]
            if not self._of_these_years(year):
                found.append(Objection("years", year=None if year == UNKNOWN_YEAR else int(year)))
        if self.min_ratings is not None:
            count = int(_counts(items)[item])
            if count < self.min_ratings:
                found.append(Objection("min_ratings", ratings=count, least=self.min_ratings))
        return tuple(found)

    def _of_these_years(self, year: IntArray) -> BoolArray:
        first = UNKNOWN_YEAR + 1 if self.year_from is None else self.year_from
        within: BoolArray = (year != UNKNOWN_YEAR) & (year >= first)
        return within if self.year_to is None else within & (year <= self.year_to)


def _with_genres(items: ItemTable, names: Sequence[str]) -> BoolArray:
    """(N,) True for films with at least one of the genres; names count without regard to case."""
    genres = items.genres
    if genres is None or not len(genres):
        raise DataError("the catalogue of this pipeline has no genres; leave out genres and not_genres", "filters")
    codes = {name.casefold(): code for code, name in enumerate(genres.names)}
    unknown = [name for name in names if name.casefold() not in codes]
    if unknown:
        raise DataError(f"no film has the genre {', '.join(map(repr, unknown))}; known: {', '.join(genres.names)}")
    wanted: BoolArray = np.zeros(len(genres), dtype=bool)
    wanted[[codes[name.casefold()] for name in names]] = True
    having: BoolArray = np.zeros(items.n_items, dtype=bool)
    having[row_of_each(genres.offsets)[wanted[genres.idx]]] = True
    return having


def _years(items: ItemTable) -> IntArray:
    if items.year is None:
        raise DataError("the catalogue of this pipeline has no years; leave out year_from and year_to", "filters")
    return items.year


def _counts(items: ItemTable) -> np.ndarray:
    counts = items.statistics.get("count")
    if counts is None:
        raise DataError("the catalogue of this pipeline has no numbers of ratings; leave out min_ratings", "filters")
    return np.nan_to_num(counts)
