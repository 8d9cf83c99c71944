"""The description of the service in OpenAPI: FastAPI's own, with the structures that msgspec encodes."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.errors import ErrorAnswer
from serving.responses import ANSWERS


def openapi_of(app: FastAPI, *, with_key: bool) -> dict[str, Any]:
    """The schema; made once.

    Args:
        app: with all routes.
        with_key: whether clients must send an API key.
    """
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = schema.setdefault("components", {})
        _, ours = msgspec.json.schema_components([*ANSWERS, ErrorAnswer], ref_template="#/components/schemas/{name}")
        components["schemas"] = {**components.get("schemas", {}), **ours}
        if with_key:
            components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
            schema["security"] = [{"key": []}]
        app.openapi_schema = schema
    return app.openapi_schema
