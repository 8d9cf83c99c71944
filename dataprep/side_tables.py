"""Processed tables of items and users → tables aligned with the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dataprep import ids
from dataprep.labels import pairs_of_lists
from dataprep.own_features import with_own_items, with_own_users
from dataprep.parquet import read_optional
from dataprep.tags import TagEvents
from dataprep.title_vectors import TITLE, title_vectors
from dataprep.tmdb import with_tmdb
from reccore import IdMap, ItemTable, UserTable, Vocabulary, Workspace
from reccore.arrays import offsets_from_lengths

MOVIE_COLUMNS = ("movieId", "title", "year", "genres")
TAG_COLUMNS = ("userId", "movieId", "tag", "timestamp")
USER_CATEGORIES = ("gender", "age", "occupation")


@dataclass(frozen=True, eq=False)
class SideTables:
    """What a data set has beside its events: see ``dataprep.prepare.Prepared``."""

    items: ItemTable
    users: UserTable
    vocabulary: Vocabulary
    tags: TagEvents | None


def read_side_tables(
    workspace: Workspace, users: npt.NDArray[Any], rated: npt.NDArray[Any], known: Vocabulary | None = None
) -> SideTables:
    """The tables beside the events, for a vocabulary of these users and of all movies listed or rated.

    Args:
        workspace: data root.
        users: raw ids of the users with events.
        rated: raw ids of the movies with events.
        known: vocabulary whose users and movies keep their indices; None = by increasing id.
    """
    processed = workspace.processed
    movies = read_optional(processed / "movies.parquet", MOVIE_COLUMNS)
    people = read_optional(processed / "users.parquet", ("userId",))
    tags = read_optional(processed / "tags.parquet", TAG_COLUMNS)
    listed = [ids.values(movies["movieId"])] if movies else []
    if known is None:
        vocabulary = Vocabulary(IdMap.of(users), IdMap.of(rated, *listed))
    else:
        vocabulary = Vocabulary(known.users.grown(users), known.items.grown(rated, *listed))
    items = with_tmdb(item_table(movies, vocabulary.items), vocabulary.items, processed)
    return SideTables(
        items=with_own_items(items, vocabulary.items, processed),
        users=with_own_users(user_table(people, vocabulary.users), vocabulary.users, processed),
        vocabulary=vocabulary,
        tags=TagEvents.of(tags, vocabulary) if tags else None,
    )


def item_table(movies: pa.Table | None, items: IdMap) -> ItemTable:
    """Align a movies table (movieId, title, year, genres) with the vocabulary.

    Movies that the table does not list have no title, year or genres; a repeated genre of a movie counts once.
    """
    if movies is None or len(movies) == 0:
        return ItemTable(n_items=len(items))
    listed, first = np.unique(ids.values(movies["movieId"]), return_index=True)
    at = IdMap(listed).encode(items.ids)
    aligned = movies.take(pa.array(first[np.maximum(at, 0)], mask=at < 0))
    names, row, genre_idx = pairs_of_lists(aligned["genres"].combine_chunks())
    title = np.array(aligned["title"].fill_null("").to_pylist(), dtype=object)
    of_titles = title_vectors(title)
    return ItemTable(
        n_items=len(items),
        title=title,
        year=aligned["year"].fill_null(0).to_numpy().astype(np.int64),
        genre_names=names,
        genre_offsets=offsets_from_lengths(np.bincount(row, minlength=len(items))),
        genre_idx=genre_idx,
        vectors={} if of_titles is None else {TITLE: of_titles},
    )


def user_table(people: pa.Table | None, users: IdMap) -> UserTable:
    """Align a users table (userId, gender, age, occupation) with the vocabulary."""
    if people is None:
        return UserTable(n_users=len(users))
    idx = ids.encode(users, people["userId"])
    categories, category_names = {}, {}
    for name in (c for c in USER_CATEGORIES if c in people.column_names):
        labels = people[name].cast(pa.string())
        values = sorted(v for v in pc.unique(labels).to_pylist() if v is not None)
        if not values:
            continue
        codes = np.full(len(users), -1, dtype=np.int64)
        found = pc.index_in(labels, pa.array(values)).fill_null(-1).to_numpy().astype(np.int64)
        codes[idx[idx >= 0]] = found[idx >= 0]
        categories[name], category_names[name] = codes, tuple(values)
    return UserTable(len(users), categories, category_names)
