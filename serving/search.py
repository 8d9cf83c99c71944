"""Films found while a title is typed: by prefix, with typos, with the article in front or not, and by year."""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

from reccore import ItemTable
from reccore.arrays import IntArray, offsets_from_lengths
from reccore.titles import comparable_title, without_article
from serving.catalogue import HIGHEST

MAX_WORDS = 8
MAX_LETTERS = 100
_ONE_TYPO, _TWO_TYPOS = 4, 8
"""Least numbers of letters of a word in which so many typos are looked for."""
_NO_MATCH = 100
_MOST_SIMILAR = 200
_BITS = 32


class FilmSearch:
    """An index of the words of all titles.

    The words are sorted, so that those with a prefix are a range, and their films a slice of one array. Typos are
    looked for among the words whose letters differ little, which a bit mask of letters finds, by the optimal string
    alignment distance of RapidFuzz.

    Args:
        items: titles and years.
        counts: (N,) number of ratings of each film; of equally good matches the most rated come first.
    """

    def __init__(self, items: ItemTable, counts: IntArray) -> None:
        self.n_items, self.counts = items.n_items, counts
        titles = [] if items.title is None else [comparable_title(str(title)) for title in items.title.tolist()]
        years = [0] * len(titles) if items.year is None else items.year.tolist()
        labels = [f"{title} {year}" if year else title for title, year in zip(titles, years, strict=True)]
        self._index_words(labels)
        keys = chain.from_iterable(
            ((joined(label), item), (joined(without_article(label)), item)) for item, label in enumerate(labels)
        )
        self._beginnings = sorted(set(keys))
        self._masks: dict[int, npt.NDArray[np.uint32]] = {}

    def _index_words(self, labels: list[str]) -> None:
        """Sorted words, and the films of each in CSR."""
        films: dict[str, list[int]] = {}
        for item, label in enumerate(labels):
            for word in set(label.split()):
                films.setdefault(word, []).append(item)
        self.words = sorted(films)
        self._offsets = offsets_from_lengths(np.array([len(films[word]) for word in self.words], dtype=np.int64))
        self._films = np.fromiter(chain.from_iterable(films[word] for word in self.words), dtype=np.int64)

    def find(self, query: str, limit: int) -> IntArray:
        """At most ``limit`` films, best first: fewest typos, then titles that begin so, then the most rated.

        An empty query finds the most rated films.
        """
        text = comparable_title(query[:MAX_LETTERS])
        if not text:
            return np.argsort(-self.counts, kind="stable")[:limit]
        words = text.split()[:MAX_WORDS]
        cost = np.zeros(self.n_items, dtype=np.int16)
        for place, word in enumerate(words):
            cost += self._cost(word, is_last=place == len(words) - 1)
        begins = self._that_begin_with(joined(text))
        is_beginning = np.zeros(self.n_items, dtype=bool)
        is_beginning[begins] = True
        cost[begins] = 0
        found = np.flatnonzero(cost == 0)
        if len(found) == 0:  # typos are looked for among the results only where nothing matches without them
            found = np.flatnonzero(cost < _NO_MATCH)
        order = np.lexsort((found, -self.counts[found], ~is_beginning[found], cost[found]))
        return found[order[:limit]]

    def _cost(self, word: str, *, is_last: bool) -> npt.NDArray[np.int16]:
        """(N,) number of typos with which a word of each title matches; ``_NO_MATCH`` where none does."""
        cost = np.full(self.n_items, _NO_MATCH, dtype=np.int16)
        typos = 2 if len(word) >= _TWO_TYPOS else 1 if len(word) >= _ONE_TYPO else 0
        if typos and not word.isdigit():
            for near, distance in self._similar(word, typos, is_prefix=is_last):
                films = self._films[self._offsets[near] : self._offsets[near + 1]]
                cost[films] = np.minimum(cost[films], distance)
        start, stop = bisect_left(self.words, word), bisect_left(self.words, word + (HIGHEST if is_last else "\0"))
        cost[self._films[self._offsets[start] : self._offsets[stop]]] = 0
        return cost

    def _similar(self, word: str, typos: int, *, is_prefix: bool) -> list[tuple[int, int]]:
        """Words at most ``typos`` edits away, or whose first letters are; each with its number of edits."""
        length = len(word)
        masks = self._masks_of(length if is_prefix else 0)
        differing = np.bitwise_count(masks ^ np.uint32(letters_mask(word)))
        near = np.flatnonzero(differing <= 2 * typos)
        shown = [self.words[at][:length] if is_prefix else self.words[at] for at in near.tolist()]
        found = process.extract(word, shown, scorer=OSA.distance, score_cutoff=typos, limit=_MOST_SIMILAR)
        return [(int(near[at]), int(distance)) for _, distance, at in found]

    def _masks_of(self, length: int) -> npt.NDArray[np.uint32]:
        """(W,) masks of the letters of the words, or of their first ``length`` ones; made once for each length."""
        if length not in self._masks:
            shown = self.words if length == 0 else [word[:length] for word in self.words]
            self._masks[length] = np.array([letters_mask(word) for word in shown], dtype=np.uint32)
        return self._masks[length]

    def _that_begin_with(self, text: str) -> IntArray:
        """Films whose label without spaces begins so, with the article or without it."""
        start, stop = bisect_left(self._beginnings, (text, -1)), bisect_left(self._beginnings, (text + HIGHEST, -1))
        return np.array([item for _, item in self._beginnings[start:stop]], dtype=np.int64)


def joined(text: str) -> str:
    """A text without spaces."""
    return text.replace(" ", "")


def letters_mask(word: str) -> int:
    """A bit for every letter that occurs; one edit changes at most two of them."""
    mask = 0
    for letter in word:
        mask |= 1 << (ord(letter) % _BITS)
    return mask
