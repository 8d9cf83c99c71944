"""What operators ask: is it alive, is it ready, what does it count, which model answers."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from serving.errors import StoreError
from serving.responses import HealthAnswer, InfoAnswer, JsonResponse, ReadyAnswer
from serving.routes._shared import TheService, answers

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses=answers(HealthAnswer))
async def healthz() -> JsonResponse:
    """The process is alive."""
    return JsonResponse(HealthAnswer(True))


@router.get("/readyz", responses={**answers(ReadyAnswer), 503: {"description": "not ready"}})
async def readyz(service: TheService) -> JsonResponse:
    """A model is loaded and the store can be reached; says why a newer model is refused."""
    try:
        await service.files.run(service.store.ping)
        store = "ready"
    except StoreError:
        store = "unreachable"
    ready = service.is_ready and store == "ready"
    version = service.model.version if service.is_ready else None
    return JsonResponse(ReadyAnswer(ready, version, store, service.refused), status_code=200 if ready else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: TheService) -> Response:
    """Metrics in Prometheus's text format."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/info", responses=answers(InfoAnswer))
async def info(service: TheService) -> JsonResponse:
    """What the model is made of."""
    return JsonResponse(service.model.info)
