"""Data-parallel training: the processes that torchrun starts, called ranks, train one network together.

Every rank has the whole network and draws the same global batches from the same seed. Of a batch it computes the
queries of its own users, and its part of the item vectors, which all ranks exchange. What collectives return is
differentiable, every rank computes the loss of the whole batch, and gradients are averaged over ranks: the step is that
of one process on the same batch, up to the order of sums. In a single process every function here is the identity.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from os import environ
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reccore import ConfigError, RecommenderError, RunOptions
from reccore.arrays import IntArray

STEP_TIMEOUT = timedelta(minutes=10)
"""Longest wait for the other ranks within a step. A rank that dies is noticed at once, one that hangs after this."""
WAIT_TIMEOUT = timedelta(days=1)
"""Longest wait for what rank 0 does alone: validation of a ranker, the samples that a ranker learns from."""
WAY_OUT = "start the same command with --resume to continue from the last checkpoint"

_alone = False
_waits: dist.ProcessGroup | None = None


class RankLostError(RecommenderError):
    """Another rank has ended or does not answer."""


@dataclass(frozen=True, eq=False)
class Share:
    """What one rank computes of a batch.

    Attributes:
        rows: which rows of the batch, in ascending order; never none.
        counts: False where the batch has no row for this rank: it then computes a row that counts nothing.
    """

    rows: IntArray
    counts: bool


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def n_ranks() -> int:
    """Processes that train together; 1 without torchrun."""
    return dist.get_world_size() if _joined() and not _alone else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if _joined() and not _alone else 0


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return not _joined() or dist.get_rank() == 0


def of_rank(options: RunOptions) -> RunOptions:
    """The options without progress and curves on all ranks but the first."""
    return options if is_main() else replace(options, progress=False, log_dir=None)


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the ranks that torchrun has started: gloo on CPUs, NCCL on GPUs, one GPU for each rank of a machine.

    Args:
        device: of the command: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: a device that ranks cannot share.
        RankLostError: torchrun ends this rank, since another one has failed or torchrun itself is stopped.
    """
    global _waits
    local, on_machine = int(environ["LOCAL_RANK"]), int(environ.get("LOCAL_WORLD_SIZE", "1"))
    on_gpu = _check_device(device, on_machine)
    if on_gpu:
        torch.cuda.set_device(local)
    before = signal.signal(signal.SIGTERM, _ended)
    try:
        with _collective():
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=STEP_TIMEOUT)
            _waits = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)
        yield
    except RecommenderError as error:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)  # torchrun ends its report with it
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        _waits = None
        if _joined():
            dist.destroy_process_group()


def _check_device(device: str, on_machine: int) -> bool:
    """Whether ranks compute on GPUs."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"under torchrun each rank has a device of its own: --device {device} is one; use cpu or cuda"
        )
    if device == "cpu" or not (device == "cuda" or torch.cuda.is_available()):
        if device == "auto" and torch.backends.mps.is_available():
            raise ConfigError("ranks cannot share an MPS device; use --device cpu, or start without torchrun")
        return False
    found = torch.cuda.device_count()
    if found < on_machine:
        raise ConfigError(
            f"{on_machine} ranks need as many GPUs and there are {found}; use --device cpu or fewer ranks"
        )
    return True


def _ended(number: int, frame: FrameType | None) -> None:
    raise RankLostError(
        f"torchrun ended rank {environ['RANK']}: another rank failed, or torchrun was stopped; {WAY_OUT}"
    )


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo raises no other class; NCCL's errors are subclasses
        first = str(error).strip().splitlines()[0]
        raise RankLostError(f"rank {rank()} lost contact with another rank ({first}); {WAY_OUT}") from error


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block on rank 0, then on the others, each as if it were the only process: for what is stored on disk."""
    global _alone
    if n_ranks() == 1:
        yield
        return
    if not is_main():
        _barrier()
    _alone = True
    try:
        yield
    finally:
        _alone = False
    if is_main():
        _barrier()


def _barrier() -> None:
    with _collective():
        dist.barrier(group=_waits)


def check(n_users: int, batch_size: int) -> None:
    """Check that every rank has something to do.

    Raises:
        ConfigError: more ranks than users, or than samples of a batch.
    """
    for n, what in ((n_users, "users"), (batch_size, "samples of a batch")):
        if n < n_ranks():
            raise ConfigError(f"{n_ranks()} ranks share {n} {what}; start at most {n} with --nproc_per_node")


def share_of(users: IntArray) -> Share | None:
    """The rows of a batch that this rank computes: those of every n-th user; None in a single process.

    Args:
        users: (B,) the user of each row; rows of unknown users (-1) are dealt out in turn.
    """
    n = n_ranks()
    if n == 1:
        return None
    turn = np.arange(len(users))
    of_rank = np.where(users < 0, turn, users) % n
    if len(np.unique(of_rank)) < n:  # a small batch of few users
        of_rank = turn % n
    rows = np.flatnonzero(of_rank == rank())
    return Share(rows, True) if len(rows) else Share(np.zeros(1, dtype=np.int64), False)


def slice_of(n: int) -> slice:
    """This rank's part of ``n`` rows, nearly equal for all ranks."""
    size = -(-n // n_ranks())
    return slice(min(rank() * size, n), min((rank() + 1) * size, n))


def gather_rows(rows: Tensor, n: int) -> Tensor:
    """(n, D) rows of all ranks from ``slice_of(n)`` of each; the gradient reaches every rank's own rows."""
    gathered: Tensor = _GatherRows.apply(rows, n)  # type: ignore[no-untyped-call]
    return gathered


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of a tensor over all ranks, with a gradient; the tensor itself in a single process."""
    if n_ranks() == 1:
        return value
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


def joined_mean(mean: Tensor, weight: float, total: float | None = None) -> Tensor:
    """Weighted mean over all rows of a batch from the mean over each rank's rows: a term of the batch's loss.

    Args:
        mean: () over this rank's rows.
        weight: total weight of this rank's rows.
        total: that of all ranks' rows; None = it is exchanged.
    """
    if n_ranks() == 1:
        return mean
    share = weight / max(sum_number(weight) if total is None else total, 1e-12)
    joined: Tensor = _SumOfLosses.apply(mean * share)  # type: ignore[no-untyped-call]
    return joined


def sum_number(value: float) -> float:
    """Sum of a number over all ranks."""
    return float(sum_over_ranks(torch.tensor(value, dtype=torch.float64)))


def of_main(value: float) -> float:
    """The number that rank 0 has, on every rank."""
    if n_ranks() == 1:
        return value
    held = torch.tensor(value, dtype=torch.float64)
    with _collective():
        dist.broadcast(held, 0, group=_waits)
    return float(held)


@torch.no_grad()
def broadcast(network: nn.Module) -> None:
    """Give all ranks the parameters and buffers of rank 0."""
    if n_ranks() == 1:
        return
    for held in (*network.parameters(), *network.buffers()):
        with _collective():
            dist.broadcast(held, 0)


def seed_step(seed: int, step: int) -> None:
    """Seed torch's own generators, from which some layers draw dropout, for a step of this rank; not for one process.

    Ranks then draw different masks for their different rows, and a resumed training the same as an uninterrupted one.
    """
    if n_ranks() > 1:
        torch.manual_seed(int(np.random.SeedSequence([seed, step, rank()]).generate_state(1, np.uint64)[0] >> 1))


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int) -> Tensor:
        ctx.n, size = n, -(-n // n_ranks())
        padded = rows.new_zeros(size, rows.shape[1])
        padded[: len(rows)] = rows
        gathered = rows.new_empty(size * n_ranks(), rows.shape[1])
        with _collective():
            dist.all_gather(list(gathered.split(size)), padded)
        return gathered[:n]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _summed(grad)[slice_of(ctx.n)], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _summed(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _summed(grad)


class _SumOfLosses(_Sum):
    """``_Sum`` of a term of the loss: its gradient is the same number on all ranks, and need not be exchanged."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * n_ranks()


def _summed(value: Tensor) -> Tensor:
    summed = value.detach().clone(memory_format=torch.contiguous_format)
    with _collective():
        dist.all_reduce(summed)
    return summed


def largest(flags: Tensor) -> Tensor:
    """Element-wise maximum over ranks, in place."""
    with _collective():
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return flags


class RowGenerator(torch.Generator):
    """Draws for some rows of a batch what ``generator`` draws for all of them, by ``uniform``.

    Args:
        generator: in the same state on all ranks, and afterwards again.
        rows: which rows of the batch this rank has.
        n: rows of the batch.
    """

    def __new__(cls, generator: torch.Generator, rows: Tensor, n: int) -> RowGenerator:
        return super().__new__(cls)

    def __init__(self, generator: torch.Generator, rows: Tensor, n: int) -> None:
        self.generator, self.rows, self.n = generator, rows, n


def uniform(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Uniform draws from [0, 1), the first axis of ``shape`` being the rows of a batch."""
    if isinstance(generator, RowGenerator):
        return torch.rand(generator.n, *shape[1:], generator=generator.generator)[generator.rows]
    return torch.rand(shape, generator=generator)
