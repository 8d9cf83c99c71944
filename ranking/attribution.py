"""Which features lift a candidate in a neural ranker: integrated gradients against the query's mean candidate.

Sundararajan, Taly and Yan, Axiomatic attribution for deep networks (ICML 2017), equation 1. For the score f(i, p) of a
candidate with item i and encoded pair numbers p, with p̄ the mean of p over the candidates of the query:

    contribution of pair feature j = (p_j − p̄_j) · ∫₀¹ ∂f(i, p̄ + α(p − p̄)) / ∂p_j dα
    contribution of the item       = f(i, p̄) − mean over the query's candidates of f(i', p̄)

The contributions of a candidate add up to its score minus that mean. What belongs to the query alone is the same for
all candidates; how it fits the item (an attention over the history, a factor product) is part of ``item``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ranking.base import BaseRanker
from ranking.features import FeatureEncoder, RankingInputs
from ranking.neural import NeuralRanker
from reccore import Candidates, QueryBatch
from reccore.arrays import FloatArray

ITEM = "item"
"""Name of the contribution of everything known about the item itself, its id and genres for example."""
STEPS = 64
"""Points of the midpoint rule along the path. The integrand of a network with ReLU is piecewise constant."""
QUERIES_AT_ONCE = 16


def contributions(ranker: BaseRanker, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray] | None:
    """Feature → (B, K) contribution to the score of each candidate, NaN on padding; None if the ranker offers none.

    Contributions are relative to the mean candidate of the query and add up to the difference of scores. Costs
    ``STEPS`` forward and backward passes over all candidates.

    Args:
        ranker: fitted.
        queries: B queries.
        candidates: (B, K) with the features that the ranker reads, as ``BaseRanker.score`` takes them.
    """
    if not isinstance(ranker, NeuralRanker):
        return None
    known = queries.known_items_only(len(ranker.vocabulary.items))
    parts = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        parts.append(
            integrated_gradients(ranker._network, ranker._encoder, known.select(rows), candidates.select(rows))
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}


def integrated_gradients(
    network: nn.Module, encoder: FeatureEncoder, queries: QueryBatch, candidates: Candidates
) -> dict[str, FloatArray]:
    """The same for one chunk of queries, whose histories hold known items only."""
    network.eval()
    inputs = encoder.encode(queries, candidates)
    mask = torch.from_numpy(candidates.mask)
    counts = mask.sum(dim=1).clamp(min=1)  # (B,)
    base = torch.where(mask[:, :, None], inputs.pair, 0.0).sum(dim=1) / counts[:, None]  # (B, P)
    start = base[:, None].expand_as(inputs.pair)
    with torch.no_grad():
        at_base: Tensor = network(replace(inputs, pair=start.contiguous()))  # (B, K)
    of_item = at_base - (torch.where(mask, at_base, 0.0).sum(dim=1) / counts)[:, None]
    of_pair = (inputs.pair - start) * _mean_gradient(network, inputs, start)  # (B, K, P)
    names = [field.name for field in encoder.schema.of("pair", "number")]
    found: Mapping[str, Tensor] = {ITEM: of_item, **dict(zip(names, of_pair.unbind(dim=2), strict=True))}
    return {name: np.where(candidates.mask, values.numpy(), np.float32(np.nan)) for name, values in found.items()}


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
