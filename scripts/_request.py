"""Options shared by the commands that answer one user's request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from reccore import ComponentConfig, ConfigError, Workspace
from scripts._cli import Names, RawId, RawIds, split_commas

if TYPE_CHECKING:
    from pipeline import Pipeline

Films = Annotated[tuple[str | RawId, ...], BeforeValidator(split_commas)]
FILTERS = ("genres", "not_genres", "year_from", "year_to", "min_ratings")
ADDED = "+"
"""In front of a history: these events follow the stored ones."""


def load_pipeline(workspace: Workspace, folder: Path | None, channel: str | None = None) -> Pipeline:
    """The pipeline in ``folder``; None = that of the data root.

    A channel that the data root's pipeline does not have is taken from ``models/`` and stands alone.
    """
    from pipeline import load
    from pipeline.builder import PIPELINE, load_trained
    from pipeline.unranked import unranked_config, unranked_pipeline
    from reccore.bundle import read_manifest

    if folder is not None:
        return load(folder)
    manifest = read_manifest(workspace.model(PIPELINE)) or {}
    if channel is None or channel in manifest.get("parts", ()):
        return load_trained(workspace)
    pipeline, _, _ = unranked_pipeline(workspace, unranked_config({"channels": (channel,)}))
    return pipeline


def find_movie(pipeline: Pipeline, film: str | int) -> str | int:
    """The raw id of a film given by its id or by a part of its title.

    Raises:
        DataError: no film has the text in its title, or several have, which are listed.
    """
    from pipeline.films import FilmFinder
    from pipeline.history import Event

    if isinstance(film, int):
        return film
    return Event.parse_film(film, FilmFinder(pipeline.items, pipeline.vocabulary).find)


class RequestSettings(ComponentConfig):
    """Whose request it is, and what it asks for."""

    pipeline: Path | None = Field(
        default=None, description="folder of the pipeline, such as an exported one (default: models/pipeline)"
    )
    user: RawId | None = Field(default=None, description="raw user id")
    history: Annotated[tuple[Any, ...], BeforeValidator(split_commas)] | None = Field(
        default=None,
        description="films, oldest first, separated by commas: FILM, FILM:RATING or FILM:RATING@TIME, where FILM is an "
        "id or a part of a title; may be empty; with + in front they follow the stored history of --user",
    )
    k: int = Field(default=10, ge=1, description="number of films")
    exclude: RawIds = Field(default=(), description="raw movie ids not to offer, separated by commas")
    as_of: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Unix seconds to recommend for, where query time is read (default: now)",
    )

    genres: Names = Field(default=(), description="only films with one of these genres, separated by commas")
    not_genres: Names = Field(default=(), description="no films with one of these genres")
    year_from: int | None = Field(default=None, description="no films before this year")
    year_to: int | None = Field(default=None, description="no films after this year")
    min_ratings: int | None = Field(
        default=None, ge=0, description="only films with at least so many ratings in the data that was learnt from"
    )
    must_include: Films = Field(
        default=(), description="films that are in the list whatever happens, by id or a part of the title"
    )
    diversity: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="from 0, the ranker's order, to 1 (default: as configured)",
    )

    @property
    def filters(self) -> dict[str, Any]:
        """The options given that choose films by facts."""
        return {name: value for name in FILTERS if (value := getattr(self, name)) not in ((), None)}

    @property
    def is_added(self) -> bool:
        """Whether the given events follow the stored history instead of replacing it."""
        first = self.history[0] if self.history else None
        return isinstance(first, str) and first.startswith(ADDED)

    def check(self) -> None:
        """Raise ``ConfigError`` unless a user or a history is given."""
        if self.user is None and self.history is None:
            raise ConfigError("give --user ID, --history FILMS, or both")
        if self.user is None and self.is_added:
            raise ConfigError("--history +… follows the history of a user; give --user ID, or leave out the +")

    def arguments(self, pipeline: Pipeline) -> dict[str, Any]:
        """Arguments of ``Pipeline.recommend``.

        Raises:
            DataError: an invalid event, or a title that names no film or several.
        """
        from pipeline import ItemFilter
        from pipeline.films import FilmFinder
        from pipeline.history import Event

        given = {name: getattr(self, name) for name in ("user", "k", "exclude", "as_of", "diversity")}
        given["filters"] = ItemFilter(**self.filters)
        given["must_include"] = [find_movie(pipeline, film) for film in self.must_include]
        if self.history is None:
            return given
        finder = FilmFinder(pipeline.items, pipeline.vocabulary)
        parts = self.history
        if self.is_added:
            parts = tuple(part for part in (parts[0].removeprefix(ADDED), *parts[1:]) if part)
        events = [Event.parse(part, finder.find) if isinstance(part, str) else Event.of(part) for part in parts]
        return {**given, "new_events" if self.is_added else "history": events}
