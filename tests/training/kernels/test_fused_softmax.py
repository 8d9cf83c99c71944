"""The fused softmax against autograd over the plain form, finite differences, and a watch on tensor sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from reccore import ConfigError, DataError
from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax
from training.precision import product_dtype

CPU = torch.device("cpu")
needs_bf16 = pytest.mark.skipif(product_dtype(CPU) != torch.bfloat16, reason="this CPU has no bf16 instructions")


def example(b: int, m: int, d: int = 16, *, dtype: torch.dtype = torch.float64, films: int = 40) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(b * 1000 + m)
    vectors = [F.normalize(torch.randn(n, d, generator=generator), dim=1).to(dtype) for n in (b, m)]
    return {
        "queries": vectors[0].requires_grad_(),
        "items": vectors[1].requires_grad_(),
        "item_idx": torch.randint(films, (m,), generator=generator),
        "temperature": torch.tensor(0.07, dtype=dtype, requires_grad=True),
        "log_q": torch.log(torch.rand(m, generator=generator) + 1e-3).to(dtype),
        "weight": (torch.rand(b, generator=generator) * 3).to(dtype),
    }


def value_and_gradients(loss: Any, given: dict[str, Any], **options: Any) -> list[Tensor]:
    leaves = [given[name] for name in ("queries", "items", "temperature") if isinstance(given[name], Tensor)]
    value = loss(**given, **options)
    # The factor stands for what comes after the loss in a training step.
    return [value.detach(), *torch.autograd.grad(value * 1.7, leaves)]


def assert_same(given: dict[str, Any], rtol: float = 1e-10, atol: float = 1e-12, **options: Any) -> None:
    plain_options = {name: value for name, value in options.items() if name not in ("rows_per_chunk", "dtype")}
    fused = value_and_gradients(fused_sampled_softmax, given, **options)
    plain = value_and_gradients(sampled_softmax, given, **plain_options)
    for found, expected in zip(fused, plain, strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(("b", "m"), [(24, 24), (24, 61), (1, 1), (1, 9)])
def test_value_and_gradients_are_those_of_autograd(b: int, m: int, corrected: bool, weighted: bool, mask: bool) -> None:
    given = example(b, m)
    given["log_q"] = given["log_q"] if corrected else None
    given["weight"] = given["weight"] if weighted else None
    assert_same(given, mask_accidental_hits=mask, rows_per_chunk=7)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(("b", "m"), [(24, 30), (24, 9), (5, 1)])
@pytest.mark.parametrize("hardest", [None, 1, 4, 50])
@pytest.mark.parametrize("owned", [True, False])
def test_targets_anywhere_positives_and_the_hardest_as_in_the_plain_form(
    b: int, m: int, owned: bool, hardest: int | None, mask: bool
) -> None:
    given = example(b, m)
    generator = torch.Generator().manual_seed(b)
    start = torch.randint(30, (b,), generator=generator)
    stop = start + torch.randint(20, (b,), generator=generator)
    items = torch.randint(60, (50,), generator=generator)  # some beyond every sampled film
    assert_same(
        given | {"weight": torch.rand(b, generator=generator, dtype=torch.float64)},
        target=torch.randint(m, (b,), generator=generator),
        positives=PositiveItems(items, start, stop) if owned else None,
        hardest=hardest,
        mask_accidental_hits=mask,
        rows_per_chunk=7,
    )


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("loss", [fused_sampled_softmax, sampled_softmax])
def test_an_item_given_once_with_its_repeats_is_the_item_given_again_and_again(
    loss: Any, owned: bool, corrected: bool
) -> None:
    given = example(24, 60, films=20)
    distinct, row, repeats = torch.unique(given["item_idx"], return_inverse=True, return_counts=True)
    assert repeats.max() > 2
    of_film = example(1, len(distinct))  # one vector and one log q per film
    once = given | {"items": of_film["items"], "item_idx": distinct, "log_q": of_film["log_q"] if corrected else None}
    vectors = of_film["items"][row].detach().requires_grad_()
    each = given | {"items": vectors, "log_q": of_film["log_q"][row] if corrected else None}
    own = torch.randint(20, (50,), generator=torch.Generator().manual_seed(1))
    options = {"positives": PositiveItems(own, torch.arange(24), torch.arange(24) + 3) if owned else None}
    value, d_queries, d_items, d_tau = value_and_gradients(loss, once, target=row[:24], repeats=repeats, **options)
    expected, d_queries_each, d_items_each, d_tau_each = value_and_gradients(sampled_softmax, each, **options)
    summed = torch.zeros_like(d_items).index_add_(0, row, d_items_each)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(d_queries, d_queries_each)
    torch.testing.assert_close(d_items, summed)
    torch.testing.assert_close(d_tau, d_tau_each)


@pytest.mark.parametrize("loss", [fused_sampled_softmax, sampled_softmax])
def test_an_item_drawn_often_is_hard_by_all_its_draws(loss: Any) -> None:
    # Scores 0, 2, 1.6, 1.2 at τ = .5; e² < 2·e^1.6 < 3·e^1.2.
    items = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    given = {"temperature": 0.5, "log_q": None, "target": torch.tensor([0]), "repeats": torch.tensor([5, 1, 2, 3])}
    found = loss(torch.tensor([[1.0, 0.0]]), items, torch.arange(4), hardest=2, **given)
    assert float(found) == pytest.approx(math.log(1 + 2 * math.exp(1.6) + 3 * math.exp(1.2)), rel=1e-4)


def test_the_catalogue_as_columns_by_hand() -> None:
    # Scores 2, 0, 1.6 of three films at τ = .5; the target is the last: −ln(e^1.6 / (e² + 1 + e^1.6)).
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    query, every = torch.tensor([[1.0, 0.0]]), torch.arange(3)
    found = fused_sampled_softmax(query, items, every, temperature=0.5, log_q=None, target=torch.tensor([2]))
    assert float(found) == pytest.approx(math.log(math.e**2 + 1 + math.e**1.6) - 1.6, rel=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 23, 24, 25, 10_000])
def test_the_size_of_the_chunks_does_not_matter(rows: int) -> None:
    assert_same(example(24, 50), rows_per_chunk=rows)


def test_gradients_against_finite_differences() -> None:
    given = example(5, 8, 4, films=4)
    fixed = {name: given[name] for name in ("item_idx", "log_q", "weight")}

    def loss(u: Tensor, v: Tensor, tau: Tensor) -> Tensor:
        return fused_sampled_softmax(u, v, temperature=tau, rows_per_chunk=2, **fixed)

    tau = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (given["queries"], given["items"], tau), eps=1e-6, atol=1e-8)


def test_every_repeat_is_found_and_no_other() -> None:
    # One film fills the batch but for one row; masked, each of its examples competes with that row alone.
    given = example(6, 6)
    given["item_idx"] = torch.tensor([3, 3, 9, 3, 3, 3])
    assert_same(given, rows_per_chunk=4)
    given["item_idx"] = torch.full((6,), 3)  # nothing left to compete with: no loss and no gradient
    for found in value_and_gradients(fused_sampled_softmax, given, rows_per_chunk=4):
        torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)


def test_a_number_as_temperature_and_one_side_without_gradient() -> None:
    given = example(12, 20) | {"temperature": 0.1}
    assert_same(given)
    fused, plain = (
        torch.autograd.grad(loss(**given | {"queries": given["queries"].detach()}), [given["items"]])[0]
        for loss in (fused_sampled_softmax, sampled_softmax)
    )
    torch.testing.assert_close(fused, plain, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        found, expected = fused_sampled_softmax(**given), sampled_softmax(**given)
    assert not found.requires_grad
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_single_precision_against_double() -> None:
    double, single = example(200, 300, 32), example(200, 300, 32, dtype=torch.float32)
    expected = value_and_gradients(sampled_softmax, double)
    found = value_and_gradients(fused_sampled_softmax, single, rows_per_chunk=64, dtype=torch.float32)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-4, atol=2e-6)


@needs_bf16
def test_bf16_products_cost_little_precision() -> None:
    double, single = example(200, 300, 32), example(200, 300, 32, dtype=torch.float32)
    expected = value_and_gradients(sampled_softmax, double)
    found = value_and_gradients(fused_sampled_softmax, single, rows_per_chunk=64, dtype=torch.bfloat16)
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=2e-4)
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        assert float((ours.double() - theirs).norm() / theirs.norm()) < 0.005
    exact = value_and_gradients(fused_sampled_softmax, single, rows_per_chunk=64, dtype=torch.float32)
    assert float((found[1] - exact[1]).norm() / exact[1].norm()) > 1e-5  # bf16 was truly used


@needs_bf16
def test_the_process_wide_switch_is_put_back() -> None:
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    before = a @ b
    fused_sampled_softmax(**example(64, 64, dtype=torch.float32), dtype=torch.bfloat16)
    assert torch.equal(a @ b, before)


def test_a_target_far_behind_keeps_its_finite_loss() -> None:
    # The target's probability is e^-400: nothing in single precision.
    queries = torch.tensor([[1.0, 0.0]], requires_grad=True)
    items = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    loss = fused_sampled_softmax(queries, items, torch.tensor([0, 1]), temperature=0.005, log_q=None)
    assert float(loss.detach()) == pytest.approx(400, rel=1e-3)
    loss.backward()
    torch.testing.assert_close(queries.grad, torch.tensor([[400.0, 0.0]]), rtol=0.01, atol=0.0)


def test_scores_that_all_lie_far_below_zero() -> None:
    items = F.normalize(torch.tensor([[-1.0, 0.1], [-1.0, 0.0], [-1.0, -0.2]]), dim=1).requires_grad_()
    given = {"queries": torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True), "items": items}
    rest = {"item_idx": torch.arange(3), "temperature": 0.005, "log_q": None}  # scores around −200
    assert_same(given | rest, rtol=1e-3, atol=1e-2, dtype=torch.float32)


def test_under_autocast_and_with_half_inputs() -> None:
    given = example(30, 40, dtype=torch.float32)
    expected = fused_sampled_softmax(**given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fused_sampled_softmax(**given), expected)
    half = given | {name: given[name].detach().bfloat16().requires_grad_() for name in ("queries", "items")}
    loss = fused_sampled_softmax(**half)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.02)
    assert half["queries"].grad.dtype == torch.bfloat16


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation hands back."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out


def test_no_tensor_of_batch_by_items_exists() -> None:
    given = example(256, 512, 8, dtype=torch.float32, films=1000)
    with Largest() as plain:
        value_and_gradients(sampled_softmax, given)
    assert plain.elements >= 256 * 512  # the watch sees what it is there for
    with Largest() as fused:
        value_and_gradients(fused_sampled_softmax, given, rows_per_chunk=64)
    assert fused.elements == 64 * 512


def test_an_empty_batch_is_nan_as_in_the_plain_form() -> None:
    nothing = {"item_idx": torch.empty(0, dtype=torch.long), "temperature": 0.1, "log_q": None}
    assert math.isnan(float(fused_sampled_softmax(torch.empty(0, 4), torch.empty(0, 4), **nothing)))


def test_wrong_use() -> None:
    given = example(4, 6)
    with pytest.raises(ConfigError, match="rows_per_chunk is 0"):
        fused_sampled_softmax(**given, rows_per_chunk=0)
    with pytest.raises(ConfigError, match="float16"):
        fused_sampled_softmax(**given, dtype=torch.float16)
    with pytest.raises(DataError, match="M ≥ B"):
        fused_sampled_softmax(**given | {"items": given["items"][:3]})
    with pytest.raises(DataError, match=r"log_q has shape \(5,\)"):
        fused_sampled_softmax(**given | {"log_q": given["log_q"][:5]})
    with pytest.raises(DataError, match=r"target has shape \(3,\)"):
        fused_sampled_softmax(**given, target=torch.tensor([0, 1, 2]))
    with pytest.raises(IndexError, match="index 6 is out of bounds"):
        fused_sampled_softmax(**given, target=torch.tensor([0, 1, 2, 6]), mask_accidental_hits=False)
    with pytest.raises(DataError, match="constants"):
        fused_sampled_softmax(**given | {"weight": given["weight"].clone().requires_grad_()})


def test_bf16_is_refused_where_it_would_silently_be_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.precision.cpu_has_bf16", lambda: False)
    given = example(4, 6, dtype=torch.float32)
    with pytest.raises(ConfigError, match="no fast bfloat16"):
        fused_sampled_softmax(**given, dtype=torch.bfloat16)
    assert product_dtype(CPU) == torch.float32
    assert_same(given, rtol=1e-3, atol=1e-5)
