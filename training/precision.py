"""Matrix products with factors rounded to bf16 and sums in fp32, where a machine makes them faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")


def product_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where its products are faster than those of float32, else float32.

    On a GPU: CUDA devices from compute capability 8 on, with a PyTorch (2.8 or later) that returns their fp32
    sums. On a CPU: x86 with the AMX or AVX-512 bf16 instructions (read from Linux's list of CPU flags, so that a
    run does not depend on a stopwatch) and a PyTorch whose oneDNN uses them. Elsewhere, MPS included, float32.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8 and "dtype" in torch.ops.aten.mm.overloads()
    else:
        fast = device.type == "cpu" and cpu_has_bf16()
    return torch.bfloat16 if fast else torch.float32


@cache
def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 natively and PyTorch's oneDNN rounds fp32 factors to it on request.

    The instructions alone are not enough: on some CPUs with AVX-512 bf16 oneDNN has no kernel for fp32 factors and
    silently multiplies in fp32. A small product shows whether it rounds.
    """
    if not torch.backends.mkldnn.is_available() or not CPUINFO.exists():
        return False
    flags = next((line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")), "").split()
    return ("amx_bf16" in flags or "avx512_bf16" in flags) and _rounds_factors()


def _rounds_factors() -> bool:
    factor = torch.full((64, 64), 1.0 + 2.0**-12)  # 1 in bf16
    with cpu_products(torch.device("cpu"), in_bf16=True):
        return bool((factor @ factor == 64.0).all())


@contextmanager
def cpu_products(device: torch.device, in_bf16: bool) -> Iterator[None]:
    """On a CPU, let oneDNN round fp32 factors to bf16 inside its kernels and return fp32 sums.

    PyTorch's own bf16 product on a CPU rounds the result to bf16 as well. The switch belongs to the process and is
    put back at the end. On other devices nothing happens.
    """
    if device.type != "cpu":
        yield
        return
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    if switch is None:  # before PyTorch 2.9 the switch had another name
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium" if in_bf16 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    before = switch.fp32_precision
    switch.fp32_precision = "bf16" if in_bf16 else "ieee"
    try:
        yield
    finally:
        switch.fp32_precision = before


@contextmanager
def training_products(device: torch.device) -> Iterator[None]:
    """The products of a training step, forward and backward: in bf16 on CPUs, in TF32 on GPUs that are faster so.

    Weights, gradients and sums stay in fp32.
    """
    if device.type != "cuda":
        with cpu_products(device, product_dtype(device) == torch.bfloat16):
            yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
