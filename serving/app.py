"""The application: routes around a service, behind the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.errors import ErrorAnswer, of_exception
from serving.gate import Gate
from serving.openapi import openapi_of
from serving.responses import JsonResponse
from serving.routes import include_routes
from serving.service import Service
from serving.watcher import ModelWatcher


def create_app(service: Service, *, key: str | None = None) -> FastAPI:
    """The application of a service.

    Args:
        service: whose model may be loaded already; otherwise it is loaded before the first request.
        key: API key that clients must send; None = none is needed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not service.is_ready:
            service.start()
        watcher = ModelWatcher(service)
        watcher.start()
        yield
        watcher.stop()
        service.close()

    app = FastAPI(
        title="movielens-rec",
        version="1",
        description="Recommendations, live events, search and explanations on a trained pipeline.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        openapi_url="/openapi.json",
    )
    app.state.service = service
    include_routes(app)
    for kind in (RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_error)
    app.add_middleware(Gate, settings=service.settings, metrics=service.metrics, key=key)
    app.openapi = lambda: openapi_of(app, with_key=key is not None)  # type: ignore[method-assign]
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    """Errors of the router and of validation; all others reach the gate."""
    found = of_exception(error)
    headers = dict(getattr(error, "headers", None) or {}) | found.headers
    answer = ErrorAnswer(found.body, request.scope["state"]["trace_id"])
    return JsonResponse(answer, status_code=found.status, headers=headers)
