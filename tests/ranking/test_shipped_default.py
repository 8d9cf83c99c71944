"""The shipped learning rate, weight decay and number of epochs learn a signal between user and item ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.metrics import ndcg_of_scores
from ranking.deepfm import DeepFM
from ranking.layers.fields import INIT_STD
from reccore import IdMap, ItemTable, QueryBatch, RankingSamples, RunOptions, UserTable, Vocabulary
from tests.ranking.samples import labelled

N_USERS, N_ITEMS, K = 60, 40, 20
MARGIN = 0.15
"""In NDCG@10, over the merged order's; a ranker that knows the halves gains some .22."""


def taste_samples(n: int, seed: int) -> RankingSamples:
    """Each user likes the items of one of two hidden halves of the catalogue, and chooses one of those offered.

    Recall's order is random, so that only user id × item id tells what is chosen.
    """
    rng = np.random.default_rng(seed)
    users = rng.integers(0, N_USERS, n)
    item_idx = np.argsort(rng.random((n, N_ITEMS)), axis=1)[:, :K].astype(np.int64)
    own = item_idx % 2 == users[:, None] // 7 % 2
    chosen = np.where(own, rng.random(own.shape), -1.0).argmax(axis=1)
    return labelled(QueryBatch.from_histories([[]] * n, user_idx=users), item_idx, chosen, seed)


def test_the_shipped_default_learns_a_signal_between_ids() -> None:
    train, valid = taste_samples(3000, 1), taste_samples(500, 2)
    tables: Any = {
        "items": ItemTable(N_ITEMS), "users": UserTable(N_USERS),
        "vocabulary": Vocabulary(IdMap(np.arange(N_USERS)), IdMap(np.arange(N_ITEMS))),
    }  # fmt: skip
    options = RunOptions(seed=0, device="cpu", progress=False, threads=1)
    ranker: Any = DeepFM({"features": ["user.id", "item.id", "recall.merged.log_rank"]})
    ranker.fit(train, options=options, **tables)
    labels, items = valid.labels["click"], valid.candidates.item_idx
    own = items % 2 == valid.queries.user_idx[:, None] // 7 % 2
    ranked, merged, oracle = (
        float(ndcg_of_scores(scores, labels, items).mean())
        for scores in (ranker.score(valid.queries, valid.candidates), valid.candidates.score, own.astype(np.float32))
    )
    assert ranked > merged + MARGIN, (merged, ranked, oracle)
    assert ranked <= oracle + 0.03
    network = ranker._network
    n_inputs = network.first.weight.shape[1]
    assert network.first.weight.std() > (3 * n_inputs) ** -0.5, "no smaller than where it started"
    assert network.query.codes.std() > 2 * INIT_STD
    assert network.item.codes.std() > 2 * INIT_STD
