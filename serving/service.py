"""Everything the routes share: the model that answers now, the store, the threads and the metrics."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from loguru import logger

from pipeline import StageLimits
from reccore import Workspace
from reccore.threads import limit_threads
from serving.errors import not_ready
from serving.metrics import Metrics
from serving.model import Model, load_model
from serving.posters import Posters
from serving.recommending import ListCall, recommend
from serving.settings import Settings
from serving.store import EventStore, GuardedStore
from serving.stores import open_store
from serving.workers import BatchWorkers, Workers


class Service:
    """One process's state.

    Args:
        settings: see there.
        store: of live events; by default that of the settings.
    """

    def __init__(self, settings: Settings, store: EventStore | None = None) -> None:
        limit_threads(1)
        self.settings, self.metrics = settings, Metrics()
        self.store = GuardedStore(open_store(settings.store) if store is None else store, settings.store_pause)
        waiting, seconds = settings.max_waiting, settings.answer_seconds
        self.lists = BatchWorkers("lists", settings.threads, waiting, seconds, self._recommend, settings.most_together)
        self.slow = Workers("slow", 1, waiting, seconds)
        self.files = Workers("store", 2, waiting, seconds)
        self.refused: str | None = None
        self._model: Model | None = None
        self._indexing: threading.Thread | None = None

    @property
    def model(self) -> Model:
        """The model that answers now; a request takes it once and keeps it.

        Raises:
            ApiError: none is loaded.
        """
        if self._model is None:
            raise not_ready("no model is loaded yet")
        return self._model

    def _recommend(self, calls: Sequence[ListCall]) -> list[bytes | Exception]:
        return recommend(calls, self.metrics, self.limits)

    @property
    def is_ready(self) -> bool:
        return self._model is not None

    @cached_property
    def limits(self) -> StageLimits:
        """Of every component that can hang."""
        seconds = self.settings.stage_seconds or None
        return StageLimits(source=seconds, hydrate=seconds, score=seconds, select=seconds)

    @cached_property
    def posters(self) -> Posters:
        """Images of the settings' folder, or else of its data root."""
        if self.settings.posters is not None:
            return Posters.named_by_id(Path(self.settings.posters))
        if self.settings.data_root is not None:
            return Posters.crawled(Workspace(Path(self.settings.data_root)))
        return Posters({})

    def load(self) -> Model:
        """Load the model of the settings' folder; errors are those of ``load_model``."""
        return load_model(self.settings.folder, self.store, self.posters)

    def start(self) -> None:
        """Load the first model and answer with it; its titles are indexed meanwhile, so that lists need not wait.

        A search that comes earlier waits for the index. Errors of loading are those of ``load_model``; one of the index
        is logged, and every search fails with it.
        """
        self.use(self.load())
        self.index_titles()

    def index_titles(self) -> None:
        """Index the titles of the model in a thread."""
        self._indexing = threading.Thread(target=self._index_titles, name="title-index", daemon=True)
        self._indexing.start()

    def _index_titles(self) -> None:
        try:
            self.model.check_search()
        except Exception:
            logger.exception("the titles cannot be indexed; films cannot be searched")
        _leave_to_itself()

    def use(self, model: Model) -> None:
        """Answer with this model from now on."""
        if self._model is None:
            _leave_to_itself()
        self._model, self.refused = model, None
        self.metrics.model.info({"version": model.version})
        self.metrics.loads.labels("loaded").inc()
        self.metrics.refused.set(0)

    def refuse(self, reason: str) -> None:
        """Note why a newer model is not used."""
        self.refused = reason
        self.metrics.loads.labels("refused").inc()
        self.metrics.refused.set(1)

    def close(self) -> None:
        """End the threads and release the store."""
        if self._indexing is not None:
            self._indexing.join()
        for workers in (self.lists, self.slow, self.files):
            workers.close()
        self.store.close()
        logger.info("the service has ended")


def _leave_to_itself() -> None:
    """Take all objects that there are out of the searches for garbage, which run from now on.

    The libraries that the first model has imported are 300,000 objects, which live as long as the process. A search
    among them would stop all threads for a tenth of a second and more.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
