"""Reusable layers of the rankers."""

from ranking.layers.activations import ActivationName, Dice
from ranking.layers.attention import AttentionPooling
from ranking.layers.fields import FieldEmbedding, number_vectors
from ranking.layers.fm import FieldSums, second_order
from ranking.layers.linear import LinearPart, MergedOrder
from ranking.layers.lookup import lookup
from ranking.layers.mlp import MLP, HiddenLayers, SplitLinear
from ranking.layers.tables import Table, pooling_weights

__all__ = [
    "MLP",
    "ActivationName",
    "AttentionPooling",
    "Dice",
    "FieldEmbedding",
    "FieldSums",
    "HiddenLayers",
    "LinearPart",
    "MergedOrder",
    "SplitLinear",
    "Table",
    "lookup",
    "number_vectors",
    "pooling_weights",
    "second_order",
]
