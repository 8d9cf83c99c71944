"""No event of the ranker's label window helps to recall it, to rank an earlier one, or to be found at evaluation.

How a check and its planted leaks belong together: ``tests/contracts/leaks.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataprep.prepare import Prepared
from dataprep.protocols import LeaveLastN
from pipeline import samples, window_refits
from pipeline.builder import assemble
from pipeline.config import PipelineConfig
from pipeline.history import FrozenHistoryStore
from pipeline.label_window import LabelWindow
from recall import CHANNELS
from reccore import Candidates, Exclusions, Holdout, Interactions, Workspace
from reccore.arrays import IntArray, offsets_from_lengths
from tests.contracts.leaks import (
    N_ITEMS,
    N_USERS,
    QUIET,
    Plant,
    after,
    changed,
    everything_is_fit,
    fitted,
    prepared_of,
    sensible,
    statistics_of_everything,
    validation_is_fit,
    world,
)

SHORT = {"ranker": None, "rerank": None, "per_channel": 6, "candidates": 8}
PLAIN = PipelineConfig.parse({**SHORT, "channels": tuple(CHANNELS)})


def ranking_data(prepared: Prepared, folder: Path) -> samples.RankingData:
    """What a ranker would be fitted with, over all channels."""
    workspace = Workspace(folder)
    channels = {name: fitted(name, prepared) for name in CHANNELS}
    for name, channel in channels.items():
        channel.save(workspace.model(name))
    return samples.make_ranking_data(
        prepared,
        window_refits.stored_refits(workspace, QUIET),
        channels,
        PLAIN,
        prepared.split.valid(),
        tasks=["click"],
        max_queries=None,
        options=QUIET,
    )


def check_later_labels_are_never_negatives() -> None:
    prepared = prepared_of(world(), LeaveLastN(1))
    fit = prepared.split.fit()
    window = samples.label_window(prepared, max_queries=None, options=QUIET)
    n = len(window.holdout)
    everything = np.tile(np.arange(N_ITEMS), (n, 1))
    offered = Candidates(everything, np.zeros(everything.shape, dtype=np.float32))
    labels, missed = samples.label(offered, window.holdout, window.later)
    sensible(missed.sum() == 0)
    seen_later = 0
    for row in range(n):
        history = fit.history(int(window.holdout.queries.user_idx[row]))
        stop = int(window.holdout.queries.lengths[row])
        expected = np.zeros(N_ITEMS, dtype=np.float32)
        expected[history[stop]] = 1.0
        expected[history[stop + 1 :]] = np.nan
        np.testing.assert_array_equal(labels[row], expected)
        seen_later += len(history) - stop - 1
    sensible(seen_later > N_USERS)


def check_refitted_channels_do_not_know_the_window(folder: Path) -> None:
    """The first label event of a user meets the same candidates whatever it and the later ones are."""
    before = prepared_of(world(), LeaveLastN(1))
    start = samples.label_window(before, max_queries=None, options=QUIET).start
    others = prepared_of(changed(world(), after(world(), start)), LeaveLastN(1))
    one, other = (ranking_data(prepared, folder / str(n)) for n, prepared in enumerate((before, others)))
    for name, values in one.window_data.items.statistics.items():
        np.testing.assert_array_equal(other.window_data.items.statistics[name], values, err_msg=name)
    queries = one.train.queries
    first = np.flatnonzero(queries.lengths == start[queries.user_idx])
    sensible(len(first) == N_USERS)
    left, right = one.train.candidates.select(first), other.train.candidates.select(first)
    np.testing.assert_array_equal(left.item_idx, right.item_idx)
    sensible({f"recall_score.{name}" for name in CHANNELS} <= set(left.features))
    for name, values in left.features.items():
        np.testing.assert_array_equal(values, right.features[name], err_msg=name)


def check_the_window_touches_neither_validation_nor_test() -> None:
    before = prepared_of(world(), LeaveLastN(1))
    others = prepared_of(changed(world(), after(world(), before.split.fit_stop)), LeaveLastN(1))
    one, other = (samples.label_window(prepared, max_queries=None, options=QUIET) for prepared in (before, others))
    np.testing.assert_array_equal(one.start, other.start)
    np.testing.assert_array_equal(one.holdout.target_idx, other.holdout.target_idx)
    np.testing.assert_array_equal(one.holdout.queries.history_idx, other.holdout.queries.history_idx)
    np.testing.assert_array_equal(one.later.item_idx, other.later.item_idx)


def check_missed_positives_are_not_inserted() -> None:
    """Candidates are those of the queries alone; whatever is missing is counted, not put in."""
    prepared = prepared_of(world(), LeaveLastN(1))
    data = prepared.training_data()
    channels = {name: fitted(name, prepared) for name in ("popularity", "itemcf")}
    config = PipelineConfig.parse({**SHORT, "channels": tuple(channels), "candidates": 5})
    histories = FrozenHistoryStore(data.interactions, data.vocabulary)
    pipeline = assemble(config, channels=channels, ranker=None, items=data.items, histories=histories)
    holdout = prepared.split.valid()
    found = samples.ranking_samples(pipeline, holdout, tasks=["click"], source="test", options=QUIET)
    offered = pipeline.run(holdout.queries, 5)[0].item_idx
    np.testing.assert_array_equal(found.candidates.item_idx, offered)
    hit = (offered == holdout.target_idx[:, None]).any(axis=1)
    sensible(not hit.all())
    assert found.missed is not None
    assert found.missed.sum() == (~hit).sum()
    np.testing.assert_array_equal((found.labels["click"] == 1).sum(axis=1), hit)


def test_later_labels_are_never_negatives() -> None:
    check_later_labels_are_never_negatives()


def test_refitted_channels_do_not_know_the_window(tmp_path: Path) -> None:
    check_refitted_channels_do_not_know_the_window(tmp_path)


def test_the_window_touches_neither_validation_nor_test() -> None:
    check_the_window_touches_neither_validation_nor_test()


def test_missed_positives_are_not_inserted() -> None:
    check_missed_positives_are_not_inserted()


def later_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = samples.label
    patch.setattr(samples, "label", lambda candidates, holdout, later=None: original(candidates, holdout, None))


def later_begins_too_late(patch: pytest.MonkeyPatch) -> None:
    original = samples.label_window

    class Leaky(LabelWindow):
        def select(self, rows: IntArray) -> tuple[Holdout, Exclusions]:
            holdout, later = super().select(rows)
            shorter = [row[1:] for row in np.split(later.item_idx, later.offsets[1:-1])]
            offsets = offsets_from_lengths(np.array([len(row) for row in shorter]))
            return holdout, Exclusions(offsets, np.concatenate(shorter))

    patch.setattr(samples, "label_window", lambda *args, **kwargs: Leaky(**vars(original(*args, **kwargs))))


@pytest.mark.parametrize("plant", [later_is_forgotten, later_begins_too_late])
def test_later_labels_as_negatives_are_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_later_labels_are_never_negatives()


def nothing_is_refitted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(window_refits, "refit", lambda channel, *rest: channel)


def one_channel_is_not_refitted(name: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        original = window_refits.refit
        patch.setattr(
            window_refits, "refit", lambda channel, *rest: channel if channel.name == name else original(channel, *rest)
        )

    plant.__name__ = f"{name}_is_not_refitted"
    return plant


def window_too_short(patch: pytest.MonkeyPatch) -> None:
    """The refitted channels see the first label event."""
    original = Interactions.first
    patch.setattr(Interactions, "first", lambda events, kept: original(events, kept + 1))


@pytest.mark.parametrize(
    "plant",
    [
        nothing_is_refitted,
        *(one_channel_is_not_refitted(name) for name in CHANNELS),
        window_too_short,
        statistics_of_everything,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_window_known_to_recall_is_caught(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_refitted_channels_do_not_know_the_window(tmp_path)


@pytest.mark.parametrize("plant", [everything_is_fit, validation_is_fit])
def test_labels_from_validation_or_test_are_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_the_window_touches_neither_validation_nor_test()


def missed_positives_are_inserted(patch: pytest.MonkeyPatch) -> None:
    original = samples.label

    def leaky(
        candidates: Candidates, holdout: Holdout, later: Exclusions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        missing = ~(candidates.item_idx == holdout.target_idx[:, None]).any(axis=1)
        candidates.item_idx[missing, -1] = holdout.target_idx[missing]
        return original(candidates, holdout, later)

    patch.setattr(samples, "label", leaky)


def missed_positives_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    original = samples.label
    patch.setattr(samples, "label", lambda *args: (original(*args)[0], np.zeros(len(args[1]), int)))


@pytest.mark.parametrize("plant", [missed_positives_are_inserted, missed_positives_are_not_counted])
def test_inserted_or_forgotten_positives_are_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check_missed_positives_are_not_inserted()
