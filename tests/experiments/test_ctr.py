"""The click-through table: which rows there are, what they know, and what the figures say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

from dataprep.features import item_statistics
from dataprep.prepare import Prepared
from dataprep.protocols import LeaveLastN
from experiments import ctr
from experiments.ctr import CTRDifference, CTRResult, CTRRun, compare_ctr, features_of, impressions, train_model
from ranking.features import FeatureEncoder
from reccore import ConfigError, DataError, Interactions, RunOptions, Workspace
from reccore.arrays import FloatArray
from tests.helpers import rows_of
from tests.helpers import training_data as tables

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
SMALL = {"epochs": 3, "batch_size": 128, "embedding_size": 4, "hidden": [8], "learning_rate": 0.02}


def rated(*lengths: int, seed: int = 0, taste: bool = False, opposite: bool = False) -> Prepared:
    """Users with so many events, all films in order of their number; with ``taste`` they like films of their colour.

    With ``opposite`` they like what they did not like, and the reverse.
    """
    users = np.repeat(np.arange(len(lengths)), lengths)
    rng = np.random.default_rng(seed)
    films = np.concatenate([rng.permutation(max(lengths))[:n] if taste else np.arange(n) for n in lengths])
    likes = films % 2 == users % 2 if taste else films % 3 == 0
    events = Interactions.from_events(
        users,
        films,
        n_users=len(lengths),
        n_items=max(lengths),
        rating=np.where(likes != opposite, 4.0, 3.5).astype(np.float32),
        timestamp=np.arange(len(users)),
    )
    data = tables(events, genre_of_item=np.arange(max(lengths)) % 2)
    source = {"dataset": "board", "fingerprint": "x"}
    items = replace(data.items, statistics=item_statistics(events))
    return Prepared(LeaveLastN(1).split(events), items, data.users, data.vocabulary, source)


def test_the_last_ten_ratings_are_test_and_the_ten_before_choose_the_epoch() -> None:
    data = impressions(rated(24, 20, 14, 10, 3))
    parts = [data.train, data.valid, data.test]
    per_user = [np.bincount(part.samples.queries.user_idx, minlength=5).tolist() for part in parts]
    assert per_user == [[4, 0, 0, 0, 0], [10, 10, 4, 0, 0], [10, 10, 10, 10, 3]]
    first = data.test.samples.candidates.item_idx[:10, 0]
    assert first.tolist() == list(range(14, 24))
    np.testing.assert_array_equal(data.test.labels[:10], first % 3 == 0)  # 4 stars are positive, 3.5 are not


def test_a_row_knows_the_positive_events_before_it_and_nothing_later() -> None:
    data = impressions(rated(24, 13))
    rows = rows_of(data.test.samples.queries)
    films = data.test.samples.candidates.item_idx[:, 0].tolist()
    assert rows == [[film for film in range(last) if film % 3 == 0] for last in films]
    assert rows_of(data.train.samples.queries)[0] == []


def test_no_input_is_counted_over_ratings() -> None:
    """Means and counts of items would hold the labels; with other labels the inputs are the same."""

    def encoded(prepared: Prepared, *more: str) -> list[Tensor]:
        data = impressions(prepared)
        rows = data.train
        encoder = FeatureEncoder.fit(rows.samples, rows.items, rows.users, features=[*features_of(rows), *more])
        inputs = [encoder.encode(part.samples.queries, part.samples.candidates) for part in (rows, data.test)]
        blocks = [encoder.item_block, *(part.query for part in inputs)]
        found = [part for block in blocks for part in (block.categories, *block.bags, *block.labels, block.numbers)]
        return found + [tensor for part in inputs for tensor in (part.item_row, part.pair)]

    prepared, other = rated(24, 20), rated(24, 20, opposite=True)
    assert np.array_equal(impressions(other).test.labels, 1 - impressions(prepared).test.labels)
    assert features_of(impressions(prepared).train) == ["user.id", "user.gender", "item.id", "item.genres"]
    pairs = zip(encoded(prepared), encoded(other), strict=True)
    assert all(torch.equal(one, another) for one, another in pairs)
    leaking = zip(*(encoded(data, "item.mean_rating") for data in (prepared, other)), strict=True)
    assert not all(torch.equal(one, another) for one, another in leaking)


@pytest.fixture(scope="module")
def board() -> Prepared:
    return rated(*[60] * 40, taste=True)


def test_models_learn_the_rows(board: Prepared) -> None:
    data = impressions(board)
    for model in ("deepfm", "din"):
        run = train_model(data, board, model, QUIET, {**SMALL, "epochs": 8})
        assert roc_auc_score(data.test.labels, run.probabilities) > 0.9  # taste is by colour, and half of all films
        again = train_model(data, board, model, QUIET, {**SMALL, "epochs": 8})
        np.testing.assert_array_equal(run.probabilities, again.probabilities)


def test_other_features_may_leave_the_user_out(board: Prepared) -> None:
    run = train_model(impressions(board), board, "lr", QUIET, {"features": ["item.id"], "epochs": 1})
    assert run.epochs == 1


def test_figures_are_those_of_scikit_learn(board: Prepared) -> None:
    rows = impressions(board).test
    rng = np.random.default_rng(0)

    def runs(name: str, noise: float) -> list[CTRRun]:
        values = [np.clip(0.5 + 0.2 * (rows.labels - 0.5) + noise * rng.normal(size=len(rows)), 0.01, 0.99)
                  for _ in range(3)]  # fmt: skip
        return [CTRRun(name, seed, value, 1.0, 1) for seed, value in enumerate(values)]

    good, bad = runs("deepfm", 0.1), runs("fm", 0.3)
    a, b = CTRResult.of(good, rows), CTRResult.of(bad, rows)
    aucs = [roc_auc_score(rows.labels, run.probabilities) for run in good]
    np.testing.assert_allclose(a.aucs, aucs)
    np.testing.assert_allclose(a.losses, [log_loss(rows.labels, run.probabilities) for run in good])
    assert a.auc.mean == pytest.approx(np.mean(aucs))
    assert a.logloss.mean == pytest.approx(a.losses.mean())
    assert a.auc.low < a.auc.mean < a.auc.high
    difference = CTRDifference.between(a, b)
    error = np.sqrt(a.aucs.var(ddof=1) / 3 + b.aucs.var(ddof=1) / 3)
    assert difference.standard_errors == pytest.approx((a.aucs.mean() - b.aucs.mean()) / error)
    assert difference.over_users.excludes_zero
    itself = CTRDifference.between(a, a).over_users
    assert (itself.mean, itself.low, itself.high) == (0.0, 0.0, 0.0)


def test_the_report_holds_every_model_and_the_difference_from_the_baseline(
    board: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace(tmp_path)
    board.save(space.prepared)
    monkeypatch.setattr(ctr, "BASELINES", ("deepfm",))  # as fm and lr
    comparison, path = compare_ctr(space, models=("deepfm", "dcnv2"), seeds=(0, 1), settings=SMALL, options=QUIET)
    assert [result.model for result in comparison.results] == ["deepfm", "dcnv2"]
    assert [(d.a, d.b) for d in comparison.differences] == [("dcnv2", "deepfm")]
    assert comparison.rows == {"train": 1600, "valid": 400, "test": 400}
    text = path.read_text()
    assert "dcnv2 − deepfm" in text
    assert "1,600 train" in text
    assert path.with_suffix(".json").exists()
    one_seed = [replace(result, aucs=result.aucs[:1]) for result in comparison.results]
    text = ctr.summarise("board", impressions(board), (0,), one_seed).markdown()
    assert [line.split("|")[-2].strip() for line in text.splitlines() if "dcnv2 − deepfm" in line] == ["–"]
    assert "nan" not in text


def with_ratings(prepared: Prepared, change: Callable[[FloatArray], FloatArray]) -> Prepared:
    events = prepared.split.interactions
    assert events.rating is not None
    return replace(prepared, split=replace(prepared.split, interactions=replace(events, rating=change(events.rating))))


@pytest.mark.parametrize(
    ("prepared", "said"),
    [
        (
            rated(20, 12, 9, 5),
            "0 of 0 train rows, 5 of 12 validation rows, 11 of 34 test rows; only users with",
        ),
        (with_ratings(rated(30, 30), lambda rating: rating / 5), "0 of 20 train rows, 0 of 20 validation rows"),
        (with_ratings(rated(30, 30), lambda rating: rating + 1), "20 of 20 train rows, .* such as 1 to 5 stars"),
    ],
    ids=["short histories", "a scale of 0 to 1", "all liked"],
)
def test_parts_without_both_classes_are_named(prepared: Prepared, said: str, tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    prepared.save(space.prepared)
    with pytest.raises(DataError, match=f"rated 4 stars or more and rows rated lower; the former are {said}"):
        compare_ctr(space, models=("lr",), seeds=(0,), options=QUIET)


def test_wrong_use_is_named(board: Prepared, tmp_path: Path) -> None:
    space = Workspace(tmp_path)
    board.save(space.prepared)
    with pytest.raises(ConfigError, match="unknown ranking 'nfm'"):
        compare_ctr(space, models=("nfm",), options=QUIET)
    with pytest.raises(ConfigError, match="lambdamart cannot learn here: a row is one film alone"):
        compare_ctr(space, models=("lr", "lambdamart"), options=QUIET)
    with pytest.raises(ConfigError, match="'hiden' is an option of none of deepfm"):
        compare_ctr(space, models=("deepfm",), settings={"hiden": [3]}, options=QUIET)
    with pytest.raises(ConfigError, match=r"loss = 'bpr' cannot work here: a row is one film alone, .* use 'bce'"):
        compare_ctr(space, models=("deepfm",), settings={"loss": "bpr"}, options=QUIET)
    with pytest.raises(ConfigError, match=r"select_by = 'ndcg' cannot work here: .* use 'auc'"):
        compare_ctr(space, models=("deepfm",), settings={"loss": "bce", "select_by": "ndcg"}, options=QUIET)
    with pytest.raises(ConfigError, match="negatives has no effect here, since a row is one film alone; leave it out"):
        compare_ctr(space, models=("deepfm",), settings={"negatives": 4}, options=QUIET)
    with pytest.raises(ConfigError, match=r"calibration has no effect here, since the probabilities .*; leave it out"):
        compare_ctr(space, models=("deepfm",), settings={"calibration": "platt"}, options=QUIET)
    plain = replace(board, split=replace(board.split, interactions=replace(board.split.interactions, rating=None)))
    with pytest.raises(ConfigError, match="needs ratings"):
        impressions(plain)
