"""Forward and backward of the fused sampled softmax against the plain one, side by side.

    PYTHONPATH=. python benchmarks/softmax.py --batch 8192 --uniform 0 --dim 128 --repeats 5

The contenders take turns within each repeat, so that whatever else the machine does falls on all of them alike;
figures are medians over the repeats. The plain form is timed in fp32 and in bf16 (autocast), and so is bare
``F.cross_entropy(u @ v.T / τ)``, which corrects nothing and masks nothing. "Share" is 6·B·M·D operations over the
time, divided by the rate of a square matrix product in the same precision, measured in the same turns. Where other
programs want the cores too, OpenMP threads that spin at every barrier lose several times over; compare with
``OMP_NUM_THREADS=1`` or ``OMP_WAIT_POLICY=passive`` there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.sampled_softmax import sampled_softmax
from training.precision import product_dtype

TEMPERATURE = 0.07
N_FILMS = 87_585  # ML-32M's catalogue; popularity ∝ 1/(rank + 50), which gives the first film ML-32M's .3%
SQUARE = 2048  # rows of the matrices whose product gives the machine's rate


def main() -> None:
    """Parse the options, measure, print a table or JSON on stdout."""
    parser = loss_parser(__doc__, repeats=5, warm_up=1)
    parser.add_argument("--rows_per_chunk", type=int, help="of the fused form (default: its own choice)")
    args = parser.parse_args()
    if args.smoke:
        args.batch, args.uniform, args.dim, args.repeats, args.rows_per_chunk = 256, 64, 32, 2, 64
    if min(args.batch, args.dim, args.repeats, args.rows_per_chunk or 1) < 1 or args.uniform < 0:
        parser.error("--batch, --dim, --repeats and --rows_per_chunk have to be at least 1, --uniform at least 0")
    report = measure(args)
    print(json.dumps(report) if args.json else table(report))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds, examples/s, share of the machine's rate, and ratios to the fused form."""
    device = torch.device(args.device)
    steps = contenders(args.batch, args.batch + args.uniform, args.dim, args.rows_per_chunk, device)
    squares = square_products(device)
    turns: dict[str, list[float]] = {name: [] for name in steps | squares}
    for turn in range(args.repeats + 1):
        for name, step in (steps | squares).items():
            taken = stopwatch(step, device)
            if turn:  # the first one only warms up
                turns[name].append(taken)
    seconds = {name: statistics.median(taken) for name, taken in turns.items()}
    rate = {name: 2 * SQUARE**3 / seconds.pop(name) for name in squares}
    work = 6 * args.batch * (args.batch + args.uniform) * args.dim
    fused = seconds["fused bf16" if is_narrow(device) else "fused fp32"]
    rows = {
        name: {
            "seconds": round(taken, 5),
            "examples_per_second": round(args.batch / taken),
            "share_of_product_rate": round(work / taken / rate[name.split()[-1]], 4),
            "times_the_fused": round(taken / fused, 2),
        }
        for name, taken in seconds.items()
    }
    return {**loss_facts(args, device, rate), "results": rows}


def contenders(
    b: int, m: int, d: int, rows_per_chunk: int | None, device: torch.device
) -> dict[str, Callable[[], object]]:
    """One forward and backward pass each, over the same unit vectors and popular films."""
    generator = torch.Generator().manual_seed(0)
    queries, items = (F.normalize(torch.randn(n, d, generator=generator), dim=1).to(device) for n in (b, m))
    queries.requires_grad_()
    items.requires_grad_()
    share = 1 / (torch.arange(1.0, N_FILMS + 1) + 50)
    item_idx = torch.multinomial(share, m, replacement=True, generator=generator).to(device)
    log_q = torch.log(share / share.sum()).to(device)[item_idx]
    target = torch.arange(b, device=device)

    def backward(loss: Tensor) -> None:
        queries.grad = items.grad = None
        loss.backward()

    def fused(dtype: torch.dtype) -> None:
        loss = fused_sampled_softmax(
            queries,
            items,
            item_idx,
            temperature=TEMPERATURE,
            log_q=log_q,
            rows_per_chunk=rows_per_chunk,
            dtype=dtype,
        )
        backward(loss)

    def plain(narrow: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=narrow):
            loss = sampled_softmax(queries, items, item_idx, temperature=TEMPERATURE, log_q=log_q)
        backward(loss)

    def bare(narrow: bool) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=narrow):
            logits = queries @ items.T / TEMPERATURE
        backward(F.cross_entropy(logits, target))

    steps: dict[str, Callable[[], object]] = {
        "fused fp32": lambda: fused(torch.float32),
        "plain fp32": lambda: plain(False),
        "cross_entropy fp32": lambda: bare(False),
    }
    if is_narrow(device):
        steps |= {
            "fused bf16": lambda: fused(torch.bfloat16),
            "plain bf16": lambda: plain(True),
            "cross_entropy bf16": lambda: bare(True),
        }
    return steps


def loss_parser(doc: str, *, repeats: int, warm_up: int) -> argparse.ArgumentParser:
    """The options of benchmarks of losses; the description is the first line of ``doc``."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8192, help="examples, B")
    parser.add_argument("--uniform", type=int, default=0, help="uniform negatives beside those in the batch, M − B")
    parser.add_argument("--dim", type=int, default=128, help="size of the vectors, D")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"timed turns, after {warm_up} untimed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--smoke", action="store_true", help="a size that takes a second, to test that it runs")
    return parser


def square_products(device: torch.device) -> dict[str, Callable[[], object]]:
    """A square matrix product in fp32 and, where training uses it, in bf16: the best rate of this machine."""

    def product(dtype: torch.dtype) -> Callable[[], object]:
        a = torch.randn(SQUARE, SQUARE, dtype=dtype, device=device)
        out = torch.empty_like(a)
        return lambda: torch.mm(a, a, out=out)

    return {"fp32": product(torch.float32)} | ({"bf16": product(torch.bfloat16)} if is_narrow(device) else {})


def is_narrow(device: torch.device) -> bool:
    """Whether training multiplies in bf16 on this device."""
    return product_dtype(device) == torch.bfloat16


def stopwatch(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def loss_facts(args: argparse.Namespace, device: torch.device, rate: dict[str, float]) -> dict[str, Any]:
    """Sizes, machine and versions for a report; ``rate`` is in operations per second by precision."""
    return {
        "batch": args.batch,
        "items": args.batch + args.uniform,
        "dim": args.dim,
        "repeats": args.repeats,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "product_gflops": {name: round(value / 1e9) for name, value in rate.items()},
    }


def loss_head(report: dict[str, Any]) -> list[str]:
    """The facts of ``loss_facts`` as lines for a terminal."""
    products = ", ".join(f"{value:,} GFLOP/s in {name}" for name, value in report["product_gflops"].items())
    return [
        f"B {report['batch']}, M {report['items']}, D {report['dim']}, {report['device']}, "
        f"{report['threads']} threads, PyTorch {report['torch']}, medians of {report['repeats']}",
        f"matrix products: {products}",
    ]


def table(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    lines = [*loss_head(report), f"{'':20}{'ms':>10}{'examples/s':>14}{'share':>8}{'× fused':>10}"]
    for name, row in report["results"].items():
        milliseconds, share = f"{1000 * row['seconds']:.1f}", f"{row['share_of_product_rate']:.1%}"
        lines.append(
            f"{name:20}{milliseconds:>10}{row['examples_per_second']:>14,}{share:>8}{row['times_the_fused']:>10}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
