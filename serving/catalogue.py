"""Facts of films for answers, and the people of the data as the page shows them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pipeline.history import encode_ids
from reccore import IdMap, Interactions, ItemTable, RawId, Vocabulary, parse_raw_id
from reccore.arrays import IntArray
from reccore.titles import natural_title
from serving.posters import Posters
from serving.responses import Film

HIGHEST = chr(0x10FFFF)
_SAMPLED_RATINGS = 200_000
_DIGITS = 19


class Catalogue:
    """The films of a pipeline.

    Args:
        items: facts by index.
        vocabulary: raw ids.
        posters: their images; None = none.
    """

    def __init__(self, items: ItemTable, vocabulary: Vocabulary, posters: Posters | None = None) -> None:
        self.items, self.ids, self._posters = items, vocabulary.items, posters
        self._films: dict[int, Film] = {}

    def __len__(self) -> int:
        return self.items.n_items

    def index(self, movie_id: RawId) -> int:
        """Index of a film; -1 if the catalogue does not have it.

        Raises:
            DataError: text where ids are whole numbers.
        """
        return int(encode_ids("movie_id", [movie_id], self.ids)[0])

    def film(self, item: int) -> Film:
        """Facts of a film; made once."""
        found = self._films.get(item)
        if found is None:
            found = self._films[item] = self._make(item)
        return found

    def films(self, items: IntArray) -> list[Film]:
        return [self.film(item) for item in items.tolist()]

    @cached_property
    def counts(self) -> IntArray:
        """(N,) number of ratings in the fit data; zeros where it is not known."""
        counted = self.items.statistics.get("count")
        if counted is None:
            return np.zeros(len(self), dtype=np.int64)
        return np.nan_to_num(counted).astype(np.int64)

    @cached_property
    def most_rated(self) -> IntArray:
        """(N,) items, the most rated first."""
        return np.argsort(-self.counts, kind="stable")

    @property
    def years(self) -> tuple[int, int] | None:
        """The earliest and the latest year; None without years."""
        known = np.empty(0, dtype=np.int64) if self.items.year is None else self.items.year[self.items.year > 0]
        return (int(known.min()), int(known.max())) if len(known) else None

    def _make(self, item: int) -> Film:
        movie_id = self.ids.raw_id(item)
        title = "" if self.items.title is None else natural_title(str(self.items.title[item]))
        year = 0 if self.items.year is None else int(self.items.year[item])
        mean = self.items.statistics.get("mean_rating")
        known = mean is not None and np.isfinite(mean[item])
        return Film(
            movie_id=movie_id,
            title=title or f"movie {movie_id}",
            label=self.items.label(item, movie_id),
            year=year or None,
            genres=tuple(self.items.genres_of(item)),
            ratings=int(self.counts[item]),
            mean_rating=round(float(mean[item]), 2) if known and mean is not None else None,
            poster=None if self._posters is None or self._posters.of(movie_id) is None else f"/posters/{movie_id}.jpg",
        )


def ids_with_prefix(ids: IdMap, prefix: str, limit: int) -> IntArray:
    """Indices of at most ``limit`` ids that begin with a text, an equal one first, then in order."""
    if not prefix:
        return np.arange(min(limit, len(ids)))
    if ids.is_text:
        return ids.within(prefix, prefix + HIGHEST)[:limit]
    number = parse_raw_id(prefix)
    if not isinstance(number, int) or number < 0:
        found = ids.encode(number)
        return found[None] if found >= 0 else np.empty(0, dtype=np.int64)
    ranges = [(number * 10**more, (number + 1) * 10**more) for more in range(_DIGITS if number else 1)]
    inside = [(low, min(high, 2**63 - 1)) for low, high in ranges if low < 2**63]
    return np.concatenate([ids.within(*span) for span in inside])[:limit]


def rating_scale(events: Interactions) -> tuple[tuple[float, float], float] | None:
    """The least and the greatest rating of the data, and the step between ratings; None without ratings."""
    rating = events.rating
    if rating is None or len(rating) == 0:
        return None
    used = np.unique(rating[:_SAMPLED_RATINGS])
    step = float(np.diff(used).min()) if len(used) > 1 else 1.0
    return (float(rating.min()), float(rating.max())), round(step, 6)
