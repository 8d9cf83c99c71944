"""Raw files → validated Parquet under <data_dir>/processed/.

Bare, it takes the only MovieLens data set under <data_dir>/raw/, of any layout. With --interactions it takes own
events (Parquet or CSV: userId, movieId or itemId; optionally rating, timestamp or position). docs/data.md describes
the columns of both sides.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from data_collector import tmdb
from dataprep.preprocess import PreprocessReport, preprocess, preprocess_own
from dataprep.schema import TIE_FILE
from reccore.config import ComponentConfig
from reccore.errors import ConfigError, DataError, NotReadyError
from reccore.options import RunOptions
from reccore.workspace import Workspace
from scripts._cli import build_parser, emit, read_settings, run, run_options, workspace


class PreprocessSettings(ComponentConfig):
    """Options of the command, from flags, ``--set`` or a TOML file."""

    dataset: str | None = None
    interactions: Path | None = None
    items: Path | None = None
    users: Path | None = None
    max_reject_share: float = 0.01


def only_dataset(raw: Path, name: str | None) -> Path:
    """The folder of the data set named, or of the only one there is.

    Raises:
        NotReadyError: nothing there.
        DataError: several data sets and no name, or a name that is not there.
    """
    folders = [path for path in raw.iterdir() if path.is_dir() and path.name[0] != "."] if raw.is_dir() else []
    found = sorted(path for path in folders if path.name != tmdb.FOLDER)  # which describes a data set, and is none
    names = ", ".join(path.name for path in found)
    if name is not None:
        if raw / name not in found:
            raise DataError(f"no data set {name!r} under {raw}; there is {names or 'none'}")
        return raw / name
    if not found:
        raise NotReadyError(
            f"no data set under {raw}; run first: PYTHONPATH=. python scripts/download_data.py --dataset ml-100k"
        )
    if len(found) > 1:
        raise DataError(f"{raw} holds several data sets: {names}; choose one with --dataset NAME")
    return found[0]


def describe(report: PreprocessReport) -> str:
    """The report for people."""
    rows = ", ".join(f"{n:,} {table}" for table, n in report.rows.items())
    given = [name for name, has in (("time", report.has_time), ("position", report.has_position)) if has]
    ties = "the file's order" if report.tie_order == TIE_FILE else "a fixed hash"
    lines = [
        f"{report.dataset} ({report.layout}): {rows}; {report.n_users:,} users with {report.n_items:,} rated movies",
        f"order of events: {', then '.join([*given, ties])}",
        f"rejected: {report.n_rejected:,} rows",
    ]
    for file, reasons in report.rejects.items():
        lines += [f"  {file}: {n:,} × {reason}" for reason, n in reasons.items()]
    return "\n".join(lines)


def _preprocess(settings: PreprocessSettings, space: Workspace, options: RunOptions) -> PreprocessReport:
    share = settings.max_reject_share
    if settings.interactions is not None:
        if settings.dataset is not None:
            raise ConfigError("give --dataset or --interactions, not both")
        return preprocess_own(
            settings.interactions,
            settings.items,
            settings.users,
            space.processed,
            max_reject_share=share,
            options=options,
        )
    if settings.items is not None or settings.users is not None:
        raise ConfigError("--items and --users belong to own data: give --interactions FILE too")
    source = only_dataset(space.raw, settings.dataset)
    return preprocess(source, space.processed, max_reject_share=share, options=options)


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--dataset", help="folder under raw/, needed where there are several")
    parser.add_argument("--interactions", type=Path, metavar="FILE", help="own events instead of a MovieLens folder")
    parser.add_argument("--items", type=Path, metavar="FILE", help="own items: movieId or itemId, title, year, genres")
    parser.add_argument("--users", type=Path, metavar="FILE", help="own users: userId, age, gender, occupation")
    parser.add_argument("--max_reject_share", type=float, help="share of bad rows per file to go on with (0.01)")
    args = parser.parse_args(argv)
    names = ("dataset", "interactions", "items", "users", "max_reject_share")
    flags = {name: getattr(args, name) for name in names}
    values = read_settings(args, flags)
    options = run_options(args, values)
    settings = PreprocessSettings.parse(values)
    space = workspace(args)
    report = _preprocess(settings, space, options)
    emit(args, asdict(report), describe(report))


if __name__ == "__main__":
    run(main)
