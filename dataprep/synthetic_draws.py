"""Random events of the synthetic data: clusters of movies, preferences that change over time, sessions.

Every movie belongs to a cluster, and popularity has a long tail. A user prefers three clusters one after another, with
the same transitions between clusters for all users, so co-occurrence, genres (which depend on the cluster) and the
order of events are all informative. A movie may be rated before its release year.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths

_ML_32M_MOVIES = 87_585
_PHASES = 3
_START, _END = 820_454_400, 1_697_155_200  # 1996-01-01 and 2023-10-13, as ML-32M


@dataclass(frozen=True)
class World:
    """The M movies sorted by cluster, so that one cumulative sum of weights serves every draw.

    Attributes:
        movie_id: (M,) ids as written.
        cumulated: (M+1,) cumulative popularity weights.
        flattened: (M+1,) cumulative square roots of the weights, for users who have seen the popular movies.
        quality: (M,) added to ratings.
        cluster: (M,) cluster of each movie.
        bounds: (C+1,) start of each cluster.
        successors: (C, 3) possible next clusters of each cluster.
    """

    movie_id: IntArray
    cumulated: npt.NDArray[np.float64]
    flattened: npt.NDArray[np.float64]
    quality: FloatArray
    cluster: IntArray
    bounds: IntArray
    successors: IntArray


def make_world(n_movies: int, rng: np.random.Generator, *, of_shop: bool = False) -> World:
    """Draw clusters, popularity weights, quality and ids of the movies.

    Args:
        n_movies: M.
        rng: draws them.
        of_shop: a dozen items to a cluster, and a flatter popularity, instead of 40 clusters and ML-32M's popularity.
    """
    n_clusters = max(n_movies // 12, 5) if of_shop else int(np.clip(n_movies // 150, 5, 40))
    cluster = np.sort(rng.integers(0, n_clusters, n_movies))
    rank = rng.permutation(n_movies)
    if of_shop:
        weight = 1.0 / (rank + n_movies / 40)
    else:  # close to ML-32M's counts by rank: 1/rank in the head, exponential decay in the tail
        weight = np.exp(-9.0 * rank / n_movies) / (rank + max(75 * n_movies / _ML_32M_MOVIES, 3.0))
    ids = np.sort(rng.choice(np.arange(1, int(3.35 * n_movies) + 1), n_movies, replace=False))
    return World(
        movie_id=rng.permutation(ids),
        cumulated=np.concatenate([[0.0], np.cumsum(weight)]),
        flattened=np.concatenate([[0.0], np.cumsum(np.sqrt(weight))]),
        quality=rng.normal(0.0, 0.45, n_movies).astype(np.float32),
        cluster=cluster,
        bounds=np.searchsorted(cluster, np.arange(n_clusters + 1)),
        successors=rng.integers(0, n_clusters, (n_clusters, 3)),
    )


def draw_events(counts: IntArray, first_user: int, world: World, rng: np.random.Generator) -> pa.Table:
    """Events of consecutive users, sorted by (userId, movieId)."""
    n_users = len(counts)
    offsets = offsets_from_lengths(counts)
    user = np.repeat(np.arange(n_users), counts)
    place = np.arange(len(user)) - offsets[user]
    taste = _tastes(n_users, world, rng)
    phase = np.minimum(place * _PHASES // counts[user], _PHASES - 1)
    movie = _draw_movies(user, phase, taste, world, rng)
    time = _draw_times(user, offsets, rng)
    liked = world.cluster[movie] == taste[user, phase]
    leaning = rng.normal(0.0, 0.35, n_users)
    score = 3.25 + world.quality[movie] + leaning[user] + 0.45 * liked + rng.normal(0.0, 0.75, len(user))
    half_stars = np.round(score * 2).clip(1, 10).astype(np.int64)
    ids = world.movie_id[movie]
    order = np.argsort(user * (int(world.movie_id.max()) + 1) + ids)
    written = pa.array([f"{half / 2:.1f}" for half in range(11)])
    return pa.table(
        {
            "userId": user + first_user,  # already sorted
            "movieId": ids[order],
            "rating": written.take(pa.array(half_stars[order])),
            "timestamp": time[order],
        }
    )


def _tastes(n_users: int, world: World, rng: np.random.Generator) -> IntArray:
    """(U, 3) preferred clusters of each user over time; each is a successor of the one before."""
    taste = np.empty((n_users, _PHASES), dtype=np.int64)
    taste[:, 0] = rng.integers(0, len(world.successors), n_users)
    for phase in range(1, _PHASES):
        taste[:, phase] = world.successors[taste[:, phase - 1], rng.integers(0, 3, n_users)]
    return taste


def _draw_movies(user: IntArray, phase: IntArray, taste: IntArray, world: World, rng: np.random.Generator) -> IntArray:
    """(E,) a movie for each event, distinct per user; repeats are drawn again from ever wider distributions."""
    n_movies = len(world.movie_id)
    movie = np.full(len(user), -1, dtype=np.int64)
    open_at = np.arange(len(user))
    attempt = 0
    while len(open_at):
        if attempt < 4:
            drawn = _draw_by_taste(taste[user[open_at]], phase[open_at], world, rng, wide=0.3 + 0.1 * attempt)
        elif attempt < 12:
            drawn = np.searchsorted(world.flattened[1:], rng.random(len(open_at)) * world.flattened[-1], side="right")
        else:
            drawn = rng.integers(0, n_movies, len(open_at))
        movie[open_at] = drawn
        of_open_users = np.flatnonzero(np.isin(user, user[open_at]))
        repeats = _repeats(user[of_open_users], movie[of_open_users], n_movies)
        open_at = of_open_users[repeats]  # also an event drawn before, if an earlier event now has its movie
        attempt += 1
    return movie


def _draw_by_taste(
    taste: IntArray, phase: IntArray, world: World, rng: np.random.Generator, *, wide: float
) -> IntArray:
    """Draw by popularity from the cluster of the phase, sometimes from another of the user's, or from all movies."""
    n = len(phase)
    which = np.where(rng.random(n) < 0.8, phase, rng.integers(0, _PHASES, n))
    cluster = taste[np.arange(n), which]
    low, high = world.bounds[cluster], world.bounds[cluster + 1]
    everywhere = (rng.random(n) < wide) | (low == high)
    low, high = np.where(everywhere, 0, low), np.where(everywhere, len(world.movie_id), high)
    start, stop = world.cumulated[low], world.cumulated[high]
    at = np.searchsorted(world.cumulated, start + rng.random(n) * (stop - start), side="right") - 1
    return np.clip(at, low, high - 1)


def _repeats(user: IntArray, movie: IntArray, n_movies: int) -> BoolArray:
    """(E,) whether the (user, movie) of an event also occurs earlier."""
    key = user * n_movies + movie
    order = np.argsort(key, kind="stable")
    repeats = np.zeros(len(key), dtype=np.bool_)
    repeats[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeats


def _draw_times(user: IntArray, offsets: IntArray, rng: np.random.Generator) -> IntArray:
    """(E,) Unix seconds, ascending within a user: sessions of seconds to minutes, days to months apart."""
    n = len(user)
    gap = rng.integers(0, 45, n).astype(np.float64)
    rest = rng.random(n) < 0.02
    gap[rest] = rng.exponential(40 * 86_400.0, int(rest.sum()))
    total = np.cumsum(gap)
    since = total - total[offsets[:-1]][user]
    span = since[offsets[1:] - 1]
    longest = (_END - _START) * 0.9
    shrink = np.minimum(1.0, longest / np.maximum(span, 1.0))
    start = _START + rng.random(len(span)) * (_END - _START - span * shrink)
    time: IntArray = (start[user] + since * shrink[user]).astype(np.int64)
    return time
