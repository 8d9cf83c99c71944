"""How a run is carried out, as opposed to what is computed: seed, device, progress, threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from reccore.errors import ConfigError


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. Never part of a component's configuration.

    Attributes:
        seed: source of all randomness of the run.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        progress: show progress bars and lines.
        threads: CPU threads of torch; by default its own choice, which heeds ``OMP_NUM_THREADS`` and the cores
            the process may use.
    """

    seed: int = 0
    device: str = "auto"
    progress: bool = True
    threads: int | None = None

    def torch_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            ConfigError: the device named is not there.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"device {self.device!r} is not available here; try --device cpu ({error})") from error
        return device

    def generator(self, stream: int = 0) -> np.random.Generator:
        """A NumPy generator; different streams of one seed are independent."""
        return np.random.default_rng([self.seed, stream])

    def torch_generator(self, stream: int = 0) -> torch.Generator:
        """A CPU generator, so that draws do not depend on the device."""
        return torch.Generator().manual_seed(int(self.generator(stream).integers(2**62)))

    def apply_threads(self) -> None:
        """Set the number of torch threads where one is asked for."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
