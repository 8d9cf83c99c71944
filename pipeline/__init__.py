"""The whole chain: sources, hydration, filters, the ranker and the reranker, joined and traced."""

from pipeline.builder import assemble, load, save
from pipeline.config import PipelineConfig
from pipeline.inference import Answer, Pipeline, Recommendation
from pipeline.trace import StageRecord, Trace

__all__ = [
    "Answer",
    "Pipeline",
    "PipelineConfig",
    "Recommendation",
    "StageRecord",
    "Trace",
    "assemble",
    "load",
    "save",
]
