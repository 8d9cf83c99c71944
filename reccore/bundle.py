"""Artefacts on disk: a folder with a manifest and hashed files, without pickle, replaced as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import lock_descriptor
from safetensors import SafetensorError

from reccore.errors import ArtefactError
from reccore.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.npz"
MEND = "make it again or restore it from a copy"
_SMALLEST_FILE = 4096
_LIBRARIES = ("numpy", "torch", "pyarrow", "faiss-cpu", "implicit", "lightgbm", "safetensors")


def file_sha256(path: Path) -> str:
    """Hex digest of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def git_commit() -> str | None:
    """Commit of the checkout that this code runs from; None outside git."""
    root = Path(__file__).resolve().parent.parent
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _library_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


class BundleWriter:
    """Collects the files of one bundle inside a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = {}

    def path(self, name: str) -> Path:
        """Path of a file of the bundle, for code that writes it itself."""
        return self.folder / name

    def arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write NumPy arrays as ``name`` (.npz).

        Raises:
            ValueError: an object array, which NumPy could only pickle.
        """
        for key, values in arrays.items():
            if values.dtype.hasobject:
                raise ValueError(f"array {key} holds Python objects")
        np.savez(self.path(name), allow_pickle=False, **dict(arrays))

    def tensors(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write tensors as ``name`` (.safetensors)."""
        from safetensors.torch import save_file

        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(self.path(name)))

    def vocabulary(self, vocabulary: Vocabulary) -> None:
        """Store the vocabulary and its fingerprint."""
        self.arrays(VOCABULARY, vocabulary.to_arrays())
        self.manifest["vocabulary"] = vocabulary.fingerprint


def recover_bundle(path: Path) -> None:
    """Restore the previous bundle if a run was killed between the two renames of a replacement."""
    previous = path.with_name(f".{path.name}.previous")
    if previous.exists():
        if not path.exists():
            previous.rename(path)
        elif previous.is_symlink():
            previous.unlink()
        else:
            shutil.rmtree(previous, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Check before long work that its result can be stored; the folder is created.

    Raises:
        ArtefactError: the disk is full or read-only, or the folder belongs to someone else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * _SMALLEST_FILE)
    except OSError as error:
        raise ArtefactError(
            f"{folder} cannot be written: {error.strerror or error}; free space or choose another --data_dir"
        ) from error


def remove_abandoned(path: Path) -> None:
    """Delete the temporary folders beside ``path`` of runs that were killed; a run that still writes holds its own."""
    for temporary in path.parent.glob(f".{path.name}.*.tmp"):
        with contextlib.suppress(OSError), _held(temporary) as is_mine:
            if is_mine:
                shutil.rmtree(temporary)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder until the block or the process ends; yields whether nobody else holds it.

    Raises:
        OSError: the file system cannot lock a folder, as on Windows.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield lock_descriptor(handle, blocking=False)
    finally:
        os.close(handle)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path``, which is deleted at the end if it is still there.

    The folder is locked meanwhile, so that ``remove_abandoned`` of another process keeps it.
    """
    remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        with contextlib.ExitStack() as lock:
            with contextlib.suppress(OSError):
                lock.enter_context(_held(temporary))
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder, which replaces ``path`` if the block ends without an error."""
    try:
        with temporary_folder(path) as temporary:
            yield temporary
            if path.exists():
                path.rename(path.with_name(f".{path.name}.previous"))
            temporary.rename(path)
    finally:
        recover_bundle(path)  # deletes the previous folder, or restores it if the second rename failed


@contextlib.contextmanager
def write_bundle(path: Path, *, kind: str, component: str, **facts: Any) -> Iterator[BundleWriter]:
    """Write a bundle at ``path``: complete or not at all; an existing one stays until then.

    Args:
        path: folder to create or replace.
        kind: kind of component, such as ``recall``.
        component: registered name of the class that loads it.
        facts: further JSON-able manifest entries (``config``, ``seed``, ``metrics``, ``data`` …).

    Raises:
        ArtefactError: ``path`` exists and is not a bundle, or writing failed.
    """
    with _replaced(path) as temporary:
        writer = BundleWriter(temporary)
        yield writer
        files = {
            str(file.relative_to(temporary)): file_sha256(file)
            for file in sorted(temporary.rglob("*"))
            if file.is_file()
        }
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "component": component,
            **facts,
            **writer.manifest,
            "libraries": _library_versions(),
            "git_commit": git_commit(),
            "files": files,
        }
        with (temporary / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def _replaced(path: Path | str) -> Iterator[Path]:
    """A temporary folder that replaces the bundle at ``path``: complete or not at all.

    Raises:
        ArtefactError: ``path`` exists and is not a bundle, or writing failed.
    """
    path = Path(path)
    recover_bundle(path)
    if path.exists() and not (path / MANIFEST).is_file():
        raise ArtefactError(f"{path} exists and is not a bundle; move it away or choose another name")
    try:
        with replace_folder(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"cannot write {path}: {error}. The previous content is unchanged.") from error


@dataclass(frozen=True)
class Bundle:
    """A bundle opened for reading; every file named in the manifest has been checked."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str, *, kind: str | None = None) -> Bundle:
        """Open a bundle and verify its files.

        Raises:
            ArtefactError: missing, unreadable, of another kind or format, or a file's hash differs.
        """
        path = Path(path)
        recover_bundle(path)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ArtefactError(f"no bundle at {path}") from error
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{path / MANIFEST} cannot be read: {error}; {MEND}") from error
        if not isinstance(manifest, dict) or manifest.get("format_version") != FORMAT_VERSION:
            raise ArtefactError(f"{path} does not have format {FORMAT_VERSION}; write it again with this version")
        if kind is not None and manifest.get("kind") != kind:
            raise ArtefactError(f"{path} is a {manifest.get('kind')} bundle, a {kind} bundle is needed")
        if not isinstance(manifest.get("files"), dict):
            raise ArtefactError(f"{path / MANIFEST} lists no files; write it again with this version")
        for name, expected in manifest["files"].items():
            file = path / name
            if not file.is_file():
                raise ArtefactError(f"{path} is damaged: {name} is missing; {MEND}")
            if file_sha256(file) != expected:
                raise ArtefactError(f"{path} is damaged: {name} does not have the hash of the manifest; {MEND}")
        return cls(path, manifest)

    def nested(self, name: str) -> Bundle:
        """A bundle inside this one, whose files were checked with those of this one.

        Raises:
            ArtefactError: there is none of that name, or its files are not those that this manifest lists.
        """
        manifest = json.loads(self.file(f"{name}/{MANIFEST}").read_text(encoding="utf-8"))
        listed = {file: self.manifest["files"].get(f"{name}/{file}") for file in manifest["files"]}
        if listed != manifest["files"]:
            raise ArtefactError(f"{self.path} does not list the files of {name} in it; write it again")
        return Bundle(self.path / name, manifest)

    def link_to(self, folder: Path) -> None:
        """Put the files into a new folder as hard links, which take no space, or as copies where links cannot be made.

        Files of a bundle are never changed in place, so links stay as they are when the bundle is replaced.

        Raises:
            ArtefactError: the bundle was replaced since it was opened.
        """
        self._place(folder, _link_or_copy)

    def copy_to(self, path: Path) -> Bundle:
        """Write a copy at ``path``, complete or not at all; an existing bundle of this kind is replaced.

        Raises:
            ArtefactError: ``path`` holds something else, the bundle was replaced since it was opened, or writing
                failed.
        """
        there = read_manifest(path)
        if there is not None and there.get("kind") != self.manifest["kind"]:
            raise ArtefactError(f"{path} holds a {there.get('kind')} bundle; choose another folder")
        with _replaced(path) as temporary:
            self._place(temporary, shutil.copyfile)
        return Bundle.open(path)

    def _place(self, folder: Path, place: Callable[[Path, Path], object]) -> None:
        try:
            for name in (*self.manifest["files"], MANIFEST):  # the manifest last, since it shows a replacement
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                place(self.path / name, target)
            unchanged = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) == self.manifest
        except FileNotFoundError:
            unchanged = False
        if not unchanged:
            raise ArtefactError(f"{self.path} was replaced while it was in use; run the command again")

    @property
    def fingerprint(self) -> str:
        """Digest of all files and of the configuration, since some options change retrieval only."""
        facts = [self.manifest["files"], self.manifest.get("component"), self.manifest.get("config")]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def file(self, name: str) -> Path:
        """Path of a file of the manifest, whose hash was checked on opening.

        Raises:
            ArtefactError: the manifest names no such file.
        """
        if name not in self.manifest["files"]:
            raise ArtefactError(f"{self.path} holds no {name}; write it again with this version")
        return self.path / name

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of an .npz file.

        Raises:
            ArtefactError: no such file, not an .npz, or one with pickled objects.
        """
        path = self.file(name)
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from error

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Tensors of a .safetensors file, on the CPU.

        Raises:
            ArtefactError: no such file, or not a .safetensors.
        """
        from safetensors.torch import load_file

        path = self.file(name)
        try:
            return load_file(str(path))
        except SafetensorError as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from error

    def vocabulary(self) -> Vocabulary:
        """The vocabulary stored with the bundle."""
        return Vocabulary.from_arrays(self.arrays(VOCABULARY))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Manifest of a bundle, without verifying its files; None if there is none that can be read."""
    recover_bundle(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None
