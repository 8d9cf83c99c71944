"""Negatives from earlier batches.

Wang et al., "Cross-batch negative sampling for training two-tower recommenders", SIGIR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ItemBank(nn.Module):
    """The latest vectors of target items, first in, first out, as they were when their batch was trained on.

    Vectors are constants: an item is pushed away by queries of its own batch alone, so the gradient of the item
    tower misses what later batches would add, while that of the user tower has all. They also lag behind by up to
    ``size``/B steps, hence the warm-up, in which weights move fastest. The paper stores log Q beside each vector;
    here Q is looked up by item when a batch is corrected, which is the newest estimate there is. All state is in
    buffers, for checkpoints; (``size``, D) numbers.

    Args:
        size: vectors to keep.
        dimension: D.
        warmup_steps: the bank stays closed for so many batches, and fills already.
    """

    vectors: Tensor
    item_idx: Tensor
    n_pushed: Tensor
    n_steps: Tensor

    def __init__(self, size: int, dimension: int, warmup_steps: int = 0) -> None:
        super().__init__()
        self.warmup_steps = warmup_steps
        self.register_buffer("vectors", torch.zeros(size, dimension))
        self.register_buffer("item_idx", torch.full((size,), -1))
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, vectors: Tensor, item_idx: Tensor) -> None:
        """Take in the targets of one more batch: (B, D) vectors and (B,) items; the oldest leave."""
        size = len(self.item_idx)
        kept = min(len(item_idx), size)
        at = (self.n_pushed + len(item_idx) - kept + torch.arange(kept, device=item_idx.device)) % size
        self.vectors[at] = vectors.detach()[-kept:].to(self.vectors.dtype)
        self.item_idx[at] = item_idx[-kept:]
        self.n_pushed += len(item_idx)
        self.n_steps += 1

    def rows(self) -> tuple[Tensor, Tensor]:
        """Copies of the (K, D) vectors and (K,) items held, K ≤ ``size``; none while warming up."""
        held = min(int(self.n_pushed), len(self.item_idx)) if int(self.n_steps) >= self.warmup_steps else 0
        return self.vectors[:held].clone(), self.item_idx[:held].clone()
