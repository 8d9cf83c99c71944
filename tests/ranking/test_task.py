"""Training of rankers: every option changes something, the best state is kept, a resumed training ends the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger
from sklearn.metrics import roc_auc_score

from evaluation.metrics import ndcg_of_scores
from ranking import RANKERS, scoring, task
from ranking.balance import FixedBalanceConfig, LossBalance
from ranking.config import NeuralRankerConfig
from ranking.deepfm import DeepFM
from ranking.losses import LOSSES
from ranking.objective import TrainingObjective
from ranking.sampling import sample_columns, usable_rows
from reccore import DataError, RankingSamples, ResumeError, RunOptions
from tests.ranking.samples import NEURAL, Setting, board_setting, options_of
from training import TrainingError
from training.optimiser import build_optimiser

NAN = float("nan")
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL: dict[str, Any] = {
    "epochs": 4, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4, "negatives": 12,
    "patience": 4, "features": ["default", "user.id"],
}  # fmt: skip


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


def fitted(setting: Setting, *, valid: bool = True, options: RunOptions = QUIET, **changes: Any) -> DeepFM:
    ranker = DeepFM({**SMALL, **changes})
    tables: Any = setting.tables()
    return ranker.fit(setting.samples, valid=setting.valid if valid else None, options=options, **tables)


def test_sampled_columns_hold_every_positive_and_no_negative_twice() -> None:
    labels = torch.zeros(50, 30)
    labels[:, 4] = 1.0
    labels[:25, 9] = 1.0
    labels[:, 20:] = NAN
    columns = sample_columns(labels, 6, torch.Generator().manual_seed(0))
    assert columns.shape == (50, 8)
    assert all(len(set(row)) == 8 for row in columns.tolist())
    taken = labels.gather(1, columns)
    assert (taken == 1).sum(dim=1).tolist() == [2] * 25 + [1] * 25
    assert not torch.isnan(taken).any()
    drawn = torch.zeros(30).scatter_add_(0, columns.flatten(), torch.ones(400))
    assert (drawn[:20] > 0).all(), "every negative has its chance"
    few = sample_columns(torch.tensor([[1.0, 0.0, NAN, NAN]]), 2, torch.Generator().manual_seed(0))
    assert {0, 1} < set(few[0].tolist())  # only one negative there: filled up with an unlabelled column
    assert sample_columns(labels, 30, torch.Generator())[3].tolist() == list(range(30))


def test_queries_without_use_for_the_loss_are_left_out() -> None:
    labels = np.array([[1, 0], [0, 0], [NAN, NAN], [NAN, 1]], dtype=np.float32)
    usable = {name: usable_rows(labels[:, :, None], loss).tolist() for name, loss in LOSSES.items()}
    assert usable == {"softmax": [0, 3], "bce": [0, 1, 3], "bpr": [0]}
    two_tasks = np.stack([labels, labels[[2, 2, 0, 2]]], axis=2)
    assert usable_rows(two_tasks, LOSSES["bpr"]).tolist() == [0, 2]


def test_a_loss_without_a_query_to_learn_from_is_an_error(setting: Setting) -> None:
    ones = replace(setting.samples, labels={"click": np.ones_like(setting.samples.labels["click"])})
    with pytest.raises(DataError, match=f"none of the {len(ones)} training queries has both a positive and a negative"):
        fitted(replace(setting, samples=ones), loss="bpr")


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.01},
        {"epochs": 3},
        {"batch_size": 32},
        {"weight_decay": 30.0},
        {"schedule": "cosine"},
        {"loss": "bce"},
        {"loss": "bpr"},
        {"debias": {"kind": "ipw"}},
        {"debias": {"kind": "bias_tower"}},
        {"negatives": 3},
        {"user_dropout": 0.9},
        {"embedding_size": 3},
        {"hidden": [6, 4]},
        {"dropout": 0.5},
    ],
)
def test_every_option_changes_the_outcome(setting: Setting, change: dict[str, Any]) -> None:
    def outcome(**options: Any) -> np.ndarray:
        ranker = fitted(setting, valid=False, **options)
        return ranker.score(setting.valid.queries, setting.valid.candidates)

    assert not np.allclose(outcome(), outcome(**change), atol=1e-4)


def test_a_ranker_learns_the_labels_of_its_task(setting: Setting) -> None:
    def with_watched(samples: RankingSamples) -> RankingSamples:
        last = np.where(np.isnan(samples.labels["click"]), NAN, 0.0).astype(np.float32)
        last[:, -1] = 1.0
        return replace(samples, labels={**samples.labels, "watch": last})

    both = replace(setting, samples=with_watched(setting.samples), valid=with_watched(setting.valid))
    click, watch = (fitted(both, task=task, epochs=12, patience=12) for task in ("click", "watch"))
    last = [r.score(both.valid.queries, both.valid.candidates).argmax(axis=1) == 11 for r in (click, watch)]
    assert last[0].mean() < 0.2
    assert last[1].mean() > 0.5


def test_patience_stops_and_the_best_state_comes_back(setting: Setting) -> None:
    wild = {"learning_rate": 3.0, "epochs": 12}  # every epoch is worse than what recall gave
    ranker = fitted(setting, patience=2, **wild)
    log = ranker.log
    assert len(log.loss) == log.best_epoch + 2 < 12
    assert len(log.validation) == len(log.loss)
    scores = ranker.score(setting.valid.queries, setting.valid.candidates)
    restored = ndcg_of_scores(scores, setting.valid.labels["click"], setting.valid.candidates.item_idx).mean()
    assert restored == pytest.approx(log.best_validation)
    longer = fitted(setting, patience=3, **wild).log
    assert len(longer.loss) > len(log.loss)


def test_single_candidates_need_auc_to_choose_an_epoch(setting: Setting) -> None:
    """One candidate per query, positive where it is even: NDCG is the same whatever the network does."""

    def single(samples: RankingSamples) -> RankingSamples:
        first = samples.candidates.head(1)
        likes = first.item_idx % 2 == 0
        return RankingSamples(samples.queries, first, {"click": likes.astype(np.float32)})

    rows = replace(setting, samples=single(setting.samples), valid=single(setting.valid))
    options = {"loss": "bce", "epochs": 12, "features": ["item.id"]}
    by_ndcg = fitted(rows, **options).log
    assert (by_ndcg.best_epoch, set(by_ndcg.validation)) == (0, {by_ndcg.untrained})
    ranker = fitted(rows, select_by="auc", patience=12, **options)
    scores = ranker.score(rows.valid.queries, rows.valid.candidates)[:, 0]
    assert ranker.log.best_epoch > 0
    assert ranker.log.best_validation == pytest.approx(roc_auc_score(rows.valid.labels["click"][:, 0], scores))


def test_without_a_negative_no_epoch_is_chosen_by_auc(setting: Setting) -> None:
    nothing = replace(setting.valid, labels={"click": np.where(setting.valid.labels["click"] == 1.0, 1.0, NAN)})
    log = fitted(replace(setting, valid=nothing), select_by="auc").log
    assert (log.validation, log.best_epoch) == ([], 4)


def test_an_untrained_network_keeps_the_order_of_recall(setting: Setting) -> None:
    ranker = fitted(setting, learning_rate=1e-9, epochs=1)
    scores = ranker.score(setting.valid.queries, setting.valid.candidates)
    assert (np.diff(scores, axis=1) < 0).mean() > 0.95
    np.testing.assert_allclose(scores[:, 0] - scores[:, 1], np.log(2), atol=0.05)  # the untrained deep part is noise


def test_without_validation_all_epochs_run(setting: Setting) -> None:
    log = fitted(setting, valid=False, patience=1).log
    assert (len(log.loss), log.best_epoch, log.untrained, log.validation) == (4, 4, None, [])


def test_validation_without_a_positive_chooses_nothing(setting: Setting) -> None:
    labels = np.where(np.isnan(setting.valid.labels["click"]), NAN, 0.0).astype(np.float32)
    blind = replace(setting, valid=replace(setting.valid, labels={"click": labels}))
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    try:
        log = fitted(blind, patience=1).log
    finally:
        logger.remove(sink)
    assert (len(log.loss), log.best_epoch, log.untrained, log.validation) == (4, 4, None, [])
    assert "none of the 60 validation queries has a positive" in "".join(said)


def test_candidates_without_a_label_take_no_place_in_the_stopping_metric(setting: Setting) -> None:
    """The untrained network keeps the order of recall: the target is at place 6, and the first 4 have no label."""
    labels = np.zeros_like(setting.valid.labels["click"])
    labels[:, :4], labels[:, 5] = NAN, 1.0
    log = fitted(replace(setting, valid=replace(setting.valid, labels={"click": labels})), epochs=1).log
    assert log.untrained == pytest.approx(1 / np.log2(3))  # behind one labelled candidate


def test_a_ranker_that_learnt_nothing_says_so(setting: Setting) -> None:
    labels = np.zeros_like(setting.valid.labels["click"])
    labels[:, 0] = 1.0  # the merged order cannot be bettered
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    try:
        log = fitted(replace(setting, valid=replace(setting.valid, labels={"click": labels})), epochs=1).log
    finally:
        logger.remove(sink)
    assert log.best_epoch == 0
    assert log.untrained == log.best_validation
    assert "deepfm: no epoch was better on validation than the merged order" in "".join(said)


def test_a_loss_that_is_no_number_names_the_batch(setting: Setting) -> None:
    weight = np.ones(len(setting.samples), dtype=np.float32)
    weight[:] = np.nan
    broken = replace(setting, samples=replace(setting.samples, weight=weight))
    message = r"the loss became nan in epoch 1, batch 1 of 4; a lower learning_rate .* The batch: training queries \["
    with pytest.raises(TrainingError, match=message):
        fitted(broken)


def test_query_weights_count(setting: Setting) -> None:
    weight = np.linspace(0.01, 5, len(setting.samples)).astype(np.float32)
    weighted = replace(setting, samples=replace(setting.samples, weight=weight))
    one, other = (
        fitted(s, valid=False).score(setting.valid.queries, setting.valid.candidates) for s in (setting, weighted)
    )
    assert not np.allclose(one, other, atol=1e-4)


def test_encoding_batch_by_batch_trains_the_same_model(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = fitted(setting).score(setting.valid.queries, setting.valid.candidates)
    monkeypatch.setattr(task, "MAX_ENCODED_BYTES", 0)
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 1)  # one query a chunk
    in_batches = fitted(setting).score(setting.valid.queries, setting.valid.candidates)
    np.testing.assert_allclose(in_batches, at_once, atol=1e-4)


def test_training_leaves_the_random_state_of_the_process_alone(setting: Setting) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted(setting, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_hidden_users_train_the_unknown_user(setting: Setting) -> None:
    def unknown(share: float) -> float:
        network: Any = fitted(setting, valid=False, user_dropout=share)._network
        return float(network.query.codes[0].detach().abs().sum())  # code 0 of the first field, user.id

    assert unknown(0.0) == 0.0
    assert unknown(0.5) > 0.0


def test_decay_is_decoupled_and_reaches_tables_of_categories_alone(setting: Setting) -> None:
    network: Any = fitted(setting, epochs=1)._network
    objective = TrainingObjective(network, LOSSES["softmax"], LossBalance(["click"], FixedBalanceConfig()), None)
    objective.exempt_from_decay()
    optimiser = build_optimiser(objective, NeuralRankerConfig(weight_decay=0.1, learning_rate=0.5))
    before = {name: values.detach().clone() for name, values in network.named_parameters()}
    for values in network.parameters():
        values.grad = torch.zeros_like(values)
    optimiser.step()
    # Loshchilov & Hutter: w ← w − lr·λ·w beside Adam's step, which is 0 without a gradient (coupled decay takes one).
    shrunk = {name for name, values in network.named_parameters() if not torch.equal(values, before[name])}
    tables = {name for name in before if name.rsplit(".")[-1] == "codes" or ".bags." in name or ".labels." in name}
    assert shrunk == {name for name in tables if before[name].any()}
    assert {"query.codes", "item.codes", "item.bags.0", "linear.item.codes"} <= shrunk
    for name in shrunk:
        torch.testing.assert_close(dict(network.named_parameters())[name], before[name] * (1 - 0.5 * 0.1))


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise ``Killed`` instead of step number ``step`` of this process, from 1."""
    loss, done = task.RankingTask.loss, 0

    def counted(self: task.RankingTask, batch: Any) -> Any:
        nonlocal done
        done += 1
        if done == step:
            raise Killed
        return loss(self, batch)

    monkeypatch.setattr(task.RankingTask, "loss", counted)


@pytest.mark.parametrize("model", NEURAL)
def test_a_break_anywhere_changes_nothing(
    setting: Setting, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks within an epoch, at its end, and right after a resume; dropout, negatives and hidden ids are drawn."""
    small = options_of(model, {**SMALL, "hidden": [8, 4], "negatives": 4, "dropout": 0.3})
    tables: Any = setting.tables()

    def fit(options: RunOptions) -> Any:
        ranker = RANKERS[model](small)
        return ranker.fit(setting.samples, valid=setting.valid, options=options, **tables)

    expected = fit(QUIET)
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, log_dir=tmp_path / "runs")
    for resume, step in ((False, 3), (True, 4), (True, 2), (True, 1)):  # after 2, 5, 6 and 6 of 16 steps
        with monkeypatch.context() as patched:
            kill_at(patched, step)
            with pytest.raises(Killed):
                fit(replace(kept, resume=resume))
    found = fit(replace(kept, resume=True))
    assert (found.log.loss, found.log.validation) == (expected.log.loss, expected.log.validation)
    assert (found.log.untrained, found.log.best_epoch) == (expected.log.untrained, expected.log.best_epoch)
    weights = expected._network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in found._network.state_dict().items())
    assert list((tmp_path / "runs").rglob("events.out.tfevents.*"))
    other = replace(setting, samples=replace(setting.samples, weight=np.ones(60, dtype=np.float32)))
    with pytest.raises(ResumeError, match="samples was"):
        RANKERS[model](small).fit(other.samples, valid=other.valid, options=replace(kept, resume=True), **tables)
