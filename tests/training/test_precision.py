"""Products in bf16 on CPUs: rounded factors, exact sums, and the switch put back."""

from __future__ import annotations

import pytest
import torch

from training import precision
from training.precision import cpu_products, product_dtype, training_products

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(product_dtype(CPU) != torch.bfloat16, reason="this CPU has no bf16 instructions")


def product() -> tuple[torch.Tensor, torch.Tensor]:
    """A product as computed under the present switch, and with factors rounded to bf16 in float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 64, generator=generator) for _ in range(2))
    return a @ b, (a.bfloat16().double() @ b.bfloat16().double()).float()


@needs_bf16
def test_factors_are_rounded_and_sums_are_not() -> None:
    exact, rounded = product()
    assert (exact - rounded).abs().max() > 1e-2
    with training_products(CPU):
        torch.testing.assert_close(*product(), rtol=1e-5, atol=1e-5)
    assert torch.equal(product()[0], exact)


@needs_bf16
def test_the_switch_is_put_back_after_an_error() -> None:
    exact, _ = product()
    with pytest.raises(RuntimeError, match="midway"), cpu_products(CPU, in_bf16=True):
        raise RuntimeError("midway")
    assert torch.equal(product()[0], exact)


def test_without_the_instructions_products_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    exact, _ = product()
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    assert product_dtype(CPU) == torch.float32
    with training_products(CPU):
        assert torch.equal(product()[0], exact)


def test_other_devices_multiply_in_float32() -> None:
    assert product_dtype(torch.device("mps")) == torch.float32
