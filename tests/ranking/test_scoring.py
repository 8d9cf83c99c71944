"""Scoring in chunks: same scores, bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ranking import RANKERS, scoring
from ranking.features import RankingInputs
from ranking.scoring import FEW_QUERIES, WrittenBytes
from reccore import RunOptions
from tests.ranking.samples import NEURAL, board_setting, options_of

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


def test_written_bytes_by_hand() -> None:
    left, right = torch.zeros(3, 4), torch.zeros(4, 5)
    with WrittenBytes() as written:
        product = left @ right  # 15 floats
        product.view(15).add_(1)  # a view, and a change in place: nothing new
        product + 1.0  # 15 floats
    assert written.total == 4 * (15 + 15)


@pytest.mark.parametrize("model", NEURAL)
def test_chunks_bound_the_memory_and_change_no_score(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = board_setting(n_users=200)
    small = options_of(model, {"epochs": 1, "batch_size": 64, "hidden": [64, 32], "embedding_size": 4})
    ranker: Any = RANKERS[model](small).fit(setting.samples, options=QUIET, **setting.tables())  # type: ignore[arg-type]
    inner = ranker._network
    written: list[tuple[int, int]] = []

    class Watched(nn.Module):
        def forward(self, inputs: RankingInputs) -> Tensor:
            with WrittenBytes() as found:
                logits: Tensor = inner(inputs)
            written.append((len(inputs), found.total))
            return logits

    ranker._network = Watched()
    scores = {}
    for budget in (5 * 10**4, 10**6, 10**12):
        written.clear()
        monkeypatch.setattr(scoring, "CHUNK_BYTES", budget)
        scores[budget] = ranker.score(setting.valid.queries, setting.valid.candidates)
        first_time = budget == 5 * 10**4
        assert sum(n for n, _ in written) == 200 + first_time  # one query to measure by
        assert all(n == 1 or total <= budget for n, total in written)
        chunks = len(written)
        assert chunks >= {5 * 10**4: 5, 10**6: 1, 10**12: 1}[budget]
        assert (written[0][0] == 1) == first_time
        sizes = [n for n, _ in written][first_time:]
        written.clear()
        again = ranker.score(setting.valid.queries, setting.valid.candidates)
        assert [n for n, _ in written] == sizes  # so that scores are rounded alike in every call
        np.testing.assert_array_equal(again, scores[budget])
    assert chunks == 1
    np.testing.assert_allclose(scores[5 * 10**4], scores[10**12], atol=1e-5)
    np.testing.assert_allclose(scores[10**6], scores[10**12], atol=1e-5)
    written.clear()
    few = np.arange(FEW_QUERIES)
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 1)
    found = ranker.score(setting.valid.queries.select(few), setting.valid.candidates.select(few))
    assert [n for n, _ in written] == [FEW_QUERIES]
    np.testing.assert_allclose(found, scores[10**12][few], atol=1e-5)
