"""How items are compared by channels whose item vectors have more than factors, shared by their tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recall import CHANNELS
from recall.factors import FactorRecall


def assert_compares_by_factors(channel: FactorRecall, folder: Path, *, size: int, width: int) -> None:
    """Items are compared by the first ``size`` numbers alone, of ``width`` in the index, before and after a save."""
    channel.save(folder / channel.name)
    loaded = CHANNELS.load(folder / channel.name)
    assert isinstance(loaded, FactorRecall)
    factors = channel.item_factors[:, :size].astype(np.float64)
    length = np.linalg.norm(factors, axis=1)
    known = length > 0
    expected = factors[known] @ factors[3] / (length[known] * length[3])
    for model in (channel, loaded):
        np.testing.assert_array_equal(model.item_vectors, channel.item_factors[:, :size])
        cosines = model.similarities(3)
        np.testing.assert_allclose(cosines[known], expected, atol=1e-6)
        assert np.isneginf(cosines[~known]).all()
        assert model.encode_items().shape[1] == width
