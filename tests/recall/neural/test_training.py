"""The two-tower channel: training, the choice of an epoch, the index, and every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recall.two_tower.loss import inclusion_log_q, mixed_log_q
from recall.two_tower.trainer import TrainingError
from torch import Tensor

from evaluation.metrics import per_query_metrics
from recall.index import INDEXES
from recall.two_tower import TwoTower, TwoTowerConfig, objective
from reccore import ConfigError, DataError, Exclusions, Holdout, Interactions, QueryBatch, RunOptions, TrainingData
from tests.helpers import training_data
from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax

TINY: dict[str, Any] = {
    "user_encoder": "mlp",
    "history_dropout": 0.2,
    "embedding_size": 8,
    "hidden_size": 8,
    "history_length": 4,
    "batch_size": 64,
    "epochs": 2,
    "uniform_negatives": 8,
    "learning_rate": 0.02,
}
BATCHES = 8  # 60 users of 8 events are 480 examples


def fitted(board: TrainingData, options: RunOptions, valid: Holdout | None = None, **config: Any) -> TwoTower:
    return TwoTower({**TINY, **config}).fit(board, valid=valid, options=options)


def last_events(board: TrainingData) -> tuple[TrainingData, Holdout]:
    """All but the last event of every user to learn from, and the last to predict."""
    events = board.interactions
    stops = events.lengths - 1
    target = events.item_idx[events.user_offsets[1:] - 1]
    cut = TrainingData(events.first(stops), board.items, board.users, board.vocabulary)
    return cut, Holdout.single(events.queries(stops=stops), target)


# The choice of an epoch ------------------------------------------------------------------------------------


class Script:
    """Validation figures given in advance, and the weights they were given for."""

    def __init__(self, *figures: float) -> None:
        self.figures = list(figures)
        self.weights: list[Tensor] = []

    def __call__(self, channel: TwoTower, valid: Holdout) -> float:
        self.weights.append(channel.network.item_tower.ids.weight.detach().clone())
        return self.figures[len(self.weights) - 1]


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
    kept = channel.network.item_tower.ids.weight
    assert [torch.equal(kept, weights) for weights in script.weights].index(True) == best - 1
    again = channel.refit(data, options)
    assert (len(again.log.loss), again.log.validation) == (best, [])
    assert again.config.patience == patience
    assert channel.refit_facts() == {"epochs": best}
    found = channel.index.search(channel.encode_items(), 1, Exclusions.nothing(24))
    np.testing.assert_allclose(found.score, 1.0, atol=1e-5)  # the index holds that epoch's vectors


def test_without_validation_all_epochs_run(board: TrainingData, options: RunOptions) -> None:
    for valid in (None, last_events(board)[1].select(np.array([], dtype=np.int64))):
        channel = fitted(board, options, valid, epochs=3)
        assert (len(channel.log.loss), channel.log.validation, channel.log.best_epoch) == (3, [], 3)
        assert channel.refit_facts() == {"epochs": 3}


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

    monkeypatch.setattr(objective, "sampled_softmax", break_down)
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
        {"logq": "streaming"},
        {"corrected_logq": True},
        {"dedup": True},
        {"mask_own": "history"},
        {"mask_own": "all"},
        {"bank_size": 3},
        {"mined_negatives": 3},
        {"hardest_negatives": 2},
        {"reward": "rating"},
    ],
)
def test_a_single_event_is_enough(options: RunOptions, uniform: int, loss: dict[str, Any]) -> None:
    one = Interactions(np.array([0, 1]), np.array([2]), 5, rating=np.array([3.0], dtype=np.float32))
    channel = fitted(training_data(one), options, uniform_negatives=uniform, **loss)
    assert np.isfinite(channel.encode_items()).all()


def seen_by_the_loss(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, **config: Any
) -> list[dict[str, Any]]:
    """What every training step hands to the loss, with the ``targets`` (n,) and all other ``draws``, by item."""
    calls: list[dict[str, Any]] = []

    def record(queries: Tensor, items: Tensor, item_idx: Tensor, **rest: Any) -> Tensor:
        targets, repeats = item_idx[rest["target"]], rest["repeats"]
        assert len(item_idx.unique()) == len(item_idx)
        others = torch.ones_like(item_idx) if repeats is None else repeats.clone()  # none are told with dedup
        others -= torch.bincount(rest["target"], minlength=len(others)) if repeats is not None else 0
        draws = torch.repeat_interleave(item_idx, others)
        calls.append({"n": len(queries), "item_idx": item_idx, "targets": targets, "draws": draws, **rest})
        return sampled_softmax(queries, items, item_idx, **rest)

    monkeypatch.setattr(objective, "sampled_softmax", record)
    fitted(board, options, **config)
    return calls


@pytest.mark.parametrize("batch_size", [64, 450, 10_000])
def test_the_correction_is_that_of_the_batches_really_drawn(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    calls = seen_by_the_loss(board, options, monkeypatch, batch_size=batch_size, epochs=1)
    share = torch.from_numpy(board.interactions.item_counts() / 480).float()
    n_in_batch = {64: 60, 450: 240, 10_000: 480}[batch_size]
    expected = mixed_log_q(share, n_in_batch, 8)
    for call in calls:
        assert (len(call["targets"]), len(call["draws"])) == (n_in_batch, 8)
        torch.testing.assert_close(call["log_q"], expected[call["item_idx"]])


def test_an_epoch_takes_every_event_once(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = seen_by_the_loss(board, options, monkeypatch)
    targets = [np.concatenate([call["targets"] for call in epoch]) for epoch in (calls[:8], calls[8:])]
    for epoch in targets:
        assert np.bincount(epoch, minlength=24).tolist() == board.interactions.item_counts().tolist()
    assert np.any(targets[0] != targets[1])  # in another order


def test_uniform_negatives_are_uniform(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = seen_by_the_loss(board, options, monkeypatch, uniform_negatives=3000, epochs=1)
    counts = np.bincount(np.concatenate([call["draws"] for call in calls]), minlength=24)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 24, rtol=0.15)


def test_without_repeats_every_film_is_in_a_batch_once(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    same: dict[str, Any] = {"epochs": 1, "id_dropout": 0.0}  # so that both draw as many random numbers
    usually = seen_by_the_loss(board, options, monkeypatch, **same)
    share = torch.from_numpy(board.interactions.item_counts() / 480).float()
    expected = inclusion_log_q(share, 60, 8)
    for call, usual in zip(seen_by_the_loss(board, options, monkeypatch, dedup=True, **same), usually, strict=True):
        assert call["repeats"] is None
        assert torch.equal(call["item_idx"], usual["item_idx"])  # of the same draws
        assert torch.equal(call["targets"], usual["targets"])
        torch.testing.assert_close(call["log_q"], expected[call["item_idx"]])


def rows_of_own(own: PositiveItems) -> list[list[int]]:
    return [own.item_idx[a:b].tolist() for a, b in zip(own.start.tolist(), own.stop.tolist(), strict=True)]


def test_the_history_is_hidden_as_the_query_reads_it(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [board.interactions.history(user).tolist() for user in range(60)]
    for call in seen_by_the_loss(board, options, monkeypatch, epochs=1, mask_own="history"):
        for row, own in enumerate(rows_of_own(call["own_items"])):
            target = int(call["targets"][row])
            before = [
                history[: history.index(target)][-TINY["history_length"] :]
                for history in histories
                if target in history
            ]
            assert own in before
    assert all(call["own_items"] is None for call in seen_by_the_loss(board, options, monkeypatch, epochs=1))


def test_all_items_of_the_user_are_hidden(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [board.interactions.history(user).tolist() for user in range(60)]
    for call in seen_by_the_loss(board, options, monkeypatch, epochs=1, mask_own="all"):
        assert len(call["own_items"].item_idx) < 60 * 8  # users of several examples are there once
        for row, own in enumerate(rows_of_own(call["own_items"])):
            assert own in [history for history in histories if int(call["targets"][row]) in history]


# What is learnt beside the towers --------------------------------------------------------------------------


def test_the_streaming_estimate_sees_every_batch_and_corrects_by_it(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = {"logq": "streaming", "streaming_initial_gap": 4.0, "streaming_warm_up": False}
    calls = seen_by_the_loss(board, options, monkeypatch, **estimate)
    gap, last = np.full(24, 4.0), np.zeros(24)
    for step, call in enumerate(calls, start=1):
        held = np.unique(call["targets"])
        gap[held] = 0.99 * gap[held] + 0.01 * (step - last[held])
        last[held] = step
        share = 1 - (1 - np.minimum(1 / gap, 0.99)) ** (1 / 60)
        expected = np.log((60 * share + 8 / 24) / 68)[call["item_idx"]]
        np.testing.assert_allclose(call["log_q"], expected, rtol=1e-4)


def test_the_estimate_and_the_temperature_are_saved_with_the_epoch_kept(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = Script(0.1, 0.3, 0.2, 0.2)
    monkeypatch.setattr(TwoTower, "_validation_ndcg", lambda channel, valid: script(channel, valid))
    data, valid = last_events(board)
    learned = {"logq": "streaming", "streaming_hashes": 2, "temperature_bounds": (0.02, 0.4)}
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
    free = fitted(board, options, epochs=8, temperature_bounds=(0.001, 10.0)).network.temperature().item()
    bounds = (0.095, 0.105)
    kept = fitted(board, options, epochs=8, temperature_bounds=bounds).network.temperature().item()
    assert not bounds[0] < free < bounds[1]
    assert bounds[0] <= kept <= bounds[1]
    assert abs(kept - 0.1) > 1e-4


def test_a_temperature_is_not_decayed(board: TrainingData, options: RunOptions) -> None:
    """With a learning rate of nearly nothing and a great decay, only what decays moves."""
    still = {"learning_rate": 1e-9, "weight_decay": 1e8, "temperature_bounds": (0.01, 0.2)}
    channel = fitted(board, options, epochs=1, **still)
    assert channel.network.temperature().item() == pytest.approx(0.1, abs=1e-4)
    assert float(channel.network.item_tower.hidden.weight.detach().abs().max()) < 0.9 * 8**-0.5


# Options -------------------------------------------------------------------------------------------------

CHANGED: dict[str, Any] = {
    "embedding_size": 9,
    "hidden_size": 9,
    "user_encoder": "transformer",
    "blocks": 1,
    "heads": 4,
    "dropout": 0.5,
    "query_time": True,
    "history_length": 3,
    "half_lives": (1.0, 3.0),
    "id_dropout": 0.2,
    "user_dropout": 0.6,
    "history_dropout": 0.3,
    "temperature": 0.2,
    "temperature_bounds": (0.01, 1.0),
    "logq": "none",
    "streaming_hashes": 1,
    "streaming_buckets": 11,
    "streaming_alpha": 0.2,
    "streaming_initial_gap": 3.0,
    "streaming_warm_up": False,
    "corrected_logq": True,
    "dedup": True,
    "uniform_negatives": 9,
    "mask_accidental_hits": False,
    "negatives": "catalogue",
    "bank_size": 100,
    "bank_warmup_steps": 10,
    "mined_negatives": 20,
    "mined_queries": 3,
    "mined_depth": 1,
    "mined_every": 3,
    "hardest_negatives": 3,
    "mask_own": "history",
    "reward": "rating",
    "batch_size": 48,
    "use_gcn": True,
    "gcn_layers": 2,
    "gcn_neighbours": 3,
    "gcn_window": 1,
    "epochs": 3,
    "learning_rate": 0.01,
    "weight_decay": 0.1,
}
FEW = {"logq": "streaming", "batch_size": 8}  # films that share a bucket matter where batches hold few of them
BESIDE: dict[str, dict[str, Any]] = {
    "streaming_hashes": {**FEW, "streaming_buckets": 11},
    "streaming_buckets": FEW,
    "streaming_alpha": {"logq": "streaming"},
    "streaming_initial_gap": {"logq": "streaming", "streaming_warm_up": False},
    "streaming_warm_up": {"logq": "streaming"},
    "negatives": {"logq": "none", "uniform_negatives": 0},
    "bank_warmup_steps": {"bank_size": 100},
    **{name: {"user_encoder": "transformer"} for name in ("blocks", "heads", "dropout")},
    **{name: {"use_gcn": True} for name in ("gcn_layers", "gcn_neighbours", "gcn_window")},
    **{name: {"mined_negatives": 20} for name in ("mined_queries", "mined_depth", "mined_every")},
}
TRIED_ELSEWHERE: dict[str, Any] = {
    "patience": test_the_best_epoch_is_kept_and_patience_ends_the_wait,
    "item_adj": "test_two_tower_gcn.py",
    "index": "test_each_index_finds_every_film_at_its_own_row",
    "index_options": "test_index_two_tower.py",
    "softmax": "test_the_fused_softmax_is_used_and_trains_the_same",
    "tags": "test_two_tower_content.py",
    "title_vectors": "test_two_tower_content.py",
    "metadata": "test_two_tower_metadata.py",
}


def test_every_option_is_tried() -> None:
    assert set(CHANGED) | set(TRIED_ELSEWHERE) == set(TwoTowerConfig.model_fields)


@pytest.fixture(scope="module")
def plain(board: TrainingData) -> TwoTower:
    return fitted(board, RunOptions(device="cpu", progress=False, threads=1))


@pytest.mark.parametrize("option", CHANGED)
def test_every_option_changes_the_answers(
    board: TrainingData, options: RunOptions, plain: TwoTower, option: str
) -> None:
    queries = board.interactions.queries()
    beside = BESIDE.get(option)
    before = plain if beside is None else fitted(board, options, **beside)
    changed = fitted(board, options, **{**(beside or {}), option: CHANGED[option]})
    difference = changed.retrieve(queries, 5).score - before.retrieve(queries, 5).score
    assert np.abs(difference).max() > 1e-4


def test_the_streaming_correction_is_not_that_of_the_counts(
    board: TrainingData, options: RunOptions, plain: TwoTower
) -> None:
    streaming = fitted(board, options, logq="streaming")
    assert np.abs(streaming.encode_items() - plain.encode_items()).max() > 1e-4


@pytest.mark.parametrize("logq", ["none", "counts", "streaming"])
@pytest.mark.parametrize("softmax", ["plain", "fused"])
@pytest.mark.parametrize(
    "other",
    [
        {"dedup": True, "mask_own": "all", "mined_negatives": 5, "hardest_negatives": 7, "reward": "rating"},
        {"bank_size": 70, "mined_negatives": 5, "hardest_negatives": 7, "mask_own": "history", "reward": "rating"},
        {"corrected_logq": True, "bank_size": 70, "mined_negatives": 5, "reward": "rating"},
    ],
)
def test_options_go_together(
    board: TrainingData, options: RunOptions, logq: str, other: dict[str, Any], softmax: str
) -> None:
    if "corrected_logq" in other and (logq == "none" or softmax == "fused"):
        pytest.skip("refused, see the contradictions")
    for uniform in (0, 8):
        channel = fitted(board, options, logq=logq, uniform_negatives=uniform, softmax=softmax, epochs=1, **other)
        assert np.isfinite(channel.log.loss).all()


@pytest.mark.parametrize("user_encoder", ["mlp", "transformer"])
@pytest.mark.parametrize("mask_own", ["history", "all"])
def test_every_query_brings_its_own_items_and_reward(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, user_encoder: str, mask_own: str
) -> None:
    events = board.interactions
    rating_of = {
        (user, film): events.rating[at] / 5
        for at, (user, film) in enumerate(zip(events.user_idx.tolist(), events.item_idx.tolist(), strict=True))
    }
    histories = [events.history(user).tolist() for user in range(60)]
    config = {"user_encoder": user_encoder, "mask_own": mask_own, "reward": "rating", "history_length": 3, "epochs": 1}
    calls = seen_by_the_loss(board, options, monkeypatch, **config)
    assert sum(call["n"] for call in calls) == 480
    for call in calls:
        for row, own in enumerate(rows_of_own(call["own_items"])):
            film, reward = int(call["targets"][row]), pytest.approx(call["weight"][row].item())
            fits = [
                user
                for user, history in enumerate(histories)
                if film in history
                and rating_of[user, film] == reward
                and own == (history if mask_own == "all" else history[: history.index(film)][-3:][-len(own) or 99 :])
            ]
            assert fits


def test_mined_films_are_those_retrieved_by_the_vectors_of_the_moment(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    minings: list[tuple[np.ndarray, np.ndarray]] = []
    retrieve = TwoTower._retrieve_by_present_vectors

    def watched(channel: TwoTower, queries: QueryBatch, depth: int, exclude: Exclusions) -> np.ndarray:
        assert channel.network.training
        found = retrieve(channel, queries, depth, exclude)
        scores = channel.encode_queries(queries) @ channel.encode_items().T
        exclude.mask_scores(scores)
        np.testing.assert_array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :depth])
        minings.append((found, channel.encode_items()))
        return found

    monkeypatch.setattr(TwoTower, "_retrieve_by_present_vectors", watched)
    mining = {"mined_negatives": 6, "mined_queries": 5, "mined_depth": 4, "mined_every": 8}
    calls = seen_by_the_loss(board, options, monkeypatch, uniform_negatives=0, epochs=2, **mining)
    assert [len(found) for found, _ in minings] == [5, 5]
    assert np.abs(minings[0][1] - minings[1][1]).max() > 1e-3
    for number, call in enumerate(calls):
        assert len(call["draws"]) == 6
        assert set(call["draws"].tolist()) <= set(minings[number // 8][0].ravel().tolist())


CATALOGUE = {"negatives": "catalogue", "logq": "none", "uniform_negatives": 0}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"streaming_alpha": 0.1}, "need logq = streaming"),
        ({"streaming_hashes": 2, "logq": "none"}, "need logq = streaming"),
        ({"corrected_logq": True, "logq": "none"}, "corrected_logq needs logq"),
        ({"corrected_logq": True, "dedup": True}, "choose one"),
        ({"corrected_logq": True, "mask_accidental_hits": False}, "corrected_logq needs mask_accidental_hits"),
        ({"corrected_logq": True, "mask_own": "history"}, "mask_own"),
        ({"corrected_logq": True, "hardest_negatives": 5}, "hardest_negatives"),
        ({"corrected_logq": True, "softmax": "fused"}, "softmax = fused does not take"),
        ({"dedup": True, "bank_size": 9}, "choose one"),
        ({"bank_warmup_steps": 9}, "needs bank_size"),
        ({"mined_depth": 9}, "need mined_negatives"),
        ({"mined_every": 9}, "need mined_negatives"),
        ({**CATALOGUE, "logq": "counts"}, "set logq = none"),
        ({**CATALOGUE, "uniform_negatives": 9}, "uniform_negatives = 0"),
        ({**CATALOGUE, "bank_size": 9}, "no bank_size"),
        ({**CATALOGUE, "mined_negatives": 9}, "no mined_negatives"),
        ({**CATALOGUE, "dedup": True}, "no dedup"),
        ({**CATALOGUE, "mask_accidental_hits": False}, "no accidental hits"),
        ({"dedup": True, "mask_accidental_hits": False}, "no accidental hits"),
        ({"temperature_bounds": (0.2, 0.4)}, "temperature 0.1 must lie inside temperature_bounds 0.2 … 0.4"),
        ({"temperature_bounds": (0.4, 0.05)}, "must lie inside"),
        ({"temperature_bounds": (0.0, 0.5)}, "temperature_bounds"),
        ({"temperature_bounds": 0.5}, "temperature_bounds"),
        ({"streaming_initial_gap": 0.5, "logq": "streaming"}, "streaming_initial_gap"),
        ({"streaming_alpha": 1.0, "logq": "streaming"}, "streaming_alpha"),
        ({"user_encoder": "transformer", "half_lives": (1.0,)}, "need user_encoder = mlp"),
        ({"user_encoder": "transformer", "user_dropout": 0.1}, "need user_encoder = mlp"),
        ({"user_encoder": "transformer", "embedding_size": 10, "heads": 4}, "10 does not share out among 4 heads"),
        ({"user_encoder": "mlp", "blocks": 3}, "need user_encoder = transformer"),
        ({"user_encoder": "mlp", "dropout": 0.0}, "need user_encoder = transformer"),
    ],
)
def test_contradictions(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TwoTower(wrong)


def test_the_fused_softmax_is_used_and_trains_the_same(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision.cpu_has_bf16", lambda: False)
    plain = fitted(board, options, softmax="plain")
    calls: list[int] = []

    def counted(queries: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        calls.append(len(queries))
        return fused_sampled_softmax(queries, *rest, **more)

    monkeypatch.setattr(objective, "fused_sampled_softmax", counted)
    fused = fitted(board, options, softmax="fused")
    assert calls
    np.testing.assert_allclose(fused.log.loss, plain.log.loss, rtol=1e-4)
    np.testing.assert_allclose(fused.encode_items(), plain.encode_items(), atol=1e-2)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 1}, {"temperature": 0}, {"id_dropout": 1}, {"half_lives": [0]}, {"index": "annoy"}]
)
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TwoTower(wrong)


def test_the_seed_decides(board: TrainingData, options: RunOptions, plain: TwoTower) -> None:
    torch.rand(7)  # whatever happened before
    np.testing.assert_array_equal(fitted(board, options).encode_items(), plain.encode_items())
    other = fitted(board, RunOptions(seed=1, device="cpu", progress=False, threads=1))
    assert np.abs(other.encode_items() - plain.encode_items()).max() > 0.01


# Answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["flat", "brute_force", "ivf", "hnsw", "pq"])
def test_each_index_finds_every_film_at_its_own_row(board: TrainingData, options: RunOptions, index: str) -> None:
    channel = fitted(board, options, index=index)
    assert isinstance(channel.index, INDEXES[index])
    items = channel.encode_items()
    found = channel.index.search(items, 1, Exclusions.nothing(24))
    assert found.item_idx[:, 0].tolist() == list(range(24))
    np.testing.assert_allclose(found.score, 1.0, atol=1e-5)


def test_answers_are_the_inner_products_of_the_towers(board: TrainingData, plain: TwoTower) -> None:
    queries = board.interactions.queries()
    scores = plain.encode_queries(queries) @ plain.encode_items().T
    found = plain.retrieve(queries, 24)
    seen = Exclusions.of_history(queries)
    np.testing.assert_allclose(
        found.score[:, 0], np.where(seen.contains(np.tile(np.arange(24), (60, 1))), -9, scores).max(1), atol=1e-5
    )
    for row in (0, 31):
        n = found.counts[row]
        np.testing.assert_allclose(found.score[row, :n], scores[row, found.item_idx[row, :n]], atol=1e-5)
        assert n == 24 - 8


def test_one_query_is_encoded_as_in_a_batch(board: TrainingData, plain: TwoTower) -> None:
    queries = board.interactions.queries()
    together = plain.encode_queries(queries)
    for row in (0, 17, 59):
        np.testing.assert_allclose(plain.encode_queries(queries.select([row]))[0], together[row], atol=1e-6)


@pytest.mark.parametrize(("user_encoder", "size"), [("mlp", "POOLED_PER_CHUNK"), ("transformer", "WINDOWS_PER_CHUNK")])
def test_queries_are_encoded_in_chunks_each_to_its_own_row(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, user_encoder: str, size: str
) -> None:
    queries = board.interactions.queries()
    fit = fitted(board, options, user_encoder=user_encoder, epochs=1)
    together, seen, inputs = fit.encode_queries(queries), [], TwoTower._inputs
    monkeypatch.setattr(f"recall.two_tower.channel.{size}", 7)
    monkeypatch.setattr(TwoTower, "_inputs", lambda self, part: (seen.append(len(part)), inputs(self, part))[1])
    np.testing.assert_allclose(fit.encode_queries(queries), together, atol=1e-6)
    assert sum(seen) == 60
    assert max(seen) <= 7


def test_strangers_and_empty_histories_are_answered(plain: TwoTower) -> None:
    queries = QueryBatch.from_histories([[], [], [3, 5], []], user_idx=[-1, 4, -1, 999])
    found = plain.retrieve(queries, 24)
    assert found.counts.tolist() == [24, 24, 22, 24]
    assert found.item_idx[0].tolist() == found.item_idx[3].tolist()  # a number beyond the table is a stranger
    assert np.abs(found.score[0] - found.score[1]).max() > 1e-4  # something is known of user 4


def test_only_the_latest_events_are_pooled(plain: TwoTower) -> None:
    # The first two trade places: same genre, so that only the pools could tell.
    one, other = plain.encode_queries(QueryBatch.from_histories([[0, 2, 4, 6, 8, 10], [2, 0, 4, 6, 8, 10]]))
    np.testing.assert_array_equal(one, other)
    recent = plain.encode_queries(QueryBatch.from_histories([[0, 2, 4, 6, 10, 8]]))[0]
    assert np.abs(recent - one).max() > 1e-4


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
        channel = fitted(data, options, epochs=20, id_dropout=id_dropout)
        scores = channel.encode_queries(users) @ channel.encode_items().T
        own = np.where(even[:, None], scores[:, [20, 22]], scores[:, [21, 23]])
        other = np.where(even[:, None], scores[:, [21, 23]], scores[:, [20, 22]])
        return float(own.mean() - other.mean())

    with_dropout, without = told_apart(0.4), told_apart(0.0)
    assert with_dropout > 0.1
    assert with_dropout > without + 0.05
