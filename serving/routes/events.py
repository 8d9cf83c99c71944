"""Live events: what users do now, which counts in the next list."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

from fastapi import APIRouter, Path

from serving.errors import invalid, not_found
from serving.model import Model
from serving.recommending import check_ids, check_rating, check_time
from serving.responses import EventAnswer, JsonResponse, UndoAnswer
from serving.routes._shared import TheService, answers
from serving.schemas import EventRequest
from serving.store import LiveEvent

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.post("", status_code=201, responses={**answers(EventAnswer, 404, 413, 422, status=201), **answers(EventAnswer)})
async def add_event(body: EventRequest, service: TheService) -> JsonResponse:
    """Store a rating or a watched film; once this is answered, it survives the end of the process.

    201 for a new event, 200 if the user's idempotency key is known, with the event that was stored for it. One that was
    taken back stays so (`undone`): to store it again, send another key.
    """
    event = new_event(service.model, body)
    stored = await service.files.run(lambda: service.store.append(body.user_id, event, body.idempotency_key))
    if not stored.applied and (stored.event.movie_id, stored.event.rating) != (event.movie_id, event.rating):
        raise invalid("idempotency_key", "was used for another event")
    service.metrics.events.labels("applied" if stored.applied else "repeated").inc()
    answer = EventAnswer(stored.event.event_id, stored.applied, stored.undone)
    return JsonResponse(answer, status_code=201 if stored.applied else 200)


@router.delete("/{event_id}", responses=answers(UndoAnswer, 404, 422))
async def undo_event(event_id: Annotated[str, Path(min_length=1, max_length=64)], service: TheService) -> JsonResponse:
    """Take an event back; what was known of the film before it counts again. May be repeated."""
    if not await service.files.run(lambda: service.store.undo(event_id)):
        raise not_found("there is no event of this id")
    service.metrics.events.labels("undone").inc()
    return JsonResponse(UndoAnswer(event_id, True))


def new_event(model: Model, body: EventRequest) -> LiveEvent:
    """The event of a body.

    Raises:
        ApiError: an unknown film, a rating that is missing, not wanted or outside the scale, a time in the future, or
            an id of the wrong kind.
    """
    vocabulary = model.pipeline.vocabulary
    check_ids(vocabulary.users, "user_id", [body.user_id], single=True)
    check_ids(vocabulary.items, "movie_id", [body.movie_id], single=True)
    item = model.catalogue.index(body.movie_id)
    if item < 0:
        raise not_found("movie_id: the catalogue has no film of this id")
    if body.kind == "rating" and body.rating is None:
        raise invalid("rating", "is missing; an event without one is of kind watch")
    if body.kind == "watch" and body.rating is not None:
        raise invalid("rating", "belongs to the kind rating alone")
    check_rating(model, body.rating, "rating")
    now = int(time.time())
    check_time(body.time, now, "time")
    at = now if body.time is None else body.time
    return LiveEvent(secrets.token_hex(16), model.catalogue.ids.raw_id(item), body.rating, at)
