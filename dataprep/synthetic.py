"""Synthetic data in ML-32M's layout, of its shape or of a shop's, with learnable preferences, written in chunks."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from dataprep.synthetic_draws import World, draw_events, make_world
from reccore.arrays import IntArray
from reccore.errors import ConfigError, DataError
from reccore.options import RunOptions
from reccore.progress import progress

ML_32M_USERS = 200_948
ML_32M_MOVIES = 87_585
ML_32M_RATINGS = 32_000_204
HEAVIEST_USER = 33_000
LEAST_MOVIES = 1_700
"""Of MovieLens' shape at any number of ratings, about the catalogue of ML-100K."""
SHOP_USERS = 31_000
SHOP_ITEMS = 24_000
SHOP_EVENTS = 287_000
HEAVIEST_BUYER = 300

Shape = Literal["movielens", "shop"]

_CHUNK_EVENTS = 1_000_000
_WORLD, _MOVIES, _COUNTS, _FIRST_CHUNK = 1, 2, 3, 10  # random streams of the parts
_GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_FIRST = (
    "Silent", "Last", "Golden", "Broken", "Endless", "Little", "Dark", "Lost", "Crimson", "Second", "Wild", "Blue",
)  # fmt: skip
_SECOND = (
    "River", "Summer", "Empire", "Letter", "Garden", "Winter", "Stranger", "Island", "Train", "Promise", "Moon",
)  # fmt: skip
_FORMS = ("{} {}", "{} {}, The", '{} {}: Café "Nord"', "{} {} (Le retour)")


@dataclass(frozen=True)
class SyntheticSize:
    """Exact numbers of users, movies and ratings, and the shape of their distributions.

    Attributes:
        users: number of users.
        movies: number of items.
        ratings: number of events.
        shape: ``movielens`` has long histories over large clusters of films; ``shop`` has short histories over a large
            catalogue of small clusters, all of them seldom sold.
    """

    users: int = ML_32M_USERS
    movies: int = ML_32M_MOVIES
    ratings: int = ML_32M_RATINGS
    shape: Shape = "movielens"

    @classmethod
    def of_shape(cls, shape: Shape, **sizes: int) -> SyntheticSize:
        """The usual size of a shape, with other numbers where ``sizes`` gives them."""
        usual = {"users": SHOP_USERS, "movies": SHOP_ITEMS, "ratings": SHOP_EVENTS} if shape == "shop" else {}
        return cls(**{**usual, **sizes}, shape=shape)

    @classmethod
    def of_ratings(cls, ratings: int) -> SyntheticSize:
        """MovieLens' shape with so many ratings: users and movies in the proportion of ML-32M, ``LEAST_MOVIES`` at
        least."""
        share = ratings / ML_32M_RATINGS
        users, movies = round(ML_32M_USERS * share), round(ML_32M_MOVIES * share)
        return cls(users=max(users, 1), movies=max(movies, LEAST_MOVIES), ratings=ratings)

    @property
    def heaviest(self) -> int:
        """Events of the heaviest user: 33,000 (shop: 300) at full size, otherwise in proportion to the movies."""
        most, movies = (HEAVIEST_BUYER, SHOP_ITEMS) if self.shape == "shop" else (HEAVIEST_USER, ML_32M_MOVIES)
        return max(min(round(most * self.movies / movies), self.ratings - self.users + 1), 1)

    def check(self) -> None:
        """Raise ``ConfigError`` for sizes that are impossible."""
        if self.users < 1 or self.movies < 20 or self.ratings < self.users:
            raise ConfigError(
                f"need at least 1 user, 20 movies and one rating per user, got {self.users:,} users, "
                f"{self.movies:,} movies, {self.ratings:,} ratings"
            )
        most = self.heaviest + (self.users - 1) * max(self.heaviest // 2, 1)
        if self.ratings > most:
            raise ConfigError(f"at most {most:,} ratings fit {self.users:,} users and {self.movies:,} movies")


def make_synthetic(folder: Path, size: SyntheticSize, options: RunOptions) -> dict[str, int]:
    """Write ratings.csv, movies.csv, links.csv and tags.csv; the folder is replaced atomically.

    Memory holds a million events and the movies. The same seed and size give the same bytes.

    Returns:
        Rows written, by table.

    Raises:
        ConfigError: the sizes are impossible.
        DataError: ``folder`` is not a data set, or it cannot be written.
    """
    size.check()
    if folder.exists() and not (folder / "ratings.csv").is_file():
        raise DataError(f"{folder} exists and is not a data set; move it away")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        world = make_world(size.movies, _generator(options, _WORLD), of_shop=size.shape == "shop")
        _write_movies(temporary, world, options)
        n_tags = _write_events(temporary, size, world, options)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {"ratings": size.ratings, "movies": size.movies, "links": size.movies, "tags": n_tags, "users": size.users}


def event_counts(size: SyntheticSize, rng: np.random.Generator) -> IntArray:
    """(U,) events of each user: a long tail from 20 (fewer in small sizes) to one heaviest user; exact in total."""
    least = max(1, min(20, size.ratings // (2 * size.users)))
    most = max(size.heaviest // 2, 1)
    weight = rng.lognormal(0.0, 1.45, size.users)
    heaviest = int(np.argmax(weight))
    weight[heaviest] = 0.0
    target = size.ratings - size.heaviest + least
    low, high = 0.0, float(size.ratings)
    for _ in range(100):  # bisection; the clipped total grows with the factor
        factor = (low + high) / 2
        if np.minimum(least + weight * factor, most).sum() < target:
            low = factor
        else:
            high = factor
    counts = np.minimum(least + weight * low, most).astype(np.int64)
    counts[heaviest] = min(size.heaviest, size.ratings - (size.users - 1))
    while missing := size.ratings - int(counts.sum()):
        step = 1 if missing > 0 else -1
        usable = (counts < most) if step > 0 else (counts > 1)
        usable[heaviest] = False
        chosen = rng.permutation(np.flatnonzero(usable))[: abs(missing)]
        counts[chosen] += step
    return counts


def _generator(options: RunOptions, part: int) -> np.random.Generator:
    """Random generator of one part of the data, independent of the other parts."""
    return np.random.default_rng([options.seed, part])


def _write_movies(folder: Path, world: World, options: RunOptions) -> None:
    rng = _generator(options, _MOVIES)
    n_movies = len(world.movie_id)
    order = np.argsort(world.movie_id)
    cluster = world.cluster[order]
    year = (2024 - rng.gamma(2.0, 14.0, n_movies)).astype(np.int64).clip(1890, 2023)
    words = pa.array([form.format(a, b) for a in _FIRST for b in _SECOND for form in _FORMS])
    title = pc.binary_join_element_wise(
        words.take(pa.array(rng.integers(0, len(words), n_movies))),
        pc.if_else(pa.array(rng.random(n_movies) < 0.99), pa.array([f" ({y})" for y in year.tolist()]), ""),
        "",
    )
    # A cluster has two genres; a movie has the first, often the second, and sometimes a random one.
    main = np.stack([_genre(cluster, 0), _genre(cluster, 1), rng.integers(0, len(_GENRES), n_movies)], axis=1)
    has = np.stack([np.ones(n_movies), rng.random(n_movies) < 0.7, rng.random(n_movies) < 0.25], axis=1) > 0
    genres = ["|".join(sorted({_GENRES[g] for g in row[kept]})) for row, kept in zip(main, has, strict=True)]
    listed = pc.if_else(pa.array(rng.random(n_movies) < 0.92), pa.array(genres), "(no genres listed)")
    ids = pa.array(world.movie_id[order])
    with _open_csv(folder / "movies.csv") as file:
        _write_rows(file, ["movieId", "title", "genres"], ids, title, listed)
    imdb = pc.utf8_lpad(pa.array(rng.permutation(n_movies) + 1).cast(pa.string()), 7, "0")
    tmdb = pc.if_else(
        pa.array(rng.random(n_movies) < 0.998), pa.array(rng.permutation(n_movies) + 2).cast("string"), ""
    )
    with _open_csv(folder / "links.csv") as file:
        _write_rows(file, ["movieId", "imdbId", "tmdbId"], ids, imdb, tmdb)


def _genre(cluster: IntArray, which: int) -> IntArray:
    """First (0) or second (1) genre of each cluster."""
    genre: IntArray = (cluster * (1 + 6 * which) + which * (cluster // len(_GENRES) + 3)) % len(_GENRES)
    return genre


def _write_events(folder: Path, size: SyntheticSize, world: World, options: RunOptions) -> int:
    counts = event_counts(size, _generator(options, _COUNTS))
    n_tags = 0
    write = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    with (
        (folder / "ratings.csv").open("wb") as ratings,
        _open_csv(folder / "tags.csv") as tags,
        progress("synthetic ratings", size.ratings, unit="rows", enabled=options.progress) as advance,
    ):
        ratings.write(b"userId,movieId,rating,timestamp\r\n")
        _write_rows(tags, ["userId", "movieId", "tag", "timestamp"])
        for number, users in enumerate(_chunks(counts)):
            rng = _generator(options, _FIRST_CHUNK + number)
            events = draw_events(counts[users], users.start + 1, world, rng)
            sink = pa.BufferOutputStream()
            pa_csv.write_csv(events, sink, write)
            ratings.write(sink.getvalue().to_pybytes().replace(b"\n", b"\r\n"))
            n_tags += _write_tags(tags, events, rng)
            advance(len(events))
    return n_tags


def _chunks(counts: IntArray) -> Iterator[slice]:
    """Slices of users with about a million events each."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + _CHUNK_EVENTS, side="right")), start + 1)
        yield slice(start, min(stop, len(counts)))
        start = stop


def _write_tags(file: TextIO, events: pa.Table, rng: np.random.Generator) -> int:
    """Tag about one event in sixteen, a minute later."""
    tagged = events.filter(pa.array(rng.random(len(events)) < 1 / 16))
    words = pa.array([*(g.lower() for g in _GENRES), *(w.lower() for w in _FIRST), "funny, in parts", 'so "classic"'])
    tag = words.take(pa.array(rng.integers(0, len(words), len(tagged))))
    _write_rows(file, None, tagged["userId"], tagged["movieId"], tag, pc.add(tagged["timestamp"], 60))
    return len(tagged)


def _open_csv(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def _write_rows(file: TextIO, header: list[str] | None, *columns: pa.Array | pa.ChunkedArray) -> None:
    """Write comma-separated rows with CRLF, quoted only where needed, as GroupLens does."""
    writer = csv.writer(file)
    if header is not None:
        writer.writerow(header)
    writer.writerows(zip(*(column.to_pylist() for column in columns), strict=True))
