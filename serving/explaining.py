"""A closer look at one list: where a film went, and what each setting of diversity costs."""

from __future__ import annotations

from pipeline import StageLimits
from pipeline.explain import explain
from pipeline.fates import FATE_LABELS
from pipeline.trade_offs import trade_offs
from serving.errors import invalid, not_found
from serving.live_histories import tolerant_reading
from serving.model import Model
from serving.recommending import check_ids, list_arguments, rounded
from serving.responses import ExplainAnswer, TradeOffPoint, TradeOffsAnswer, encode
from serving.schemas import ExplainRequest, TradeOffsRequest

DIVERSITIES = tuple(step / 10 for step in range(11))


def explain_film(model: Model, body: ExplainRequest, limits: StageLimits) -> bytes:
    """The answer to ``POST /v1/explain``, encoded.

    Raises:
        ApiError: the catalogue does not have the film; and as ``list_arguments``.
    """
    check_ids(model.catalogue.ids, "movie_id", [body.movie_id], single=True)
    arguments = list_arguments(model, body)
    if model.catalogue.index(body.movie_id) < 0:
        raise not_found("movie_id: the catalogue has no film of this id")
    with tolerant_reading():
        found = explain(model.pipeline, body.movie_id, **arguments, degrade=True, limits=limits)
    facts = {name: getattr(found, name) for name in ExplainAnswer.__struct_fields__ if name != "fate_label"}
    return encode(ExplainAnswer(**facts, fate_label=FATE_LABELS[found.fate]))


def compare_diversities(model: Model, body: TradeOffsRequest, limits: StageLimits) -> bytes:
    """The answer to ``POST /v1/trade-offs``, encoded; failing and slow components are left out.

    Raises:
        ApiError: no reranker with a trade-off; and as ``list_arguments``.
    """
    if not model.info.has_diversity:
        raise invalid("diversity", "this model has no reranker with a trade-off")
    arguments = list_arguments(model, body)
    with tolerant_reading():
        request, _ = model.pipeline.request(**arguments, degrade=True, limits=limits)
    points = [
        TradeOffPoint(one.diversity, round(one.relevance, 4), rounded(one.genre_diversity), one.films)
        for one in trade_offs(model.pipeline, request, DIVERSITIES)
    ]
    return encode(TradeOffsAnswer(points))
