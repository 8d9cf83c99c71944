"""States of random generators as plain values and tensors, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def generator_states(generators: Mapping[str, np.random.Generator | torch.Generator]) -> dict[str, Any]:
    """State of each generator by name.

    Raises:
        TypeError: a NumPy generator whose state is not made of plain numbers.
    """
    return {name: _state(generator) for name, generator in generators.items()}


def set_generator_states(
    generators: Mapping[str, np.random.Generator | torch.Generator], states: Mapping[str, Any]
) -> None:
    """Restore ``generator_states`` into the same generators."""
    for name, generator in generators.items():
        if isinstance(generator, torch.Generator):
            generator.set_state(states[name])
        else:
            generator.bit_generator.state = states[name]


def _state(generator: np.random.Generator | torch.Generator) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
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
    """Restore ``torch_states``; the state of another kind of device than ``device`` is ignored."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        getattr(torch, device.type).set_rng_state(states[device.type])
