"""Fetch a MovieLens data set into raw/<dataset>/ of the data root, and do nothing where it already is.

Data sets: ml-100k, ml-1m, ml-latest-small, ml-10m, ml-20m, ml-25m, ml-32m.

The GroupLens archive is tried first, then mirrors (ml-100k has one on the package index). An interrupted download
goes on where it stopped when the same command is run again. Without a network, put the archive at
raw/<dataset>.zip of the data root, or its files into raw/<dataset>/.
The data keep their own terms of use: https://grouplens.org/datasets/movielens/
"""

from __future__ import annotations

from dataclasses import asdict

from data_collector.datasets import DATASETS
from data_collector.download import BASE_URL_VARIABLE, DownloadResult, download_dataset
from reccore.config import ComponentConfig
from reccore.errors import ConfigError
from scripts import _cli


class DownloadConfig(ComponentConfig):
    """Options of this command."""

    dataset: str
    force: bool = False
    base_url: str | None = None


def main(argv: list[str] | None = None) -> None:
    """Parse, download, print where the files lie."""
    parser = _cli.build_parser(__doc__)
    parser.add_argument("--dataset", metavar="NAME", help="which data set, such as ml-100k")
    parser.add_argument(
        "--force",
        action="store_true",
        default=None,
        help="fetch again and replace the folder (a raw/<dataset>.zip is unpacked again)",
    )
    parser.add_argument(
        "--base_url",
        metavar="URL",
        help=f"server to use instead of GroupLens's (default: ${BASE_URL_VARIABLE}, if set)",
    )
    args = parser.parse_args(argv)
    settings = _cli.read_settings(args, {"dataset": args.dataset, "force": args.force, "base_url": args.base_url})
    options = _cli.run_options(args, settings)
    if "dataset" not in settings:
        raise ConfigError(f"--dataset is needed, one of {', '.join(DATASETS)}")
    config = DownloadConfig.parse(settings)
    result = download_dataset(
        config.dataset, _cli.workspace(args), force=config.force, base_url=config.base_url, options=options
    )
    _cli.emit(args, asdict(result), _text(result))


def _text(result: DownloadResult) -> str:
    first = "is in" if result.downloaded else "is already in"
    return (
        f"{result.dataset} {first} {result.path} ({len(result.files)} files, {result.bytes:,} bytes)\n"
        f"  from         {result.source}\n"
        f"  verified by  {result.verified_by}"
    )


if __name__ == "__main__":
    _cli.run(main)
