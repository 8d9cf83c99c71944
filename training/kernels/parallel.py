"""Compiled loops on several cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


def parallel_for(kernel: Callable[..., None], *arguments: Any) -> None:
    """Call ``kernel(*arguments, part, n_parts)`` for each of as many parts as PyTorch has threads.

    The kernels release Python's lock (``nogil``). Plain threads start in a tenth of a millisecond, compile three times
    faster than Numba's own parallel loops, and bring no second OpenMP runtime that competes with PyTorch's for cores.
    """
    n_parts = torch.get_num_threads()
    if n_parts == 1:
        kernel(*arguments, 0, 1)
        return
    with ThreadPoolExecutor(n_parts) as threads:
        for done in [threads.submit(kernel, *arguments, part, n_parts) for part in range(n_parts)]:
            done.result()
