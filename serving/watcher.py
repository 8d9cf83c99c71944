"""New models without downtime: a thread that watches the pipeline's folder."""

from __future__ import annotations

import threading
from time import perf_counter

from loguru import logger

from reccore import RecommenderError
from reccore.threads import limit_threads
from serving.model import Signature
from serving.service import Service


class ModelWatcher:
    """Loads and checks every new pipeline beside the one that answers, and then lets it answer.

    A pipeline that does not load or does not answer is refused: the old one goes on, and the reason is in the log, in
    ``/readyz`` and in the metrics. It is tried again when the folder changes again.

    Args:
        service: whose model is replaced.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watcher", daemon=True)
        self._seen: Signature | None = None

    def start(self) -> None:
        self._seen = self._service.model.signature
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a load in progress is not waited for."""
        self._stop.set()

    def _watch(self) -> None:
        limit_threads(1)
        while not self._stop.wait(self._service.settings.watch_seconds):
            self.look()

    def look(self) -> None:
        """Load the pipeline if it is another one than that seen last."""
        current = Signature.of(self._service.settings.folder)
        if current is None or current == self._seen:  # None: between the two renames of a replacement
            return
        self._seen = current
        started = perf_counter()
        try:
            model = self._service.load()
            model.check_search()
        except Exception as error:  # a model may fail in any way, and the old one goes on
            logger.opt(exception=not isinstance(error, RecommenderError)).error(
                "the new model is refused, {} goes on: {}", self._service.model.version, error
            )
            self._service.refuse(self._reason(error))
            return
        self._seen = model.signature
        self._service.use(model)
        logger.info("model {} answers from now on, loaded in {:.1f} s", model.version, perf_counter() - started)

    def _reason(self, error: Exception) -> str:
        """Why a model is refused, without paths; of errors that are not meant for people, the kind alone."""
        if not isinstance(error, RecommenderError):
            return f"it fails with {type(error).__name__}; the log has more"
        return str(error).replace(str(self._service.settings.folder), "the pipeline")
