"""Write a synthetic data set in ML-32M's layout to <data_dir>/raw/synthetic/.

The default has the size of ML-32M: 200,948 users, 87,585 movies, 32,000,204 ratings. With --shape shop it is a shop's
log: 31,000 users with nine events each over 24,000 items.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/make_synthetic.py", file=sys.stderr)
    sys.exit(2)

from typing import Literal

from pydantic import Field

from reccore.config import ComponentConfig
from scripts._cli import parse_command, run


class SyntheticSettings(ComponentConfig):
    """Options of the command; by default the size of ML-32M."""

    shape: Literal["movielens", "shop"] = Field(
        default="movielens", description="long histories over large clusters, or short ones over many small clusters"
    )
    users: int | None = Field(default=None, description="number of users (default: that of the shape)")
    movies: int | None = Field(default=None, description="number of movies (default: that of the shape)")
    ratings: int | None = Field(default=None, description="number of ratings (default: that of the shape)")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, SyntheticSettings)
    from dataprep.synthetic import SyntheticSize, make_synthetic

    size = SyntheticSize.of_shape(**command.settings.model_dump(exclude_none=True))
    folder = command.workspace.raw / "synthetic"
    rows = make_synthetic(folder, size, command.options)
    written = ", ".join(f"{n:,} {table}" for table, n in rows.items())
    command.emit({"folder": str(folder), "rows": rows, "seed": command.options.seed}, f"{folder}: {written}")


if __name__ == "__main__":
    run(main)
