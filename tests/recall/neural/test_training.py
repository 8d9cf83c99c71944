"""Training of a neural channel: the choice of an epoch, what is learnt beside the encoders, and wrong data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.metrics import per_query_metrics
from recall.neural.losses import softmax
from recall.two_tower import TwoTower
from reccore import DataError, Exclusions, Holdout, Interactions, RunOptions, TrainingData
from tests.helpers import training_data
from tests.recall.neural.tiny import BATCHES, Script, fitted, last_events
from training import TrainingError
from training.kernels.sampled_softmax import sampled_softmax


@pytest.mark.parametrize(
    ("figures", "patience", "epochs_run", "best"),
    [
        ((0.1, 0.3, 0.2, 0.2, 0.4, 0.1), 4, 6, 5),
        ((0.1, 0.3, 0.2, 0.2, 0.4, 0.1), 2, 4, 2),  # two epochs without a better one: stop before the fifth
        ((0.1, 0.3, 0.2, 0.4, 0.3, 0.3), 1, 3, 2),
        ((0.3, 0.3, 0.3, 0.3, 0.3, 0.3), 9, 6, 1),  # of equals the first
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 3, 4, 1),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 1, 6, 6),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_wait(
    board: TrainingData,
    options: RunOptions,
    monkeypatch: pytest.MonkeyPatch,
    figures: tuple[float, ...],
    patience: int,
    epochs_run: int,
    best: int,
) -> None:
    script = Script(*figures)
    monkeypatch.setattr(TwoTower, "_validation_ndcg", lambda channel, valid: script(channel, valid))
    data, valid = last_events(board)
    channel = fitted(data, options, valid, epochs=6, patience=patience)
    assert channel.log.validation == list(figures[:epochs_run])
    assert len(channel.log.loss) == epochs_run
    assert channel.log.best_epoch == best
    kept = channel.network.item_encoder.ids.weight
    assert [torch.equal(kept, weights) for weights in script.weights].index(True) == best - 1
    again = channel.refit(data, options)
    assert (len(again.log.loss), again.log.validation) == (best, [])
    assert again.config == channel.config
    assert channel.refit_facts() == {"stop_after": best}
    found = channel.index.search(channel.encode_items(), 1, Exclusions.nothing(24))
    np.testing.assert_allclose(found.score, 1.0, atol=1e-5)  # the index holds that epoch's vectors


def test_a_refit_takes_the_path_that_led_to_the_best_epoch(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the same events it ends with the very weights of that epoch: its learning rate falls as it did then."""
    script = Script(0.1, 0.3, 0.2, 0.2, 0.1, 0.1)
    monkeypatch.setattr(TwoTower, "_validation_ndcg", lambda channel, valid: script(channel, valid))
    data, valid = last_events(board)
    channel = fitted(data, options, valid, epochs=6)
    channel.save(tmp_path / "model")
    for source in (channel, TwoTower.load(tmp_path / "model")):
        again = source.refit(data, options)
        np.testing.assert_array_equal(again.encode_items(), channel.encode_items())
        assert again.log.loss == channel.log.loss[:2]
        assert again.refit_facts() == {"stop_after": 2}
    shorter = fitted(data, options, epochs=2)
    assert np.abs(shorter.encode_items() - channel.encode_items()).max() > 1e-3


def test_without_validation_all_epochs_run(board: TrainingData, options: RunOptions) -> None:
    for valid in (None, last_events(board)[1].select(np.array([], dtype=np.int64))):
        channel = fitted(board, options, valid, epochs=3)
        assert (len(channel.log.loss), channel.log.validation, channel.log.best_epoch) == (3, [], 3)
        assert channel.refit_facts() == {"stop_after": 3}


def test_the_validation_figure_is_ndcg_at_ten_of_what_is_retrieved(board: TrainingData, options: RunOptions) -> None:
    data, valid = last_events(board)
    channel = fitted(data, options, valid, epochs=1)
    expected = per_query_metrics(channel.retrieve(valid.queries, 10), valid, (10,))["ndcg@10"].mean()
    assert channel.log.validation == [pytest.approx(float(expected), abs=1e-6)]
    assert 0 < expected < 1


def test_validation_targets_are_not_trained_on(board: TrainingData, options: RunOptions) -> None:
    data, valid = last_events(board)
    others = Holdout.single(valid.queries, valid.target_idx[::-1].copy())
    one, other = (fitted(data, options, holdout, epochs=1) for holdout in (valid, others))
    np.testing.assert_array_equal(one.encode_items(), other.encode_items())


# Training ------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss(board: TrainingData, options: RunOptions) -> None:
    loss = fitted(board, options, epochs=12).log.loss
    assert loss[-1] < loss[0] - 0.2


def test_a_loss_that_is_no_number_names_epoch_and_batch(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def break_down(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal steps
        steps += 1
        return sampled_softmax(*args, **kwargs) * (float("nan") if steps == BATCHES + 3 else 1.0)

    monkeypatch.setattr(softmax, "sampled_softmax", break_down)
    with pytest.raises(TrainingError, match=f"nan in epoch 2, batch 3 of {BATCHES}; a lower learning_rate"):
        fitted(board, options)


def test_a_wild_learning_rate_ends_in_that_error(board: TrainingData, options: RunOptions) -> None:
    with pytest.raises(TrainingError, match="the loss became"):
        fitted(board, options, learning_rate=1e30)


def test_no_events_is_said(board: TrainingData, options: RunOptions) -> None:
    nothing = board.interactions.first(np.zeros(60, dtype=np.int64))
    with pytest.raises(DataError, match="at least one event"):
        fitted(training_data(nothing), options)


@pytest.mark.parametrize("uniform", [0, 8])
@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"negatives__logq__kind": "streaming"},
        {"loss__kind": "corrected_softmax"},
        {"negatives__kind": "distinct"},
        {"loss__mask_positives": "history"},
        {"loss__mask_positives": "all"},
        {"negatives__bank__size": 3},
        {"negatives__mined__per_batch": 3},
        {"loss__hardest": 2},
        {"reward": "rating"},
    ],
)
def test_a_single_event_is_enough(options: RunOptions, uniform: int, loss: dict[str, Any]) -> None:
    one = Interactions(np.array([0, 1]), np.array([2]), 5, rating=np.array([3.0], dtype=np.float32))
    channel = fitted(training_data(one), options, negatives__uniform=uniform, **loss)
    assert np.isfinite(channel.encode_items()).all()


def test_the_estimate_and_the_temperature_are_saved_with_the_epoch_kept(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = Script(0.1, 0.3, 0.2, 0.2)
    monkeypatch.setattr(TwoTower, "_validation_ndcg", lambda channel, valid: script(channel, valid))
    data, valid = last_events(board)
    learned = {
        "negatives__logq__kind": "streaming",
        "negatives__logq__hashes": 2,
        "temperature": {"bounds": (0.02, 0.4)},
    }
    channel = fitted(data, options, valid, epochs=4, **learned)
    assert int(channel.network.frequency.step) == 2 * 7  # 420 events in 7 batches; the second epoch was kept
    channel.save(tmp_path / "two_tower")
    loaded = TwoTower.load(tmp_path / "two_tower")
    for name in ("step", "gap", "last_step", "salts"):
        one, other = (getattr(model.network.frequency, name) for model in (channel, loaded))
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    every = torch.arange(24)
    assert torch.equal(loaded.network.frequency.inclusion(every), channel.network.frequency.inclusion(every))
    assert torch.equal(loaded.network.temperature.position, channel.network.temperature.position)
    assert loaded.network.temperature().item() != pytest.approx(0.1)


def test_the_temperature_learns_and_keeps_its_bounds(board: TrainingData, options: RunOptions) -> None:
    free = fitted(board, options, epochs=8, temperature={"bounds": (0.001, 10.0)}).network.temperature().item()
    bounds = (0.095, 0.105)
    kept = fitted(board, options, epochs=8, temperature={"bounds": bounds}).network.temperature().item()
    assert not bounds[0] < free < bounds[1]
    assert bounds[0] <= kept <= bounds[1]
    assert abs(kept - 0.1) > 1e-4


def test_a_temperature_is_not_decayed(board: TrainingData, options: RunOptions) -> None:
    """With a learning rate of nearly nothing and a great decay, only what decays moves."""
    still = {"learning_rate": 1e-9, "weight_decay": 1e8, "temperature": {"bounds": (0.01, 0.2)}}
    channel = fitted(board, options, epochs=1, **still)
    assert channel.network.temperature().item() == pytest.approx(0.1, abs=1e-4)
    assert float(channel.network.item_encoder.hidden.weight.detach().abs().max()) < 0.9 * 8**-0.5


def without_events_of(board: TrainingData, items: list[int]) -> TrainingData:
    """The board with some films unwatched; what they are stays known."""
    events = board.interactions
    kept = ~np.isin(events.item_idx, items)
    fewer = Interactions.from_events(
        events.user_idx[kept], events.item_idx[kept], n_users=60, n_items=24, rating=events.rating[kept]
    )
    return training_data(fewer, genre_of_item=np.arange(24) % 2)


def test_dropped_ids_teach_what_a_film_nobody_has_seen_is_like(board: TrainingData, options: RunOptions) -> None:
    """Unseen even and odd films are told apart by their genre, better when ids were dropped in training."""
    data = without_events_of(board, [20, 21, 22, 23])
    users = data.interactions.queries()
    even = users.user_idx % 2 == 0

    def told_apart(id_dropout: float) -> float:
        channel = fitted(data, options, epochs=20, item__id_dropout=id_dropout)
        scores = channel.encode_queries(users) @ channel.encode_items().T
        own = np.where(even[:, None], scores[:, [20, 22]], scores[:, [21, 23]])
        other = np.where(even[:, None], scores[:, [21, 23]], scores[:, [20, 22]])
        return float(own.mean() - other.mean())

    with_dropout, without = told_apart(0.4), told_apart(0.0)
    assert with_dropout > 0.1
    assert with_dropout > without + 0.05
