"""Features of TMDb in the item encoder: each moves it, only those named are read, the bundle carries them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loguru import logger

from dataprep.tmdb import LATER
from recall.two_tower import TwoTower, TwoTowerConfig
from reccore import ConfigError, DataError, RunOptions, TrainingData
from tests.dataprep.tmdb_tables import NAMES, with_every_feature
from tests.helpers import checkerboard, nested

QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {
    "embedding_size": 6,
    "item__hidden_size": 8,
    "encoder__hidden_size": 8,
    "epochs": 1,
    "negatives__uniform": 4,
}


def known_board() -> TrainingData:
    board = checkerboard()
    return replace(board, items=with_every_feature(board.items))


def fitted(*metadata: str, data: TrainingData | None = None) -> TwoTower:
    return TwoTower(nested(SMALL, item__metadata=metadata)).fit(known_board() if data is None else data, options=QUIET)


def test_none_is_read_unless_named() -> None:
    assert TwoTowerConfig().item.metadata == ()
    plain = TwoTower(nested(SMALL)).fit(checkerboard(), options=QUIET)
    np.testing.assert_array_equal(fitted().encode_items(), plain.encode_items())


def test_each_changes_what_is_learnt() -> None:
    plain = fitted().encode_items()
    for name in NAMES:
        assert np.abs(fitted(name).encode_items() - plain).max() > 1e-4, name


def test_films_unknown_to_tmdb_have_vectors_too() -> None:
    everything = fitted(*NAMES)
    np.testing.assert_allclose(np.linalg.norm(everything.encode_items(), axis=1), 1, atol=1e-5)


def test_the_bundle_needs_no_tables_and_carries_what_it_read(tmp_path: Path) -> None:
    channel = fitted("cast", "budget", "overview")
    channel.save(tmp_path / "model")
    with np.load(tmp_path / "model" / "items.npz", allow_pickle=False) as arrays:
        kinds = ("labels.", "numbers.", "vectors.")
        optional = {name for name in arrays.files if name.startswith(kinds)}
    labels = {f"labels.cast.{part}" for part in ("names", "offsets", "idx")}
    assert optional == {*labels, "numbers.budget", "vectors.overview"}
    again = TwoTower.load(tmp_path / "model")
    assert again.config.item.metadata == ("cast", "budget", "overview")
    np.testing.assert_array_equal(again.encode_items(), channel.encode_items())


def test_named_without_such_data() -> None:
    with pytest.raises(DataError, match=r"metadata cast, runtime is not in this data.*run first: .*run_batch_crawl"):
        fitted("cast", "runtime", data=checkerboard())
    with pytest.raises(ConfigError, match="actors"):
        TwoTower({"item": {"metadata": ["actors"]}})


def test_what_comes_from_later_is_said_to() -> None:

    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    try:
        fitted("runtime")
        assert said == []
        fitted("runtime", *sorted(LATER))
        assert "popularity, revenue, vote_average, vote_count" in said[0]
        assert "not comparable" in said[0]
    finally:
        logger.remove(sink)
