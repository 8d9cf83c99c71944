"""Read the tmdbIds of the data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from reccore.errors import DataError, NotReadyError
from reccore.workspace import Workspace

_COLUMNS = ("movieId", "tmdbId")


@dataclass(frozen=True)
class Links:
    """The tmdbIds of a data set.

    Attributes:
        tmdb_ids: tmdbIds, each once, in the order of the file.
        unlinked: movieIds without a tmdbId.
    """

    tmdb_ids: list[int]
    unlinked: list[int]


def read_links(workspace: Workspace) -> Links:
    """Read the links of the prepared data set, or of the only raw data set with links.

    Raises:
        NotReadyError: there are no links.
        DataError: they cannot be read, or several raw data sets have links.
    """
    prepared = workspace.processed / "links.parquet"
    table = _read(prepared if prepared.is_file() else _raw_links(workspace, prepared))
    movie_ids, tmdb_ids = (table[name].combine_chunks() for name in _COLUMNS)
    known = pc.fill_null(pc.greater(tmdb_ids, 0), False)
    return Links(
        tmdb_ids=pc.unique(tmdb_ids.filter(known)).to_pylist(),
        unlinked=sorted(set(movie_ids.filter(pc.invert(known)).to_pylist())),
    )


def _raw_links(workspace: Workspace, prepared: Path) -> Path:
    found = sorted(workspace.raw.glob("*/links.csv"))
    if not found:
        raise NotReadyError(
            f"links to TMDb not found, neither at {prepared} nor at {workspace.raw / '*' / 'links.csv'}; run first: "
            "PYTHONPATH=. python scripts/download_data.py --dataset ml-latest-small (ml-20m, ml-25m and ml-32m have "
            "links too, ml-100k, ml-1m and ml-10m have none)"
        )
    if len(found) > 1:
        raise DataError(
            f"several data sets have links ({', '.join(map(str, found))}); run first: PYTHONPATH=. python "
            "scripts/run_preprocessing.py --dataset NAME, or keep each data set in its own --data_dir"
        )
    return found[0]


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path, columns=list(_COLUMNS))
        else:
            types = dict.fromkeys(_COLUMNS, pa.int64())
            table = pacsv.read_csv(
                path, convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(_COLUMNS))
            )
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    for name in _COLUMNS:
        if name not in table.column_names or not pa.types.is_integer(table[name].type):
            raise DataError(f"{path} has no column {name} of whole numbers")
    return table
