"""What the loss of a neural channel is given: draws, corrections and positives of every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recall.neural.logq import inclusion_log_q, mixed_log_q
from recall.two_tower import TwoTower
from reccore import Exclusions, QueryBatch, RunOptions, TrainingData
from tests.recall.neural.tiny import TINY, rows_of, seen_by_the_loss


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
    calls = seen_by_the_loss(board, options, monkeypatch, negatives__uniform=3000, epochs=1)
    counts = np.bincount(np.concatenate([call["draws"] for call in calls]), minlength=24)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 24, rtol=0.15)


def test_without_repeats_every_film_is_in_a_batch_once(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    same: dict[str, Any] = {"epochs": 1, "item__id_dropout": 0.0}  # so that both draw as many random numbers
    usually = seen_by_the_loss(board, options, monkeypatch, **same)
    share = torch.from_numpy(board.interactions.item_counts() / 480).float()
    expected = inclusion_log_q(share, 60, 8)
    for call, usual in zip(
        seen_by_the_loss(board, options, monkeypatch, negatives__kind="distinct", **same), usually, strict=True
    ):
        assert call["repeats"] is None
        assert torch.equal(call["item_idx"], usual["item_idx"])  # of the same draws
        assert torch.equal(call["targets"], usual["targets"])
        torch.testing.assert_close(call["log_q"], expected[call["item_idx"]])


def test_the_history_is_hidden_as_the_query_reads_it(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [board.interactions.history(user).tolist() for user in range(60)]
    for call in seen_by_the_loss(board, options, monkeypatch, epochs=1, loss__mask_positives="history"):
        for row, own in enumerate(rows_of(call["positives"])):
            target = int(call["targets"][row])
            before = [
                history[: history.index(target)][-TINY["encoder__history_length"] :]
                for history in histories
                if target in history
            ]
            assert own in before
    assert all(call["positives"] is None for call in seen_by_the_loss(board, options, monkeypatch, epochs=1))


def test_all_items_of_the_user_are_hidden(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [board.interactions.history(user).tolist() for user in range(60)]
    for call in seen_by_the_loss(board, options, monkeypatch, epochs=1, loss__mask_positives="all"):
        assert len(call["positives"].item_idx) == 60 * 8  # slices of the events, which are not copied
        for row, own in enumerate(rows_of(call["positives"])):
            assert own in [history for history in histories if int(call["targets"][row]) in history]


def test_the_streaming_estimate_sees_every_batch_and_corrects_by_it(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = {
        "negatives__logq__kind": "streaming",
        "negatives__logq__initial_gap": 4.0,
        "negatives__logq__warm_up": False,
    }
    calls = seen_by_the_loss(board, options, monkeypatch, **estimate)
    gap, last = np.full(24, 4.0), np.zeros(24)
    for step, call in enumerate(calls, start=1):
        held = np.unique(call["targets"])
        gap[held] = 0.99 * gap[held] + 0.01 * (step - last[held])
        last[held] = step
        share = 1 - (1 - np.minimum(1 / gap, 0.99)) ** (1 / 60)
        expected = np.log((60 * share + 8 / 24) / 68)[call["item_idx"]]
        np.testing.assert_allclose(call["log_q"], expected, rtol=1e-4)


@pytest.mark.parametrize("encoder", ["mlp", "transformer"])
@pytest.mark.parametrize("mask", ["history", "all"])
def test_every_query_brings_its_own_items_and_reward(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, encoder: str, mask: str
) -> None:
    events = board.interactions
    rating_of = {
        (user, film): events.rating[at] / 5
        for at, (user, film) in enumerate(zip(events.user_idx.tolist(), events.item_idx.tolist(), strict=True))
    }
    histories = [events.history(user).tolist() for user in range(60)]
    config: dict[str, Any] = {
        "encoder__kind": encoder,
        "encoder__history_length": 3,
        "loss__mask_positives": mask,
        "reward": "rating",
        "epochs": 1,
    }
    calls = seen_by_the_loss(board, options, monkeypatch, **config)
    assert sum(call["n"] for call in calls) == 480
    for call in calls:
        for row, own in enumerate(rows_of(call["positives"])):
            film, reward = int(call["targets"][row]), pytest.approx(call["weight"][row].item())
            fits = [
                user
                for user, history in enumerate(histories)
                if film in history
                and rating_of[user, film] == reward
                and own == (history if mask == "all" else history[: history.index(film)][-3:][-len(own) or 99 :])
            ]
            assert fits


def test_mined_films_are_those_retrieved_by_the_vectors_of_the_moment(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    minings: list[tuple[np.ndarray, np.ndarray]] = []
    retrieve = TwoTower._retrieve_while_training

    def watched(channel: TwoTower, queries: QueryBatch, depth: int, exclude: Exclusions) -> np.ndarray:
        assert channel.network.training
        found = retrieve(channel, queries, depth, exclude)
        scores = channel.encode_queries(queries) @ channel.encode_items().T
        exclude.mask_scores(scores)
        np.testing.assert_array_equal(found, np.argsort(-scores, axis=1, kind="stable")[:, :depth])
        minings.append((found, channel.encode_items()))
        return found

    monkeypatch.setattr(TwoTower, "_retrieve_while_training", watched)
    mining = {"per_batch": 6, "queries": 5, "depth": 4, "every": 8}
    calls = seen_by_the_loss(board, options, monkeypatch, negatives__uniform=0, negatives__mined=mining, epochs=2)
    assert [len(found) for found, _ in minings] == [5, 5]
    assert np.abs(minings[0][1] - minings[1][1]).max() > 1e-3
    for number, call in enumerate(calls):
        assert len(call["draws"]) == 6
        assert set(call["draws"].tolist()) <= set(minings[number // 8][0].ravel().tolist())
