"""States of random generators as plain values and tensors, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a NumPy generator of the default kind; its integers have 128 bits, which JSON does not mind."""
    state = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"only PCG64, NumPy's default, has a state of plain numbers; this is {state['bit_generator']}")
    return dict(state)


def torch_states(device: torch.device) -> dict[str, Tensor]:
    """States of torch's own generators, on the CPU and on ``device``."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = getattr(torch, device.type).get_rng_state()
    return states


def set_torch_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what ``torch_states`` gave; that of another kind of device than ``device`` is passed over."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        getattr(torch, device.type).set_rng_state(states[device.type])
