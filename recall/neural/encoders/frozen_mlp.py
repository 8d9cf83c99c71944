"""``MLPEncoder`` with weights that do not change: the same function in compiled loops and two products.

One query takes some hundred operations of PyTorch, each of which takes longer to start than to compute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from dataprep.features import TOP_GENRES
from reccore.arrays import FloatArray
from training.kernels.pooled_embeddings import LEAST_WEIGHT

if TYPE_CHECKING:
    from torch import Tensor

    from recall.neural.encoders.mlp import MLPEncoder
    from reccore import QueryBatch


class FrozenMLP:
    """Encodes queries as ``MLPEncoder`` does in use.

    Args:
        encoder: without own columns of users.
        ids: (N+1, D) the item encoder's id table.
    """

    def __init__(self, encoder: MLPEncoder, ids: Tensor) -> None:
        self.ids, self.users, self.genres = _array(ids), _array(encoder.users.weight), _array(encoder.genres.weight)
        tables = [_array(table.weight) for table in encoder.code_tables]
        self.first_code = np.cumsum([0, *(len(table) for table in tables)])[:-1]
        self.codes = np.concatenate([np.zeros((0, self.ids.shape[1]), dtype=np.float32), *tables])
        self.columns = encoder.columns
        length = encoder.config.history_length
        half_lives = _array(encoder.half_lives)
        self.power = np.exp2(-np.arange(length) / half_lives[:, None]).astype(np.float32)  # (H, T)
        self.mix = np.repeat(_array(encoder.mix)[:, 0] / len(half_lives), self.ids.shape[1])  # (H·D,)
        self.hidden, self.bias = _array(encoder.hidden.weight).T.copy(), _array(encoder.hidden.bias)
        self.out, self.out_bias = _array(encoder.out.weight).T.copy(), _array(encoder.out.bias)

    def __call__(self, queries: QueryBatch) -> FloatArray:
        """(B, D) unit vectors."""
        history, lengths, user, codes, genres = self.columns(queries)
        pools_and_facts: FloatArray = np.zeros((len(history), len(self.hidden)), dtype=np.float32)  # (B, (H+1)·D)
        unknown = len(self.users) - 1  # 0 where no user has a row of their own
        known_user = np.where((user < 0) | (user >= unknown), unknown, user)
        tables = self.ids, self.users, self.codes, self.genres
        _gather(history, lengths, known_user, codes + self.first_code, genres, self.power, *tables, pools_and_facts)
        hidden: FloatArray = pools_and_facts @ self.hidden
        _activate(hidden, self.bias)
        vectors: FloatArray = hidden @ self.out
        _finish(vectors, self.out_bias, pools_and_facts, self.mix)
        return vectors


def _array(values: Any) -> FloatArray:
    """The values of a tensor."""
    found: FloatArray = np.ascontiguousarray(values.detach().numpy())
    return found


@njit(nogil=True, cache=True)
def _gather(
    history: np.ndarray,
    lengths: np.ndarray,
    user: np.ndarray,
    codes: np.ndarray,
    genres: np.ndarray,
    power: np.ndarray,
    ids: np.ndarray,
    users: np.ndarray,
    code_rows: np.ndarray,
    genre_rows: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fill ``found`` (B, (H+1)·D), given as zeros: H pools, then the sum of what is known beside the history."""
    n_pools, size = len(power), ids.shape[1]
    for row in range(len(found)):
        for pool in range(n_pools):
            own = found[row, pool * size : (pool + 1) * size]
            total = np.float32(0.0)
            for slot in range(lengths[row]):
                if history[row, slot] >= 0:
                    weight = power[pool, lengths[row] - 1 - slot]
                    total += weight
                    vector = ids[history[row, slot]]
                    for d in range(size):
                        own[d] += weight * vector[d]
            own /= max(total, np.float32(LEAST_WEIGHT))
        facts = found[row, n_pools * size :]
        facts += users[user[row]]
        for slot in range(genres.shape[1]):
            if genres[row, slot] >= 0:
                facts += genre_rows[genres[row, slot] + 1] * np.float32(1 / TOP_GENRES)
        for column in range(codes.shape[1]):
            facts += code_rows[codes[row, column]]


@njit(nogil=True, cache=True)
def _activate(hidden: np.ndarray, bias: np.ndarray) -> None:
    """GELU of ``hidden`` + ``bias``, in place."""
    for row in range(len(hidden)):
        for unit in range(hidden.shape[1]):
            x = np.float64(hidden[row, unit] + bias[unit])
            hidden[row, unit] = 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


@njit(nogil=True, cache=True)
def _finish(vectors: np.ndarray, bias: np.ndarray, pools_and_facts: np.ndarray, mix: np.ndarray) -> None:
    """Add bias, weighted mean of the pools and facts to the rows of ``vectors``, and scale them to length 1."""
    size = vectors.shape[1]
    for row in range(len(vectors)):
        for d in range(size):
            vectors[row, d] += bias[d] + pools_and_facts[row, len(mix) + d]
            for at in range(d, len(mix), size):
                vectors[row, d] += mix[at] * pools_and_facts[row, at]
        squares = 0.0
        for d in range(size):
            squares += np.float64(vectors[row, d]) ** 2
        vectors[row] /= np.float32(max(math.sqrt(squares), 1e-12))
