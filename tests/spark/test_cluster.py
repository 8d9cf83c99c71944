"""A real cluster of two worker processes makes what the local engine makes of the same hard data."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from dataprep.readers.own import EventFile
from pipeline.builder import PIPELINE
from pipeline.train_channel import train_channel
from recall import CHANNELS
from reccore import ConfigError, Interactions, RunOptions, Workspace
from scripts import build_pipeline, prepare_two_tower_data, recommend, run_preprocessing, train_recall
from spark.engine import SPARK_CHANNELS, SparkEngine
from spark.quantiles import SparkTimes
from spark.session import spark_session
from tests.dataprep.miniatures import put
from tests.spark.hard_data import hard_csv, hard_dat

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow
QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
ITEMCF = {"history_cap": 15, "neighbours": 9, "pair_half_life": 2.0, "shrinkage": 0.5}
SWING = {"history_cap": 12, "neighbours": 11, "users_per_item": 6}


@dataclass(frozen=True)
class Roots:
    """Two data roots with the same raw files."""

    local: Workspace
    spark: Workspace

    def both(self, command: Any, *flags: str) -> None:
        """Run a command in both, with the engine of each."""
        for space, engine in ((self.local, "local"), (self.spark, "spark")):
            command.main([*flags, "--data_dir", str(space.root), "--engine", engine, "--json"])


def _made(folder: Path, files: dict[str, bytes], protocol: str) -> Roots:
    """Preprocessed and prepared by both engines."""
    both = Roots(Workspace(folder / "local"), Workspace(folder / "spark"))
    for space in (both.local, both.spark):
        put(space.raw / "mini", files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spark.preprocess.RANGE_BYTES", 1000)  # several tasks
        both.both(run_preprocessing, "--max_reject_share", "0.2")
    both.both(prepare_two_tower_data, "--protocol", protocol)
    return both


@pytest.fixture(scope="module")
def csv(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """The layout of ml-20m, whose ties are ordered by a hash."""
    return _made(tmp_path_factory.mktemp("csv"), hard_csv(), "leave_one_out")


@pytest.fixture(scope="module")
def dat(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """The layout of ml-1m, whose ties keep the order of the file."""
    return _made(tmp_path_factory.mktemp("dat"), hard_dat(), "global_time")


@pytest.fixture(params=["csv", "dat"])
def roots(request: pytest.FixtureRequest) -> Roots:
    found: Roots = request.getfixturevalue(request.param)
    return found


def _engines(roots: Roots, manifest: str) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    local, spark = (json.loads((space.processed / manifest).read_text()) for space in (roots.local, roots.spark))
    return local.pop("engine"), spark.pop("engine"), local, spark


def test_the_tables_are_those_of_the_local_engine_byte_for_byte(roots: Roots) -> None:
    names = sorted(file.name for file in roots.local.processed.glob("*.parquet"))
    assert "rejects.parquet" in names
    assert names == sorted(file.name for file in roots.spark.processed.glob("*.parquet"))
    for name in names:
        assert (roots.local.processed / name).read_bytes() == (roots.spark.processed / name).read_bytes(), name
    assert len(pq.read_table(roots.spark.processed / "ratings.parquet")) > 300
    local, spark, one, other = _engines(roots, "processed.json")
    assert (local, spark) == ("local", "spark")
    assert one == other
    reasons = one["rejects"]
    assert any("repeated (userId, movieId)" in found for found in reasons.values())


def test_the_prepared_data_is_that_of_the_local_engine(roots: Roots) -> None:
    local, spark, one, other = _engines(roots, "two_tower/manifest.json")
    assert (local, spark) == ("local", "spark")
    for facts in (one, other):
        facts.pop("git_commit")
        facts["files"] = {
            name: digest for name, digest in facts["files"].items() if not name.endswith(".parquet")
        }  # files of Parquet are compared by rows
    assert one == other
    for name in ("train.parquet", "valid.parquet", "test.parquet"):
        mine, theirs = (pq.read_table(space.prepared / name) for space in (roots.local, roots.spark))
        assert len(mine)
        assert mine.equals(theirs, check_metadata=True)
    a, b = (Prepared.load(space.prepared) for space in (roots.local, roots.spark))
    assert a.split.interactions.fingerprint == b.split.interactions.fingerprint
    assert not list(roots.spark.root.rglob("*.tmp"))


def test_exact_quantiles(spark: SparkSession) -> None:
    times = np.random.default_rng(0).integers(0, 2**33, 999)
    frame = spark.createDataFrame([(int(time),) for time in times], "timestamp bigint")
    before = int(np.quantile(times, 0.5))
    assert SparkTimes(frame).quantile(0.9, before) == np.quantile(times[times < before], 0.9)


def _fit(roots: Roots, spark: SparkSession | None, model: str, settings: dict[str, Any]) -> Any:
    space = roots.local if spark is None else roots.spark
    engine = None if spark is None else SparkEngine(spark, space)
    done = train_channel(space, model, settings, protocol="leave_one_out", engine=engine, options=QUIET)
    assert done["engine"] == ("local" if spark is None else "spark")
    return CHANNELS.load(done["path"])


@pytest.mark.parametrize(
    ("model", "settings"),
    [("itemcf", ITEMCF), ("itemcf", {"pair_half_life": None, "history_cap": 4}), ("swing", SWING)],
)
def test_neighbours_and_scores(csv: Roots, spark: SparkSession, model: str, settings: dict[str, Any]) -> None:
    local, remote = _fit(csv, None, model, settings), _fit(csv, spark, model, settings)
    assert type(remote) is CHANNELS[model]
    assert local.similarity.nnz > 50
    np.testing.assert_array_equal(remote.similarity.indptr, local.similarity.indptr)
    np.testing.assert_array_equal(remote.similarity.indices, local.similarity.indices)
    np.testing.assert_allclose(remote.similarity.data, local.similarity.data, rtol=0, atol=1e-6)


def test_popularity(csv: Roots, spark: SparkSession) -> None:
    for settings in ({}, {"half_life_days": 1.5, "genres": {}}):
        local, remote = _fit(csv, None, "popularity", settings), _fit(csv, spark, "popularity", settings)
        np.testing.assert_allclose(remote.weight, local.weight, rtol=1e-6)
        np.testing.assert_array_equal(remote._order, local._order)


def test_als_finds_the_same_structure(spark: SparkSession, tmp_path: Path) -> None:
    """Two groups of users, each with films of its own: both engines must offer the group's other films."""
    space = Workspace(tmp_path)
    rows = ["userId,movieId,rating,timestamp"]
    rng = np.random.default_rng(0)
    for user in range(1, 81):
        for at, film in enumerate(rng.permutation(20)[:10]):
            rows.append(f"{user},{1 + 20 * (user % 2) + film},4.0,{1_000_000_000 + at}")
    put(
        space.raw / "mini",
        {"ratings.csv": "\n".join([*rows, ""]).encode(), "movies.csv": b"movieId,title,genres\n1,A,Drama\n"},
    )
    run_preprocessing.main(["--data_dir", str(tmp_path)])
    prepare_two_tower_data.main(["--data_dir", str(tmp_path)])
    hits = {}
    for name, engine in (("local", None), ("spark", SparkEngine(spark, space))):
        done = train_channel(space, "mf", {"embedding_size": 8}, name=name, engine=engine, options=QUIET)
        hits[name] = done["validation"]["hit_rate@10"]
        assert (CHANNELS.load(done["path"]).item_factors != 0).any(axis=1).all()
    assert hits["local"] > 0.7
    assert abs(hits["spark"] - hits["local"]) < 0.1


def test_the_chain_goes_on_from_the_bundles(
    csv: Roots, spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--data_dir", str(csv.spark.root)]
    for model in ("popularity", "itemcf"):
        train_recall.main(["--model", model, "--engine", "spark", *root])
        manifest = json.loads((csv.spark.model(model) / "manifest.json").read_text())
        assert (manifest["engine"], manifest["component"]) == ("spark", model)
        assert not any(name.endswith((".pkl", ".pickle")) for name in manifest["files"])
    build_pipeline.main(["--set", 'channels=["itemcf", "popularity"]', *root])
    capsys.readouterr()
    recommend.main(["--user", "7", "--k", "5", "--json", *root])
    films = json.loads(capsys.readouterr().out)["recommendations"]
    assert len(films) == 5
    assert csv.spark.model(PIPELINE).is_dir()


def test_a_killed_executor_changes_nothing(csv: Roots, spark: SparkSession) -> None:
    local = _fit(csv, None, "itemcf", ITEMCF)
    done, killed = threading.Event(), []

    def kill_one() -> None:
        while not done.is_set() and not killed:
            executors = _executors()
            if executors and spark.sparkContext.statusTracker().getActiveStageIds():
                os.kill(executors[0].pid, signal.SIGKILL)
                killed.append(executors[0].pid)
            time.sleep(0.02)

    until = time.monotonic() + 60
    while len(before := {executor.pid for executor in _executors()}) < 2:  # one may be starting anew
        assert time.monotonic() < until, "there are no two executors"
        time.sleep(0.1)
    killer = threading.Thread(target=kill_one)
    killer.start()
    remote = _fit(csv, spark, "itemcf", ITEMCF)
    done.set()
    killer.join()
    assert killed
    assert set(killed) <= before
    with suppress(psutil.NoSuchProcess):
        assert psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
    np.testing.assert_array_equal(remote.similarity.toarray(), local.similarity.toarray())


def _executors() -> list[psutil.Process]:
    """Processes of executors that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # Python workers come and go meanwhile
            if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_a_job_that_fails_is_one_sentence(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match=r"a job of Spark failed: .*no such thing"), spark_session():
        spark.range(1).selectExpr("raise_error('no such thing')").collect()


def test_another_input_is_refused(csv: Roots, spark: SparkSession) -> None:
    engine = SparkEngine(spark, csv.spark)
    with pytest.raises(ConfigError, match=r"reads the prepared data and not .*ratings\.parquet; leave out --input"):
        engine.load(EventFile(csv.spark.processed / "ratings.parquet"), None)
    assert engine.load(EventFile(csv.spark.prepared / "train.parquet"), None).split.protocol == "leave_one_out"


def test_every_spark_channel_is_the_local_class_of_its_name() -> None:
    for name in SPARK_CHANNELS:
        assert issubclass(SPARK_CHANNELS[name], CHANNELS[name])
        assert SPARK_CHANNELS[name].name == name


def test_some_users_of_stored_events(csv: Roots) -> None:
    whole = Interactions.load(csv.local.prepared)
    part = Interactions.load(csv.local.prepared, (7, 19))
    for user in range(12):
        np.testing.assert_array_equal(part.history(user), whole.history(user + 7))
    assert part.n_users == 12
