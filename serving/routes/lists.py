"""Lists of films for users and histories."""

from __future__ import annotations

from fastapi import APIRouter

from serving.explaining import compare_diversities, explain_film
from serving.recommending import ListCall, recommend
from serving.responses import ExplainAnswer, JsonResponse, RecommendationAnswer, TradeOffsAnswer
from serving.routes._shared import TheService, TraceId, answers
from serving.schemas import ExplainRequest, RecommendationRequest, TradeOffsRequest

router = APIRouter(prefix="/v1", tags=["lists"])


@router.post("/recommendations", responses=answers(RecommendationAnswer, 404, 413, 422))
async def recommendations(body: RecommendationRequest, service: TheService, trace_id: TraceId) -> JsonResponse:
    """Recommend films to a user, or to anyone with a history of films."""
    call = ListCall(service.model, body, trace_id)
    if not body.explain:
        return JsonResponse(await service.lists.run(call))
    (answer,) = await service.slow.run(lambda: recommend([call], service.metrics, service.limits))
    if isinstance(answer, Exception):
        raise answer
    return JsonResponse(answer)


@router.post("/trade-offs", responses=answers(TradeOffsAnswer, 404, 413, 422))
async def trade_offs(body: TradeOffsRequest, service: TheService) -> JsonResponse:
    """What each setting of diversity costs and gains in this list, in eleven steps."""
    model, limits = service.model, service.limits
    return JsonResponse(await service.slow.run(lambda: compare_diversities(model, body, limits)))


@router.post("/explain", responses=answers(ExplainAnswer, 404, 413, 422))
async def explain(body: ExplainRequest, service: TheService) -> JsonResponse:
    """Where a film went: the stage that dropped it or its place in the list, and what would have had to differ."""
    model, limits = service.model, service.limits
    return JsonResponse(await service.slow.run(lambda: explain_film(model, body, limits)))
