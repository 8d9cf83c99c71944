"""Paths under a data root. One root holds one data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reccore.errors import ConfigError, NotReadyError


@dataclass(frozen=True)
class Workspace:
    """Paths under ``--data_dir``."""

    root: Path

    @property
    def raw(self) -> Path:
        """Raw files, one folder per data set."""
        return self.root / "raw"

    @property
    def processed(self) -> Path:
        """Validated Parquet tables."""
        return self.root / "processed"

    @property
    def prepared(self) -> Path:
        """Splits, vocabulary and features for training."""
        return self.processed / "two_tower"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        """Training curves, for ``tensorboard --logdir``."""
        return self.root / "runs"

    def checkpoint(self, name: str) -> Path:
        """Folder of a model's checkpoints; deleted once the model is saved."""
        return self.root / "checkpoints" / self.model(name).name

    def model(self, name: str) -> Path:
        """Folder of a trained component.

        Raises:
            ConfigError: a name that leads out of the models folder.
        """
        if not name or name in {".", ".."} or "/" in name or "\\" in name or name.startswith("."):
            raise ConfigError(f"{name!r} is not a usable model name; use letters, digits, - and _")
        return self.models / name


def require(path: Path, what: str, command: str) -> Path:
    """Return ``path`` if it exists.

    Raises:
        NotReadyError: it does not exist; the message names the command that makes it.
    """
    if not path.exists():
        raise NotReadyError(f"{what} not found at {path}; run first: PYTHONPATH=. python scripts/{command}")
    return path
