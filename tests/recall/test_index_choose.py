"""The nested index option of a channel's configuration."""

from __future__ import annotations

import numpy as np
import pytest

from recall.index import INDEXES
from recall.index.choose import EXACT_UP_TO, IndexConfig
from recall.index.flat import FlatConfig
from reccore import ComponentConfig, ConfigError


class ChannelConfig(ComponentConfig):
    """Options of a channel with an index."""

    index: IndexConfig = FlatConfig()


@pytest.mark.parametrize("kind", list(INDEXES))
def test_creates_an_index_of_its_kind(kind: str) -> None:
    options = {"list_length": 7} if kind in {"ivf", "hnsw", "pq"} else {}
    config = ChannelConfig.parse({"index": {"kind": kind, **options}})
    index = config.index.create(n_items=10)
    assert type(index) is INDEXES[kind]
    assert index.config == config.index == INDEXES[kind].Config.parse(options)


def test_the_options_of_a_tuned_index_can_be_written_back() -> None:
    index = INDEXES["ivf"]({"n_lists": 4}).build(np.ones((10, 2), dtype=np.float32))
    index.set_options(nprobe=3)  # type: ignore[attr-defined]
    config = ChannelConfig.parse({"index": index.config.model_dump(mode="json")})
    assert config.index == index.config
    assert ChannelConfig.parse(config.model_dump(mode="json")) == config


def test_flat_by_default() -> None:
    assert ChannelConfig().index.create(10**6).name == "flat"


def test_auto_is_chosen_by_the_size_of_the_catalogue() -> None:
    auto = ChannelConfig.parse({"index": {"kind": "auto"}}).index
    assert auto.create(EXACT_UP_TO).name == "flat"
    assert auto.create(EXACT_UP_TO + 1).name == "ivf"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"kind": "scann"},
            "index.kind: unknown kind 'scann'; known: 'flat', 'brute_force', 'ivf', 'hnsw', 'pq', 'annoy', 'qdrant'",
        ),
        ({"nprobe": 3}, "index.flat.nprobe: no such option"),
        ({"kind": "ivf", "nprobe": 0}, "index.ivf.nprobe: "),
        ({"kind": "hnsw", "nprobe": 3}, "index.hnsw.nprobe: no such option"),
        ({"kind": "auto", "nprobe": 3}, "index.auto.nprobe: no such option"),
        ("ivf", "index: "),
    ],
)
def test_options_of_another_kind_are_errors(index: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChannelConfig.parse({"index": index})
