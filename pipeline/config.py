"""What a pipeline is made of."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from recall.merge import MergeConfig
from reccore import ComponentConfig
from rerank import RERANKERS


class PipelineConfig(ComponentConfig):
    """Options of the pipeline.

    Attributes:
        channels: names of trained recall models, folders under ``models/``.
        fill: the channel that fills short rows; must be among ``channels``, or None.
        per_channel: candidates asked of each channel.
        merge: how the channels' lists become one.
        candidates: items kept after the merge, which the ranker scores.
        ranker: name of a trained ranker, or None for the merged order.
        reranker: registered name of the reranker, or None to cut off the top.
        rerank: the reranker's own options.
        vectors_of: channel whose item vectors the reranker compares.
    """

    channels: tuple[str, ...] = Field(default=("popularity", "itemcf", "mf", "two_tower"), min_length=1)
    fill: str | None = "popularity"
    per_channel: int = Field(default=300, ge=1)
    merge: MergeConfig = MergeConfig()
    candidates: int = Field(default=200, ge=1)
    ranker: str | None = "deepfm"
    reranker: str | None = "mmr"
    rerank: dict[str, Any] = Field(default_factory=dict)
    vectors_of: str = "two_tower"

    @model_validator(mode="after")
    def _channels_fit(self) -> PipelineConfig:
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"a channel is named twice: {self.channels}")
        if self.fill is not None and self.fill not in self.channels:
            raise ValueError(f"fill channel {self.fill!r} is not among the channels {self.channels}")
        for name in (*self.merge.weights, *self.merge.quota):
            if name not in self.channels:
                raise ValueError(f"merge names {name!r}, which is not among the channels {self.channels}")
        return self

    @model_validator(mode="after")
    def _reranker_fits(self) -> PipelineConfig:
        if self.reranker is None:
            if self.rerank:
                raise ValueError(f"options of a reranker without a reranker: {self.rerank}")
            return self
        options = RERANKERS[self.reranker].Config.parse(self.rerank)
        if getattr(options, "similarity", None) == "vectors" and self.vectors_of not in self.channels:
            raise ValueError(
                f"vectors_of {self.vectors_of!r} is not among the channels {self.channels}; "
                "name one that has item vectors, or set rerank.similarity to 'genres'"
            )
        return self
