"""The trained data root of the pipeline's tests."""

from tests.pipeline.conftest import own, pipeline, prepared, trained

__all__ = ["own", "pipeline", "prepared", "trained"]
