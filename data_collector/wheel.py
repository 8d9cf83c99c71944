"""Download a data set that is part of a wheel, with pip; the wheel is checked and never installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from data_collector.datasets import WheelSource
from data_collector.transfer import SourceError
from reccore.bundle import file_sha256

PIP_SECONDS = 600


def download_wheel(source: WheelSource, into: Path, *, show_progress: bool = True) -> Path:
    """Download the pinned wheel into ``into`` and check its digest.

    pip uses its own configuration, so mirrors, proxies and offline folders work as for any install.

    Raises:
        SourceError: pip failed, or the file has another digest.
    """
    run_pip(source.requirement, into, show_progress=show_progress)
    wheels = list(into.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip left {len(wheels)} wheels instead of one")
    if (digest := file_sha256(wheels[0])) != source.sha256:
        raise SourceError(f"{wheels[0].name} has sha256 {digest}, pinned is {source.sha256}")
    return wheels[0]


def run_pip(requirement: str, into: Path, *, show_progress: bool = True) -> None:
    """Run ``pip download`` for one wheel without its dependencies.

    Raises:
        SourceError: pip is missing, fails, or takes too long; the message has pip's last error.
    """
    # Only a wheel: a source distribution would run build code. The Python version does not matter for data files.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--dest", str(into), requirement]
    # pip draws its bar on stdout, which is reserved for the command's result.
    bar = sys.stderr if show_progress and sys.stderr.isatty() else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdout=bar, stderr=subprocess.PIPE, text=True, errors="replace", timeout=PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"pip download took more than {PIP_SECONDS} s") from error
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise SourceError(f"pip download failed, {'; '.join(errors) or f'exit code {done.returncode}'}")
