"""Scoring of many queries in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ranking.features import FeatureEncoder, RankingInputs
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray

CHUNK_BYTES = 128 * 1024**2
"""Most bytes of a chunk's inputs and of what operations on them write, unless ``FEW_QUERIES`` need more."""
FEW_QUERIES = 8
"""Are always one chunk: to measure the memory takes longer than to score them, and loads 800 modules of PyTorch."""


class WrittenBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that operations return; a view of an argument counts nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {part.untyped_storage().data_ptr() for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in given:
                self.total += part.nbytes
        return result


def score_queries(
    network: nn.Module,
    encoder: FeatureEncoder,
    queries: QueryBatch,
    candidates: Candidates,
    device: torch.device,
    inputs: RankingInputs | None = None,
) -> FloatArray:
    """(B, K) logits in evaluation mode.

    A chunk holds as many queries as ``CHUNK_BYTES`` allows. Once for a network and a number of candidates the first
    query is scored alone besides, to measure the memory of one; so chunks, and with them the rounding of scores, are
    the same in every call.

    Args:
        network: takes ``RankingInputs`` and returns logits.
        encoder: of the network's fields.
        queries: B queries; their histories hold known items only.
        candidates: (B, K).
        device: where the network is.
        inputs: queries and candidates, if they are already encoded.
    """
    scores = np.zeros(candidates.item_idx.shape, dtype=np.float32)
    if scores.size == 0:
        return scores
    if network.training:
        network.eval()  # walks through all modules, which takes a twentieth of the time of one query

    def score(start: int, stop: int) -> int:
        """Score a run of queries; returns the bytes of their inputs."""
        part = slice(start, min(stop, len(queries)))
        if inputs is None and part == slice(0, len(queries)):
            chunk = encoder.encode(queries, candidates)
        elif inputs is None:
            chunk = encoder.encode(queries.select(part), candidates.select(part))
        else:
            chunk = inputs.take(torch.arange(start, part.stop))
        with torch.inference_mode():
            scores[part] = network(chunk if device.type == "cpu" else chunk.to(device)).cpu().numpy()
        return chunk.nbytes

    if len(queries) <= FEW_QUERIES:
        score(0, len(queries))
        return scores
    measured = _bytes_of_query.setdefault(network, {})
    if candidates.k not in measured:
        with WrittenBytes() as written:
            n_bytes = score(0, 1)
        measured[candidates.k] = written.total + n_bytes
    step = max(1, CHUNK_BYTES // max(measured[candidates.k], 1))
    for start in range(0, len(queries), step):
        score(start, start + step)
    return scores


_bytes_of_query: WeakKeyDictionary[nn.Module, dict[int, int]] = WeakKeyDictionary()
"""Network → number of candidates → bytes of the inputs of one query and of what operations on them write."""
