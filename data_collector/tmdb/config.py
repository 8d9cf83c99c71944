"""Options of a crawl of TMDb."""

from __future__ import annotations

from pydantic import Field

from reccore.config import ComponentConfig


class CrawlConfig(ComponentConfig):
    """Options of a crawl, which are also the options of its command."""

    workers: int = Field(
        default=50, ge=1, le=1000, description="requests at the same time, each over its own connection"
    )
    rate: int = Field(default=40, ge=1, le=100_000, description="greatest number of requests in any second")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="only the data set's first N movies that have a tmdbId, including those fetched before "
        "(default: all)",
    )
    base_url: str = Field(
        default="https://api.themoviedb.org/3", description="address of the API; /3 is added where it has no path"
    )
    language: str = Field(default="en-US", pattern=r"^[a-z]{2}(-[A-Z]{2})?$", description="such as en-US or zh-CN")
    max_age_days: float | None = Field(
        default=None, ge=0, description="fetch documents again that were confirmed longer ago; 0: all (default: never)"
    )
    posters: bool = Field(default=False, description="fetch posters too, to raw/tmdb/posters/SIZE/")
    poster_size: str = Field(
        default="w342", pattern=r"^([wh][0-9]{1,4}|original)$", description="w92, w154, w185, w342, … original"
    )
    image_base_url: str | None = Field(
        default=None, description="address of images (default: what TMDb's /configuration gives)"
    )
