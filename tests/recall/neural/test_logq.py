"""The logQ correction: chances of items in mixed batches, by hand and by drawing."""

from __future__ import annotations

import math

import pytest
import torch

from recall.neural.logq import Proposal, inclusion_log_q, mixed_log_q


def test_mixed_log_q_by_hand() -> None:
    q = mixed_log_q(torch.tensor([0.5, 0.3, 0.2, 0.0]), 6, 4)
    # (6 · .5 + 4/4) / 10 and so on
    torch.testing.assert_close(q, torch.log(torch.tensor([0.40, 0.28, 0.22, 0.10])))
    assert float(q.exp().sum()) == pytest.approx(1.0)


def test_mixed_log_q_at_its_ends() -> None:
    share = torch.tensor([0.75, 0.25, 0.0])
    torch.testing.assert_close(mixed_log_q(share, 8, 0)[:2], torch.log(share[:2]))
    assert mixed_log_q(share, 8, 0)[2] == 0.0  # never drawn: no logarithm of a tiny number
    torch.testing.assert_close(mixed_log_q(share, 1, 10**9), torch.log(torch.full((3,), 1 / 3)), atol=1e-6, rtol=0)


def test_mined_draws_are_one_more_part_of_the_mixture_by_hand() -> None:
    share, mined = torch.tensor([0.5, 0.3, 0.2, 0.0]), Proposal(10, torch.tensor([0.0, 0.1, 0.1, 0.8]))
    # (6 · .5 + 4/4 + 10 · 0) / 20 = .20 and so on
    torch.testing.assert_close(
        mixed_log_q(share, 6, 4, further=[mined]), torch.log(torch.tensor([0.2, 0.19, 0.16, 0.45]))
    )
    # 1 − .5⁶ · .75⁴ · 1, 1 − .7⁶ · .75⁴ · .9¹⁰, 1 − .8⁶ · .75⁴ · .9¹⁰, 1 − .75⁴ · .2¹⁰
    found = inclusion_log_q(share, 6, 4, further=[mined]).exp()
    expected = torch.tensor([0.995056, 0.987021, 0.971079, 0.99999997])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_inclusion_log_q_by_hand() -> None:
    found = inclusion_log_q(torch.tensor([0.5, 0.3, 0.2, 0.0]), 6, 4).exp()
    # 1 − .5⁶ · .75⁴ and so on, where the expected counts are 4, 2.8, 2.2 and 1
    torch.testing.assert_close(found, torch.tensor([0.995056, 0.962775, 0.917056, 0.683594]), rtol=0, atol=1e-6)


def test_inclusion_log_q_at_its_ends() -> None:
    share = torch.tensor([1.0, 0.25, 0.0])
    torch.testing.assert_close(inclusion_log_q(share, 1, 0), torch.tensor([0.0, math.log(0.25), 0.0]))
    assert inclusion_log_q(torch.tensor([0.0]), 3, 2).tolist() == [0.0]  # the only film there is
    some = inclusion_log_q(share[1:2], 5, 7, n_items=3)
    torch.testing.assert_close(some, inclusion_log_q(share, 5, 7)[1:2])
    rare = inclusion_log_q(torch.tensor([1e-9]), 5, 0)
    assert float(rare) == pytest.approx(math.log(5e-9), rel=1e-5)  # no loss of digits


def test_inclusion_is_how_often_a_batch_holds_a_film() -> None:
    generator = torch.Generator().manual_seed(0)
    share = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    held = torch.zeros(5)
    for _ in range(4000):
        drawn = torch.multinomial(share, 4, replacement=True, generator=generator)
        held[torch.cat([drawn, torch.randint(5, (3,), generator=generator)]).unique()] += 1
    torch.testing.assert_close(held / 4000, inclusion_log_q(share, 4, 3).exp(), rtol=0, atol=0.03)
