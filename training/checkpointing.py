"""Checkpoints of a training: enough state on disk to resume and end with the same result, to the bit."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from loguru import logger
from torch import Tensor

from reccore.bundle import Bundle, read_manifest, remove_abandoned, write_bundle
from reccore.errors import ArtefactError, ResumeError
from reccore.options import RunOptions

KIND = "checkpoint"
LAYOUT = 1
"""Version of the state; increased when the meaning of a trainer's state changes."""
STATE = "state.json"
TENSORS = "state.safetensors"
SET_ASIDE = ".unfinished"
MAX_DIFFERENCES = 5
T = TypeVar("T")

Tree: TypeAlias = Any
"""Dicts, lists and tuples of tensors, numbers, texts, booleans and None."""


class Checkpoints:
    """The checkpoint of one training; each replaces the one before.

    Args:
        folder: of the checkpoint; its parent is created.
        component: name of what is trained.
        identity: everything that decides the result, as JSON-able values: config, seed, data. A checkpoint with
            another identity is refused.
        every_minutes: time between checkpoints within an epoch.

    Raises:
        ArtefactError: ``folder`` cannot be made, or is something else than a checkpoint.
    """

    def __init__(self, folder: Path, *, component: str, identity: Mapping[str, Any], every_minutes: float) -> None:
        self.folder = folder
        self.component = component
        self.identity = json.loads(json.dumps(identity))
        self.every_seconds = 60.0 * every_minutes
        self._last = time.monotonic()
        manifest = read_manifest(folder)
        if folder.exists() and (manifest is None or manifest.get("kind") != KIND):
            raise ArtefactError(f"{folder} exists and is not a checkpoint; move it away")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            remove_abandoned(folder)
        except OSError as error:
            raise ArtefactError(f"no checkpoints can be written to {folder}: {error}") from error

    @property
    def due(self) -> bool:
        """Whether ``every_minutes`` have passed since the last one."""
        return time.monotonic() - self._last >= self.every_seconds

    def write(self, state: Tree, where: str) -> bool:
        """Write ``state``, with ``where`` (such as "epoch 3") in the manifest; False if that failed.

        A full disk is logged as an error and training continues; the previous checkpoint is then still there.
        """
        self._last = time.monotonic()
        tensors: dict[str, Tensor] = {}
        try:
            with write_bundle(
                self.folder,
                kind=KIND,
                component=self.component,
                layout=LAYOUT,
                identity=self.identity,
                where=where,
            ) as bundle:
                bundle.path(STATE).write_text(json.dumps(_pack(state, tensors)), encoding="utf-8")
                bundle.tensors(TENSORS, tensors)
        except ArtefactError as error:
            logger.error("no checkpoint of {}, training continues: {}", where, error)
            return False
        logger.debug("checkpoint of {} at {}", where, self.folder)
        return True

    def read(self) -> Tree | None:
        """The latest state; None without a checkpoint.

        Raises:
            ResumeError: damaged, written by another version, or of a training with another identity; names what
                differs.
        """
        if not self.folder.exists():
            return None
        way_out = "train without --resume to start from the beginning"
        try:
            bundle = Bundle.open(self.folder, kind=KIND)
            if bundle.manifest.get("component") != self.component or bundle.manifest.get("layout") != LAYOUT:
                raise ArtefactError(f"{self.folder} was not written by this version of {self.component}")
            written = json.loads(bundle.file(STATE).read_text(encoding="utf-8"))
            tensors = bundle.tensors(TENSORS)
        except (ArtefactError, ValueError) as error:
            raise ResumeError(f"cannot resume: {error}; {way_out}") from error
        differences = _differences(bundle.manifest["identity"], self.identity)
        if differences:
            shown = "; ".join(differences[:MAX_DIFFERENCES]) + ("; …" if len(differences) > MAX_DIFFERENCES else "")
            raise ResumeError(
                f"cannot resume: the checkpoint at {self.folder} is of another training: {shown}. "
                f"Give what it was started with, or {way_out}"
            )
        return _unpack(written, tensors)

    def set_aside(self) -> None:
        """Move the checkpoint of an unfinished training, if there is one, beside; it replaces the last one set aside.

        Raises:
            ArtefactError: it cannot be moved.
        """
        manifest = read_manifest(self.folder)
        if manifest is None:
            return
        kept = self.folder.with_name(f"{self.folder.name}{SET_ASIDE}")
        try:
            drop_checkpoint(kept)
            self.folder.rename(kept)
        except OSError as error:
            raise ArtefactError(f"{self.folder} cannot be moved to {kept}: {error}; move it away") from error
        logger.warning(
            "the checkpoint of an unfinished training ({}) is kept at {}. To continue that training, stop this one, "
            "rename the folder to {} and run its command with --resume",
            manifest.get("where"),
            kept,
            self.folder.name,
        )


def train_on(train: Callable[..., T], checkpoint: Path, options: RunOptions) -> T:
    """``train(options=…)``; with ``options.resume`` from its checkpoint, if there is one of the same training.

    For chains of trainings that are started again as a whole, in which a checkpoint may be missing or of a training
    that has changed since.

    Args:
        train: the training; it raises ``ResumeError`` for a checkpoint of another one.
        checkpoint: its folder.
        options: of the training.
    """
    if options.resume and has_checkpoint(checkpoint):
        try:
            return train(options=options)
        except ResumeError as error:  # the settings, the data or the code have changed since
            logger.info("trained from the beginning: {}", error)
            drop_checkpoint(checkpoint)
    return train(options=replace(options, resume=False))


def drop_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, if there is one."""
    if has_checkpoint(folder):
        shutil.rmtree(folder)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint, whole or damaged."""
    manifest = read_manifest(folder)
    return manifest is not None and manifest.get("kind") == KIND


def digest(arrays: Mapping[str, np.ndarray | Tensor]) -> str:
    """Hex digest of named arrays; equal exactly for equal names, types, shapes and values."""
    total = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        total.update(f"{name} {plain.dtype} {plain.shape} ".encode())
        total.update(np.ascontiguousarray(plain).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Differences between two nested dicts, in words."""
    found: list[str] = []
    for key in sorted({*then, *now}):
        old, new, name = then.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{name}.")
        elif old != new:
            found.append(f"{name} was {_short(old)} and is {_short(new)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _pack(tree: Tree, tensors: dict[str, Tensor]) -> Any:
    """JSON-able twin of ``tree``, with every tensor put into ``tensors`` and named by a number.

    Raises:
        TypeError: something that neither JSON nor safetensors can hold.
    """
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, Tensor):
        name, value = str(len(tensors)), tree.detach().cpu()
        memory = value.untyped_storage().data_ptr()
        if any(memory == held.untyped_storage().data_ptr() for held in tensors.values()):
            value = value.clone()  # safetensors takes no two that share memory
        tensors[name] = value
        return {"tensor": name}
    if isinstance(tree, (list, tuple)):
        return {type(tree).__name__: [_pack(part, tensors) for part in tree]}
    if isinstance(tree, Mapping):
        return {"dict": [[_pack(key, tensors), _pack(part, tensors)] for key, part in tree.items()]}
    raise TypeError(f"a checkpoint cannot hold a {type(tree).__name__}")


def _unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Tree:
    """Inverse of ``_pack``; tensors are copied into memory of their own, aligned as when they were made."""
    if not isinstance(packed, dict):
        return packed
    ((kind, held),) = packed.items()
    if kind == "tensor":
        return tensors[held].clone()
    if kind == "dict":
        return {_unpack(key, tensors): _unpack(part, tensors) for key, part in held}
    parts = [_unpack(part, tensors) for part in held]
    return tuple(parts) if kind == "tuple" else parts
