"""Spherical k-means for the lists of an inverted file (Dhillon and Modha, 2001), quick on thousands of centres."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reccore.arrays import FloatArray, IntArray
from training.precision import product_dtype

# Vectors a centre is learned from; more of them hardly move it.
VECTORS_PER_CENTRE = 16
ITERATIONS = 4
# Centres are seeded in so many rounds, each where the earlier rounds left vectors far from any centre.
SEEDING_ROUNDS = 4
# Scores of one chunk of vectors: 32 MB in bf16.
CELLS_PER_CHUNK = 1 << 24


def spherical_kmeans(vectors: FloatArray, n_centres: int, seed: int) -> FloatArray:
    """Unit centres (C, D) float32 of the directions of the vectors (N, D).

    Seeded as k-means‖ does (Bahmani et al., 2012): each round draws centres with a chance that grows with the
    square of a vector's distance to those drawn before. With drawing at random, a fifth of 10,000 tight groups
    gets none of 15,000 centres, and its members are strewn over the lists of others.

    O(C²·D) time with at most 16 vectors per centre. The same seed gives the same centres on the same machine.
    """
    rng = np.random.default_rng(seed)
    wanted = VECTORS_PER_CENTRE * n_centres
    rows = np.sort(rng.choice(len(vectors), wanted, replace=False)) if len(vectors) > wanted else slice(None)
    sample = F.normalize(torch.from_numpy(np.ascontiguousarray(vectors[rows])), dim=1)
    centres = _seeds(sample, n_centres, rng)
    for _ in range(ITERATIONS):
        at, nearness = _nearest(sample, centres)
        total = torch.zeros_like(centres).index_add_(0, at, sample)
        empty = torch.bincount(at, minlength=n_centres) == 0
        if empty.any():  # an empty list moves to the vectors that fare worst
            total[empty] = sample[torch.argsort(nearness, stable=True)[: int(empty.sum())]]
        centres = F.normalize(total, dim=1)
    return np.asarray(centres.numpy())


def assign(vectors: FloatArray, centres: FloatArray) -> IntArray:
    """(N,) int64 number of the centre with the greatest inner product."""
    return np.asarray(_nearest(torch.from_numpy(vectors), torch.from_numpy(centres))[0].numpy())


def _seeds(sample: Tensor, n_centres: int, rng: np.random.Generator) -> Tensor:
    """(C, D) vectors of the sample, spread over it."""
    chosen = np.empty(0, dtype=np.int64)
    nearness = torch.full((len(sample),), -1.0)
    for done in range(SEEDING_ROUNDS):
        want = (n_centres - len(chosen)) // (SEEDING_ROUNDS - done)
        chance = (1.0 - nearness.numpy().astype(np.float64)).clip(1e-6) ** 2
        chance[chosen] = 0.0
        # The largest of log(u)/w are a draw without replacement (Efraimidis and Spirakis, 2006).
        with np.errstate(divide="ignore"):
            keys = np.log(rng.random(len(sample))) / chance
        fresh = np.sort(np.argpartition(-keys, want - 1)[:want]) if want else chosen[:0]
        chosen = np.concatenate([chosen, fresh])
        if done < SEEDING_ROUNDS - 1 and want:
            nearness = torch.maximum(nearness, _nearest(sample, sample[fresh])[1])
    return sample[chosen].clone()


def _nearest(vectors: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Which centre has the greatest inner product with each vector, and that product."""
    dtype = product_dtype(vectors.device)  # lists need no more than two digits of a cosine
    columns = centres.to(dtype).T.contiguous()
    rows = max(1, CELLS_PER_CHUNK // len(centres))
    at = torch.empty(len(vectors), dtype=torch.int64)
    score = torch.empty(len(vectors))
    for start in range(0, len(vectors), rows):
        best = (vectors[start : start + rows].to(dtype) @ columns).max(dim=1)
        at[start : start + rows], score[start : start + rows] = best.indices, best.values.float()
    return at, score
