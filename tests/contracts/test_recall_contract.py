"""The contract of every recall channel, run over every registered class.

A registered channel without an entry in ``CONFIGS`` fails the suite. A variant is named ``channel.variant``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recall import CHANNELS
from recall.base import BaseRecall
from recall.embedding import EmbeddingRecall
from reccore import (
    Candidates,
    ConfigError,
    DataError,
    Exclusions,
    Interactions,
    NotFittedError,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.arrays import offsets_from_lengths
from tests.helpers import FIRST_DAY, nested, training_data
from tests.recall.neural.tiny import last_events
from tests.training.interruption import Killed, stop_after
from training.checkpointing import has_checkpoint

TWO_TOWER: dict[str, Any] = {
    "embedding_size": 8,
    "batch_size": 64,
    "epochs": 25,
    "learning_rate": 0.02,
    "item__hidden_size": 16,
    "encoder__hidden_size": 16,
    "encoder__history_length": 8,
    "negatives__uniform": 16,
}
# Small enough for the checkerboard of 24 films; channels that do not personalise have no colour to recover.
CONFIGS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "popularity.genres": {"genres": {}},
    "itemcf": {"neighbours": 12},
    "itemcf.undecayed": {"neighbours": 12, "pair_half_life": None},
    "usercf": {"neighbours": 10},
    "swing": {"neighbours": 12},
    "markov": {"neighbours": 12},
    "itemcf_prior": {"neighbours": 12, "prior": 0.1},
    "ease": {"reg": 2.0},
    "ease.truncated": {"reg": 2.0, "solver": {"kind": "truncated", "cooccurring": 8}},
    "mf": {"embedding_size": 2, "epochs": 10},
    "rating_mf": {"embedding_size": 2, "epochs": 2},
    "bpr": {"embedding_size": 2, "epochs": 60, "learning_rate": 0.1},
    "word2vec": {"embedding_size": 4, "epochs": 40, "learning_rate": 0.1, "subsample": 0},
    "deepwalk": {"embedding_size": 4, "epochs": 4, "learning_rate": 0.1, "subsample": 0, "walk_length": 12},
    "deepwalk_users": {
        "embedding_size": 4,
        "epochs": 4,
        "learning_rate": 0.1,
        "subsample": 0,
        "walk_length": 12,
        "neighbours": 5,
    },
    "two_tower": nested(TWO_TOWER),
    "two_tower.transformer": nested(TWO_TOWER, encoder__kind="transformer"),
    "two_tower.prior": nested(TWO_TOWER, popularity_prior__default=0.01, item__warm_start={}),
    "gru4rec": nested(TWO_TOWER),
    "dssm": nested(TWO_TOWER),
    "youtube_dnn": nested(TWO_TOWER),
    "simplex": nested({name: value for name, value in TWO_TOWER.items() if name != "encoder__hidden_size"}),
    "gru4rec.layers": nested(TWO_TOWER, encoder__layers=2),
    "mind": nested(TWO_TOWER, encoder__interests=3),
    "mind.one": nested(TWO_TOWER, encoder__interests=1),
    "sasrec": nested(TWO_TOWER),
    "sasrec.time_bias": nested(TWO_TOWER, encoder__time_bias=True, average__decay=0.9),
    "sasrec.ligr": nested(TWO_TOWER, encoder__block="ligr", encoder__positions=False, encoder__position_bias=True),
}
IMPERSONAL = {"popularity"}
EXPLICIT = {"rating_mf"}  # learns from ratings, and those of the checkerboard do not depend on the colour
COUNTED = {"popularity", "itemcf", "itemcf_prior", "usercf", "swing", "markov"}  # fitted on no events as on some
CHECKPOINTED = {name for name in CONFIGS if CHANNELS[name.partition(".")[0]].keeps_checkpoints}
N_ITEMS = 24
QUIET = RunOptions(seed=3, device="cpu", progress=False, threads=1)
REPOSITORY = Path(__file__).resolve().parents[2]


def fresh(name: str, board: TrainingData, options: RunOptions = QUIET) -> BaseRecall:
    return CHANNELS[name.partition(".")[0]](CONFIGS[name]).fit(board, options=options)


@pytest.fixture(scope="module")
def fitted(board: TrainingData) -> dict[str, BaseRecall]:
    """Each registered channel, fitted once and shared; a test that fits makes its own."""
    return {name: fresh(name, board) for name in CONFIGS}


@pytest.fixture(params=list(CONFIGS))
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def channel(variant: str, fitted: dict[str, BaseRecall]) -> BaseRecall:
    return fitted[variant]


@pytest.fixture(scope="module")
def queries(board: TrainingData) -> QueryBatch:
    """All users, then unknown users with short, empty and repeated histories and with unknown items."""
    known = board.interactions.queries()
    extra = [[0, 2, 4], [1, 3], [6], [], [-1, 999], [-1, 0, 2, 999], [0, 0, 2, 0]]
    new = QueryBatch.from_histories(extra)
    flat = np.concatenate([known.history_idx, new.history_idx])
    lengths = np.concatenate([known.lengths, new.lengths])
    return QueryBatch(
        history_offsets=offsets_from_lengths(lengths),
        history_idx=flat,
        user_idx=np.concatenate([known.user_idx, new.user_idx]),
        as_of=np.concatenate([known.as_of, new.as_of]),
    )


def assert_same(left: Candidates, right: Candidates, *, exact: bool = True) -> None:
    np.testing.assert_array_equal(left.item_idx, right.item_idx)
    np.testing.assert_allclose(left.score, right.score, rtol=0 if exact else 1e-5, atol=0 if exact else 1e-6)


def every_item(queries: QueryBatch) -> Candidates:
    """The whole catalogue as candidates of each query."""
    item_idx = np.tile(np.arange(N_ITEMS), (len(queries), 1))
    return Candidates(item_idx, np.zeros(item_idx.shape, dtype=np.float32))


def test_every_registered_channel_has_a_small_config() -> None:
    assert set(CHANNELS) == {name.partition(".")[0] for name in CONFIGS}
    assert set(CONFIGS) >= IMPERSONAL | EXPLICIT


def test_users_of_one_colour_get_items_of_their_colour(variant: str, channel: BaseRecall, board: TrainingData) -> None:
    if variant in IMPERSONAL:
        pytest.skip(f"{variant} offers every user the same list")
    if variant in EXPLICIT:
        pytest.skip(f"{variant} learns from ratings, which have no colour here")
    users = board.interactions.queries()
    found = channel.retrieve(users, 3)
    assert found.mask.all()
    right = found.item_idx % 2 == (users.user_idx % 2)[:, None]
    assert right.mean() > 0.95  # by chance 0.25: each user has seen 8 of the 12 items of their colour
    # The history decides: unknown users with the same histories get as good lists.
    unknown = QueryBatch(users.history_offsets, users.history_idx, np.full(len(users), -1), users.as_of)
    assert (channel.retrieve(unknown, 3).item_idx % 2 == (users.user_idx % 2)[:, None]).mean() > 0.95


def test_rows_are_valid_and_sorted(channel: BaseRecall, queries: QueryBatch) -> None:
    found = channel.retrieve(queries, 7)
    found.validate()
    assert found.item_idx.shape == (len(queries), 7)
    assert found.item_idx.max() < N_ITEMS
    left, right = found.score[:, :-1], found.score[:, 1:]
    assert (left >= right).all()
    tied = (left == right) & found.mask[:, 1:]
    assert (found.item_idx[:, :-1] < found.item_idx[:, 1:])[tied].all()


def test_a_batch_of_one_equals_its_row(channel: BaseRecall, queries: QueryBatch) -> None:
    batch = channel.retrieve(queries, 5)
    for row in [0, 1, 31, *range(60, len(queries))]:
        single = channel.retrieve(queries.select([row]), 5)
        assert_same(single, batch.select(slice(row, row + 1)), exact=False)


def test_a_smaller_k_is_the_beginning_of_a_larger(channel: BaseRecall, queries: QueryBatch) -> None:
    assert_same(channel.retrieve(queries, 3), channel.retrieve(queries, 10).head(3))


def test_the_whole_history_is_excluded_by_default(channel: BaseRecall, queries: QueryBatch) -> None:
    found = channel.retrieve(queries, N_ITEMS)
    for row in range(len(queries)):
        assert not set(found.item_idx[row]) & set(queries.select([row]).history_idx.tolist()) - {-1}


def test_a_long_history_is_excluded_beyond_what_a_model_reads(channel: BaseRecall) -> None:
    long = QueryBatch.from_histories([list(range(N_ITEMS - 2)) + [0, 2] * 300])
    assert set(channel.retrieve(long, N_ITEMS).item_idx[0]) <= {N_ITEMS - 2, N_ITEMS - 1, -1}


def test_given_exclusions_replace_the_history(channel: BaseRecall, queries: QueryBatch) -> None:
    everything = channel.retrieve(queries, N_ITEMS, exclude=Exclusions.nothing(len(queries)))
    everything.validate()
    seen = Exclusions.of_history(queries).contains(everything.item_idx)
    assert seen[:60].any(axis=1).all()  # every known user can be offered something again
    best = everything.item_idx[:, 0]
    without = Exclusions(np.arange(len(queries) + 1), best)
    expected = everything.keep(everything.item_idx != best[:, None])
    assert_same(channel.retrieve(queries, N_ITEMS, exclude=without), expected, exact=False)
    all_items = Exclusions(N_ITEMS * np.arange(len(queries) + 1), np.tile(np.arange(N_ITEMS), len(queries)))
    assert not channel.retrieve(queries, 5, exclude=all_items).mask.any()


def test_k_beyond_the_catalogue(channel: BaseRecall, queries: QueryBatch) -> None:
    found = channel.retrieve(queries, 10 * N_ITEMS)
    assert found.item_idx.shape == (len(queries), N_ITEMS)
    found.validate()
    assert_same(found, channel.retrieve(queries, N_ITEMS))


def test_empty_histories_unknown_items_and_no_queries(channel: BaseRecall) -> None:
    empty = channel.retrieve(QueryBatch.from_histories([[], [-1, 999]]), 5)
    empty.validate()
    assert_same(empty.select(slice(0, 1)), empty.select(slice(1, 2)), exact=False)
    mixed = channel.retrieve(QueryBatch.from_histories([[0, 2, 4], [-1, 0, 2, 999, 4]]), 5)
    assert_same(mixed.select(slice(0, 1)), mixed.select(slice(1, 2)), exact=False)
    assert channel.retrieve(QueryBatch.from_histories([]), 5).item_idx.shape == (0, 5)


def test_a_user_index_beyond_the_table_is_an_unknown_user(channel: BaseRecall) -> None:
    queries = QueryBatch.from_histories([[0, 2, 4], [0, 2, 4]], user_idx=[-1, 10**6])
    found = channel.retrieve(queries, 5)
    assert_same(found.select(slice(0, 1)), found.select(slice(1, 2)), exact=False)


def test_scores_are_those_of_retrieval_and_items_without_one_are_never_offered(
    channel: BaseRecall, queries: QueryBatch
) -> None:
    offered = channel.retrieve(queries, N_ITEMS, exclude=Exclusions.nothing(len(queries)))
    np.testing.assert_array_equal(channel.score(queries, offered), offered.score)
    expected = np.full((len(queries), N_ITEMS), np.nan, dtype=np.float32)
    row, column = np.nonzero(offered.mask)
    expected[row, offered.item_idx[row, column]] = offered.score[row, column]
    np.testing.assert_array_equal(channel.score(queries, every_item(queries)), expected)


def test_scores_follow_the_columns_of_the_candidates(channel: BaseRecall, queries: QueryBatch) -> None:
    asked = Candidates(
        np.tile([5, 0, 23, -1], (len(queries), 1)), np.tile(np.float32([1, 2, 3, -np.inf]), (len(queries), 1))
    )
    found = channel.score(queries, asked)
    assert (found.dtype, found.shape) == (np.float32, (len(queries), 4))
    assert np.isneginf(found[:, 3]).all()
    np.testing.assert_array_equal(
        channel.score(queries, asked.take(np.tile([2, 3, 0], (len(queries), 1)))), found[:, [2, 3, 0]]
    )
    for row in (0, 31, len(queries) - 1):
        single = channel.score(queries.select([row]), asked.select(slice(row, row + 1)))
        np.testing.assert_allclose(single[0], found[row], rtol=1e-5, atol=1e-6)
    assert channel.score(queries, Candidates.empty(len(queries))).shape == (len(queries), 0)
    assert channel.score(QueryBatch.from_histories([]), Candidates.empty(0, 3)).shape == (0, 3)


def test_scores_by_the_latest_events_alone(channel: BaseRecall, queries: QueryBatch) -> None:
    asked = Candidates(np.tile([5, 0, 23, -1], (len(queries), 1)), np.zeros((len(queries), 4), dtype=np.float32))
    found = channel.score_latest(queries, asked, (3, 1, 50))
    assert (found.dtype, found.shape) == (np.float32, (3, len(queries), 4))
    known = queries.known_items_only(N_ITEMS)
    for scores, n in zip(found, (3, 1, 50), strict=True):
        np.testing.assert_allclose(scores, channel.score(known.latest(n), asked), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="rows of candidates"):
        channel.score_latest(queries, Candidates.empty(2, 3), (1,))


def test_prepared_queries_are_not_encoded_again(
    channel: BaseRecall, queries: QueryBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = channel.retrieve(queries, 9)
    scores = channel.score(queries, offered)
    prepared = channel.prepare(queries)

    def encode_again(queries: QueryBatch) -> None:
        raise AssertionError("prepared queries were encoded again")

    monkeypatch.setattr(channel, "_prepare", encode_again)
    for size in (1, 1024):  # in chunks of one query, and all at once
        monkeypatch.setattr("recall.base.MAX_QUERIES_PER_CHUNK", size)
        assert_same(channel.retrieve(queries, 9, prepared=prepared), offered, exact=False)
        np.testing.assert_allclose(channel.score(queries, offered, prepared=prepared), scores, rtol=1e-5, atol=1e-6)


def test_wrong_calls(variant: str, channel: BaseRecall, queries: QueryBatch) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        channel.retrieve(queries, 0)
    with pytest.raises(ValueError, match="rows of exclusions"):
        channel.retrieve(queries, 3, exclude=Exclusions.nothing(1))
    with pytest.raises(ValueError, match="67 queries but 2 prepared rows"):
        channel.retrieve(queries, 3, prepared=channel.prepare(queries.select([0, 1])))
    with pytest.raises(ValueError, match="67 queries but 2 rows of candidates"):
        channel.score(queries, Candidates.empty(2, 3))
    outside = Candidates(np.full((len(queries), 1), N_ITEMS), np.zeros((len(queries), 1), dtype=np.float32))
    with pytest.raises(ValueError, match="candidate index 24 outside the catalogue of 24 items"):
        channel.score(queries, outside)
    unfitted = type(channel)(CONFIGS[variant])
    for call in (
        lambda: unfitted.retrieve(queries, 3),
        lambda: unfitted.prepare(queries),
        lambda: unfitted.score(queries, outside),
    ):
        with pytest.raises(NotFittedError):
            call()


LOAD_AND_RETRIEVE = """
import sys
from pathlib import Path
import numpy as np
from reccore import Candidates, QueryBatch, RunOptions
from recall import CHANNELS
RunOptions(threads=1).apply_threads()
folder = Path(sys.argv[1])
given = np.load(folder / "queries.npz")
queries = QueryBatch(given["offsets"], given["items"], given["users"], given["as_of"])
for path in sorted(path for path in folder.iterdir() if path.is_dir()):
    channel = CHANNELS.load(path)
    found = channel.retrieve(queries, 9)
    every = Candidates(given["every"], np.zeros(given["every"].shape, dtype=np.float32))
    scores = channel.score(queries, every)
    np.savez(folder / f"{path.name}.npz", item_idx=found.item_idx, score=found.score, scores=scores)
    print(path.name, channel.vocabulary.fingerprint)
"""


@pytest.fixture(scope="module")
def answers_of_a_fresh_process(
    fitted: dict[str, BaseRecall], queries: QueryBatch, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """Folder with the bundles and answers of a process that only loads, and the vocabulary of each bundle."""
    folder = tmp_path_factory.mktemp("fresh")
    for name, channel in fitted.items():
        channel.save(folder / name, seed=3)
    np.savez(
        folder / "queries.npz",
        offsets=queries.history_offsets,
        items=queries.history_idx,
        users=queries.user_idx,
        as_of=queries.as_of,
        every=every_item(queries).item_idx,
    )
    ended = subprocess.run(
        [sys.executable, "-c", LOAD_AND_RETRIEVE, str(folder)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return folder, dict(line.split() for line in ended.stdout.splitlines())


def test_a_fresh_process_gives_the_same_answers_after_loading(
    variant: str, channel: BaseRecall, queries: QueryBatch, answers_of_a_fresh_process: tuple[Path, dict[str, str]]
) -> None:
    folder, fingerprints = answers_of_a_fresh_process
    assert fingerprints[variant] == channel.vocabulary.fingerprint
    with np.load(folder / f"{variant}.npz") as found:
        assert_same(Candidates(found["item_idx"], found["score"]), channel.retrieve(queries, 9))
        np.testing.assert_array_equal(found["scores"], channel.score(queries, every_item(queries)))
    files = {file.suffix for file in (folder / variant).rglob("*") if file.is_file()}
    assert files <= {".json", ".npz", ".safetensors", ".faiss", ".arrow"}


def test_the_same_seed_gives_the_same_answers(
    variant: str, channel: BaseRecall, board: TrainingData, queries: QueryBatch
) -> None:
    assert_same(fresh(variant, board).retrieve(queries, 9), channel.retrieve(queries, 9))


def test_fitting_leaves_the_data_unchanged_and_forgets_an_earlier_fit(
    variant: str, channel: BaseRecall, board: TrainingData, queries: QueryBatch
) -> None:
    events = board.interactions
    before = [events.user_offsets.copy(), events.item_idx.copy(), events.rating.copy(), events.timestamp.copy()]
    again = fresh(variant, board)
    again.fit(board, options=QUIET)
    assert_same(again.retrieve(queries, 9), channel.retrieve(queries, 9))
    for old, new in zip(before, [events.user_offsets, events.item_idx, events.rating, events.timestamp], strict=True):
        np.testing.assert_array_equal(new, old)


def test_an_update_takes_in_new_users_and_films(
    variant: str, channel: BaseRecall, board: TrainingData, queries: QueryBatch, tmp_path: Path
) -> None:
    """Two users and two films come later, one of each colour; old indices and the old channel stay as they are."""
    n_users, n_items = board.interactions.n_users + 2, N_ITEMS + 2
    old = board.interactions
    user = np.concatenate([old.user_idx, np.repeat([n_users - 2, n_users - 1], 6), np.arange(20)])
    item = np.concatenate([old.item_idx, np.arange(0, 12, 2), np.arange(1, 13, 2), N_ITEMS + np.arange(20) % 2])
    rating = np.concatenate([np.asarray(old.rating), np.full(32, 4.0, dtype=np.float32)])
    time = np.concatenate([np.asarray(old.timestamp), FIRST_DAY + 90_000 + np.arange(32)])
    events = Interactions.from_events(user, item, n_users=n_users, n_items=n_items, rating=rating, timestamp=time)
    grown = training_data(events, genre_of_item=np.arange(n_items) % 2)
    answers = channel.retrieve(queries, 5)
    updated = channel.update(grown, old, QUIET, memory=tmp_path / "kept")
    assert_same(channel.retrieve(queries, 5), answers)
    assert updated.vocabulary is grown.vocabulary
    assert len(channel.vocabulary.items) == N_ITEMS
    asked = events.queries(np.arange(n_users - 2, n_users))
    found = updated.retrieve(asked, n_items)
    found.validate()
    films = N_ITEMS + np.arange(2)
    scores = updated.score(asked, Candidates(np.tile(films, (2, 1)), np.zeros((2, 2), dtype=np.float32)))
    if variant == "deepwalk_users":  # keeps five neighbours of a film, which need not hold the new one
        return
    for row in range(2):
        assert np.isfinite(scores[row, row])
        assert films[row] in found.item_idx[row]
    if variant.partition(".")[0] not in IMPERSONAL | EXPLICIT:
        assert scores[0, 0] > np.nan_to_num(scores[0, 1], nan=-np.inf)
        assert scores[1, 1] > np.nan_to_num(scores[1, 0], nan=-np.inf)
    updated.save(tmp_path / "updated")
    assert_same(type(updated).load(tmp_path / "updated").retrieve(asked, 5), updated.retrieve(asked, 5), exact=False)


@pytest.mark.parametrize("name", sorted(CHECKPOINTED))
def test_an_interrupted_training_ends_with_the_same_vectors(
    name: str, board: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """420 events are 7 batches an epoch: it ends within the first epoch, and within the second after a resume."""
    data, valid = last_events(board)
    config = {**CONFIGS[name], "batch_size": 64, "epochs": 2}
    kept = replace(QUIET, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, resume=True)

    def fit(options: RunOptions) -> EmbeddingRecall:
        channel = CHANNELS[name.partition(".")[0]](config).fit(data, valid=valid, options=options)
        assert isinstance(channel, EmbeddingRecall)
        return channel

    expected = fit(QUIET)
    for steps in (3, 6):
        with monkeypatch.context() as patched:
            stop_after(patched, steps)
            with pytest.raises(Killed):
                fit(kept)
        assert has_checkpoint(tmp_path / "c")
    with monkeypatch.context() as patched:
        stop_after(patched, 14 - 3 - 6)  # more steps than are left would end it once more
        found = fit(kept)
    np.testing.assert_array_equal(found.encode_items(), expected.encode_items())
    queries = board.interactions.queries()
    np.testing.assert_array_equal(found.encode_queries(queries), expected.encode_queries(queries))
    assert_same(found.retrieve(queries, 9), expected.retrieve(queries, 9))
    assert found.log.loss == expected.log.loss  # type: ignore[attr-defined]


def test_other_channels_write_no_checkpoint(
    variant: str, channel: BaseRecall, board: TrainingData, queries: QueryBatch, tmp_path: Path
) -> None:
    if variant in CHECKPOINTED:
        pytest.skip(f"{variant} writes checkpoints")
    options = replace(QUIET, checkpoint_dir=tmp_path / "c", checkpoint_minutes=1e-9, resume=True)
    assert_same(fresh(variant, board, options).retrieve(queries, 9), channel.retrieve(queries, 9))
    assert not (tmp_path / "c").exists()


def few_events(user: list[int], item: list[int], rating: float | list[float] = 4.0) -> TrainingData:
    """As many users and items as are named, and at least one of each."""
    ratings = np.broadcast_to(np.asarray(rating, dtype=np.float32), len(user)).copy()
    events = Interactions.from_events(
        np.array(user, dtype=np.int64),
        np.array(item, dtype=np.int64),
        n_users=max(user, default=0) + 1,
        n_items=max(item, default=0) + 1,
        rating=ratings,
        timestamp=FIRST_DAY + 60 * np.arange(len(user)),
    )
    return training_data(events, genre_of_item=np.arange(events.n_items) % 2)


EACH_ONE = list(range(6))
ODD_DATA: dict[str, TrainingData] = {
    "no events": few_events([], []),
    "one user": few_events([0] * 6, EACH_ONE),
    "one event": few_events([0], [0]),
    "one item": few_events(EACH_ONE, [0] * 6),
    "one item, twice each": few_events([0, 0, 1, 1], [0] * 4),
    "one event each": few_events(EACH_ONE, EACH_ONE),
    "unknown ratings": few_events(EACH_ONE * 2, [*EACH_ONE, *EACH_ONE[::-1]], [float("nan")] * 12),
    "some unknown ratings": few_events(EACH_ONE * 2, [*EACH_ONE, *EACH_ONE[::-1]], [4.0, float("nan"), 2.0] * 4),
}
WITHOUT_NEIGHBOURS = {"one event", "one item", "one event each"}
REFUSED = {
    "rating_mf": {"no events", "one event", "unknown ratings"},
    "word2vec": {"no events", *WITHOUT_NEIGHBOURS},
}
"""What a channel cannot learn from; the others can learn from any event."""


@pytest.mark.parametrize("case", ODD_DATA)
def test_odd_data_is_learnt_from_or_refused_with_a_sentence(variant: str, case: str, tmp_path: Path) -> None:
    data, name = ODD_DATA[case], variant.partition(".")[0]
    epochs = {"epochs": 1} if "epochs" in CONFIGS[variant] else {}
    channel = CHANNELS[name]({**CONFIGS[variant], **epochs})
    if case in REFUSED.get(name, {"no events"} - ({case} if name in COUNTED else set())):
        with pytest.raises(DataError, match=f"^{name} (needs at least|learns from events next to each other)"):
            channel.fit(data, options=QUIET)
        assert not channel.is_fitted
        return
    channel.fit(data, options=QUIET)
    n_items = data.interactions.n_items
    asked = QueryBatch.from_histories([[], [0], [-1, 0, 999]])
    for queries in (asked, data.interactions.queries()):
        found = channel.retrieve(queries, 10 * n_items, exclude=Exclusions.nothing(len(queries)))
        found.validate()
        assert found.item_idx.shape == (len(queries), n_items)
        np.testing.assert_array_equal(channel.score(queries, found), found.score)
    channel.save(tmp_path / "saved")
    loaded = type(channel).load(tmp_path / "saved")
    assert_same(loaded.retrieve(queries, n_items), channel.retrieve(queries, n_items))


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_an_empty_catalogue_gives_empty_lists(name: str) -> None:
    nothing = training_data(Interactions(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64), 0))
    found = fresh(name, nothing).retrieve(QueryBatch.from_histories([[], [0, 1]]), 3)
    assert found.item_idx.shape == (2, 0)


def test_config(variant: str, channel: BaseRecall) -> None:
    cls = type(channel)
    assert cls(channel.config.model_dump(mode="json")).config == channel.config
    with pytest.raises(ConfigError, match="no_such_option"):
        cls({**CONFIGS[variant], "no_such_option": 1})
