"""A chain of steps of which only those run again whose inputs, options or code have changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from loguru import logger

ROOT = Path(__file__).resolve().parent.parent


def source_digest(rooms: Sequence[str]) -> str:
    """Digest over the Python files of the given rooms."""
    digest = hashlib.sha256()
    for room in sorted(rooms):
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


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
    _digests: dict[str, str] = field(default_factory=dict)

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
        """Do ``work`` unless ``makes`` is there and was made from the same inputs, options and code.

        Args:
            name: of the step.
            work: does it.
            makes: file or folder that appears whole when the work is done.
            needs: names of earlier steps whose results go in.
            rooms: folders whose code does the work.
            options: JSON-able options of the work.
        """
        basis = [name, [self._digests[need] for need in needs], source_digest(rooms), options]
        self._digests[name] = digest = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()
        known = self._read()
        if makes.exists() and known.get(name) == digest:
            self.skipped.append(name)
            return
        logger.info("── {}", name)
        started = perf_counter()
        self._write({key: value for key, value in known.items() if key != name})
        work()
        self.seconds[name] = perf_counter() - started
        self._write({**self._read(), name: digest})

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self.memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, str]) -> None:
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.memory.with_suffix(".tmp")
        temporary.write_text(json.dumps(known, indent=2), encoding="utf-8")
        temporary.replace(self.memory)
