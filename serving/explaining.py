"""Where one film went in the request of a user."""

from __future__ import annotations

from pipeline.explain import explain
from pipeline.fates import FATE_LABELS
from serving.errors import not_found
from serving.live_histories import tolerant_reading
from serving.model import Model
from serving.recommending import check_ids, list_arguments
from serving.responses import ExplainAnswer, encode
from serving.schemas import ExplainRequest


def explain_film(model: Model, body: ExplainRequest) -> bytes:
    """The answer to ``POST /v1/explain``, encoded.

    Raises:
        ApiError: the catalogue does not have the film; and as ``list_arguments``.
    """
    check_ids(model.catalogue.ids, "movie_id", [body.movie_id], single=True)
    arguments = list_arguments(model, body)
    if model.catalogue.index(body.movie_id) < 0:
        raise not_found("movie_id: the catalogue has no film of this id")
    with tolerant_reading():
        found = explain(model.pipeline, body.movie_id, **arguments)
    facts = {name: getattr(found, name) for name in ExplainAnswer.__struct_fields__ if name != "fate_label"}
    return encode(ExplainAnswer(**facts, fate_label=FATE_LABELS[found.fate]))
