"""Films found while a title is typed: by prefix, with typos, with the article in front or not, and by year."""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from rapidfuzz import process
from rapidfuzz.distance import OSA

from reccore import ItemTable
from reccore.arrays import IntArray, offsets_from_lengths
from reccore.titles import comparable_title, without_article
from serving.catalogue import HIGHEST

Costs: TypeAlias = npt.NDArray[np.int16]

MAX_WORDS = 8
MAX_LETTERS = 100
_ONE_TYPO, _TWO_TYPOS = 4, 8
"""Least numbers of letters of a word in which so many typos are looked for."""
_LONGEST = 32
"""Letters of a word that count where typos are looked for."""
_NO_MATCH = 100
_MOST_SIMILAR = 200


class FilmSearch:
    """An index of the words of all titles.

    The words are sorted, so that those with a prefix are a range, and their films a slice of one array. Typos are
    looked for among the words with nearly the same letters and first letter, which bit masks find, by the optimal
    string alignment distance of RapidFuzz.

    Args:
        items: titles and years.
        most_rated: (N,) items, the most rated first; of equally good matches these come first.
    """

    def __init__(self, items: ItemTable, most_rated: IntArray) -> None:
        self.n_items, self._most_rated = items.n_items, most_rated
        self._place = np.empty(self.n_items, dtype=np.int64)  # of each item in that order
        self._place[most_rated] = np.arange(self.n_items)
        titles = [] if items.title is None else [comparable_title(str(title)) for title in items.title.tolist()]
        years = [0] * len(titles) if items.year is None else items.year.tolist()
        labels = [f"{title} {year}" if year else title for title, year in zip(titles, years, strict=True)]
        self._index_words(labels)
        self._index_beginnings(labels)

    def _index_words(self, labels: list[str]) -> None:
        """Sorted words, the films of each in CSR, and the masks of their letters."""
        films: dict[str, list[int]] = {}
        for item, label in enumerate(labels):
            for word in set(label.split()):
                films.setdefault(word, []).append(item)
        self.words = sorted(films)
        self._offsets = offsets_from_lengths(np.array([len(films[word]) for word in self.words], dtype=np.int64))
        self._films = np.fromiter(chain.from_iterable(films[word] for word in self.words), dtype=np.int64)
        self._codes = letter_codes(self.words)  # (W, 32)
        self._masks = masks_of_beginnings(self._codes)  # (W, 32)

    def _index_beginnings(self, labels: list[str]) -> None:
        """Sorted labels without spaces, with the article and without it, and the film of each."""
        keys = {(joined(form), item) for item, label in enumerate(labels) for form in (label, without_article(label))}
        pairs = sorted(keys)
        self._beginnings = [key for key, _ in pairs]
        self._film_of_beginning = np.array([item for _, item in pairs], dtype=np.int64)

    def find(self, query: str, limit: int) -> IntArray:
        """At most ``limit`` films, best first: titles that begin so, then the most rated.

        Films that match with typos are found only where none matches without; the fewest typos come first. An empty
        query finds the most rated films.
        """
        text = comparable_title(query[:MAX_LETTERS])
        if not text:
            return self._most_rated[:limit]
        words = text.split()[:MAX_WORDS]
        exact = [self._exact(word, is_last=place == len(words) - 1) for place, word in enumerate(words)]
        begins = self._that_begin_with(joined(text))
        cost = self._total(exact, begins)
        is_known = [bool((one == 0).any()) for one in exact]
        for spared in (is_known, [False] * len(words)):  # first, only words that no title has may be misspelt
            if (cost < _NO_MATCH).any():
                break
            tolerant = [
                one if spare else self._inexact(word, one, is_last=place == len(words) - 1)
                for place, (word, one, spare) in enumerate(zip(words, exact, spared, strict=True))
            ]
            cost = self._total(tolerant, begins)
        return self._best(cost, begins, limit)

    def _total(self, costs: list[Costs], begins: IntArray) -> Costs:
        """(N,) sum over the words; 0 for films whose title begins as the query does."""
        total: Costs = np.sum(costs, axis=0, dtype=np.int16)
        total[begins] = 0
        return total

    def _best(self, cost: Costs, begins: IntArray, limit: int) -> IntArray:
        """The first ``limit`` films with the lowest cost."""
        found = np.flatnonzero(cost < _NO_MATCH)
        is_later = np.ones(self.n_items, dtype=np.int64)
        is_later[begins] = 0
        key = (2 * cost[found] + is_later[found]) * self.n_items + self._place[found]
        if len(found) > limit:
            nearest = np.argpartition(key, limit)[:limit]
            found, key = found[nearest], key[nearest]
        return found[np.argsort(key)]

    def _exact(self, word: str, *, is_last: bool) -> Costs:
        """(N,) 0 where a title has the word, or for the last one a word that begins so; elsewhere ``_NO_MATCH``."""
        cost = np.full(self.n_items, _NO_MATCH, dtype=np.int16)
        start, stop = bisect_left(self.words, word), bisect_left(self.words, word + (HIGHEST if is_last else "\0"))
        cost[self._films[self._offsets[start] : self._offsets[stop]]] = 0
        return cost

    def _inexact(self, word: str, exact: Costs, *, is_last: bool) -> Costs:
        """(N,) number of typos with which a word of each title matches."""
        cost = exact.copy()
        typos = 2 if len(word) >= _TWO_TYPOS else 1 if len(word) >= _ONE_TYPO else 0
        if typos and len(word) <= _LONGEST and not word.isdigit():
            for near, distance in self._similar(word, typos, is_prefix=is_last):
                films = self._films[self._offsets[near] : self._offsets[near + 1]]
                cost[films] = np.minimum(cost[films], distance)
        return cost

    def _similar(self, word: str, typos: int, *, is_prefix: bool) -> list[tuple[int, int]]:
        """Words at most ``typos`` edits away, or whose first letters are; each with its number of edits.

        The first letter is right, left out, added, or swapped with the second one.
        """
        length = len(word)
        own = letter_codes([word])
        masks = self._masks[:, (length if is_prefix else _LONGEST) - 1]
        differing = np.bitwise_count(masks ^ masks_of_beginnings(own)[0, -1])
        first, second = self._codes[:, 0], self._codes[:, 1]
        is_start = (first == own[0, 0]) | (first == own[0, 1]) | (second == own[0, 0])
        near = np.flatnonzero((differing <= 2 * typos) & is_start)
        shown = [self.words[at][:length] if is_prefix else self.words[at] for at in near.tolist()]
        found = process.extract(word, shown, scorer=OSA.distance, score_cutoff=typos, limit=_MOST_SIMILAR)
        return [(int(near[at]), int(distance)) for _, distance, at in found]

    def _that_begin_with(self, text: str) -> IntArray:
        """Films whose label without spaces begins so, with the article or without it."""
        start, stop = bisect_left(self._beginnings, text), bisect_left(self._beginnings, text + HIGHEST)
        return self._film_of_beginning[start:stop]


def joined(text: str) -> str:
    """A text without spaces."""
    return text.replace(" ", "")


def letter_codes(words: list[str]) -> npt.NDArray[np.uint32]:
    """(W, 32) code points of the first letters, 0 behind the end."""
    return np.array(words, dtype=f"<U{_LONGEST}").reshape(-1, 1).view(np.uint32).reshape(len(words), _LONGEST)


def masks_of_beginnings(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """(W, 32) for the first 1, 2, … letters a bit for every letter that occurs; one edit changes at most two bits."""
    bits = np.where(codes > 0, np.uint32(1) << (codes % 32), np.uint32(0)).astype(np.uint32)
    return np.bitwise_or.accumulate(bits, axis=1)
