"""Run a chain of steps, skipping those whose inputs, options and code are unchanged."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from loguru import logger

from reccore import RunOptions, Workspace
from reccore.bundle import MANIFEST, file_sha256

if TYPE_CHECKING:
    from pipeline.window_refits import LabelCut

ROOT = Path(__file__).resolve().parent.parent
DATA_ROOMS = ("reccore", "dataprep")
RECALL_ROOMS = (*DATA_ROOMS, "training", "recall")
ALL_ROOMS = (*RECALL_ROOMS, "evaluation", "ranking", "rerank", "pipeline", "experiments")


def source_digest(rooms: Sequence[str]) -> str:
    """Digest over the Python files of the given rooms."""
    digest = hashlib.sha256()
    for room in sorted(rooms):
        for file in sorted((ROOT / room).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def content_stamp(path: Path) -> str | None:
    """Identify a result: the hash of a file or of a bundle's manifest, else of the sizes of a folder's files.

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
class Step:
    """One step of a chain.

    Attributes:
        name: unique in the chain.
        run: does the work.
        makes: file or folder that appears whole when the work is done.
        needs: names of earlier steps whose results the step reads; where one of them ran again, so does this one.
        rooms: folders whose code does the work.
        options: JSON-able options of the work.
    """

    name: str
    run: Callable[[], Any]
    makes: Path
    needs: Sequence[str] = ()
    rooms: Sequence[str] = ()
    options: Any = None


def channel_step(
    space: Workspace,
    name: str,
    model: str,
    settings: Mapping[str, Any],
    options: RunOptions,
    labels: LabelCut | None = None,
) -> Step:
    """The training of one recall channel, after the step ``prepare``; with ``options.resume`` a stopped one goes on.

    ``labels`` are those of ``train_channel``.
    """
    from pipeline.train_channel import train_channel
    from training.checkpointing import train_on

    return Step(
        name,
        partial(
            train_on,
            partial(train_channel, space, model, settings, name=name, labels=labels),
            space.checkpoint(name),
            options,
        ),
        makes=space.model(name),
        needs=["prepare"],
        rooms=RECALL_ROOMS if labels is None else (*RECALL_ROOMS, "pipeline"),
        options=[model, settings, options.seed, None if labels is None else asdict(labels)],
    )


@dataclass(frozen=True)
class StepRecord:
    """A finished step as the memory file keeps it.

    Attributes:
        basis: digest of the step's inputs, options and code.
        made: stamp of its result.
        run: unique to this run, so that steps which need it run again after another run.
    """

    basis: str
    made: str
    run: str


@dataclass
class StepRunner:
    """Runs steps in order and keeps a file of what each was run with.

    Attributes:
        memory: JSON file; without it everything runs again.
        seconds: step → wall time, for the steps that ran.
        skipped: names of the steps that were up to date.
    """

    memory: Path
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    _runs: dict[str, str] = field(default_factory=dict)

    def forget(self) -> None:
        """Run every step again, whatever was run before."""
        self.memory.unlink(missing_ok=True)

    def run(self, step: Step) -> None:
        """Run a step unless its result is unchanged since it was made from the same inputs, options and code.

        Raises:
            ValueError: a step that this one needs has not run before it, or the step made nothing.
        """
        missing = [need for need in step.needs if need not in self._runs]
        if missing:
            raise ValueError(f"step {step.name!r} needs {', '.join(missing)} to be run before it")
        name, basis, known = step.name, _basis(step, self._runs), self._read()
        last = known.pop(name, None)
        if last is not None and _holds(step, basis, last):
            self._runs[name] = last.run
            self.skipped.append(name)
            return
        logger.info("── {}", name)
        started = perf_counter()
        self._write(known)  # so that a step that fails or is killed runs again
        step.run()
        self.seconds[name] = perf_counter() - started
        made = content_stamp(step.makes)
        if made is None:
            raise ValueError(f"step {name!r} did not make {step.makes}")
        self._runs[name] = uuid.uuid4().hex
        self._write({**known, name: StepRecord(basis, made, self._runs[name])})

    def due(self, steps: Sequence[Step]) -> list[str]:
        """Names of the steps of a chain that ``run`` would run, in order."""
        known, runs, due = self._read(), dict(self._runs), []
        for step in steps:
            last = known.get(step.name)
            if set(step.needs) <= set(runs) and last is not None and _holds(step, _basis(step, runs), last):
                runs[step.name] = last.run
            else:
                runs.pop(step.name, None)
                due.append(step.name)
        return due

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


def _basis(step: Step, runs: Mapping[str, str]) -> str:
    """Digest of what a step works with, given the runs of those that it needs."""
    facts = [step.name, [runs[need] for need in step.needs], source_digest(step.rooms), step.options]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _holds(step: Step, basis: str, last: StepRecord) -> bool:
    """Whether what a step made is still there and of the same inputs, options and code."""
    return last.basis == basis and last.made == content_stamp(step.makes)
