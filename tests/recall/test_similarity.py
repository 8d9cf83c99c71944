"""A channel that is a given item–item matrix, scores by hand."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse

from recall.similarity import ItemSimilarityConfig, ItemSimilarityRecall
from reccore import Candidates, ComponentConfig, QueryBatch, RunOptions, TrainingData
from tests.helpers import checkerboard


class Given(ItemSimilarityRecall):
    """Two entries are negative, as in linear models; one sum is 0."""

    name: ClassVar[str] = "given"
    Config: ClassVar[type[ComponentConfig]] = ItemSimilarityConfig

    def _similarity(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        matrix = sparse.lil_matrix((24, 24), dtype=np.float32)
        matrix[0, [2, 3, 4]] = [0.5, -0.25, 1.0]
        matrix[1, [2, 4, 5]] = [1.0, -2.0, 0.75]
        return matrix.tocsr()


@pytest.mark.parametrize(
    ("half_life", "history", "expected"),
    [
        (None, [0], [(4, 1.0), (2, 0.5), (3, -0.25)]),
        (None, [0, 0, 1], [(2, 2.0), (5, 0.75), (3, -0.5)]),  # film 4: 1 + 1 − 2 = 0
        (1.0, [0, 1], [(2, 1.25), (5, 0.75), (3, -0.125), (4, -1.5)]),
        (None, [6], []),
    ],
)
def test_scores_are_weighted_sums_and_a_sum_of_zero_is_no_score(
    half_life: float | None, history: list[int], expected: list[tuple[int, float]], tmp_path: Path
) -> None:
    fitted = Given({"half_life": half_life}).fit(checkerboard(), options=RunOptions(progress=False))
    fitted.save(tmp_path / "given")
    query = QueryBatch.from_histories([history])
    for channel in (fitted, Given.load(tmp_path / "given")):
        found = channel.retrieve(query, 5)
        assert list(zip(found.item_idx[0].tolist(), found.score[0].tolist(), strict=True))[: len(expected)] == expected
        assert found.counts.tolist() == [len(expected)]
        every_item = Candidates(np.arange(24)[None, :], np.zeros((1, 24), dtype=np.float32))
        scores = channel.score(query, every_item)[0]
        assert {item: float(score) for item, score in enumerate(scores) if not np.isnan(score)} == dict(expected)
