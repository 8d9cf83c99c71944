"""A small data root with everything trained, built once per test run through the jobs that the commands call."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import prepare
from dataprep.preprocess import preprocess
from pipeline import Pipeline, PipelineConfig, assemble
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from reccore import Candidates, Exclusions, QueryBatch, RunOptions, Workspace

N_USERS, N_MOVIES, N_RATINGS = 60, 160, 20
CLUSTERS = ("Action", "Comedy", "Drama", "Horror")
FIRST_SECOND = 1_000_000_000
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)

CHANNELS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "itemcf": {"neighbours": 10},
    "mf": {"embedding_size": 8, "epochs": 5},
    "two_tower": {
        "embedding_size": 8,
        "batch_size": 128,
        "epochs": 2,
        "item": {"hidden_size": 16},
        "encoder": {"kind": "mlp", "hidden_size": 16, "history_length": 10},
        "negatives": {"uniform": 32},
    },
}
RANKER: dict[str, Any] = {"epochs": 2, "embedding_size": 4, "hidden": [8]}
PIPELINE: dict[str, Any] = {"per_channel": 30, "candidates": 25}

_trained: Path | None = None


def movie_id(movie: int) -> int:
    return 7 * movie + 5


def user_id(user: int) -> int:
    return 10 * user + 3


def write_raw(folder: Path, seed: int = 0) -> None:
    """Files in the layout of ml-latest-small: users of four tastes, who mostly watch films of their taste."""
    rng = np.random.default_rng(seed)
    taste = np.arange(N_MOVIES) % len(CLUSTERS)
    liking = 1.0 / (1.0 + np.arange(N_MOVIES) // len(CLUSTERS))  # some films of each cluster are far more seen
    rows = []
    for user in range(N_USERS):
        weight = liking * np.where(taste == user % len(CLUSTERS), 20.0, 1.0)
        movies = rng.choice(N_MOVIES, N_RATINGS, replace=False, p=weight / weight.sum())
        times = FIRST_SECOND + 86_400 * user + np.sort(rng.choice(5_000, N_RATINGS, replace=False))
        ratings = rng.integers(2, 11, N_RATINGS) / 2
        rows += [
            (user_id(user), movie_id(m), r, t) for m, r, t in zip(movies.tolist(), ratings, times.tolist(), strict=True)
        ]
    folder.mkdir(parents=True)
    lines = [f"{u},{m},{r:.1f},{t}" for u, m, r, t in sorted(rows)]
    (folder / "ratings.csv").write_text("\r\n".join(["userId,movieId,rating,timestamp", *lines, ""]))
    films = [f'{movie_id(m)},"Film {m}, The ({1980 + m % 30})",{CLUSTERS[taste[m]]}|Short' for m in range(N_MOVIES)]
    (folder / "movies.csv").write_text("\r\n".join(["movieId,title,genres", *films, ""]))


def trained_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root; shared by all tests of the process, which must not write into it."""
    global _trained
    if _trained is None:
        space = Workspace(tmp_path_factory.mktemp("trained"))
        write_raw(space.raw / "ml-tiny")
        preprocess(space.raw / "ml-tiny", space.processed, options=QUIET)
        prepare(space).save(space.prepared)
        for name, config in CHANNELS.items():
            train_channel(space, name, config, options=QUIET)
        train_ranker(space, "deepfm", RANKER, PIPELINE, options=QUIET)
        _trained = space.root
    return _trained


def before_ranking(pipeline: Pipeline, queries: QueryBatch, exclude: Exclusions | None = None) -> Candidates:
    """The candidates that the pipeline's ranker scores."""
    channels = {source.name: source.channel for source in pipeline.sources}
    stages = pipeline.config.before_ranking()
    short = assemble(stages, channels=channels, ranker=None, items=pipeline.items, histories=pipeline.histories)
    return short.run(queries, pipeline.config.merge.k, exclude=exclude)[0]


def with_parts(pipeline: Pipeline, **changes: Any) -> Pipeline:
    """The same pipeline with some of its parts replaced."""
    names = ("sources", "merger", "stages", "items", "vocabulary", "histories")
    return Pipeline(pipeline.config, **{**{name: getattr(pipeline, name) for name in names}, **changes})


def changed(pipeline: Pipeline, **settings: Any) -> Pipeline:
    """The same trained components under other settings."""
    config = PipelineConfig.parse({**PIPELINE, **settings})
    return assemble(
        config,
        channels={source.name: source.channel for source in pipeline.sources},
        ranker=None if config.ranker is None else pipeline.ranker,
        items=pipeline.items,
        histories=pipeline.histories,
    )


def copy_of(root: Path, folder: Path) -> Workspace:
    """A copy that may be changed."""
    return Workspace(Path(shutil.copytree(root, folder / "root")))
