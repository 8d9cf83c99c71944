"""From stored answers of TMDb to a pipeline that reads them, and the same data without any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_collector.tmdb.star import write_star
from dataprep.prepare import Prepared
from dataprep.preprocess import preprocess
from pipeline import load
from recall.two_tower import TwoTower
from reccore import DataError, Workspace
from reccore.bundle import read_manifest
from scripts import prepare_two_tower_data, train_ranking, train_recall
from tests.data_collector.tmdb.documents import movie_document
from tests.data_collector.tmdb.stored import stored
from tests.pipeline.small import CHANNELS, N_MOVIES, PIPELINE, QUIET, RANKER, movie_id, user_id, write_raw

READ = ("director", "cast", "company", "keywords", "language", "budget", "runtime", "overview")
SETTINGS = {**PIPELINE, "channels": ["popularity", "two_tower"]}


def tmdb_id(movie: int) -> int | None:
    """One film in ten has none, and the last one shares that of the first."""
    return None if movie % 10 == 3 else 1 if movie == N_MOVIES - 1 else movie + 1


def dotted(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Options of nested tables by their dotted names, as ``--set`` takes them."""
    options: dict[str, str] = {}
    for key, value in settings.items():
        nested = isinstance(value, dict)
        options |= dotted(value, f"{prefix}{key}.") if nested else {prefix + key: json.dumps(value)}
    return options


def arguments(space: Workspace, settings: dict[str, Any]) -> list[str]:
    pairs = [f"{key}={value}" for key, value in dotted(settings).items()]
    return ["--data_dir", str(space.root), "--device", "cpu", *(part for pair in pairs for part in ("--set", pair))]


def prepared_root(root: Path) -> Workspace:
    space = Workspace(root)
    write_raw(space.raw / "ml-tiny")
    links = [f"{movie_id(m)},{m:07d},{tmdb_id(m) or ''}" for m in range(N_MOVIES)]
    (space.raw / "ml-tiny" / "links.csv").write_text("\n".join(["movieId,imdbId,tmdbId", *links, ""]))
    preprocess(space.raw / "ml-tiny", space.processed, options=QUIET)
    prepare_two_tower_data.main(["--data_dir", str(root)])
    return space


def fitted(space: Workspace, *metadata: str) -> None:
    """The channels, a ranker, and the pipeline of both, by the commands."""
    read = ["--metadata", ",".join(metadata)] if metadata else []
    for name in SETTINGS["channels"]:
        flags = read if name == "two_tower" else []
        train_recall.main(["--model", name, *flags, *arguments(space, CHANNELS[name])])
    settings = {**RANKER, **{f"pipeline.{key}": value for key, value in SETTINGS.items()}}
    train_ranking.main([*read, *arguments(space, settings)])


def answers(space: Workspace) -> list[list[tuple[int, float]]]:
    pipeline = load(space.model("pipeline"))
    requests: list[dict[str, Any]] = [{"user": user_id(7)}, {"history": [5, 33, 4]}, {"history": []}]
    return [
        [(item.movie_id, item.scores["final"]) for item in pipeline.recommend(k=6, **request).items]
        for request in requests
    ]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """Three of the same raw files: without TMDb, with its tables unread, and with models that read them."""
    bare = prepared_root(tmp_path_factory.mktemp("tmdb") / "bare")
    fitted(bare)
    reading = Workspace(Path(shutil.copytree(bare.root, bare.root.parent / "reading")))
    known = sorted({found for found in map(tmdb_id, range(N_MOVIES)) if found is not None})
    documents = (stored(movie_document(found)) for found in known[:-8])  # TMDb does not know the last eight
    write_star(documents, reading.processed / "tmdb", show_progress=False)
    prepare_two_tower_data.main(["--data_dir", str(reading.root)])
    unread = Workspace(Path(shutil.copytree(reading.root, bare.root.parent / "unread")))
    fitted(unread)
    fitted(reading, *READ)
    return {"bare": bare, "unread": unread, "reading": reading}


def test_unread_tables_change_nothing(roots: dict[str, Workspace]) -> None:
    assert answers(roots["unread"]) == answers(roots["bare"])
    one, other = (TwoTower.load(roots[name].model("two_tower")) for name in ("bare", "unread"))
    np.testing.assert_array_equal(one.encode_items(), other.encode_items())
    for name in ("two_tower", "deepfm", "pipeline"):
        files = [(read_manifest(roots[root].model(name)) or {})["files"] for root in ("bare", "unread")]
        # Manifests of parts name the tables that were there; beside them not even a column more is stored.
        stored = [{file: hashed for file, hashed in f.items() if not file.endswith("manifest.json")} for f in files]
        assert stored[0] == stored[1], name


def test_read_columns_change_the_answers(roots: dict[str, Workspace]) -> None:
    assert answers(roots["reading"]) != answers(roots["bare"])
    for name in ("two_tower", "deepfm"):
        manifest = read_manifest(roots["reading"].model(name)) or {}
        config = manifest["config"]
        assert tuple(config.get("item", config)["metadata"]) == READ


def test_films_that_tmdb_does_not_know_are_recommended_too(roots: dict[str, Workspace]) -> None:
    items = Prepared.load(roots["reading"].prepared).items
    unknown = np.isnan(items.numbers["vote_count"])
    assert N_MOVIES / 10 < unknown.sum() < N_MOVIES / 2
    found = TwoTower.load(roots["reading"].model("two_tower")).encode_items()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    first, last = 0, N_MOVIES - 1  # of one tmdbId
    assert items.labels["language"].of(first) == items.labels["language"].of(last) != []


def test_serving_needs_no_tables(roots: dict[str, Workspace], tmp_path: Path) -> None:
    own = Workspace(Path(shutil.copytree(roots["reading"].root, tmp_path / "root")))
    shutil.rmtree(own.processed)
    shutil.rmtree(own.raw)
    assert answers(own) == answers(roots["reading"])


def test_models_of_another_root_say_what_to_run_first(roots: dict[str, Workspace]) -> None:
    with pytest.raises(DataError, match=r"run first: .*run_batch_crawl\.py.*process_tmdb_json.*prepare_two_tower_data"):
        train_recall.main(["--model", "two_tower", "--metadata", "cast", "--data_dir", str(roots["bare"].root)])
