"""Routes of the service, one file per resource."""

from __future__ import annotations

from fastapi import FastAPI

from serving.routes import events, health, lists, movies, page, users


def include_routes(app: FastAPI) -> None:
    """Add every route."""
    for module in (lists, events, users, movies, health, page):
        app.include_router(module.router)
