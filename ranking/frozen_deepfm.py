"""DeepFM with weights that do not change: the same function in a few products and one compiled loop.

The parts that are linear in the fields are one: with w, v and W the first-order weights, vectors and first deep layer,
each of query, item and pair gives [Σ w·x − ½ Σ |v·x|², Σ v·x, W·x]. The three are added up to s, and
ŷ = s₀ + ½ |s₁|² + deep(s₂). What an item gives is computed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from ranking.features import FeatureBlock, FeatureField, RankingInputs, Schema
from ranking.layers import FieldEmbedding, pooling_weights
from reccore.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from ranking.deepfm import DeepFMNetwork

ITEMS_PER_CHUNK = 65_536
CANDIDATES_PER_CHUNK = 16_384
"""Bounds the memory of a batch; what a chunk writes stays in the cache of a core."""


class FrozenDeepFM:
    """Takes N · (1 + d + hidden[0]) floats.

    Args:
        network: whose weights are taken.
        schema: of its fields.
    """

    def __init__(self, network: DeepFMNetwork, schema: Schema) -> None:
        of_query, of_item, of_pair = torch.split(network.first.weight.detach(), network.first.sizes, dim=1)
        self.size = network.embedding_size
        self.query = FrozenFields(FieldEmbedding.side_by_side(schema, "query", network.linear.query, network.query))
        self.of_query, self.bias = _array(of_query.T), _array(network.first.bias)
        vectors = network.pair.detach()  # (P, d)
        self.pair = _array(torch.cat([network.linear.pair.detach()[:, None], vectors, of_pair.T], dim=1))
        self.squares = _array(0.5 * vectors.square().sum(dim=1))  # (P,)
        layers = [layer for layer in network.deep.body if isinstance(layer, nn.Linear)]
        self.layers = [(_array(layer.weight.T), _array(layer.bias)) for layer in layers]
        self.out = _array(network.deep.out.weight[0])
        item = FrozenFields(FieldEmbedding.side_by_side(schema, "item", network.linear.item, network.item))
        weight, no_bias = _array(of_item.T), np.zeros(len(of_item), dtype=np.float32)
        parts = torch.split(torch.arange(len(network.numbers)), ITEMS_PER_CHUNK)
        self.items = np.concatenate(  # (N+1, 1+d+hidden)
            [_sums(item(network.item_block.rows(part)), weight, no_bias) for part in parts]
        )

    def __call__(self, inputs: RankingInputs) -> Tensor:
        """Logits (B, K)."""
        of_query = _sums(self.query(inputs.query), self.of_query, self.bias)  # (B, 1+d+hidden)
        pair, rows = inputs.pair.numpy(), inputs.item_row.numpy()
        logits: FloatArray = np.empty(rows.shape, dtype=np.float32)
        step = max(1, CANDIDATES_PER_CHUNK // max(rows.shape[1], 1))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            logits[part] = self._logits(of_query[part], pair[part], rows[part])
        return torch.from_numpy(logits)

    def _logits(self, of_query: FloatArray, pair: FloatArray, rows: IntArray) -> FloatArray:
        flat = pair.reshape(rows.size, pair.shape[2])
        sums: FloatArray = flat @ self.pair  # (B·K, 1+d+hidden)
        hidden: FloatArray = np.empty((len(flat), sums.shape[1] - 1 - self.size), dtype=np.float32)
        logits = np.empty(len(flat), dtype=np.float32)
        _add_up(sums, flat, rows.reshape(-1), of_query, self.items, self.squares, self.size, hidden, logits)
        for weight, bias in self.layers:
            hidden = np.maximum(hidden @ weight + bias, np.float32(0)).astype(np.float32, copy=False)
        found: FloatArray = (logits + hidden @ self.out).reshape(rows.shape)
        return found


class FrozenFields:
    """``FieldEmbedding`` in NumPy: a block of R rows to (R, F, d)."""

    def __init__(self, embedding: FieldEmbedding) -> None:
        self.offsets = embedding.offsets.numpy()
        self.codes, self.numbers = _array(embedding.codes), _array(embedding.numbers)
        self.bags = [_array(table) for table in embedding.bags]
        self.labels = [_array(table) for table in embedding.labels]
        self.lists = embedding.lists

    def __call__(self, block: FeatureBlock) -> FloatArray:
        parts = [self.codes[block.categories.numpy() + self.offsets]]
        parts += [(bag.numpy() @ table)[:, None] for bag, table in zip(block.bags, self.bags, strict=True)]
        parts += [
            _pools(codes, table, field)[:, None]
            for codes, table, field in zip(block.labels, self.labels, self.lists, strict=True)
        ]
        parts.append(block.numbers.numpy()[:, :, None] * self.numbers)
        found: FloatArray = np.concatenate(parts, axis=1)
        return found


def _pools(codes: Tensor, table: FloatArray, field: FeatureField) -> FloatArray:
    """(R, d) pool of the rows of ``table`` that (R, P) codes name, 0 = none; 0 without any."""
    if field.pooling in ("", "mean"):
        return _means(codes.numpy(), table)
    pools: FloatArray = np.einsum("rp,rpd->rd", pooling_weights(codes, field).numpy(), table[codes.numpy()])
    return pools


def _means(codes: IntArray, table: FloatArray) -> FloatArray:
    """(R, d) mean of the rows of ``table`` that (R, P) codes name, 0 = none; 0 without any."""
    known = (codes > 0).astype(np.float32)
    total: FloatArray = np.einsum("rp,rpd->rd", known, table[codes])
    means: FloatArray = total / np.maximum(known.sum(axis=1, keepdims=True), np.float32(1))
    return means


def _sums(fields: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """What fields (R, F, 1+d) add, (R, 1+d+hidden)."""
    vectors = np.ascontiguousarray(fields[:, :, 1:])
    flat = vectors.reshape(len(vectors), -1)
    first_order = fields[:, :, 0].sum(axis=1) - np.float32(0.5) * np.einsum("rn,rn->r", flat, flat)
    found: FloatArray = np.concatenate([first_order[:, None], vectors.sum(axis=1), flat @ weight + bias], axis=1)
    return found


def _array(values: Any) -> FloatArray:
    """The values of a tensor."""
    found: FloatArray = np.ascontiguousarray(values.detach().numpy())
    return found


# Sums over fields and dimensions may be taken in any order.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _add_up(
    sums: np.ndarray,
    pair: np.ndarray,
    rows: np.ndarray,
    of_query: np.ndarray,
    items: np.ndarray,
    squares: np.ndarray,
    size: int,
    hidden: np.ndarray,
    logits: np.ndarray,
) -> None:
    """Fill the first active layer ``hidden`` (B·K, h) and the ``logits`` (B·K,) of the other parts.

    ``sums`` (B·K, 1+d+h) are those of the pairs.
    """
    k = len(rows) // max(len(of_query), 1)
    for at in range(len(rows)):
        own, item, query = sums[at], items[rows[at]], of_query[at // k]
        logit = own[0] + item[0] + query[0]
        for d in range(1, 1 + size):
            value = own[d] + item[d] + query[d]
            logit += np.float32(0.5) * value * value
        for p in range(len(squares)):
            logit -= squares[p] * pair[at, p] * pair[at, p]
        logits[at] = logit
        for unit in range(hidden.shape[1]):
            value = own[1 + size + unit] + item[1 + size + unit] + query[1 + size + unit]
            hidden[at, unit] = max(value, np.float32(0.0))
