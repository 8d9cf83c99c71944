"""A loaded model: the pipeline of one bundle with everything that answers are made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from pipeline import Pipeline, run_together
from pipeline.builder import open_pipeline, pipeline_of
from pipeline.history import FrozenHistoryStore
from pipeline.single_channel import channels_with_similarities
from reccore import ArtefactError
from reccore.bundle import MANIFEST
from serving.catalogue import Catalogue, rating_scale
from serving.live_histories import LiveHistories
from serving.posters import Posters
from serving.responses import InfoAnswer
from serving.search import FilmSearch
from serving.store import EventStore

_ATTEMPTS = 3


@dataclass(frozen=True)
class Signature:
    """What differs between two bundles at one path: facts of the manifest's file."""

    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, folder: Path) -> Signature | None:
        """The signature of the bundle in a folder; None while there is none."""
        try:
            facts = (folder / MANIFEST).stat()
        except OSError:
            return None
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns)


@dataclass(eq=False)
class Model:
    """A pipeline with its version, films, search and histories.

    Attributes:
        version: digest of the bundle, 12 letters.
        pipeline: ready to answer.
        histories: of the model with the live events; those that the pipeline reads.
        catalogue: facts of films.
        posters: images of films.
        signature: of the bundle that it was loaded from.
    """

    version: str
    pipeline: Pipeline
    histories: LiveHistories
    catalogue: Catalogue
    posters: Posters
    signature: Signature | None

    @cached_property
    def search(self) -> FilmSearch:
        return FilmSearch(self.pipeline.items, self.catalogue.most_rated)

    @cached_property
    def similarity_channels(self) -> tuple[str, ...]:
        """Channels that compare films."""
        return channels_with_similarities(self.pipeline)

    @cached_property
    def info(self) -> InfoAnswer:
        """What ``/v1/info`` answers."""
        pipeline = self.pipeline
        scale = rating_scale(self.histories.frozen.interactions)
        years = self.catalogue.years
        trade_off = None if pipeline.reranker is None else pipeline.reranker.trade_off
        return InfoAnswer(
            model_version=self.version,
            movies=len(self.catalogue),
            users=len(pipeline.vocabulary.users),
            channels=[source.name for source in pipeline.sources],
            similarity_channels=list(self.similarity_channels),
            ranker=None if pipeline.ranker is None else pipeline.ranker.name,
            reranker=None if pipeline.reranker is None else pipeline.reranker.name,
            genres=list(pipeline.items.genre_names),
            years=None if years is None else list(years),
            rating_scale=None if scale is None else list(scale[0]),
            rating_step=None if scale is None else scale[1],
            has_diversity=trade_off is not None,
            default_diversity=None if trade_off is None else round(1 - trade_off, 4),
            posters=len(self.posters),
            notice=self.posters.notice,
        )

    def check_search(self) -> None:
        """Index the titles, which takes a second for a large catalogue, and search them."""
        self.search.find("the", 10)

    def check(self) -> None:
        """Answer a few requests, alone and together, so that the first clients find ready all that is made once.

        Raises:
            ArtefactError: an empty list, or a score that is not finite.
            Exception: whatever a broken component raises.
        """
        lengths = self.histories.frozen.interactions.lengths
        by_length = np.argsort(-lengths, kind="stable")
        ids = self.pipeline.vocabulary.users.decode(by_length[: len(lengths) : max(1, len(lengths) // 2)]).tolist()
        film = self.catalogue.ids.raw_id(int(self.catalogue.most_rated[0]))
        requests: list[dict[str, Any]] = [{"history": []}, {"history": [film]}, *({"user": user} for user in ids)]
        for request in requests:
            answer = self.pipeline.recommend(k=10, **request)
            if not answer.items:
                raise ArtefactError(f"it recommends nothing for {request}")
            if not all(np.isfinite(value) for item in answer.items for value in item.scores.values()):
                raise ArtefactError(f"it gives scores that are not finite for {request}")
        run_together(self.pipeline, [self.pipeline.request(k=10, **request)[0] for request in 2 * requests])
        logger.info("model {} answers: {:,} films, {:,} users", self.version, self.info.movies, self.info.users)


def load_model(folder: Path, store: EventStore, posters: Posters | None = None) -> Model:
    """Load the pipeline of a folder and check that it answers.

    A bundle that is replaced while it is read is read again, so that a model never has parts of two bundles.

    Raises:
        NotReadyError: there is no pipeline; names the command.
        ArtefactError: a damaged bundle, one that keeps changing, or one that does not answer.
    """
    for _ in range(_ATTEMPTS):
        before = Signature.of(folder)
        try:
            model = _load(folder, store, posters, before)
        except Exception:
            if Signature.of(folder) == before:
                raise
        else:
            if Signature.of(folder) == before:
                return model
        logger.warning("the pipeline was replaced while it was loaded; loading the new one")
        time.sleep(0.1)
    raise ArtefactError(f"the pipeline at {folder} is being replaced again and again; try later")


def _load(folder: Path, store: EventStore, posters: Posters | None, signature: Signature | None) -> Model:
    bundle = open_pipeline(folder)
    vocabulary = bundle.vocabulary()
    histories = LiveHistories(FrozenHistoryStore.load(bundle.path, vocabulary), store)
    pipeline = pipeline_of(bundle, histories=histories)
    catalogue = Catalogue(pipeline.items, vocabulary, posters)
    model = Model(bundle.fingerprint[:12], pipeline, histories, catalogue, posters or Posters({}), signature)
    model.check()
    return model
