"""The films that recall channels hold for similar to one film.

    PYTHONPATH=. python scripts/similar.py --movie "Empire Strikes Back" --channel two_tower
    PYTHONPATH=. python scripts/similar.py --movie 172 --k 5

A channel with item vectors compares them by their cosine; a channel that is an item–item matrix shows the film's row.
Without --channel every channel of the pipeline that compares films is shown. A channel that is not in the pipeline is
taken from <data_dir>/models.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/similar.py", file=sys.stderr)
    sys.exit(2)

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from reccore import ComponentConfig, ConfigError
from scripts._cli import RawId, parse_command, run
from scripts._request import find_movie, load_pipeline

if TYPE_CHECKING:
    from pipeline.single_channel import SimilarFilm


class SimilarSettings(ComponentConfig):
    """Options of the command."""

    pipeline: Path | None = Field(default=None, description="folder of the pipeline (default: models/pipeline)")
    movie: str | RawId | None = Field(default=None, description="raw id of the film, or a part of its title")
    channel: str | None = Field(default=None, description="one channel (default: all that compare films)")
    k: int = Field(default=10, ge=1, description="number of films")


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, SimilarSettings)
    job = command.settings
    if job.movie is None:
        raise ConfigError("give --movie, the id of a film or a part of its title")
    from pipeline.single_channel import channels_with_similarities, similar_films

    pipeline = load_pipeline(command.workspace, job.pipeline, job.channel)
    movie = find_movie(pipeline, job.movie)
    names = channels_with_similarities(pipeline) if job.channel is None else (job.channel,)
    found = {name: similar_films(pipeline, movie, name, job.k) for name in names}
    title = pipeline.items.label(int(pipeline.vocabulary.items.encode(movie)), movie)
    result = {
        "movie_id": movie,
        "title": title,
        "similar": {name: [film.to_dict() for film in films] for name, films in found.items()},
    }
    parts = [f"Similar to {title}, movie {movie}", *(_text(name, films) for name, films in found.items())]
    command.emit(result, "\n\n".join(parts))


def _text(channel: str, films: tuple[SimilarFilm, ...]) -> str:
    if not films:
        return f"{channel}\n  no film: the channel has learnt nothing of this one"
    width = max(len(film.title) for film in films)
    lines = [
        f"  {place:>3} {film.title:<{width}} {film.similarity:7.3f}  {', '.join(film.genres)}".rstrip()
        for place, film in enumerate(films, start=1)
    ]
    return "\n".join([channel, *lines])


if __name__ == "__main__":
    run(main)
