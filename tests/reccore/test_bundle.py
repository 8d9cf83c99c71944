"""Bundles: complete or absent, verified on opening, without pickle."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from reccore import ArtefactError, Bundle, IdMap, Vocabulary, write_bundle
from reccore.bundle import check_writable, file_sha256, read_manifest, remove_abandoned, replace_folder

VOCABULARY = Vocabulary(IdMap(np.array([1, 5])), IdMap(np.array([10, 20, 30])))


def write(path: Path, value: float = 1.0, **facts: Any) -> None:
    with write_bundle(path, kind="recall", component="thing", **facts) as writer:
        writer.vocabulary(VOCABULARY)
        writer.arrays("a.npz", {"x": np.array([value])})
        writer.tensors("w.safetensors", {"w": torch.full((2,), value)[::1]})
        (writer.path("sub")).mkdir()
        writer.path("sub/plain.txt").write_text("plain")


def value_of(path: Path) -> float:
    return float(Bundle.open(path, kind="recall").arrays("a.npz")["x"][0])


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.update(changes)
    (path / "manifest.json").write_text(json.dumps(manifest))


def others_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "models" / "b"  # the parent folder is made too
    write(path, 3.5, seed=7, config={"k": 1})
    bundle = Bundle.open(path, kind="recall")
    assert bundle.arrays("a.npz")["x"].tolist() == [3.5]
    assert bundle.tensors("w.safetensors")["w"].tolist() == [3.5, 3.5]
    assert bundle.file("sub/plain.txt").read_text() == "plain"
    assert bundle.vocabulary().fingerprint == VOCABULARY.fingerprint == bundle.manifest["vocabulary"]
    assert (bundle.manifest["seed"], bundle.manifest["config"], bundle.manifest["component"]) == (7, {"k": 1}, "thing")
    assert bundle.manifest["libraries"]["numpy"] == np.__version__
    assert bundle.manifest["files"]["sub/plain.txt"] == file_sha256(path / "sub/plain.txt")
    assert others_in(tmp_path / "models") == {"b"}


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        write(tmp_path / name, value, seed=len(name))
    one, same, other = (Bundle.open(tmp_path / name).fingerprint for name in ("one", "same", "other"))
    assert one == same != other


def test_replacing_leaves_one_bundle(tmp_path: Path) -> None:
    write(tmp_path / "b", 1.0)
    write(tmp_path / "b", 2.0)
    assert value_of(tmp_path / "b") == 2.0
    assert others_in(tmp_path) == {"b"}


def test_damage_is_found_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "b"
    write(path)
    data = (path / "a.npz").read_bytes()
    (path / "a.npz").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtefactError, match=r"damaged: a\.npz does not have the hash"):
        Bundle.open(path)
    (path / "a.npz").unlink()
    with pytest.raises(ArtefactError, match=r"damaged: a\.npz is missing"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 1}, "does not have format 2"),
        ({"kind": "ranking"}, "is a ranking bundle, a recall bundle is needed"),
        ({"files": None}, "lists no files"),
    ],
)
def test_other_formats_and_kinds_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path / "b")
    edit_manifest(tmp_path / "b", **changes)
    with pytest.raises(ArtefactError, match=message):
        Bundle.open(tmp_path / "b", kind="recall")


def test_no_bundle_and_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no bundle at"):
        Bundle.open(tmp_path / "nothing")
    assert read_manifest(tmp_path / "nothing") is None
    write(tmp_path / "b")
    (tmp_path / "b" / "manifest.json").write_text("{half")
    with pytest.raises(ArtefactError, match="cannot be read"):
        Bundle.open(tmp_path / "b")


def test_object_arrays_are_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "b"
    with (
        pytest.raises(ValueError, match="holds Python objects"),
        write_bundle(path, kind="recall", component="thing") as writer,
    ):
        writer.arrays("a.npz", {"x": np.array([{"a": 1}], dtype=object)})
    assert others_in(tmp_path) == set()
    write(path)
    np.savez(path / "a.npz", x=np.array([{"a": 1}], dtype=object))  # a pickle, with a manifest that vouches for it
    files = json.loads((path / "manifest.json").read_text())["files"]
    edit_manifest(path, files={**files, "a.npz": file_sha256(path / "a.npz")})
    with pytest.raises(ArtefactError, match=r"a\.npz cannot be read"):
        Bundle.open(path).arrays("a.npz")


def test_only_files_of_the_manifest_are_read(tmp_path: Path) -> None:
    write(tmp_path / "b")
    np.savez(tmp_path / "b" / "smuggled.npz", x=np.ones(1))
    with pytest.raises(ArtefactError, match=r"holds no smuggled\.npz"):
        Bundle.open(tmp_path / "b").arrays("smuggled.npz")
    for name in ("a.npz", "sub/plain.txt"):
        with pytest.raises(ArtefactError, match="cannot be read"):
            Bundle.open(tmp_path / "b").tensors(name)
    with pytest.raises(ArtefactError, match="cannot be read"):
        Bundle.open(tmp_path / "b").arrays("sub/plain.txt")


def test_an_exception_inside_leaves_the_old_bundle(tmp_path: Path) -> None:
    write(tmp_path / "b", 1.0)

    def interrupted() -> None:
        with write_bundle(tmp_path / "b", kind="recall", component="thing") as writer:
            writer.arrays("a.npz", {"x": np.array([2.0])})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert value_of(tmp_path / "b") == 1.0
    assert others_in(tmp_path) == {"b"}


def test_a_run_killed_between_the_two_renames_is_recovered(tmp_path: Path) -> None:
    path, previous = tmp_path / "b", tmp_path / ".b.previous"
    write(path, 1.0)
    path.rename(previous)  # the state a kill leaves behind
    assert value_of(path) == 1.0
    path.rename(previous)
    assert (read_manifest(path) or {})["component"] == "thing"
    path.rename(previous)
    write(path, 2.0)
    assert value_of(path) == 2.0
    assert others_in(tmp_path) == {"b"}


def test_a_run_killed_after_the_second_rename_keeps_the_new_bundle(tmp_path: Path) -> None:
    write(tmp_path / "b", 2.0)
    write(tmp_path / ".b.previous", 1.0)
    assert value_of(tmp_path / "b") == 2.0
    assert others_in(tmp_path) == {"b"}


def test_a_failing_second_rename_restores_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b", 1.0)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ArtefactError, match="The previous content is unchanged"):
        write(tmp_path / "b", 2.0)
    assert others_in(tmp_path) == {"b"}
    assert value_of(tmp_path / "b") == 1.0


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("numpy.savez", OSError(errno.ENOSPC, "No space left on device")),
        ("safetensors.torch.save_file", SafetensorError("I/O error: No space left on device")),
        ("json.dump", OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_a_full_disk_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: Exception
) -> None:
    write(tmp_path / "b", 1.0)

    def full(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(function, full)
    with pytest.raises(ArtefactError, match="No space left on device"):
        write(tmp_path / "b", 2.0)
    monkeypatch.undo()
    assert value_of(tmp_path / "b") == 1.0
    assert others_in(tmp_path) == {"b"}


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from reccore.bundle import replace_folder
with replace_folder(Path({str(tmp_path / "b")!r})) as folder:
    (folder / "half.npz").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".b.*.tmp")
    other = tmp_path / ".other.12345678.tmp"
    other.mkdir()
    write(tmp_path / "b", 1.0)
    assert not left.exists()
    assert others_in(tmp_path) == {"b", other.name}


def test_a_writer_that_is_at_work_keeps_its_folder(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "b") as folder:
        (folder / "x").write_text("1")
        remove_abandoned(tmp_path / "b")
        assert (folder / "x").read_text() == "1"
    assert (tmp_path / "b" / "x").read_text() == "1"


def test_a_folder_is_checked_before_long_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "new" / "models")
    assert list((tmp_path / "new" / "models").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match=r"file/models cannot be written: .*; free space or choose another"):
        check_writable(tmp_path / "file" / "models")

    def read_only(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(ArtefactError, match="cannot be written: Read-only file system"):
        check_writable(tmp_path / "new")


def test_a_folder_that_is_not_a_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    with pytest.raises(ArtefactError, match="exists and is not a bundle"):
        write(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "precious"
