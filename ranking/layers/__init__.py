"""Reusable layers of the rankers."""

from ranking.layers.attention import AttentionPooling
from ranking.layers.fields import FieldEmbedding, NumberEmbedding
from ranking.layers.fm import FieldSums, second_order
from ranking.layers.mlp import MLP, SplitLinear

__all__ = ["MLP", "AttentionPooling", "FieldEmbedding", "FieldSums", "NumberEmbedding", "SplitLinear", "second_order"]
