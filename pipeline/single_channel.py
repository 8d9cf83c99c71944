"""A look at single channels: their lists, and the films that they hold for similar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.answers import Answer
from pipeline.history import encode_ids
from pipeline.inference import Pipeline
from pipeline.stages import RECALL_RANK, RECALL_SCORE, Request
from pipeline.trace import Trace
from reccore import ConfigError, DataError, RawId


def channel_answer(pipeline: Pipeline, channel: str, request: Request, unknown: tuple[RawId, ...] = ()) -> Answer:
    """The list of one channel alone for a request of one query, with the channel's own scores.

    Raises:
        ConfigError: the pipeline has no channel of that name.
    """
    source = pipeline.source(channel)
    trace = Trace(len(request.queries))
    with trace.record(source.role, source.name, 0) as entry:
        prepared = request.prepared(source.name, source.channel)
        offer = source.channel.retrieve(request.queries, request.k, exclude=request.exclude, prepared=prepared)
    entry.count(offer)
    ranks = np.where(offer.mask, np.arange(1, offer.k + 1, dtype=np.float32), np.float32(np.nan))
    score = np.where(offer.mask, offer.score, np.float32(np.nan))
    described = offer.with_features({RECALL_RANK + channel: ranks, RECALL_SCORE + channel: score})
    return pipeline.answer(request, described, trace, unknown)


@dataclass(frozen=True)
class SimilarFilm:
    """A film that a channel holds for similar to another.

    Attributes:
        movie_id: raw id.
        title: with the year.
        genres: names.
        similarity: of the channel: the cosine of item vectors, or the entry of the item–item matrix.
    """

    movie_id: RawId
    title: str
    genres: tuple[str, ...]
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def channels_with_similarities(pipeline: Pipeline) -> tuple[str, ...]:
    """Names of the channels that compare films."""
    return tuple(source.name for source in pipeline.sources if source.channel.similarities(0) is not None)


def similar_films(pipeline: Pipeline, movie: RawId, channel: str, k: int) -> tuple[SimilarFilm, ...]:
    """The ``k`` films most similar to one, best first; fewer where the channel knows fewer.

    Args:
        pipeline: with the channel.
        movie: raw id.
        channel: name.
        k: number of films.

    Raises:
        ConfigError: no channel of that name, or one that does not compare films.
        DataError: the film is not in the catalogue.
    """
    item = int(encode_ids("movie", [movie], pipeline.vocabulary.items)[0])
    if item < 0:
        raise DataError(f"movie {movie} is not in the catalogue of this pipeline")
    similarity = pipeline.source(channel).channel.similarities(item)
    if similarity is None:
        raise ConfigError(
            f"channel {channel!r} compares users or counts, not films; channels that compare films: "
            f"{', '.join(channels_with_similarities(pipeline)) or 'none'}"
        )
    similarity[item] = -np.inf
    best = np.argsort(-similarity, kind="stable")[:k]
    best = best[np.isfinite(similarity[best])]
    items, ids = pipeline.items, pipeline.vocabulary.items.decode(best).tolist()
    return tuple(
        SimilarFilm(raw, items.label(near, raw), tuple(items.genres_of(near)), float(similarity[near]))
        for raw, near in zip(ids, best.tolist(), strict=True)
    )
