"""Prometheus metrics of one process, in a registry of their own."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from pipeline.trace import StageRecord

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """What the service counts and times."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "recommender_requests", "Answered requests", ["route", "method", "status"], registry=self.registry
        )
        self.latency = Histogram(
            "recommender_request_seconds",
            "Time from request to answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "recommender_stage_seconds",
            "Time of a stage of the pipeline",
            ["stage", "name"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.skipped = Counter(
            "recommender_skipped_stages",
            "Stages that failed or took too long and were skipped",
            ["stage", "name"],
            registry=self.registry,
        )
        self.degraded = Counter(
            "recommender_degraded", "Answers made without a failing part", ["part"], registry=self.registry
        )
        self.events = Counter("recommender_events", "Live events", ["outcome"], registry=self.registry)
        self.model = Info("recommender_model", "The model that answers", registry=self.registry)
        self.loads = Counter("recommender_model_loads", "Models loaded or refused", ["outcome"], registry=self.registry)
        self.refused = Gauge(
            "recommender_model_refused",
            "1 while the newest model is refused and an older one answers",
            registry=self.registry,
        )

    def observe_stages(self, records: Sequence[StageRecord]) -> bool:
        """Note the stages of one answer; returns whether one was skipped."""
        is_degraded = False
        for record in records:
            self.stages.labels(record.stage, record.name).observe(record.milliseconds / 1e3)
            if record.error is not None:
                self.skipped.labels(record.stage, record.name).inc()
                is_degraded = True
        if is_degraded:
            self.degraded.labels("pipeline").inc()
        return is_degraded

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
