"""Write a synthetic data set in ML-32M's layout and shape to <data_dir>/raw/synthetic/.

The default is the full size: 200,948 users, 87,585 movies, 32,000,204 ratings.
"""

from __future__ import annotations

from pydantic import Field

from reccore.config import ComponentConfig
from scripts._cli import parse_command, run


class SyntheticSettings(ComponentConfig):
    """Options of the command; by default the size of ML-32M."""

    users: int | None = Field(default=None, description="number of users (default: 200948)")
    movies: int | None = Field(default=None, description="number of movies (default: 87585)")
    ratings: int | None = Field(default=None, description="number of ratings (default: 32000204)")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, SyntheticSettings)
    from dataprep.synthetic import SyntheticSize, make_synthetic

    size = SyntheticSize(**command.settings.model_dump(exclude_none=True))
    folder = command.workspace.raw / "synthetic"
    rows = make_synthetic(folder, size, command.options)
    written = ", ".join(f"{n:,} {table}" for table, n in rows.items())
    command.emit({"folder": str(folder), "rows": rows, "seed": command.options.seed}, f"{folder}: {written}")


if __name__ == "__main__":
    run(main)
