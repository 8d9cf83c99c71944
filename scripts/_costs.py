"""What the steps of a long chain cost: each in a process of its own, and an estimate before the first one starts."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Self

import numpy as np
from loguru import logger

from experiments.own_process import in_own_process
from reccore import ConfigError, RecommenderError
from reccore.memory import peak_memory_bytes
from scripts._steps import Step

GIGABYTE = 1e9


@dataclass(frozen=True)
class StepCost:
    """What one step took.

    Attributes:
        seconds: wall time of its process, imports included.
        cpu_seconds: of all its threads.
        peak_bytes: peak resident memory of its process.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def idle_seconds(self) -> float:
        """Wall time on a machine that does nothing else, as far as one run shows it: the lesser of both times.

        Other work makes wall time too long, and several threads CPU time: where both were at hand it is too long too.
        """
        return min(self.seconds, self.cpu_seconds)

    def text(self) -> str:
        """``12.3 s (20.1 s of CPU), 1.2 GB``."""
        return f"{self.seconds:.1f} s ({self.cpu_seconds:.1f} s of CPU), {self.peak_bytes / GIGABYTE:.1f} GB"


@dataclass(frozen=True)
class CostBook:
    """The costs of the latest run of every step, as a JSON file; steps that were up to date keep their entry.

    Attributes:
        path: of the file.
        events: number of ratings of the data.
    """

    path: Path
    events: int

    def measured(self, step: Step) -> Step:
        """The same step, run in a process of its own and written down."""
        return replace(step, run=lambda: self._run(step))

    def _run(self, step: Step) -> None:
        started = perf_counter()
        measured = in_own_process(_measure, step.run)
        if isinstance(measured, Exception):
            raise measured
        cpu_seconds, peak_bytes = measured
        cost = StepCost(round(perf_counter() - started, 2), round(cpu_seconds, 2), peak_bytes)
        logger.info("{}: {}", step.name, cost.text())
        steps = {**self.read(), step.name: cost}
        content = {
            "events": self.events,
            "machine": machine(),
            "steps": {name: asdict(one) for name, one in steps.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
        temporary.replace(self.path)

    def read(self) -> dict[str, StepCost]:
        """Costs by step; none where there is no file of this number of events from this machine."""
        if not self.path.is_file():
            return {}
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            same = stored["events"] == self.events and stored["machine"] == machine()
            return costs_of(stored["steps"]) if same else {}
        except (ValueError, TypeError, KeyError, AttributeError):
            logger.warning("{} is damaged and is written anew", self.path)
            return {}


def _measure(work: Callable[[], Any]) -> tuple[float, int] | Exception:
    """CPU seconds and peak memory of this process after the work, or an error that a user can mend."""
    try:
        work()
    except RecommenderError as error:
        return RecommenderError(str(error))  # others carry what another process could not read
    except OSError as error:
        return error
    return process_time(), peak_memory_bytes()


def costs_of(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, StepCost]:
    """Costs by step of their plain values."""
    return {name: StepCost(**values) for name, values in stored.items()}


def machine() -> str:
    """Number of usable cores and the processor, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {_processor()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Estimate:
    """Wall seconds of every step at other sizes on an idle machine, from runs on one.

    Attributes:
        machine: where they were measured.
        runs: number of events → costs of the steps.
    """

    machine: str
    runs: Mapping[int, Mapping[str, StepCost]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The runs of a file that ``benchmarks/scale.py`` wrote."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(stored["machine"], {run["events"]: costs_of(run["steps"]) for run in stored["runs"]})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path} does not hold measured runs ({error!r}); restore it by git") from error

    def seconds(self, step: str, events: int) -> float:
        """Seconds of a step: on the line through the measured sizes on log axes, in proportion beyond them; 0 where it
        was never measured."""
        known = sorted((size, costs[step].idle_seconds) for size, costs in self.runs.items() if step in costs)
        if not known:
            return 0.0
        sizes, seconds = np.array(known, dtype=np.float64).T
        inside = float(np.exp(np.interp(np.log(events), np.log(sizes), np.log(np.maximum(seconds, 1e-3)))))
        return inside * max(1.0, events / float(sizes[-1]))

    def total(self, steps: Iterable[str], events: int) -> float:
        """Seconds of several steps."""
        return sum(self.seconds(step, events) for step in steps)


@dataclass
class TimeLeft:
    """Logs the time that the remaining steps should take, corrected by how this machine did so far.

    Attributes:
        estimate: of the named machine.
        events: number of ratings.
        expected, taken: seconds of the steps done so far, by the estimate and in fact.
    """

    estimate: Estimate
    events: int
    expected: float = 0.0
    taken: float = 0.0

    def start(self, due: list[str]) -> None:
        """Say how long the steps that are due should take."""
        if due:
            seconds = self.estimate.total(due, self.events)
            logger.info(
                "{} steps to do, an estimated {} if the machine does nothing else (from runs on {}; {:,} events)",
                len(due),
                minutes(seconds),
                self.estimate.machine,
                self.events,
            )

    def after(self, step: str, seconds: float, due: list[str]) -> None:
        """Say how long those that are still due should take."""
        self.expected += self.estimate.seconds(step, self.events)
        self.taken += seconds
        if due and self.expected > 0:
            left = self.estimate.total(due, self.events) * self.taken / self.expected
            logger.info("about {} left", minutes(left))


def minutes(seconds: float) -> str:
    """A length of time in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
