"""A chain of steps of which only those run again whose inputs, options or code have changed."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from loguru import logger

from reccore.bundle import MANIFEST, file_sha256

ROOT = Path(__file__).resolve().parent.parent


def source_digest(rooms: Sequence[str]) -> str:
    """Digest over the Python files of the given rooms."""
    digest = hashlib.sha256()
    for room in sorted(rooms):
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def content_stamp(path: Path) -> str | None:
    """What tells one result from another: a file's or a bundle manifest's hash, else the sizes of a folder's files.

    None where there is nothing.
    """
    if not path.is_dir():
        return file_sha256(path) if path.is_file() else None
    if (path / MANIFEST).is_file():
        return file_sha256(path / MANIFEST)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    facts = [[str(file.relative_to(path)), file.stat().st_size] for file in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True)
class StepRecord:
    """What the memory holds of a step.

    Attributes:
        basis: digest of what the step was run with.
        made: stamp of what it made.
        run: names this very run, so that what rests on it knows when there was another.
    """

    basis: str
    made: str
    run: str


@dataclass
class Steps:
    """Runs steps in order and remembers, in a file, what each was run with.

    Attributes:
        memory: JSON file; losing it only means that everything runs again.
        seconds: wall time of each step that ran.
        skipped: names of the steps that were up to date.
    """

    memory: Path
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    _runs: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        name: str,
        work: Callable[[], Any],
        *,
        makes: Path,
        needs: Sequence[str] = (),
        rooms: Sequence[str] = (),
        options: Any = None,
    ) -> None:
        """Do ``work`` unless ``makes`` is as this step left it, from the same inputs, options and code.

        Args:
            name: of the step.
            work: does it.
            makes: file or folder that appears whole when the work is done.
            needs: names of earlier steps whose results go in; where one of them ran again, so does this one.
            rooms: folders whose code does the work.
            options: JSON-able options of the work.

        Raises:
            ValueError: a step in ``needs`` has not been run before this one, or ``makes`` was not made.
        """
        missing = [need for need in needs if need not in self._runs]
        if missing:
            raise ValueError(f"step {name!r} needs {', '.join(missing)} to be run before it")
        facts = [name, [self._runs[need] for need in needs], source_digest(rooms), options]
        basis = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        known = self._read()
        last = known.pop(name, None)
        if last is not None and last.basis == basis and last.made == content_stamp(makes):
            self._runs[name] = last.run
            self.skipped.append(name)
            return
        logger.info("── {}", name)
        started = perf_counter()
        self._write(known)  # a run that fails or is killed leaves no memory of the step
        work()
        self.seconds[name] = perf_counter() - started
        made = content_stamp(makes)
        if made is None:
            raise ValueError(f"step {name!r} did not make {makes}")
        self._runs[name] = uuid.uuid4().hex
        self._write({**known, name: StepRecord(basis, made, self._runs[name])})

    def _read(self) -> dict[str, StepRecord]:
        try:
            stored = json.loads(self.memory.read_text(encoding="utf-8"))
            return {name: StepRecord(**record) for name, record in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write(self, known: dict[str, StepRecord]) -> None:
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.memory.with_suffix(".tmp")
        temporary.write_text(json.dumps({name: asdict(r) for name, r in known.items()}, indent=2), encoding="utf-8")
        temporary.replace(self.memory)
