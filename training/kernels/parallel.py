"""Compiled loops on several cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from reccore.threads import run_parts


def parallel_for(kernel: Callable[..., None], *arguments: Any) -> None:
    """Call ``kernel(*arguments, part, n_parts)`` for each of as many parts as PyTorch has threads.

    The kernels release Python's lock (``nogil``). Plain threads compile three times faster than Numba's own parallel
    loops, and bring no second OpenMP runtime that competes with PyTorch's for cores.
    """
    run_parts(kernel, torch.get_num_threads(), *arguments)
