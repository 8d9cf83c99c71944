"""Raw files → validated Parquet under <data_dir>/processed/.

By default it takes the only MovieLens data set under <data_dir>/raw/, of any layout. With --interactions it takes your
own events (Parquet, CSV or .csv.gz) with a user and an item, optionally rating, time or position. The usual spellings
of these columns are recognised, --columns names others. Other columns of --items and --users, and the matrices of
--item_vectors and --user_vectors, are features that models read by name. docs/data.md describes all columns,
docs/own_data.md goes from a shop's log to recommendations.

    PYTHONPATH=. python scripts/run_preprocessing.py --dataset ml-latest-small
    PYTHONPATH=. python scripts/run_preprocessing.py --interactions events.csv --items items.parquet --users users.csv
    PYTHONPATH=. python scripts/run_preprocessing.py --interactions log.csv.gz --columns user=client,item=sku,time=at
    PYTHONPATH=. python scripts/run_preprocessing.py --item_vectors cover=covers.npy:covers.csv
    PYTHONPATH=. python scripts/run_preprocessing.py --engine spark --spark_conf spark.driver.memory=4g
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print(
        "error: run it from the repository's root, as PYTHONPATH=. python scripts/run_preprocessing.py", file=sys.stderr
    )
    sys.exit(2)

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data_collector import tmdb
from reccore.errors import ConfigError, DataError, NotReadyError
from reccore.options import RunOptions
from reccore.workspace import Workspace
from scripts._cli import Names, parse_command, run
from scripts._engine import EngineSettings
from scripts._input import OwnTablesSettings

if TYPE_CHECKING:
    from dataprep.preprocess import PreprocessReport


class PreprocessSettings(OwnTablesSettings, EngineSettings):
    """Options of the command."""

    dataset: str | None = Field(default=None, description="folder under raw/, needed where there are several")
    item_vectors: Names = Field(
        default=(), description="vectors of items: NAME=MATRIX.npy:IDS.csv, row r of the matrix for row r of the ids"
    )
    user_vectors: Names = Field(default=(), description="the same of users")


def only_dataset(raw: Path, name: str | None) -> Path:
    """The folder of the named data set, or of the only one.

    Raises:
        NotReadyError: no data set.
        DataError: several data sets and no name, or no data set of that name.
    """
    folders = [path for path in raw.iterdir() if path.is_dir() and path.name[0] != "."] if raw.is_dir() else []
    found = sorted(path for path in folders if path.name != tmdb.FOLDER)  # TMDb's files describe a data set
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
    """The report as text."""
    from dataprep.schema import TIE_FILE

    rows = ", ".join(f"{n:,} {table}" for table, n in report.rows.items())
    given = [name for name, has in (("time", report.has_time), ("position", report.has_position)) if has]
    ties = "the file's order" if report.tie_order == TIE_FILE else "a fixed hash"
    own = (("items", report.item_columns), ("users", report.user_columns))
    columns = [(what, name, kind) for what, found in own for name, kind in found.items()]
    lines = [
        f"{report.dataset} ({report.layout}): {rows}; {report.n_users:,} users with {report.n_items:,} rated movies",
        f"order of events: {', then '.join([*given, ties])}",
        *(f"own column of {what}: {name} ({kind})" for what, name, kind in columns),
        f"rejected: {report.n_rejected:,} rows",
    ]
    for file, reasons in report.rejects.items():
        lines += [f"  {file}: {n:,} × {reason}" for reason, n in reasons.items()]
    return "\n".join(lines)


def _preprocess(settings: PreprocessSettings, space: Workspace, options: RunOptions) -> PreprocessReport:
    from dataprep.preprocess import preprocess, preprocess_own
    from dataprep.readers.own import SideFile
    from dataprep.readers.own_vectors import VectorSource

    share = settings.max_reject_share
    item_vectors, user_vectors = (
        [VectorSource.parse(text) for text in texts] for texts in (settings.item_vectors, settings.user_vectors)
    )
    events = settings.event_file(settings.interactions)
    if events is not None:
        if settings.engine != "local":
            raise ConfigError("--engine spark reads the MovieLens layouts; leave it out with --interactions FILE")
        if settings.dataset is not None:
            raise ConfigError("give --dataset or --interactions, not both")
        return preprocess_own(
            events,
            None if settings.items is None else SideFile(settings.items, settings.item_columns),
            None if settings.users is None else SideFile(settings.users, settings.user_columns),
            space.processed,
            item_vectors=item_vectors,
            user_vectors=user_vectors,
            max_reject_share=share,
            options=options,
        )
    if settings.items is not None or settings.users is not None:
        raise ConfigError("--items and --users belong to own data: give --interactions FILE too")
    source = only_dataset(space.raw, settings.dataset)
    rest: dict[str, Any] = {
        "item_vectors": item_vectors,
        "user_vectors": user_vectors,
        "max_reject_share": share,
        "options": options,
    }
    if settings.engine == "spark":
        from spark.preprocess import preprocess as preprocess_on_spark

        with settings.spark() as spark:
            return preprocess_on_spark(spark, source, space.processed, **rest)
    return preprocess(source, space.processed, **rest)


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, PreprocessSettings)
    report = _preprocess(command.settings, command.workspace, command.options)
    command.emit(asdict(report), describe(report))


if __name__ == "__main__":
    run(main)
