"""Raw files → validated Parquet under <data_dir>/processed/.

Bare, it takes the only MovieLens data set under <data_dir>/raw/, of any layout.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from dataprep.preprocess import PreprocessReport, preprocess
from reccore.config import ComponentConfig
from reccore.errors import DataError, NotReadyError
from scripts._cli import build_parser, emit, read_settings, run, run_options, workspace


class PreprocessSettings(ComponentConfig):
    """Options of the command, from flags, ``--set`` or a TOML file."""

    dataset: str | None = None
    max_reject_share: float = 0.01


def only_dataset(raw: Path, name: str | None) -> Path:
    """The folder of the data set named, or of the only one there is.

    Raises:
        NotReadyError: nothing there.
        DataError: several data sets and no name, or a name that is not there.
    """
    found = sorted(path for path in raw.iterdir() if path.is_dir() and path.name[0] != ".") if raw.is_dir() else []
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
    lines = [
        f"{report.dataset} ({report.layout}): {rows}; {report.n_users:,} users with {report.n_items:,} rated movies",
        f"order of events: {'time' if report.has_time else 'as given'}, then {report.tie_order}",
        f"rejected: {report.n_rejected:,} rows",
    ]
    for file, reasons in report.rejects.items():
        lines += [f"  {file}: {n:,} × {reason}" for reason, n in reasons.items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--dataset", help="folder under raw/, needed where there are several")
    parser.add_argument("--max_reject_share", type=float, help="share of bad rows per file to go on with (0.01)")
    args = parser.parse_args(argv)
    flags = {"dataset": args.dataset, "max_reject_share": args.max_reject_share}
    values = read_settings(args, flags)
    options = run_options(args, values)
    settings = PreprocessSettings.parse(values)
    space = workspace(args)
    source = only_dataset(space.raw, settings.dataset)
    report = preprocess(source, space.processed, max_reject_share=settings.max_reject_share, options=options)
    emit(args, asdict(report), describe(report))


if __name__ == "__main__":
    run(main)
