"""What is known of items and users beyond their events: rows aligned with the dense indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from reccore.arrays import FloatArray, IntArray, check_offsets, offsets_from_lengths, row_of_each

UNKNOWN_YEAR = 0
_MAPPINGS = ("vectors", "statistics")


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
        tag_names: names of the T tags that are read.
        tag_offsets: (N+1,) int64 CSR offsets into ``tag_idx``.
        tag_idx: (L',) int64 in 0…T-1; what most users say of an item first.
        vectors: name → (N, D) float32, such as ``title``; zero rows where nothing is known.
        statistics: name → (N,) float32, such as ``count`` and ``mean_rating`` **of the fit split**;
            NaN where an item has none.
    """

    n_items: int
    title: np.ndarray | None = None
    year: IntArray | None = None
    genre_names: tuple[str, ...] = ()
    genre_offsets: IntArray | None = None
    genre_idx: IntArray | None = None
    tag_names: tuple[str, ...] = ()
    tag_offsets: IntArray | None = None
    tag_idx: IntArray | None = None
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    statistics: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("title", "year"):
            values = getattr(self, name)
            if values is not None and values.shape != (self.n_items,):
                raise ValueError(f"{name} must have shape ({self.n_items},), got {values.shape}")
        _check_labels("genre", self.n_items, len(self.genre_names), self.genre_offsets, self.genre_idx)
        _check_labels("tag", self.n_items, len(self.tag_names), self.tag_offsets, self.tag_idx)
        for name, rows in self.vectors.items():
            if rows.ndim != 2 or len(rows) != self.n_items:
                raise ValueError(f"vectors {name} must have shape ({self.n_items}, D), got {rows.shape}")

    @property
    def n_genres(self) -> int:
        return len(self.genre_names)

    @property
    def n_tags(self) -> int:
        return len(self.tag_names)

    def genre_matrix(self) -> FloatArray:
        """(N, G) float32 multi-hot; (N, 0) without genres."""
        matrix = np.zeros((self.n_items, self.n_genres), dtype=np.float32)
        if self.genre_offsets is not None and self.genre_idx is not None:
            matrix[row_of_each(self.genre_offsets), self.genre_idx] = 1.0
        return matrix

    def genres_of(self, item: int) -> list[str]:
        """Genre names of one item."""
        return _labels_of(item, self.genre_names, self.genre_offsets, self.genre_idx)

    def tags_of(self, item: int) -> list[str]:
        """Tags of one item, the most frequent first."""
        return _labels_of(item, self.tag_names, self.tag_offsets, self.tag_idx)

    def label(self, item: int, movie_id: int | None = None) -> str:
        """Title and year for people; where the title is unknown, the raw id if it is given, else the bare index."""
        title = "" if self.title is None else str(self.title[item])
        year = 0 if self.year is None else int(self.year[item])
        unnamed = f"item {item}" if movie_id is None else f"movie {movie_id}"
        return (title or unnamed) + (f" ({year})" if year else "")

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle; strings become fixed-width unicode, so no pickle is needed."""
        arrays: dict[str, np.ndarray] = {"genre_names": np.array(self.genre_names, dtype=np.str_)}
        for name in ("year", "genre_offsets", "genre_idx", "tag_offsets", "tag_idx"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        if self.tag_offsets is not None:
            arrays["tag_names"] = np.array(self.tag_names, dtype=np.str_)
        if self.title is not None:
            encoded = [str(title).encode() for title in self.title]
            arrays["title_bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays["title_offsets"] = offsets_from_lengths(np.array([len(b) for b in encoded], dtype=np.int64))
        for prefix in _MAPPINGS:
            arrays |= {f"{prefix}.{name}": values for name, values in getattr(self, prefix).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_items: int) -> ItemTable:
        """Inverse of ``to_arrays``."""
        title = None
        if "title_bytes" in arrays:
            raw, at = arrays["title_bytes"].tobytes(), arrays["title_offsets"]
            title = np.array([raw[a:b].decode() for a, b in pairwise(at)], dtype=object)
        mappings = {
            prefix: {k.removeprefix(f"{prefix}."): v for k, v in arrays.items() if k.startswith(f"{prefix}.")}
            for prefix in _MAPPINGS
        }
        return cls(
            n_items=n_items,
            title=title,
            year=arrays.get("year"),
            genre_names=tuple(str(name) for name in arrays["genre_names"]),
            genre_offsets=arrays.get("genre_offsets"),
            genre_idx=arrays.get("genre_idx"),
            tag_names=tuple(str(name) for name in arrays.get("tag_names", ())),
            tag_offsets=arrays.get("tag_offsets"),
            tag_idx=arrays.get("tag_idx"),
            **mappings,
        )


def _check_labels(name: str, n_items: int, n_names: int, offsets: IntArray | None, idx: IntArray | None) -> None:
    """Raise ``ValueError`` unless the CSR column gives each of the items labels in 0 … n_names - 1."""
    if (offsets is None) != (idx is None):
        raise ValueError(f"{name}_offsets and {name}_idx come together")
    if offsets is None or idx is None:
        return
    check_offsets(f"{name}_offsets", offsets, len(idx))
    if len(offsets) != n_items + 1:
        raise ValueError(f"{name}_offsets must have {n_items + 1} entries, got {len(offsets)}")
    if len(idx) and (idx.min() < 0 or idx.max() >= n_names):
        raise ValueError(f"{name}_idx must lie in 0…{n_names - 1}")


def _labels_of(item: int, names: tuple[str, ...], offsets: IntArray | None, idx: IntArray | None) -> list[str]:
    if offsets is None or idx is None:
        return []
    return [names[label] for label in idx[offsets[item] : offsets[item + 1]]]


@dataclass(frozen=True, eq=False)
class UserTable:
    """Facts about the U users. Any column may be absent (None).

    Attributes:
        n_users: U.
        categories: name (``age``, ``gender``, ``occupation``) → (U,) int64 codes, -1 = unknown.
        category_names: name → the values that the codes stand for.
    """

    n_users: int
    categories: Mapping[str, IntArray] = field(default_factory=dict)
    category_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, codes in self.categories.items():
            if codes.shape != (self.n_users,):
                raise ValueError(f"{name} must have shape ({self.n_users},), got {codes.shape}")
            if name not in self.category_names:
                raise ValueError(f"category {name} has no names")

    def codes(self, name: str, user_idx: IntArray) -> IntArray:
        """Codes of the given users, -1 for unknown users (-1) too."""
        known = (user_idx >= 0) & (user_idx < self.n_users)
        if self.n_users == 0:
            return np.full(len(user_idx), -1, dtype=np.int64)
        return np.where(known, self.categories[name][np.where(known, user_idx, 0)], -1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        arrays: dict[str, np.ndarray] = {}
        for name, codes in self.categories.items():
            arrays[f"codes.{name}"] = codes
            arrays[f"names.{name}"] = np.array(self.category_names[name], dtype=np.str_)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_users: int) -> UserTable:
        """Inverse of ``to_arrays``."""
        names = [key.removeprefix("codes.") for key in arrays if key.startswith("codes.")]
        return cls(
            n_users=n_users,
            categories={name: arrays[f"codes.{name}"] for name in names},
            category_names={name: tuple(str(v) for v in arrays[f"names.{name}"]) for name in names},
        )
