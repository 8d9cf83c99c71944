"""The whole chain: sources, merge, hydrators, filters, the ranker and the reranker, joined and traced."""

from pipeline.answers import Answer, Recommendation
from pipeline.builder import assemble, load, save
from pipeline.config import PipelineConfig
from pipeline.history import Event, HistoryStore
from pipeline.inference import Pipeline
from pipeline.item_filter import ItemFilter
from pipeline.joining import run_together
from pipeline.limits import StageLimits
from pipeline.trace import StageRecord, Trace

__all__ = [
    "Answer",
    "Event",
    "HistoryStore",
    "ItemFilter",
    "Pipeline",
    "PipelineConfig",
    "Recommendation",
    "StageLimits",
    "StageRecord",
    "Trace",
    "assemble",
    "load",
    "run_together",
    "save",
]
