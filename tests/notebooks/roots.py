"""A small data root of one's own interactions, prepared for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprep.prepare import prepare
from dataprep.preprocess import preprocess
from reccore import RunOptions, Workspace
from scripts import run_preprocessing
from tests.dataprep.miniatures import put

N_USERS, N_ITEMS, N_EVENTS = 60, 40, 12


def bare_root(folder: Path) -> Workspace:
    """Users and films and nothing else: no ratings, times, titles, years or genres."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(1, N_USERS + 1), N_EVENTS)
    films = np.concatenate([rng.permutation(N_ITEMS)[:N_EVENTS] for _ in range(N_USERS)]) + 100
    path = folder / "events.parquet"
    pq.write_table(pa.table({"userId": users, "movieId": films}), path)
    run_preprocessing.main(["--data_dir", str(folder), "--interactions", str(path), "--json"])
    return _prepared(folder)


def titled_root(folder: Path) -> Workspace:
    """MovieLens's layout: ratings, times, titles with years and genres; film 7's title is very long."""
    rng = np.random.default_rng(1)
    ratings, movies = ["userId,movieId,rating,timestamp"], ["movieId,title,genres"]
    for user in range(1, N_USERS + 1):
        for at, film in enumerate(rng.permutation(N_ITEMS)[:N_EVENTS].tolist()):
            ratings.append(f"{user},{film},{rng.integers(1, 6)}.0,{1_000_000 + 60 * at}")
    for film in range(N_ITEMS):
        title = "A very long title " * 8 if film == 7 else f"Film {film}"
        movies.append(f'{film},"{title.strip()} ({1950 + film})",Comedy|Drama|Documentary|Western')
    files = {"ratings.csv": "\n".join(ratings).encode(), "movies.csv": "\n".join(movies).encode()}
    preprocess(put(folder / "raw" / "mini", files), Workspace(folder).processed, options=RunOptions(progress=False))
    return _prepared(folder)


def _prepared(folder: Path) -> Workspace:
    space = Workspace(folder)
    prepare(space).save(space.prepared)
    return space
