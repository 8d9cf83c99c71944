"""Options of a run that are not part of a model: seed, device, progress, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reccore.errors import ConfigError
from reccore.threads import limit_threads

if TYPE_CHECKING:
    import torch

STREAMS = {
    "network": 0,
    "shuffle": 1,
    "negatives": 2,
    "label_queries": 3,
    "validation_queries": 4,
    "stopping_users": 5,
    "index_queries": 6,
    "new_users": 7,
    "short_histories": 8,
    "members": 9,
    "short_history_rule": 10,
    "replayed_users": 11,
    "unfound_queries": 12,
}
"""Random streams by name. The results of a seed depend on these numbers, so they must not change."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, kept apart from a component's configuration.

    Attributes:
        seed: source of all randomness of the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        progress: show progress bars and lines.
        threads: CPU threads of each numerical library; None leaves each its own default, which follows
            ``OMP_NUM_THREADS`` and the cores the process may use.
        checkpoint_dir: folder for checkpoints of a training that takes epochs; None = no checkpoints.
        checkpoint_minutes: time between checkpoints, in addition to the one after each epoch; changes no result.
        resume: continue from the checkpoint in ``checkpoint_dir``, if there is one, to the same result as without
            the interruption. Without ``resume`` an existing checkpoint is set aside.
        log_dir: folder for TensorBoard curves, with one subfolder per training; None = no curves.
    """

    seed: int = 0
    device: str = "auto"
    progress: bool = True
    threads: int | None = None
    checkpoint_dir: Path | None = None
    checkpoint_minutes: float = 10.0
    resume: bool = False
    log_dir: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.checkpoint_minutes < math.inf:
            raise ConfigError(f"checkpoint_minutes must be more than 0, got {self.checkpoint_minutes}")

    def torch_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            ConfigError: the device is not available.
        """
        import torch

        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {self.device!r} is not available here; try --device cpu ({error})") from error
        return device

    def generator(self, stream: str = "network") -> np.random.Generator:
        """A NumPy generator; different streams of one seed are independent.

        Raises:
            ValueError: ``STREAMS`` has no such name.
        """
        if stream not in STREAMS:
            raise ValueError(f"unknown random stream {stream!r}; known: {', '.join(STREAMS)}")
        return np.random.default_rng([self.seed, STREAMS[stream]])

    def torch_generator(self, stream: str = "network") -> torch.Generator:
        """A CPU generator, so that draws do not depend on the device."""
        import torch

        return torch.Generator().manual_seed(int(self.generator(stream).integers(2**62)))

    def apply_threads(self) -> None:
        """Limit the CPU threads of every numerical library, if ``threads`` is set.

        Raises:
            ConfigError: ``threads`` is below 1.
        """
        if self.threads is not None:
            limit_threads(self.threads)
