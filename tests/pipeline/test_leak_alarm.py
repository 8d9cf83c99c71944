"""The leak alarm: silent in an honest run, loud when the training candidates' scores know their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evaluation.pointwise import gauc
from evaluation.significance import Interval
from pipeline.leak_alarm import LeakError, LeakFigures, check_for_leak
from ranking.deepfm import DeepFM
from reccore import Candidates, Holdout, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable
from tests.helpers import checkerboard

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)
N_QUERIES, K, N_ITEMS = 300, 20, 24
CONFIG: dict[str, Any] = {
    "epochs": 6, "batch_size": 32, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4,
    "features": ["recall.*"],
}  # fmt: skip


def samples(seed: int, *, knows_labels: bool) -> tuple[RankingSamples, Holdout]:
    """Lists whose earlier places are more often chosen; the channel's score is noise, or gives the label away."""
    rng = np.random.default_rng(seed)
    item_idx = np.argsort(rng.random((N_QUERIES, N_ITEMS)), axis=1)[:, :K].astype(np.int64)
    place = np.arange(1, K + 1)
    chosen = rng.choice(K, N_QUERIES, p=(1 / place) / (1 / place).sum())
    labels = np.zeros((N_QUERIES, K), dtype=np.float32)
    labels[np.arange(N_QUERIES), chosen] = 1.0
    score = rng.normal(size=(N_QUERIES, K)).astype(np.float32) + (6.0 * labels if knows_labels else 0.0)
    rank = np.argsort(np.argsort(-score, axis=1), axis=1) + 1
    features = {"recall_score.itemcf": score.astype(np.float32), "recall_rank.itemcf": rank.astype(np.float32)}
    merged = np.tile(1.0 / place, (N_QUERIES, 1)).astype(np.float32)
    queries = QueryBatch.from_histories([[int(row[-1])] for row in item_idx], user_idx=np.arange(N_QUERIES) % 60)
    target = item_idx[np.arange(N_QUERIES), chosen]
    return (
        RankingSamples(queries, Candidates(item_idx, merged, features), {"click": labels}),
        Holdout.single(queries, target),
    )


def fitted(train: RankingSamples, stopping: RankingSamples) -> DeepFM:
    data = checkerboard(n_items=N_ITEMS)
    tables: dict[str, Any] = {"items": ItemTable(N_ITEMS), "users": UserTable(60), "vocabulary": data.vocabulary}
    return DeepFM(CONFIG).fit(train, valid=stopping, options=QUIET, **tables)


def run(*, leak: bool) -> Any:
    """Train on a label window with or without the leak; in use no score knows the label."""
    (train, _), (stopping, _) = samples(1, knows_labels=leak), samples(2, knows_labels=leak)
    valid, holdout = samples(3, knows_labels=False)
    ranker = fitted(train, stopping)
    return ranker, stopping, valid, checked(ranker, stopping, valid, holdout)


def checked(ranker: DeepFM, stopping: RankingSamples, valid: RankingSamples, holdout: Holdout) -> LeakFigures | None:
    return check_for_leak(ranker, stopping, valid, ranker.score(valid.queries, valid.candidates), holdout)


def test_an_honest_run_passes_and_the_figures_are_those_of_the_samples() -> None:
    ranker, stopping, valid, figures = run(leak=False)
    assert figures.window == pytest.approx(
        gauc(ranker.score(stopping.queries, stopping.candidates), stopping.labels["click"])
    )
    place = np.tile(-np.arange(K), (N_QUERIES, 1)).astype(np.float32)
    assert figures.use_merged == pytest.approx(gauc(place, valid.labels["click"]))
    assert figures.fall.mean == pytest.approx(figures.window - figures.use)
    assert figures.fall.low < figures.fall.mean < figures.fall.high < 0.1


def test_candidate_scores_that_know_the_labels_raise_the_alarm() -> None:
    with pytest.raises(LeakError, match=r"deepfm seems to know its labels.*without the label window"):
        run(leak=True)


def test_a_high_auc_alone_is_no_alarm() -> None:
    """Scores that know the answer in use too are worth having."""
    (train, _), (stopping, _) = samples(1, knows_labels=True), samples(2, knows_labels=True)
    valid, holdout = samples(3, knows_labels=True)
    figures = checked(fitted(train, stopping), stopping, valid, holdout)
    assert figures is not None
    assert figures.window > 0.98
    assert figures.change.low > 0.0


@pytest.mark.parametrize(
    ("users", "fall", "change", "leaks"),
    [
        (100, (0.09, 0.06, 0.12), (0.01, 0.00, 0.02), True),  # certainly far, and NDCG does not clearly rise
        (100, (0.09, 0.06, 0.12), (0.02, 0.01, 0.03), False),  # events drift, and the ranker helps all the same
        (12, (0.32, 0.16, 0.46), (0.0, 0.0, 0.0), False),  # of a few users an interval proves nothing
        (100, (0.09, 0.03, 0.15), (0.01, 0.00, 0.02), False),  # perhaps chance, and NDCG does not fall
        (100, (0.09, 0.03, 0.15), (-0.02, -0.03, -0.01), True),  # perhaps chance, but NDCG falls
        (100, (0.01, -0.02, 0.04), (-0.02, -0.03, -0.01), False),  # an honest ranker that loses to recall
    ],
)
def test_what_counts_as_a_leak(users: int, fall: tuple[float, ...], change: tuple[float, ...], leaks: bool) -> None:
    assert LeakFigures(0.9, 0.8, 0.8, 0.8, Interval(*fall), users, Interval(*change)).leaks is leaks


def test_without_positives_there_is_nothing_to_compare() -> None:
    (train, _), (stopping, _) = samples(1, knows_labels=False), samples(2, knows_labels=False)
    valid, holdout = samples(3, knows_labels=False)
    nothing = RankingSamples(valid.queries, valid.candidates, {"click": np.zeros_like(valid.labels["click"])})
    assert checked(fitted(train, stopping), stopping, nothing, holdout) is None
