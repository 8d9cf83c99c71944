"""Pipelines with a component that does something else than it should, below the pipeline's own classes."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from pipeline import Pipeline
from tests.pipeline.small import with_parts

PARTS = {"source": "mf", "hydrate": "mf", "filter": "seen", "score": "deepfm", "select": "mmr"}
"""Role → name of the component that is broken."""
_METHODS = {
    "source": ("channel", "retrieve"),
    "hydrate": ("channel", "score"),
    "filter": (None, "keep"),
    "score": ("ranker", "score"),
    "select": ("reranker", "rerank"),
}


def breaking(pipeline: Pipeline, role: str, work: Callable[..., Any]) -> Pipeline:
    """The same pipeline whose component of a role does ``work(original method, *arguments)`` instead."""
    part, method = _METHODS[role]

    def broken(component: Any) -> Any:
        other, original = copy(component), getattr(component, method)
        setattr(other, method, lambda *args, **kwargs: work(original, *args, **kwargs))
        return other

    def changed(stage: Any) -> Any:
        if stage.role != role or stage.name != PARTS[role]:
            return stage
        if part is None:
            return broken(stage)
        other = copy(stage)
        setattr(other, part, broken(getattr(stage, part)))
        return other

    return with_parts(pipeline, sources=map(changed, pipeline.sources), stages=map(changed, pipeline.stages))


def fail(*_: Any, **__: Any) -> Any:
    """Work that fails."""
    raise RuntimeError("the disk is on fire")
