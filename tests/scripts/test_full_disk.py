"""A disk that is full: one sentence and exit code 2, nothing half-written, and no result that is lost.

The limit of the operating system on the size of a file stands for the full disk: it fails the same calls, in Python as
in the libraries beneath, and needs no other rights than those of a user.
"""

from __future__ import annotations

import importlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reccore import Workspace
from reccore.bundle import read_manifest
from scripts._cli import run
from tests.helpers import as_flags
from tests.pipeline import small
from tests.scripts.conftest import Ended

Run = Callable[..., Ended]
TWO_TOWER = as_flags(small.CHANNELS["two_tower"])
RANKER = as_flags({**small.RANKER, "pipeline": small.PIPELINE})


@contextmanager
def files_of_at_most(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond ``n_bytes``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def on_full_disk(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command whose files may have ``room`` bytes; output is kept in memory, since pytest's own is a file."""

    def go(name: str, *argv: object, room: int = 0) -> Ended:
        main = importlib.import_module(f"scripts.{name}").main
        capsys.readouterr()
        code = 0
        with files_of_at_most(room):
            try:
                run(main, [str(arg) for arg in argv])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        return Ended(code, *capsys.readouterr())

    return go


def stored(root: Path) -> dict[str, bytes]:
    """Every file under a root; TensorBoard's curves are no result."""
    files = (path for path in root.rglob("*") if path.is_file() and "runs" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


WRITERS = [
    ("run_preprocessing", [], 0),
    ("prepare_two_tower_data", [], 0),
    ("train_recall", ["--model", "popularity"], 0),
    ("train_recall", ["--model", "two_tower", *TWO_TOWER], 0),
    ("train_ranking", ["--model", "deepfm", *RANKER], 0),
    ("train_recall", ["--model", "two_tower", *TWO_TOWER, "--name", "new"], 8192),  # more than the check writes
    ("build_index", ["--model", "two_tower"], 0),
]


@pytest.mark.parametrize(("name", "argv", "room"), WRITERS)
def test_what_was_there_stays(on_full_disk: Run, own: Workspace, name: str, argv: list[str], room: int) -> None:
    before = stored(own.root)
    sentence = on_full_disk(name, "--data_dir", own.root, *argv, room=room).sentence
    assert "File too large" in sentence
    assert stored(own.root) == before


def test_a_training_fails_before_its_first_epoch(on_full_disk: Run, own: Workspace) -> None:
    ended = on_full_disk("train_recall", "--data_dir", own.root, "--model", "two_tower", *TWO_TOWER)
    assert f"{own.models} cannot be written" in ended.sentence
    assert "epoch" not in ended.err
    assert not own.runs.joinpath("two_tower").exists() or len(list(own.runs.joinpath("two_tower").iterdir())) == 1


def test_a_training_goes_on_without_its_checkpoints(on_full_disk: Run, own: Workspace) -> None:
    """There is room for a small model, and none for the state of its optimiser."""
    size = max(file.stat().st_size for file in own.model("two_tower").iterdir())
    flags = ["--data_dir", own.root, "--model", "two_tower", *TWO_TOWER, "--name", "new"]
    ended = on_full_disk("train_recall", *flags, room=size + 1024)
    assert ended.code == 0, ended.err
    assert "no checkpoint of epoch 2" in ended.err
    assert read_manifest(own.model("new")) is not None


EVALUATIONS = [
    ("evaluate_recall", ["--models", "mf,popularity"], "recall.md", "| mf "),
    ("evaluate_pipeline", [], "pipeline.md", "| after reranking "),
    ("evaluate_ranking", [], "ranking.md", "| deepfm "),
    ("tune_merge", ["--models", "mf,popularity", "--metrics", "ndcg@10"], "merge_tuning_valid.md", "| "),
    ("evaluate_recall", ["--models", "popularity", "--new_users", "1"], "new_users.md", "| popularity "),
]


@pytest.mark.parametrize(("name", "argv", "report", "row"), EVALUATIONS)
def test_an_evaluation_prints_its_results_before_it_fails(
    on_full_disk: Run, own: Workspace, name: str, argv: list[str], report: str, row: str
) -> None:
    assert on_full_disk(name, "--data_dir", own.root, *argv, room=1 << 30).code == 0  # compiles, which writes files too
    shutil.rmtree(own.reports)
    ended = on_full_disk(name, "--data_dir", own.root, *argv)
    assert ended.code == 2
    assert row in ended.out
    assert ended.err.splitlines()[-1].startswith(
        f"error: the report {own.reports / report} cannot be written: File too large; the results stand above"
    )
    assert "Traceback" not in ended.err
    assert not (own.reports / report).exists()
    assert not list(own.reports.glob(".*"))


def test_with_json_the_results_are_printed_too(on_full_disk: Run, own: Workspace) -> None:
    ended = on_full_disk("evaluate_recall", "--data_dir", own.root, "--models", "mf", "--json")
    assert ended.code == 2
    assert [e["name"] for e in json.loads(ended.out)["evaluations"]] == ["mf"]


def test_folders_that_cannot_be_made(on_full_disk: Run, own: Workspace) -> None:
    """As on a read-only disk: here a file stands where a folder should."""
    shutil.rmtree(own.models / "popularity")
    shutil.move(own.models, own.root / "kept")
    own.models.write_text("")
    ended = on_full_disk("train_recall", "--data_dir", own.root, "--model", "popularity", room=1 << 30)
    assert f"{own.models} cannot be written: File exists" in ended.sentence
    own.models.unlink()
    shutil.move(own.root / "kept", own.models)
    own.reports.write_text("")
    ended = on_full_disk("evaluate_recall", "--data_dir", own.root, "--models", "mf", room=1 << 30)
    assert "| mf " in ended.out
    assert "cannot be written: File exists; the results stand above" in ended.err


def test_synthetic_data_and_the_demos_memory(on_full_disk: Run, tmp_path: Path) -> None:
    sizes = ["--users", 50, "--movies", 100, "--ratings", 600]
    assert "File too large" in on_full_disk("make_synthetic", "--data_dir", tmp_path, *sizes).sentence
    assert not list((tmp_path / "raw").glob("*"))
