"""How often items appear in batches, estimated while training from the gaps between appearances.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019,
algorithm 2 and its extension to several hashes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WORD = 0xFFFFFFFF


class FrequencyEstimator(nn.Module):
    """Streaming estimate of the chance that a batch holds an item, in m·H buckets whatever the catalogue.

    For each item y of the batch of step t, and each of m independent hashes h:

        B[h(y)] ← (1−α)·B[h(y)] + α·(t − A[h(y)]);   A[h(y)] ← t;   p̂(y) = 1 / max_i B_i[h_i(y)]

    A holds the last step a bucket was hit, B its mean gap. Two items of one bucket make the gap look shorter,
    never longer, hence the maximum over the hashes. An item counts once per step however often its batch
    repeats it, and so does a bucket. All state is in buffers: it is saved and loaded with the module.

    Args:
        n_hashes: m, independent pairs of arrays.
        n_buckets: H, buckets of each array.
        alpha: α, weight of the newest gap; small for exact, large for fast to follow a change.
        initial_gap: B before anything was seen, at least 1.
        warm_up: average the first 1/α gaps of a bucket with equal weights. The paper's estimate needs some 1/α
            appearances of an item to forget ``initial_gap``, more than most items have in an epoch.
        seed: of the hashes.
    """

    last_step: Tensor
    gap: Tensor
    n_gaps: Tensor
    step: Tensor
    salts: Tensor

    def __init__(
        self,
        n_hashes: int = 1,
        n_buckets: int = 65_536,
        alpha: float = 0.01,
        initial_gap: float = 100.0,
        *,
        warm_up: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_buckets = n_buckets
        self.alpha = alpha
        self.warm_up = warm_up
        salts = torch.randint(1 << 32, (n_hashes, 1), generator=torch.Generator().manual_seed(seed))
        self.register_buffer("last_step", torch.zeros(n_hashes, n_buckets, dtype=torch.int64))
        self.register_buffer("gap", torch.full((n_hashes, n_buckets), float(initial_gap)))
        self.register_buffer("n_gaps", torch.zeros(n_hashes, n_buckets))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("salts", salts)

    @torch.no_grad()
    def update(self, item_idx: Tensor) -> None:
        """Take in the items (B,) of one more batch."""
        self.step += 1
        buckets = self._buckets(item_idx)
        # Repeated buckets are written several times with one and the same value, computed before the writing.
        newest = (self.step - self.last_step.gather(1, buckets)).to(self.gap.dtype)
        n_gaps = self.n_gaps.gather(1, buckets) + 1
        weight = (1 / n_gaps).clamp(min=self.alpha) if self.warm_up else torch.full_like(n_gaps, self.alpha)
        self.gap.scatter_(1, buckets, torch.lerp(self.gap.gather(1, buckets), newest, weight))
        self.n_gaps.scatter_(1, buckets, n_gaps)
        self.last_step.scatter_(1, buckets, self.step.expand_as(buckets))

    def inclusion(self, item_idx: Tensor) -> Tensor:
        """(M,) p̂, the chance that a batch holds the item at least once; 1 / ``initial_gap`` before it was seen."""
        return 1.0 / self.gap.gather(1, self._buckets(item_idx)).amax(dim=0)

    def share(self, item_idx: Tensor, n_draws: float) -> Tensor:
        """(M,) Q̂, the chance that one of the ``n_draws`` independent draws of a batch is the item.

        1 − (1−Q)^B = p̂ solved for Q; p̂/B for rare items. 0 for an item that was never in a batch. Gaps averaged over
        some 1/α steps cannot distinguish p̂ from 1 beyond 1 − α, so p̂ is cut off there.
        """
        seen = (self.n_gaps.gather(1, self._buckets(item_idx)) > 0).all(dim=0)
        inclusion = torch.where(seen, self.inclusion(item_idx).clamp(max=1.0 - self.alpha), 0.0)
        return -torch.expm1(torch.log1p(-inclusion) / n_draws)

    def _buckets(self, item_idx: Tensor) -> Tensor:
        """(m, M) bucket of each item under each hash: the finaliser of MurmurHash3 over salted indices."""
        x = (item_idx[None, :] ^ self.salts) & WORD
        x = ((x ^ (x >> 16)) * 0x85EBCA6B) & WORD
        x = ((x ^ (x >> 13)) * 0xC2B2AE35) & WORD
        return (x ^ (x >> 16)) % self.n_buckets
