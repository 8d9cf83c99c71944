"""What routes share: the service of a request, parameters, and the description of answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request

from reccore import RawId, parse_raw_id
from serving.errors import ErrorAnswer, invalid
from serving.schemas import MAX_TEXT, check_id
from serving.service import Service


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def trace_id_of(request: Request) -> str:
    trace_id: str = request.scope["state"]["trace_id"]
    return trace_id


def raw_id(text: str, field: str) -> RawId:
    """The id that a part of an address is.

    Raises:
        ApiError: a text that can be no id.
    """
    try:
        return check_id(parse_raw_id(text))
    except ValueError as error:
        raise invalid(field, str(error)) from None


TheService = Annotated[Service, Depends(service_of)]
TraceId = Annotated[str, Depends(trace_id_of)]
Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
SearchText = Annotated[str, Query(max_length=MAX_TEXT)]
PathId = Annotated[str, Path(min_length=1, max_length=MAX_TEXT)]


def answers(body: type, *errors: int, status: int = 200) -> dict[int | str, Any]:
    """The ``responses`` of a route: its own structure, and the errors that it can have."""
    found: dict[int | str, Any] = {status: _described("the answer", body)}
    for code in sorted({400, 401, 429, 503, *errors}):
        found[code] = _described("an error", ErrorAnswer)
    return found


def _described(text: str, body: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}
