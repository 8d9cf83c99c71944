"""Negatives from earlier batches.

Wang et al., "Cross-batch negative sampling for training two-tower recommenders", SIGIR 2021.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from reccore import ComponentConfig


class BankConfig(ComponentConfig):
    """Options of ``ItemBank``.

    Attributes:
        size: vectors of the latest targets that are kept.
        warmup_steps: batches before they are used, in which weights move fastest.
    """

    size: int = Field(default=4096, ge=1)
    warmup_steps: int = Field(default=0, ge=0)


class ItemBank(nn.Module):
    """The latest vectors of target items, first in, first out, as they were when their batch was trained on.

    Vectors are constants, and lag behind by up to ``size``/B steps. The paper stores log Q beside each vector; here Q
    is looked up by item when a batch is corrected, which is the newest estimate. All state is in buffers, for
    checkpoints; (``size``, D) numbers.
    """

    vectors: Tensor
    item_idx: Tensor
    n_pushed: Tensor
    n_steps: Tensor

    def __init__(self, config: BankConfig, dimension: int) -> None:
        super().__init__()
        self.warmup_steps = config.warmup_steps
        self.register_buffer("vectors", torch.zeros(config.size, dimension))
        self.register_buffer("item_idx", torch.full((config.size,), -1))
        self.register_buffer("n_pushed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, vectors: Tensor, item_idx: Tensor) -> None:
        """Add the targets of one more batch, (B, D) vectors and (B,) items; the oldest leave."""
        size = len(self.item_idx)
        kept = min(len(item_idx), size)
        at = (self.n_pushed + len(item_idx) - kept + torch.arange(kept, device=item_idx.device)) % size
        self.vectors[at] = vectors.detach()[-kept:].to(self.vectors.dtype)
        self.item_idx[at] = item_idx[-kept:]
        self.n_pushed += len(item_idx)
        self.n_steps += 1

    def rows(self) -> tuple[Tensor, Tensor]:
        """Copies of the (K, D) vectors and (K,) items held, K ≤ ``size``; none during the warm-up."""
        held = min(int(self.n_pushed), len(self.item_idx)) if int(self.n_steps) >= self.warmup_steps else 0
        return self.vectors[:held].clone(), self.item_idx[:held].clone()
