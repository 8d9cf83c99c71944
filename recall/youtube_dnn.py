"""YouTubeDNN: candidate generation as classification over the catalogue, with the age of the example as an input.

Covington et al., "Deep neural networks for YouTube recommendations", RecSys 2016.
"""

from __future__ import annotations

from typing import ClassVar

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.example_age import AgedMLPEncoder, AgedMLPEncoderConfig
from recall.neural.losses.softmax import SoftmaxConfig


class YouTubeDNNConfig(NeuralConfig):
    """Options of ``YouTubeDNN``.

    Attributes:
        encoder: pools the history, and reads userId, facts and, in training, the example's age.
        loss: softmax over sampled items.
    """

    encoder: AgedMLPEncoderConfig = AgedMLPEncoderConfig()
    loss: SoftmaxConfig = SoftmaxConfig()


class YouTubeDNN(NeuralRecall):
    """Query network over pooled history, facts and example age; sampled softmax with a correction of the sampling."""

    name: ClassVar[str] = "youtube_dnn"
    Config: ClassVar[type[YouTubeDNNConfig]] = YouTubeDNNConfig
    config: YouTubeDNNConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return AgedMLPEncoder
