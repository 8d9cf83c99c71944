"""Users and their histories."""

from __future__ import annotations

from fastapi import APIRouter

from serving.recommending import check_ids
from serving.responses import HistoryAnswer, JsonResponse, UsersAnswer
from serving.routes._shared import Limit, Offset, PathId, SearchText, TheService, answers, raw_id
from serving.users import find_users, history_of

router = APIRouter(prefix="/v1/users", tags=["users"])


@router.get("", responses=answers(UsersAnswer, 422))
async def users(service: TheService, query: SearchText = "", limit: Limit = 20) -> JsonResponse:
    """Users whose id begins with the query; an empty one gives the first users."""
    model = service.model
    return JsonResponse(await service.files.run(lambda: find_users(model, query, limit)))


@router.get("/{user_id:path}/history", responses=answers(HistoryAnswer, 404, 422))
async def history(user_id: PathId, service: TheService, limit: Limit = 50, offset: Offset = 0) -> JsonResponse:
    """A user's history with the live events, the latest first."""
    model, user = service.model, raw_id(user_id, "user_id")
    check_ids(model.pipeline.vocabulary.users, "user_id", [user], single=True)
    return JsonResponse(await service.files.run(lambda: history_of(model, user, limit, offset)))
