"""Films: search, facts, and similar ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from msgspec.structs import asdict

from pipeline.single_channel import similar_films
from reccore import RawId
from serving.errors import invalid, not_found
from serving.model import Model
from serving.recommending import check_ids
from serving.responses import Film, JsonResponse, MoviesAnswer, SimilarAnswer, SimilarMovie
from serving.routes._shared import Limit, PathId, SearchText, TheService, answers, raw_id
from serving.schemas import MAX_TEXT

router = APIRouter(prefix="/v1/movies", tags=["movies"])


@router.get("", responses=answers(MoviesAnswer, 422))
async def movies(service: TheService, query: SearchText = "", limit: Limit = 10) -> JsonResponse:
    """Films whose title begins so, with typos allowed; an empty query gives the most rated."""
    model = service.model
    found = await service.files.run(lambda: MoviesAnswer(model.catalogue.films(model.search.find(query, limit))))
    return JsonResponse(found)


@router.get("/{movie_id:path}/similar", responses=answers(SimilarAnswer, 404, 422))
async def similar(
    movie_id: PathId,
    service: TheService,
    channel: Annotated[str | None, Query(min_length=1, max_length=MAX_TEXT)] = None,
    k: Limit = 10,
) -> JsonResponse:
    """The films that a channel holds for most similar; by default the first channel that compares films."""
    model, raw = service.model, raw_id(movie_id, "movie_id")
    known_item(model, raw)
    names = model.similarity_channels
    if channel is not None and channel not in names:
        raise invalid("channel", f"compares no films; channels that do: {', '.join(names) or 'none'}")
    if not names:
        raise not_found("no channel of this model compares films")
    name = channel or names[0]
    return JsonResponse(await service.slow.run(lambda: _similar(model, raw, name, k)))


@router.get("/{movie_id:path}", responses=answers(Film, 404, 422))
async def movie(movie_id: PathId, service: TheService) -> JsonResponse:
    """Facts of one film."""
    model = service.model
    return JsonResponse(model.catalogue.film(known_item(model, raw_id(movie_id, "movie_id"))))


def known_item(model: Model, movie_id: RawId) -> int:
    """Index of a film.

    Raises:
        ApiError: the catalogue does not have it.
    """
    check_ids(model.catalogue.ids, "movie_id", [movie_id], single=True)
    item = model.catalogue.index(movie_id)
    if item < 0:
        raise not_found("movie_id: the catalogue has no film of this id")
    return item


def _similar(model: Model, movie_id: RawId, channel: str, k: int) -> SimilarAnswer:
    near = similar_films(model.pipeline, movie_id, channel, k)
    films = [model.catalogue.film(model.catalogue.index(one.movie_id)) for one in near]
    scored = [
        SimilarMovie(**asdict(film), score=round(one.similarity, 4)) for film, one in zip(films, near, strict=True)
    ]
    return SimilarAnswer(movie_id, channel, scored)
