"""First steps of a training in float64, in one process or in one of several ranks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

import ranking.neural
import recall.neural.channel
import recall.rating_mf
from ranking import RANKERS
from ranking.task import RankingTask
from recall import CHANNELS
from recall.neural.task import RecallTask
from reccore import RunOptions
from tests.helpers import checkerboard, nested
from tests.ranking.samples import board_setting
from tests.ranking.test_deepfm import to_double
from training import Trainer, TrainingLog, rank_gradients, ranks

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
STEPS = 4
PORT = 29_000
NO_GRADIENT = "without a gradient through the gather"
"""End of the name of a case whose ranks keep the gradients of their own queries alone."""

Steps = dict[str, Tensor]
"""``gradient.<name>`` of the first step; ``weight.<name>``, ``buffer.<name>`` and ``loss`` of ``STEPS``."""


class Stopped(Exception):
    """Ends a fit once its first steps are known."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self.steps = steps


class FirstSteps(Trainer):
    """Takes ``STEPS`` steps in float64, from random weights."""

    def run(self) -> TrainingLog:
        _to_double(self.task)
        draws = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for p in self.network.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=draws, dtype=p.dtype))
        self.network.train()
        steps: Steps = {}
        losses = []
        for number, batch in enumerate(list(self.task.batches())[:STEPS]):
            if number == 0:
                state = ranks_state(self)
                loss, _ = self.task.loss(batch)
                loss.backward()
                rank_gradients.average_gradients(self.network)
                for name, p in self.network.named_parameters():
                    if p.grad is not None:
                        steps[f"gradient.{name}"] = p.grad.to_dense().clone()
                restore(self, state)
            losses.append(self._step(batch)[1])
        self.optimiser.flush()
        steps |= {f"weight.{name}": p.detach().clone() for name, p in self.network.named_parameters()}
        steps |= {f"buffer.{name}": b.clone() for name, b in self.network.named_buffers() if b.is_floating_point()}
        raise Stopped({**steps, "loss": torch.tensor(losses, dtype=torch.float64)})


def ranks_state(trainer: Trainer) -> dict[str, Any]:
    """What the loss of a batch changes beside gradients."""
    buffers = {name: b.clone() for name, b in trainer.network.named_buffers()}
    task = {name: value.clone() for name, value in trainer.task.state_dict().items()}
    return {"buffers": buffers, "task": task, "draws": [g.get_state() for g in _torch_generators(trainer)]}


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    for name, buffer in trainer.network.named_buffers():
        buffer.copy_(state["buffers"][name])
    trainer.task.load_state_dict(state["task"])
    for generator, drawn in zip(_torch_generators(trainer), state["draws"], strict=True):
        generator.set_state(drawn)


def _torch_generators(trainer: Trainer) -> list[torch.Generator]:
    return [g for g in trainer.task.generators.values() if isinstance(g, torch.Generator)]


def _to_double(task: Any) -> None:
    task.network.double()
    if isinstance(task, RecallTask):
        negatives: Any = task.objective.negatives
        if getattr(negatives, "share", None) is not None:
            negatives.share = negatives.share.double()
        if task.objective.bank is not None:
            task.objective.bank.double()
        if task.objective.rewards is not None:
            task.objective.rewards = task.objective.rewards.astype(np.float64)
    elif isinstance(task, RankingTask):
        inputs = task._inputs
        task._inputs = lambda rows, columns: to_double(inputs(rows, columns))  # type: ignore[method-assign]
        task.bias = None if task.bias is None else task.bias.double()
    else:
        task.train[2] = task.train[2].double()


def first_steps(model: str, config: Mapping[str, Any]) -> Steps:
    """The first steps of a channel or a ranker on the checkerboard."""
    for module in (recall.neural.channel, recall.rating_mf, ranking.neural):
        module.Trainer = FirstSteps  # type: ignore[attr-defined]
    try:
        if model in CHANNELS:
            CHANNELS[model](nested(config)).fit(checkerboard(), options=QUIET)
        else:
            setting: Any = board_setting()
            RANKERS[model](nested(config)).fit(setting.samples, options=QUIET, **setting.tables())
    except Stopped as stopped:
        return stopped.steps
    finally:
        for module in (recall.neural.channel, recall.rating_mf, ranking.neural):
            module.Trainer = Trainer  # type: ignore[attr-defined]
    raise AssertionError("the fit has trained nothing")


def steps_of_ranks(n: int, cases: Mapping[str, tuple[str, Mapping[str, Any]]], folder: Path) -> list[dict[str, Steps]]:
    """``first_steps`` of all cases by each of ``n`` processes that train together."""
    run_ranks(_write_steps, n, dict(cases), folder)
    return [{name: load_file(folder / f"{name}.{number}") for name in cases} for number in range(n)]


def _write_steps(cases: Mapping[str, tuple[str, Mapping[str, Any]]], folder: Path) -> None:
    whole = ranks._GatherRows.backward
    for name, (model, config) in cases.items():
        if name.endswith(NO_GRADIENT):
            ranks._GatherRows.backward = staticmethod(lambda ctx, grad: (grad[ranks.slice_of(ctx.n)], None))
        steps = first_steps(model, config)
        ranks._GatherRows.backward = whole
        save_file({key: value.contiguous() for key, value in steps.items()}, folder / f"{name}.{ranks.rank()}")


def run_ranks(function: Any, n: int, *arguments: Any) -> None:
    """Call ``function(*arguments)`` in ``n`` new processes that form one group, as torchrun starts them."""
    port = PORT + os.getpid() % 10_000
    mp.spawn(_in_group, (n, port, function, arguments), nprocs=n)


def _in_group(number: int, n: int, port: int, function: Any, arguments: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with ranks.process_group("cpu"):
        function(*arguments)
