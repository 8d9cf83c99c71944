"""The two-tower channel trained with any index."""

from __future__ import annotations

import pytest

from recall.index import INDEXES
from recall.index.choose import EXACT_UP_TO, create_index
from recall.two_tower import TwoTower
from reccore import ConfigError, RunOptions
from tests.helpers import checkerboard

SMALL = {"embedding_size": 4, "hidden_size": 8, "batch_size": 64, "epochs": 1, "uniform_negatives": 0}
QUIET = RunOptions(device="cpu", progress=False, threads=1)


@pytest.mark.parametrize("kind", list(INDEXES))
def test_trained_with_that_index(kind: str) -> None:
    options = {"n_lists": 9} if kind in {"ivf", "pq"} else {}
    channel = TwoTower({**SMALL, "index": kind, "index_options": options}).fit(checkerboard(), options=QUIET)
    assert channel.index.name == kind
    assert channel.index.config == INDEXES[kind].Config.parse(options)
    assert channel.index.n_items == 24


def test_auto_goes_by_the_size_of_the_catalogue() -> None:
    assert TwoTower({**SMALL, "index": "auto"}).fit(checkerboard(), options=QUIET).index.name == "flat"
    assert create_index("auto", EXACT_UP_TO).name == "flat"
    assert create_index("auto", EXACT_UP_TO + 1).name == "ivf"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "annoy"}, "index: "),
        ({"index_options": {"nprobe": 3}}, "FlatConfig: nprobe: no such option"),
        ({"index": "ivf", "index_options": {"nprobe": 0}}, "IVFConfig: nprobe: "),
        ({"index": "auto", "index_options": {"nprobe": 3}}, "need its kind, not auto"),
    ],
)
def test_wrong_options_fail_before_training(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwoTower(options)
