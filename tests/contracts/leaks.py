"""What the tests of leaks share: a small world, the same world changed, and leaks to plant.

Each check changes what must not be known and demands that nothing moves. Each is then run against code with
a leak planted in it, and must fail: a check that cannot see the leak it was written for is worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataprep.features import item_statistics
from dataprep.prepare import Prepared
from dataprep.protocols import SplitProtocol
from dataprep.splits import Split
from recall import CHANNELS
from recall.base import BaseRecall
from reccore import Bundle, Interactions, RunOptions, TrainingData
from reccore.arrays import IntArray, offsets_from_lengths
from tests.helpers import FIRST_DAY, nested, training_data

QUIET = RunOptions(seed=5, device="cpu", progress=False, threads=1)
N_USERS, N_ITEMS = 30, 40
DAY = 86_400
TWO_TOWER = {
    "embedding_size": 8,
    "epochs": 1,
    "item__hidden_size": 8,
    "encoder__hidden_size": 8,
    "encoder__history_length": 6,
    "negatives__uniform": 8,
}
# One epoch: then validation cannot even choose, and a fitted channel must not depend on it at all.
CONFIGS: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": 5},
    "popularity.genres": {"half_life_days": 5, "genres": {}},
    "itemcf": {},
    "usercf": {},
    "swing": {},
    "markov": {},
    "itemcf_prior": {"prior": 0.1},
    "ease": {"reg": 5.0},
    "ease.truncated": {"reg": 5.0, "solver": {"kind": "truncated", "cooccurring": 10}},
    "mf": {"embedding_size": 4, "epochs": 3},
    "rating_mf": {"embedding_size": 4, "epochs": 1},
    "bpr": {"embedding_size": 4, "epochs": 3},
    "word2vec": {"embedding_size": 4, "epochs": 2},
    "deepwalk": {"embedding_size": 4, "epochs": 1, "walks": 2, "walk_length": 6},
    "deepwalk_users": {"embedding_size": 4, "epochs": 1, "walks": 2, "walk_length": 6, "neighbours": 10},
    "two_tower": nested(TWO_TOWER),
    "two_tower.transformer": nested(TWO_TOWER, encoder__kind="transformer"),
    "dssm": nested(TWO_TOWER),
    "youtube_dnn": nested(TWO_TOWER),
    "simplex": nested({name: value for name, value in TWO_TOWER.items() if name != "encoder__hidden_size"}),
    "gru4rec": nested(TWO_TOWER),
    "mind": nested(TWO_TOWER),
    "sasrec": nested(TWO_TOWER, encoder__block="ligr", encoder__position_bias=True, encoder__time_bias=True),
}
Plant = Callable[[pytest.MonkeyPatch], None]


def world() -> Interactions:
    """Users of 12 to 20 different films, rated and dated, over the same hundred days."""
    rng = np.random.default_rng(7)
    lengths = rng.integers(12, 21, N_USERS)
    return Interactions(
        user_offsets=offsets_from_lengths(lengths),
        item_idx=np.concatenate([rng.permutation(N_ITEMS)[:n] for n in lengths]),
        n_items=N_ITEMS,
        rating=rng.integers(1, 6, lengths.sum()).astype(np.float32),
        timestamp=FIRST_DAY + DAY * np.concatenate([np.sort(rng.integers(0, 100, n)) for n in lengths]),
    )


def positions(events: Interactions) -> IntArray:
    """(E,) place of each event within its user's history."""
    return np.arange(events.n_events) - np.repeat(events.user_offsets[:-1], events.lengths)


def changed(events: Interactions, which: np.ndarray) -> Interactions:
    """Other films, other ratings and later times at the given events (E,), which must end their users' histories."""
    return replace(
        events,
        item_idx=np.where(which, (events.item_idx + 7) % N_ITEMS, events.item_idx),
        rating=np.where(which, 6 - events.rating, events.rating),
        timestamp=np.where(which, events.timestamp + 30 * DAY, events.timestamp),
    )


def sensible(condition: bool) -> None:
    """What a check takes for granted. Not an assertion, lest a planted leak be "caught" by a check gone blind."""
    if not condition:
        raise RuntimeError("this check looks at nothing")


def prepared_of(events: Interactions, protocol: SplitProtocol) -> Prepared:
    data = training_data(events, genre_of_item=np.arange(N_ITEMS) % 2)
    items = replace(data.items, statistics={})
    return Prepared(protocol.split(events), items, data.users, data.vocabulary, {"dataset": "world"})


def after(events: Interactions, start: IntArray) -> np.ndarray:
    """(E,) True from the ``start[u]``-th event of each user on."""
    return positions(events) >= np.repeat(start, events.lengths)


def state_of(channel: BaseRecall, folder: Path) -> dict[str, str]:
    """Hashes of everything the channel has learnt."""
    channel.save(folder)
    files = Bundle.open(folder).manifest["files"]
    return {name: digest for name, digest in files.items() if not name.endswith("manifest.json")}


def fitted(name: str, prepared: Prepared) -> BaseRecall:
    channel = CHANNELS[name.partition(".")[0]](CONFIGS[name])
    return channel.fit(prepared.training_data(), valid=prepared.split.valid(), options=QUIET)


def everything_is_fit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Split, "fit", lambda split: split.interactions)


def validation_is_fit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Split, "fit", Split.history)


def statistics_of_everything(patch: pytest.MonkeyPatch) -> None:
    original = Prepared.training_data

    def leaky(prepared: Prepared, interactions: Interactions | None = None) -> TrainingData:
        items = replace(prepared.items, statistics=item_statistics(prepared.split.interactions))
        return replace(original(prepared, interactions), items=items)

    patch.setattr(Prepared, "training_data", leaky)
