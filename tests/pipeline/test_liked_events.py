"""Under last_three a network that is fitted again learns from liked events alone, as it did at first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataprep.prepare import Prepared, prepare
from dataprep.protocols import LastThree
from experiments.new_users import evaluate_new_users
from pipeline import load
from pipeline.builder import load_channels
from pipeline.config import PipelineConfig
from pipeline.refitting import refit_for_serving, refit_pipeline
from pipeline.samples import make_ranking_data
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from pipeline.window_refits import LabelCut
from recall.base import BaseRecall
from recall.neural.channel import NeuralRecall
from reccore import ConfigError, RunOptions, TrainingData, Workspace
from tests.pipeline import small
from tests.pipeline.small import PIPELINE, QUIET

NAMES = ("popularity", "two_tower")
CONFIG = {**PIPELINE, "channels": NAMES, "rerank": None}


@pytest.fixture(scope="module")
def last_three(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A data root whose network is trained around the labels of the ranker."""
    space = small.copy_of(trained.root, tmp_path_factory.mktemp("last_three"))
    prepare(space, LastThree()).save(space.prepared)
    train_channel(space, "popularity", {}, options=QUIET)
    train_channel(space, "two_tower", small.CHANNELS["two_tower"], labels=LabelCut(max_queries=100), options=QUIET)
    train_ranker(space, "lambdamart", {"trees": 5}, CONFIG, max_queries=100, options=QUIET)
    return space


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[TrainingData]]:
    """Name of a channel → the data of each of its refits."""
    seen: dict[str, list[TrainingData]] = {name: [] for name in NAMES}
    for cls in (NeuralRecall, BaseRecall):
        original = cls.refit

        def recorded(
            channel: BaseRecall, data: TrainingData, options: RunOptions | None = None, refit=original
        ) -> BaseRecall:
            seen[channel.name].append(data)
            return refit(channel, data, options)

        monkeypatch.setattr(cls, "refit", recorded)
    return seen


def check(learnt: dict[str, list[TrainingData]], refits: int) -> None:
    """Each channel was fitted so often, the network on the liked ones of the other's events."""
    assert [len(data) for data in learnt.values()] == [refits, refits]
    for every, liked in zip(*learnt.values(), strict=True):
        rating = every.interactions.rating
        assert rating is not None
        assert (rating <= 2).any()
        np.testing.assert_array_equal(liked.interactions.rating, rating[rating > 2])
        np.testing.assert_array_equal(liked.items.statistics["count"], liked.interactions.item_counts())


def test_for_the_labels_of_a_ranker(last_three: Workspace, learnt: dict[str, list[TrainingData]]) -> None:
    prepared = Prepared.load(last_three.prepared)
    make_ranking_data(
        prepared,
        lambda _name, channel, data, _window=0: channel.refit(data, QUIET),
        load_channels(last_three, NAMES),
        PipelineConfig.parse({**CONFIG, "ranker": "lambdamart"}),
        prepared.split.valid(),
        tasks=["click"],
        max_queries=50,
        label_windows=2,
        options=QUIET,
    )
    check(learnt, 2)


def test_without_new_users(last_three: Workspace, learnt: dict[str, list[TrainingData]]) -> None:
    evaluate_new_users(last_three, (3,), names=NAMES, options=QUIET)
    check(learnt, 1)


def test_in_a_pipeline(last_three: Workspace, learnt: dict[str, list[TrainingData]]) -> None:
    original = load(last_three.model("pipeline"))
    config = PipelineConfig.parse({**CONFIG, "ranker": None})
    refit_pipeline(original, config, Prepared.load(last_three.prepared), {}, QUIET)
    check(learnt, 1)


def test_a_network_that_trains_on_after_the_labels_is_the_one_that_the_ranker_takes(
    last_three: Workspace, learnt: dict[str, list[TrainingData]], tmp_path: Path
) -> None:
    own = small.copy_of(last_three.root, tmp_path)
    train_ranker(own, "lambdamart", {"trees": 5}, CONFIG, max_queries=100, options=QUIET)
    assert learnt == {name: [] for name in NAMES}  # both are stored


def test_serving_refuses_networks_of_liked_events(last_three: Workspace) -> None:
    with pytest.raises(ConfigError, match="under last_three two_tower learnt from liked events alone"):
        refit_for_serving(last_three, options=QUIET)
