"""Lists of films for users and histories."""

from __future__ import annotations

from fastapi import APIRouter

from serving.recommending import recommend
from serving.responses import JsonResponse, RecommendationAnswer
from serving.routes._shared import TheService, TraceId, answers
from serving.schemas import RecommendationRequest

router = APIRouter(prefix="/v1", tags=["lists"])


@router.post("/recommendations", responses=answers(RecommendationAnswer, 404, 413, 422))
async def recommendations(body: RecommendationRequest, service: TheService, trace_id: TraceId) -> JsonResponse:
    """Recommend films to a user, or to anyone with a history of films."""
    model, metrics = service.model, service.metrics
    return JsonResponse(await service.lists.run(lambda: recommend(model, body, trace_id, metrics)))
