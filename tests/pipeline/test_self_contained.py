"""A pipeline is one folder: it answers alike wherever it is, whatever is trained or killed beside it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import Pipeline, load
from pipeline.builder import open_pipeline, parts_of, save
from pipeline.train_channel import train_channel
from pipeline.train_ranker import fit_ranker, train_ranker
from reccore import ArtefactError, Bundle, RunOptions, Workspace
from tests.pipeline.small import CHANNELS, PIPELINE, QUIET, RANKER, user_id

REPOSITORY = Path(__file__).resolve().parents[2]
OTHER_SEED = RunOptions(seed=9, device="cpu", progress=False, threads=1)


def answers(pipeline: Pipeline) -> list[Any]:
    requests: list[dict[str, Any]] = [{"user": user_id(7)}, {"history": [5, 33, 4]}, {"history": []}]
    return [pipeline.recommend(k=6, **request).items for request in requests]


def test_a_moved_pipeline_needs_nothing_of_its_workspace(pipeline: Pipeline, own: Workspace, tmp_path: Path) -> None:
    moved = own.model("pipeline").rename(tmp_path / "on_a_server")
    shutil.rmtree(own.root)
    assert answers(load(moved)) == answers(pipeline)


@pytest.mark.parametrize("part", ["mf", "deepfm"])
def test_a_component_trained_again_or_deleted_changes_no_pipeline(
    pipeline: Pipeline, own: Workspace, part: str
) -> None:
    if part == "mf":
        train_channel(own, "mf", CHANNELS["mf"], options=OTHER_SEED)
    else:
        shutil.rmtree(own.model("deepfm"))
    assert answers(load(own.model("pipeline"))) == answers(pipeline)


def test_the_pipeline_takes_no_space_beside_its_components(trained: Workspace) -> None:
    for part in ("itemcf", "two_tower", "deepfm"):
        for file in sorted(trained.model(part).rglob("*.*")):
            own = trained.model("pipeline") / "parts" / part / file.relative_to(trained.model(part))
            assert file.is_dir() or own.samefile(file)


def test_without_hard_links_the_components_are_copied(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("no links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    bundle = open_pipeline(own.model("pipeline"))
    save(pipeline, tmp_path / "copied", parts_of(bundle), data=bundle.manifest["data"])
    assert not (tmp_path / "copied/parts/mf/manifest.json").samefile(own.model("pipeline") / "parts/mf/manifest.json")
    shutil.rmtree(own.root)
    assert answers(load(tmp_path / "copied")) == answers(pipeline)


def test_saving_a_loaded_pipeline_changes_nothing(pipeline: Pipeline, own: Workspace) -> None:
    path = own.model("pipeline")
    before = open_pipeline(path)
    save(load(path), path, parts_of(before), data=before.manifest["data"])
    after = open_pipeline(path)
    for fact in ("config", "parts", "data", "vocabulary"):
        assert after.manifest[fact] == before.manifest[fact]
    assert answers(load(path)) == answers(pipeline)


def test_a_damaged_part_is_refused(own: Workspace) -> None:
    file = own.model("pipeline") / "parts" / "itemcf" / "similarity.npz"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(ArtefactError, match=r"models/pipeline is damaged: parts/itemcf/similarity.npz"):
        load(own.model("pipeline"))


def test_a_part_whose_files_the_pipeline_does_not_list_is_refused(own: Workspace) -> None:
    """A part put in by hand would not have been checked."""
    file = own.model("pipeline") / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["files"]["parts/itemcf/similarity.npz"]
    file.unlink()
    file.write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="does not list the files of parts/itemcf"):
        load(own.model("pipeline"))


def test_a_pipeline_of_references_is_refused_with_the_way_out(own: Workspace) -> None:
    """As earlier versions wrote it."""
    file = own.model("pipeline") / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"] = {name: hash_ for name, hash_ in manifest["files"].items() if not name.startswith("parts/")}
    file.unlink()
    file.write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=r"does not hold its channels and ranker, .*scripts/train_ranking.py$"):
        load(own.model("pipeline"))


def test_a_channel_trained_again_while_the_ranker_learns_is_refused(
    own: Workspace, monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    """The ranker learnt from the candidates of the old channel."""
    original = fit_ranker

    def slow(*args: Any) -> Any:
        train_channel(own, "mf", CHANNELS["mf"], options=OTHER_SEED)
        return original(*args)

    monkeypatch.setattr("pipeline.train_ranker.fit_ranker", slow)
    with pytest.raises(ArtefactError, match=r"models/mf was replaced while it was in use; run the command again"):
        train_ranker(own, "deepfm", RANKER, PIPELINE, max_queries=20, options=QUIET)
    assert answers(load(own.model("pipeline"))) == answers(pipeline)


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.builder import load, open_pipeline, parts_of, save
import reccore.bundle as bundles

path = Path(sys.argv[1])
bundle, pipeline = open_pipeline(path), load(path)
{patch}
save(pipeline, path, parts_of(bundle), data={{}})
"""
WHILE_LINKING = """
links = []
def die(source, target):
    links.append(source)
    if len(links) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    target.hardlink_to(source)
bundles._link_or_copy = die
"""
BETWEEN_THE_RENAMES = """
rename = Path.rename
def die(self, target):
    if self.name.endswith(".tmp"):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = die
"""


@pytest.mark.parametrize("patch", [WHILE_LINKING, BETWEEN_THE_RENAMES])
def test_a_killed_writer_leaves_the_old_pipeline_whole(pipeline: Pipeline, own: Workspace, patch: str) -> None:
    path = own.model("pipeline")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED.format(patch=patch), str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert answers(load(path)) == answers(pipeline)
    assert open_pipeline(path).manifest["data"] != {}


def test_a_copy_is_whole_and_independent(pipeline: Pipeline, own: Workspace, tmp_path: Path) -> None:
    bundle = open_pipeline(own.model("pipeline"))
    copy = bundle.copy_to(tmp_path / "server" / "pipeline")
    assert copy.fingerprint == bundle.fingerprint
    assert not (copy.path / "items.npz").samefile(bundle.path / "items.npz")
    shutil.rmtree(own.root)
    assert answers(load(copy.path)) == answers(pipeline)
    again = Bundle.open(copy.path).copy_to(tmp_path / "server" / "next")
    assert answers(load(again.path)) == answers(pipeline)


def test_a_copy_replaces_only_its_like(own: Workspace, tmp_path: Path) -> None:
    bundle = open_pipeline(own.model("pipeline"))
    with pytest.raises(ArtefactError, match=r"models/mf holds a recall bundle; choose another folder"):
        bundle.copy_to(own.model("mf"))
    (tmp_path / "notes").mkdir()
    with pytest.raises(ArtefactError, match="exists and is not a bundle"):
        bundle.copy_to(tmp_path / "notes")
    assert list((tmp_path / "notes").iterdir()) == []


def test_a_failed_copy_leaves_nothing(own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, copied = open_pipeline(own.model("pipeline")), []

    def full(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ArtefactError, match=r"cannot write .*No space left on device"):
        bundle.copy_to(tmp_path / "server" / "pipeline")
    assert list((tmp_path / "server").iterdir()) == []
