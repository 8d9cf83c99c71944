"""Write a synthetic data set in ML-32M's layout and shape to <data_dir>/raw/synthetic/.

By default in full size: 200,948 users, 87,585 movies, 32,000,204 ratings.
"""

from __future__ import annotations

from dataprep.synthetic import ML_32M_MOVIES, ML_32M_RATINGS, ML_32M_USERS, SyntheticSize, make_synthetic
from reccore.config import ComponentConfig
from scripts._cli import build_parser, emit, read_settings, run, run_options, workspace


class SyntheticSettings(ComponentConfig):
    """Options of the command, from flags, ``--set`` or a TOML file."""

    users: int = ML_32M_USERS
    movies: int = ML_32M_MOVIES
    ratings: int = ML_32M_RATINGS


def main(argv: list[str] | None = None) -> None:
    parser = build_parser(__doc__)
    parser.add_argument("--users", type=int, help=f"number of users ({ML_32M_USERS})")
    parser.add_argument("--movies", type=int, help=f"number of movies ({ML_32M_MOVIES})")
    parser.add_argument("--ratings", type=int, help=f"number of ratings ({ML_32M_RATINGS})")
    args = parser.parse_args(argv)
    values = read_settings(args, {name: getattr(args, name) for name in ("users", "movies", "ratings")})
    options = run_options(args, values)
    settings = SyntheticSettings.parse(values)
    folder = workspace(args).raw / "synthetic"
    rows = make_synthetic(folder, SyntheticSize(**settings.model_dump()), options)
    written = ", ".join(f"{n:,} {table}" for table, n in rows.items())
    emit(args, {"folder": str(folder), "rows": rows, "seed": options.seed}, f"{folder}: {written}")


if __name__ == "__main__":
    run(main)
