"""Facts about items and users besides their events, in rows aligned with the dense indices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths
from reccore.labels import Labels
from reccore.titles import natural_title
from reccore.vocabulary import RawId

UNKNOWN_YEAR = 0
_MAPPINGS = ("numbers", "vectors", "statistics")


@dataclass(frozen=True, eq=False)
class ItemTable:
    """Facts about the N items of the catalogue. Any column may be absent (None).

    Attributes:
        n_items: N.
        title: (N,) object array of strings, without the year; "" where unknown.
        year: (N,) int64, 0 = unknown.
        genre_names: names of the G genres.
        genre_offsets: (N+1,) int64 CSR offsets into ``genre_idx``.
        genre_idx: (L,) int64 in 0…G-1.
        labels: name → further features with several values per item, such as ``tag`` or ``director``.
        numbers: name → (N,) float32 facts that depend on no event, such as ``runtime``; NaN = unknown.
        vectors: name → (N, D) float32, such as ``title``; zero rows where nothing is known.
        own: names of those labels, numbers and vectors that are columns of the user's own item file; models read them
            only by name.
        statistics: name → (N,) float32, such as ``count`` and ``mean_rating`` **of the fit split**;
            NaN where an item has none.
    """

    n_items: int
    title: np.ndarray | None = None
    year: IntArray | None = None
    genre_names: tuple[str, ...] = ()
    genre_offsets: IntArray | None = None
    genre_idx: IntArray | None = None
    labels: Mapping[str, Labels] = field(default_factory=dict)
    numbers: Mapping[str, FloatArray] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    statistics: Mapping[str, FloatArray] = field(default_factory=dict)
    own: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("title", "year"):
            values = getattr(self, name)
            if values is not None and values.shape != (self.n_items,):
                raise ValueError(f"{name} must have shape ({self.n_items},), got {values.shape}")
        if (self.genre_offsets is None) != (self.genre_idx is None):
            raise ValueError("genre_offsets and genre_idx come together")
        if self.genres is not None:
            self.genres.check("genre", self.n_items)
        _check_columns(self.n_items, self.labels, self.numbers, self.vectors)

    @property
    def n_genres(self) -> int:
        return len(self.genre_names)

    @cached_property
    def genres(self) -> Labels | None:
        """The genres as labels; None without them."""
        if self.genre_offsets is None or self.genre_idx is None:
            return None
        return Labels(self.genre_names, self.genre_offsets, self.genre_idx)

    def genre_matrix(self) -> FloatArray:
        """(N, G) float32 multi-hot; zeros where nothing is known."""
        genres = self.genres
        return np.zeros((self.n_items, self.n_genres), dtype=np.float32) if genres is None else genres.matrix()

    def genres_of(self, item: int) -> list[str]:
        """Genre names of one item."""
        return [] if self.genres is None else self.genres.of(item)

    def with_columns(self, names: Collection[str]) -> ItemTable:
        """The same table with only the named ``labels``, ``numbers`` and ``vectors``; other columns stay."""
        return replace(
            self,
            labels={name: labels for name, labels in self.labels.items() if name in names},
            numbers={name: values for name, values in self.numbers.items() if name in names},
            vectors={name: rows for name, rows in self.vectors.items() if name in names},
            own=self.own.intersection(names),
        )

    def label(self, item: int, movie_id: RawId | None = None) -> str:
        """Title and year for display, the article in front; without a title, the raw id if given, else the index."""
        title = "" if self.title is None else natural_title(str(self.title[item]))
        year = 0 if self.year is None else int(self.year[item])
        unnamed = f"item {item}" if movie_id is None else f"movie {movie_id}"
        return (title or unnamed) + (f" ({year})" if year else "")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle; strings become bytes and offsets, which need no pickle."""
        arrays: dict[str, np.ndarray] = {"genre_names": np.array(self.genre_names, dtype=np.str_)}
        for name in ("year", "genre_offsets", "genre_idx"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        if self.title is not None:
            encoded = [str(title).encode() for title in self.title]
            arrays["title_bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays["title_offsets"] = offsets_from_lengths(np.array([len(b) for b in encoded], dtype=np.int64))
        for prefix in _MAPPINGS:
            arrays |= {f"{prefix}.{name}": values for name, values in getattr(self, prefix).items()}
        arrays |= _labels_to_arrays(self.labels)
        if self.own:
            arrays["own"] = np.array(sorted(self.own), dtype=np.str_)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_items: int) -> ItemTable:
        """Inverse of ``to_arrays``."""
        title = None
        if "title_bytes" in arrays:
            raw, at = arrays["title_bytes"].tobytes(), arrays["title_offsets"]
            title = np.array([raw[a:b].decode() for a, b in pairwise(at)], dtype=object)
        return cls(
            n_items=n_items,
            title=title,
            year=arrays.get("year"),
            genre_names=tuple(str(name) for name in arrays["genre_names"]),
            genre_offsets=arrays.get("genre_offsets"),
            genre_idx=arrays.get("genre_idx"),
            labels=_labels_from_arrays(arrays),
            own=frozenset(str(name) for name in arrays.get("own", ())),
            **{prefix: _under(prefix, arrays) for prefix in _MAPPINGS},
        )


def _check_columns(
    n: int, labels: Mapping[str, Labels], numbers: Mapping[str, FloatArray], vectors: Mapping[str, FloatArray]
) -> None:
    """Raise a ``ValueError`` unless every column has ``n`` rows."""
    for name, column in labels.items():
        column.check(name, n)
    for name, values in numbers.items():
        if values.shape != (n,):
            raise ValueError(f"numbers {name} must have shape ({n},), got {values.shape}")
    for name, rows in vectors.items():
        if rows.ndim != 2 or len(rows) != n:
            raise ValueError(f"vectors {name} must have shape ({n}, D), got {rows.shape}")


def _labels_to_arrays(labels: Mapping[str, Labels]) -> dict[str, np.ndarray]:
    return {
        f"labels.{name}.{part}": values
        for name, column in labels.items()
        for part, values in column.to_arrays().items()
    }


def _labels_from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Labels]:
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, values in _under("labels", arrays).items():
        name, _, part = key.rpartition(".")
        parts.setdefault(name, {})[part] = values
    return {name: Labels.from_arrays(of_name) for name, of_name in parts.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(f"{prefix}."): v for k, v in arrays.items() if k.startswith(f"{prefix}.")}


@dataclass(frozen=True, eq=False)
class UserTable:
    """Facts about the U users. Any column may be absent (None).

    Attributes:
        n_users: U.
        categories: name (``age``, ``gender``, ``occupation``) → (U,) int64 codes, -1 = unknown.
        category_names: name → the value of each code.
        labels: name → column of the user's own user file with one or several values per user.
        numbers: name → (U,) float32 column of the same file; NaN = unknown.
        vectors: name → (U, D) float32 column of the same file; zero rows where nothing is known.
    """

    n_users: int
    categories: Mapping[str, IntArray] = field(default_factory=dict)
    category_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Mapping[str, Labels] = field(default_factory=dict)
    numbers: Mapping[str, FloatArray] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, codes in self.categories.items():
            if codes.shape != (self.n_users,):
                raise ValueError(f"{name} must have shape ({self.n_users},), got {codes.shape}")
            if name not in self.category_names:
                raise ValueError(f"category {name} has no names")
        _check_columns(self.n_users, self.labels, self.numbers, self.vectors)

    @property
    def own(self) -> frozenset[str]:
        """Names of the labels, numbers and vectors, which models read only by name."""
        return frozenset([*self.labels, *self.numbers, *self.vectors])

    def with_columns(self, names: Collection[str]) -> UserTable:
        """The same table with only the named ``labels``, ``numbers`` and ``vectors``; the categories stay."""
        return replace(
            self,
            labels={name: labels for name, labels in self.labels.items() if name in names},
            numbers={name: values for name, values in self.numbers.items() if name in names},
            vectors={name: rows for name, rows in self.vectors.items() if name in names},
        )

    def known(self, user_idx: IntArray) -> BoolArray:
        """Which of the given users are in the table."""
        return (user_idx >= 0) & (user_idx < self.n_users)

    def codes(self, name: str, user_idx: IntArray) -> IntArray:
        """Codes of the given users, -1 for unknown users (-1) too."""
        known = self.known(user_idx)
        if self.n_users == 0:
            return np.full(len(user_idx), -1, dtype=np.int64)
        return np.where(known, self.categories[name][np.where(known, user_idx, 0)], -1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        arrays: dict[str, np.ndarray] = {}
        for name, codes in self.categories.items():
            arrays[f"codes.{name}"] = codes
            arrays[f"names.{name}"] = np.array(self.category_names[name], dtype=np.str_)
        for prefix in ("numbers", "vectors"):
            arrays |= {f"{prefix}.{name}": values for name, values in getattr(self, prefix).items()}
        return arrays | _labels_to_arrays(self.labels)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_users: int) -> UserTable:
        """Inverse of ``to_arrays``."""
        names = [key.removeprefix("codes.") for key in arrays if key.startswith("codes.")]
        return cls(
            n_users=n_users,
            categories={name: arrays[f"codes.{name}"] for name in names},
            category_names={name: tuple(str(v) for v in arrays[f"names.{name}"]) for name in names},
            labels=_labels_from_arrays(arrays),
            numbers=_under("numbers", arrays),
            vectors=_under("vectors", arrays),
        )
