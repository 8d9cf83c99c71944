"""Which features lift a candidate in a neural ranker: integrated gradients against the query's mean candidate.

Sundararajan, Taly and Yan, Axiomatic attribution for deep networks (ICML 2017), equation 1. For the score f(i, p) of a
candidate with item i and encoded pair numbers p, with p̄ the mean of p over the candidates of the query:

    contribution of pair feature j = (p_j − p̄_j) · ∫₀¹ ∂f(i, p̄ + α(p − p̄)) / ∂p_j dα
    contribution of the item       = f(i, p̄) − mean over the query's candidates of f(i', p̄)

That mean is the expected score of the query, which the contributions of a candidate add to. What belongs to the query
alone is in it; how it fits the item (an attention over the history, a factor product) is part of ``item``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ranking.base import EXPECTED
from ranking.features import FeatureEncoder, RankingInputs
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray

ITEM = "item"
"""Name of the contribution of everything known about the item itself, its id and genres for example."""
STEPS = 64
"""Points of the midpoint rule along the path. The integrand of a network with ReLU is piecewise constant."""
QUERIES_AT_ONCE = 16


def integrated_gradients(
    network: nn.Module, encoder: FeatureEncoder, queries: QueryBatch, candidates: Candidates
) -> dict[str, FloatArray]:
    """Feature → (B, K) contribution to the score of each candidate, 0 on padding; they sum to the score.

    Costs ``STEPS`` forward and backward passes over all candidates.

    Args:
        network: of a fitted ranker.
        encoder: of its fields.
        queries: B queries, whose histories hold known items only.
        candidates: (B, K) with the features that the ranker reads.
    """
    network.eval()
    parts = []
    for start in range(0, max(len(queries), 1), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        parts.append(_of_chunk(network, encoder, queries.select(rows), candidates.select(rows)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_chunk(
    network: nn.Module, encoder: FeatureEncoder, queries: QueryBatch, candidates: Candidates
) -> dict[str, FloatArray]:
    inputs = encoder.encode(queries, candidates)
    mask = torch.from_numpy(candidates.mask)
    counts = mask.sum(dim=1).clamp(min=1)  # (B,)
    base = torch.where(mask[:, :, None], inputs.pair, 0.0).sum(dim=1) / counts[:, None]  # (B, P)
    start = base[:, None].expand_as(inputs.pair)
    with torch.no_grad():
        at_base: Tensor = network(replace(inputs, pair=start.contiguous()))  # (B, K)
    expected = (torch.where(mask, at_base, 0.0).sum(dim=1) / counts)[:, None].expand_as(at_base)  # (B, K)
    of_pair = (inputs.pair - start) * _mean_gradient(network, inputs, start)  # (B, K, P)
    names = [field.name for field in encoder.schema.of("pair", "number")]
    found: Mapping[str, Tensor] = {
        EXPECTED: expected,
        ITEM: at_base - expected,
        **dict(zip(names, of_pair.unbind(dim=2), strict=True)),
    }
    return {name: np.where(candidates.mask, values.numpy(), np.float32(0.0)) for name, values in found.items()}


def _mean_gradient(network: nn.Module, inputs: RankingInputs, start: Tensor) -> Tensor:
    """(B, K, P) gradient of each candidate's logit by its own pair numbers, averaged along the path from ``start``."""
    total = torch.zeros_like(inputs.pair)
    for step in range(STEPS if total.numel() else 0):
        share = (step + 0.5) / STEPS
        with torch.enable_grad():
            pair = torch.lerp(start, inputs.pair, share).requires_grad_()
            (gradient,) = torch.autograd.grad(network(replace(inputs, pair=pair)).sum(), pair, materialize_grads=True)
        total += gradient
    return total / STEPS
