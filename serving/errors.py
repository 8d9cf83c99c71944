"""Errors of the service, and how every error becomes one JSON answer without paths and stack traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from reccore import ConfigError, DataError, RecommenderError

Code: TypeAlias = Literal[
    "invalid_request", "not_found", "too_large", "rate_limited", "unauthorised", "not_ready", "internal"
]


class StoreError(RecommenderError):
    """The store of live events cannot be reached or has failed."""


class UnknownUserError(DataError):
    """A user whom neither the model nor the store of live events knows."""


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request; ``field`` is its path, such as ``history.0.rating``."""

    field: str
    message: str


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong."""

    code: Code
    message: str
    fields: tuple[FieldError, ...] = ()


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer with a status from 400 on."""

    error: ErrorBody
    trace_id: str


class ApiError(Exception):
    """An error that is answered with its own status and code.

    Args:
        status: of HTTP.
        code: see ``Code``.
        message: one sentence for the client.
        fields: field → message.
        retry_after: seconds, for the header of that name.
    """

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        fields: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
        self.body = ErrorBody(code, message, tuple(FieldError(*one) for one in (fields or {}).items()))

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


def invalid(field: str, message: str) -> ApiError:
    """422 about one field."""
    return ApiError(422, "invalid_request", f"{field}: {message}", {field: message})


def not_found(message: str) -> ApiError:
    """404."""
    return ApiError(404, "not_found", message)


def not_ready(message: str, retry_after: int = 1) -> ApiError:
    """503."""
    return ApiError(503, "not_ready", message, retry_after=retry_after)


def of_exception(error: Exception) -> ApiError:
    """The answer to any exception; what is not meant for clients becomes a plain ``internal``."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return of_validation(error.errors())
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, StoreError):
        return not_ready("the store of live events cannot be reached; try again later")
    if isinstance(error, UnknownUserError):
        return not_found(str(error))
    if isinstance(error, DataError) and error.field is not None:
        return invalid(error.field, str(error))
    if isinstance(error, DataError | ConfigError):
        return ApiError(422, "invalid_request", str(error))
    return ApiError(500, "internal", "an internal error; the service's log has it under this trace id")


def of_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """422 with the path and the message of every wrong field."""
    fields: dict[str, str] = {}
    for error in errors:
        path = [str(part) for part in error["loc"]]
        where = path[1:] if path[:1] in (["body"], ["query"], ["path"], ["header"]) else path
        is_json = error["type"] == "json_invalid"
        name = "body" if is_json or not where else ".".join(where)
        fields.setdefault(name[:200], "is no valid JSON" if is_json else _requirement(error))
    listed = "; ".join(f"{name}: {message}" for name, message in list(fields.items())[:3])
    more = f"; and {len(fields) - 3} more" if len(fields) > 3 else ""
    return ApiError(422, "invalid_request", listed + more, fields)


def _requirement(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "no such field"
    if error["type"] == "model_attributes_type" and isinstance(error["input"], bytes):  # it was not parsed as JSON
        return "must be JSON, sent with the header content-type: application/json"
    return str(error["msg"]).removeprefix("Value error, ")


def _of_http(error: HTTPException) -> ApiError:
    """Of the router and the parser: no such route, no such method, a body that is no JSON."""
    if error.status_code == 404:
        return not_found("no such address")
    if error.status_code == 405:
        found = ApiError(405, "invalid_request", "this address does not answer this method")
    else:
        found = ApiError(error.status_code, "invalid_request", "the body cannot be read as JSON")
    return found
