"""Facts about items and users besides their events, in rows aligned with the dense indices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from reccore.arrays import FloatArray, IntArray, offsets_from_lengths
from reccore.labels import Labels

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

    def __post_init__(self) -> None:
        for name in ("title", "year"):
            values = getattr(self, name)
            if values is not None and values.shape != (self.n_items,):
                raise ValueError(f"{name} must have shape ({self.n_items},), got {values.shape}")
        if (self.genre_offsets is None) != (self.genre_idx is None):
            raise ValueError("genre_offsets and genre_idx come together")
        if self.genres is not None:
            self.genres.check("genre", self.n_items)
        for name, labels in self.labels.items():
            labels.check(name, self.n_items)
        for name, values in self.numbers.items():
            if values.shape != (self.n_items,):
                raise ValueError(f"numbers {name} must have shape ({self.n_items},), got {values.shape}")
        for name, rows in self.vectors.items():
            if rows.ndim != 2 or len(rows) != self.n_items:
                raise ValueError(f"vectors {name} must have shape ({self.n_items}, D), got {rows.shape}")

    @property
    def n_genres(self) -> int:
        return len(self.genre_names)

    @property
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
        )

    def label(self, item: int, movie_id: int | None = None) -> str:
        """Title and year for display; without a title, the raw id if it is given, else the index."""
        title = "" if self.title is None else str(self.title[item])
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
        for name, labels in self.labels.items():
            arrays |= {f"labels.{name}.{part}": values for part, values in labels.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_items: int) -> ItemTable:
        """Inverse of ``to_arrays``."""
        title = None
        if "title_bytes" in arrays:
            raw, at = arrays["title_bytes"].tobytes(), arrays["title_offsets"]
            title = np.array([raw[a:b].decode() for a, b in pairwise(at)], dtype=object)
        labels: dict[str, dict[str, np.ndarray]] = {}
        for key, values in _under("labels", arrays).items():
            name, _, part = key.rpartition(".")
            labels.setdefault(name, {})[part] = values
        return cls(
            n_items=n_items,
            title=title,
            year=arrays.get("year"),
            genre_names=tuple(str(name) for name in arrays["genre_names"]),
            genre_offsets=arrays.get("genre_offsets"),
            genre_idx=arrays.get("genre_idx"),
            labels={name: Labels.from_arrays(parts) for name, parts in labels.items()},
            **{prefix: _under(prefix, arrays) for prefix in _MAPPINGS},
        )


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(f"{prefix}."): v for k, v in arrays.items() if k.startswith(f"{prefix}.")}


@dataclass(frozen=True, eq=False)
class UserTable:
    """Facts about the U users. Any column may be absent (None).

    Attributes:
        n_users: U.
        categories: name (``age``, ``gender``, ``occupation``) → (U,) int64 codes, -1 = unknown.
        category_names: name → the value of each code.
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
