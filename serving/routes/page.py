"""The page, its files, and posters."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import APIRouter, Response

from serving.errors import not_found
from serving.posters import TYPES as POSTER_TYPES
from serving.routes._shared import TheService

PAGE = Path(__file__).resolve().parents[1] / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*", re.IGNORECASE)
_POSTER = re.compile(r"[0-9]{1,19}")
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    return _file("index.html")


@router.get("/static/{name:path}")
async def static(name: str) -> Response:
    """A file of the page, also in a folder of it."""
    return _file(name)


@router.get("/posters/{movie_id}.jpg")
async def poster(movie_id: str, service: TheService) -> Response:
    """The poster of a film."""
    file = service.posters.of(int(movie_id)) if _POSTER.fullmatch(movie_id) else None
    if file is None or not file.is_file():
        raise not_found("there is no poster of this film")
    headers = {"cache-control": "max-age=86400"}
    return Response(file.read_bytes(), media_type=POSTER_TYPES[file.suffix], headers=headers)


def _file(name: str) -> Response:
    """A file of the page's folder; every part of its path is a plain name. The files are small, and sent whole."""
    path = PAGE / name
    kind = TYPES.get(path.suffix)
    if kind is None or not all(_NAME.fullmatch(part) for part in name.split("/")) or not path.is_file():
        raise not_found("no such file")
    return Response(path.read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})
