"""Base of channels that Spark fits: the local class of the same name, with another fit."""

from __future__ import annotations

from spark.events import FitEvents


class SparkChannel:
    """A channel that learns from ``events`` and not from the interactions of ``TrainingData``, which are empty."""

    events: FitEvents
