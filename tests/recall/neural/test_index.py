"""The two-tower channel trained with any index."""

from __future__ import annotations

import pytest

from recall.index import INDEXES
from recall.two_tower import TwoTower
from reccore import ConfigError, RunOptions
from tests.helpers import checkerboard, nested

SMALL = nested(
    embedding_size=4,
    item__hidden_size=8,
    encoder__hidden_size=8,
    batch_size=64,
    epochs=1,
    negatives__uniform=0,
)
QUIET = RunOptions(device="cpu", progress=False, threads=1)


@pytest.mark.parametrize("kind", list(INDEXES))
def test_trained_with_that_index(kind: str) -> None:
    options = {"n_lists": 9} if kind in {"ivf", "pq"} else {}
    channel = TwoTower({**SMALL, "index": {"kind": kind, **options}}).fit(checkerboard(), options=QUIET)
    assert channel.index.name == kind
    assert channel.index.config == INDEXES[kind].Config.parse(options)
    assert channel.index.n_items == 24


def test_auto_goes_by_the_size_of_the_catalogue() -> None:
    auto = TwoTower({**SMALL, "index": {"kind": "auto"}}).fit(checkerboard(), options=QUIET)
    assert auto.index.name == "flat"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": {"kind": "scann"}}, "index.kind: unknown kind 'scann'"),
        ({"index": "flat"}, "index: "),
        ({"index": {"nprobe": 3}}, "index.flat.nprobe: no such option"),
        ({"index": {"kind": "ivf", "nprobe": 0}}, "index.ivf.nprobe: "),
        ({"index": {"kind": "auto", "nprobe": 3}}, "index.auto.nprobe: no such option"),
    ],
)
def test_wrong_options_fail_before_training(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TwoTower(options)
