"""Films found by a part of their title."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from reccore import DataError, ItemTable, RawId, Vocabulary
from reccore.arrays import IntArray
from reccore.titles import comparable_title, without_article

MATCHES_SHOWN = 10


class FilmFinder:
    """Finds films of a catalogue by their titles, without regard to case, accents, punctuation and the article.

    Args:
        items: titles and years; where events are counted, the films with most of them are listed first.
        vocabulary: raw ids of the items.
    """

    def __init__(self, items: ItemTable, vocabulary: Vocabulary) -> None:
        self.items, self.vocabulary = items, vocabulary

    @cached_property
    def _titles(self) -> np.ndarray:
        """(N,) comparable titles, "" where unknown."""
        titles = [] if self.items.title is None else self.items.title.tolist()
        return np.array([comparable_title(str(title)) for title in titles], dtype=np.str_)

    @cached_property
    def _labels(self) -> np.ndarray:
        """(N,) comparable titles with the year."""
        years = np.zeros(len(self._titles), dtype=np.int64) if self.items.year is None else self.items.year
        pairs = zip(self._titles.tolist(), years.tolist(), strict=True)
        return np.array([f"{title} {year}" if title and year else title for title, year in pairs], dtype=np.str_)

    @cached_property
    def _by_whole_title(self) -> dict[str, list[int]]:
        """Comparable title without the article, with the year and without → its films, in order."""
        films: dict[str, list[int]] = {}
        for item, names in enumerate(zip(self._titles.tolist(), self._labels.tolist(), strict=True)):
            for name in {without_article(name) for name in names}:
                films.setdefault(name, []).append(item)
        return films

    def find(self, text: str) -> RawId:
        """Raw id of the film of that title, or else of the only one whose title contains the text.

        Where ids are text, an id counts first, and a text that is in no title is an unknown id.

        Args:
            text: a title or a part of it, with or without the article and the year.

        Raises:
            DataError: no film, or several, which are listed with their ids.
        """
        ids = self.vocabulary.items
        if ids.is_text and ids.encode([text])[0] >= 0:
            return text
        wanted = without_article(comparable_title(text))
        if not wanted and ids.is_text:
            return text
        if not wanted:
            raise DataError(f"{text!r} is neither the id of a film nor a part of a title")
        found = np.array(self._by_whole_title.get(wanted, ()), dtype=np.int64)
        if len(found) == 0:
            found = np.flatnonzero(np.char.find(self._labels, wanted) >= 0)
        if len(found) == 0 and ids.is_text:
            return text
        if len(found) == 0:
            raise DataError(f"no film here has {text!r} in its title; give another part of it, or the film's id")
        if len(found) > 1:
            raise DataError(f"{len(found)} films have {text!r} in their title; give the id of one: {self._list(found)}")
        return ids.raw_id(int(found[0]))

    def _list(self, found: IntArray) -> str:
        """Ids and titles, the films with most events first."""
        counts = self.items.statistics.get("count")
        if counts is not None:
            found = found[np.argsort(-np.nan_to_num(counts[found]), kind="stable")]
        first = found[:MATCHES_SHOWN]
        ids = self.vocabulary.items.decode(first).tolist()
        shown = [f"{raw} {self.items.label(item)}" for raw, item in zip(ids, first.tolist(), strict=True)]
        return ", ".join(shown) + (f" and {len(found) - len(first)} more" if len(found) > len(first) else "")
