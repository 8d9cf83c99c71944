"""Relative biases of causal attention: what a key's distance from the query adds to its score.

    score(j, i) = q_j·k_i / √d + b_h[j − i] + c_h[⌊log₂(t_j − t_i + 1)⌋]

One number per head h and distance in events, or octave of the distance in time, the same for all blocks: Raffel et al.,
"Exploring the limits of transfer learning with a unified text-to-text transformer" (T5), JMLR 2020; Zhai et al.,
"Actions speak louder than words" (HSTU), ICML 2024. HSTU's t_j is the time of the event to predict; here it is that of
the latest event read, which is known when the query comes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TIME_CODES = 33
"""0 = the start of the window, which has no time; then 1 + ⌊log₂(seconds + 1)⌋, up to 68 years and more."""


class PositionBias(nn.Module):
    """b_h[j − i] and the causal mask, for attention over at most ``length`` positions.

    Args:
        heads: H.
        length: the greatest L.
    """

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.distances = nn.Parameter(torch.zeros(heads, length))  # starts as plain attention

    def forward(self, length: int) -> Tensor:
        """(1, H, L, L), row = query, −inf for later keys."""
        position = torch.arange(length, device=self.distances.device)
        distance = position[:, None] - position
        n_distances = self.distances.shape[1]
        return _columns(self.distances, torch.where(distance < 0, n_distances, distance)[None])


class TimeBias(nn.Module):
    """c_h of the time between two events and the causal mask.

    Costs memory for W·H·L² numbers, as many as the attention's own weights.

    Args:
        heads: H.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.octaves = nn.Parameter(torch.zeros(heads, TIME_CODES))

    def forward(self, event_times: Tensor) -> Tensor:
        """Times (W, T) in seconds → (W, H, T+1, T+1), row = query, −inf for later keys; position 0 is the start."""
        return _columns(self.octaves, time_codes(event_times))


def time_codes(event_times: Tensor) -> Tensor:
    """(W, T) seconds → (W, T+1, T+1) int64: the code of each pair, ``TIME_CODES`` for keys later than the query."""
    n_windows, length = event_times.shape
    seconds = (event_times[:, :, None] - event_times[:, None, :]).clamp(min=0)
    octave = torch.frexp((seconds + 1).float()).exponent  # 1 for 0 s, 2 for 1 and 2 s, 3 for 3 to 6 s
    codes = event_times.new_zeros(n_windows, length + 1, length + 1)
    codes[:, 1:, 1:] = octave.clamp(max=TIME_CODES - 1)
    later = torch.ones(length + 1, length + 1, dtype=torch.bool, device=codes.device).triu(1)
    return codes.masked_fill_(later, TIME_CODES)


def _columns(table: Tensor, codes: Tensor) -> Tensor:
    """Columns of a small table: (H, C) and codes (W, L, L) → (W, H, L, L), −inf for code C."""
    hidden = table.new_full((len(table), 1), -torch.inf)
    columns: Tensor = _Lookup.apply(torch.cat([table, hidden], dim=1), codes)  # type: ignore[no-untyped-call]
    return columns


class _Lookup(torch.autograd.Function):
    """``table[:, codes]`` as (W, H, L, L).

    A weighted count forms the gradient, in one order. PyTorch's own gradient of indexing adds in an order that depends
    on the threads, so that a resumed training would differ in the last digits.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.n_codes = table.shape[1]
        return torch.stack([row[codes] for row in table], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        flat = codes.flatten()
        sums = [torch.bincount(flat, part.flatten().double(), ctx.n_codes) for part in grads[0].unbind(1)]
        return torch.stack(sums).to(grads[0].dtype), None
