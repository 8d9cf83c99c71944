"""Features against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ranking.features import FEATURES, FeatureBatch, FeatureEncoder, FeatureTables, Fitted, Schema
from ranking.features.encoder import CLIP, QUERIES_PER_CHUNK
from ranking.features.kernels import centred_and_standard
from ranking.features.recall import matches_of
from reccore import ArtefactError, Candidates, ItemTable, QueryBatch, UserTable
from reccore.arrays import FloatArray
from reccore.buckets import N_BUCKETS
from tests.helpers import FIRST_DAY
from tests.ranking.samples import board_setting, candidates_of, history_batch, labelled

NAN = np.nan
ITEMS = ItemTable(
    n_items=4,
    year=np.array([1990, 2000, 0, 1980]),
    genre_names=("Action", "Drama", "War"),
    genre_offsets=np.array([0, 1, 3, 3, 4]),  # Action | Drama, War | nothing | Drama
    genre_idx=np.array([0, 1, 2, 1]),
    statistics={"count": np.array([0, 1, 3, 7], dtype=np.float32), "mean_rating": np.array([NAN, 4, 3, 5], np.float32)},
)
USERS = UserTable(3, {"gender": np.array([0, 1, -1])}, {"gender": ("F", "M")})


def pair_values(queries: QueryBatch, candidates: Candidates, *names: str, items: ItemTable = ITEMS) -> list[FloatArray]:
    """Values of pair features, such as ``recall.mf.score``, as they are before standardisation."""
    batch = FeatureBatch(FeatureTables(items, USERS), queries, candidates)
    found = []
    for name in names:
        group, member, *what = name.split(".")
        if name in FEATURES:
            found.append(FEATURES[name].compute(batch, Fitted()))
        else:
            found.append(FEATURES[f"{group}.{{channel}}.{what[0]}"].compute(batch, Fitted(member)))
    return found


def test_cross_features_by_hand() -> None:
    queries = history_batch([[3, 3, 3, 0, 0, 1, 0, 0], []])
    candidates = Candidates(
        np.array([[1, 2, 3], [0, -1, -1]]), np.array([[3, 2, 1], [1, -np.inf, -np.inf]], np.float32)
    )
    names = [f"cross.{what}" for what in (
        "genre_match", "genre_match_recent", "year_gap_recent", "age_at_query", "popularity_gap_recent"
    )]  # fmt: skip
    features = dict(zip(names, pair_values(queries, candidates, *names), strict=True))
    # Labels of the history: Drama 3 + 1, Action 4, War 1; of the latest five [0, 0, 1, 0, 0]: Action 4, Drama 1, War 1.
    np.testing.assert_allclose(features["cross.genre_match"], [[5 / 9, 0, 4 / 9], [0, NAN, NAN]], atol=1e-6)
    np.testing.assert_allclose(features["cross.genre_match_recent"], [[2 / 6, 0, 1 / 6], [0, NAN, NAN]], atol=1e-6)
    recent_year = (4 * 1990 + 2000) / 5
    gaps = [[2000 - recent_year, NAN, recent_year - 1980], [NAN] * 3]
    np.testing.assert_allclose(features["cross.year_gap_recent"], gaps)
    as_of = 1970 + (FIRST_DAY + 100 * 86_400) / 31_556_952
    ages = [[as_of - 2000, NAN, as_of - 1980], [as_of - 1990, NAN, NAN]]
    np.testing.assert_allclose(features["cross.age_at_query"], ages, rtol=1e-5)
    recent_count = np.log(2) / 5
    gaps = [[np.log(2) - recent_count, np.log(4) - recent_count, np.log(8) - recent_count], [NAN] * 3]
    np.testing.assert_allclose(features["cross.popularity_gap_recent"], gaps, rtol=1e-5)


def test_recall_features_by_hand() -> None:
    candidates = Candidates(
        np.array([[5, 6, 7, -1]]),
        np.array([[3.0, 2.0, 1.0, -np.inf]], np.float32),
        {
            "recall_rank.mf": np.array([[4.0, NAN, 1.0, NAN]], np.float32),
            "recall_score.mf": np.array([[10.0, NAN, 30.0, NAN]], np.float32),
        },
    )
    expected = {
        "recall.merged.log_rank": [0, -np.log(2), -np.log(3), NAN],
        "recall.merged.score": [np.sqrt(1.5), 0, -np.sqrt(1.5), NAN],
        "recall.mf.missing": [0, 1, 0, NAN],
        "recall.mf.log_rank": [-np.log(4), NAN, 0, NAN],
        "recall.mf.reciprocal_rank": [0.25, NAN, 1, NAN],
        "recall.mf.score": [-1, NAN, 1, NAN],
        "recall.gone.missing": [1, 1, 1, NAN],
        "recall.gone.log_rank": [NAN] * 4,
        "recall.gone.reciprocal_rank": [NAN] * 4,
        "recall.gone.score": [NAN] * 4,
    }
    for name, values in expected.items():
        (found,) = pair_values(history_batch([[]]), candidates, name)
        np.testing.assert_allclose(found, [values], atol=1e-6, err_msg=name)


def test_a_score_of_every_candidate_is_standardised_within_the_row() -> None:
    candidates = Candidates(np.array([[4, 2, 7, -1]]), np.array([[3.0, 2.0, 1.0, -np.inf]], dtype=np.float32))
    scored = candidates.with_features({"match.mf": np.array([[1.0, 2.0, 3.0, np.nan]], dtype=np.float32)})
    (match,) = pair_values(history_batch([[]]), scored, "recall.mf.match")
    np.testing.assert_allclose(match[0, :3], np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5), rtol=1e-6)
    assert np.isnan(match[0, 3])
    tables = FeatureTables(ITEMS, USERS)
    samples = labelled(history_batch([[]]), candidates.item_idx, np.array([0]))
    assert matches_of(samples, tables) == ()
    assert matches_of(replace(samples, candidates=scored), tables) == ("mf",)


def test_recall_features_do_not_depend_on_the_scale_of_scores() -> None:
    candidates = candidates_of(np.arange(12).reshape(2, 6))
    scaled = {name: values * 1000 + 7 if "score" in name else values for name, values in candidates.features.items()}
    whats = ("missing", "log_rank", "reciprocal_rank", "score")
    names = [f"recall.{channel}.{what}" for channel in ("mf", "itemcf") for what in whats]
    one, other = (
        pair_values(history_batch([[], []]), c, *names) for c in (candidates, replace(candidates, features=scaled))
    )
    np.testing.assert_allclose(one, other, atol=1e-3)
    constant = np.full((1, 1, 3), 5.0, np.float32), np.ones((1, 3), bool)
    assert centred_and_standard(*constant)[1].tolist() == [[[0, 0, 0]]]


@pytest.fixture
def encoder() -> FeatureEncoder:
    queries = history_batch([[3, 0], [1], []], users=[0, 1, -1])
    samples = labelled(queries, np.array([[1, 2], [0, 3], [0, 1]]), np.array([0, 1, 0]))
    return FeatureEncoder.fit(samples, ITEMS, USERS, features=["default", "item.id", "user.id"], history_length=2)


def code(encoder: FeatureEncoder, block: object, side: str, name: str) -> list[int]:
    return block.categories[:, encoder.schema.column(name)].tolist()  # type: ignore[attr-defined]


def test_query_block_by_hand(encoder: FeatureEncoder) -> None:
    queries = history_batch([[3, 1], [], [0]], users=[0, 2, 1])
    block = encoder.encode(queries, candidates_of(np.array([[0], [0], [0]]))).query
    assert code(encoder, block, "query", "user.id") == [1, 0, 2]  # user 2 was never trained on: unknown
    assert code(encoder, block, "query", "user.gender") == [1, 0, 2]
    genres = block.bags[0].numpy()  # top genres of [3, 1]: Drama, then War
    np.testing.assert_allclose(genres, [[0, 0.5, 0.5], [0, 0, 0], [1, 0, 0]])
    mean_rating = block.numbers[:, encoder.schema.column("user.mean_rating")].numpy()
    # Training histories rate (3, 4) and (5); their means 3.5 and 5 have mean 4.25 and deviation .75.
    np.testing.assert_allclose(mean_rating, [(3.5 - 4.25) / 0.75, 0, (5 - 4.25) / 0.75], rtol=1e-5)


def test_item_block_by_hand(encoder: FeatureEncoder) -> None:
    block = encoder.item_block
    assert code(encoder, block, "item", "item.id") == [0, 1, 2, 3, 4]
    years = code(encoder, block, "item", "item.year.bucket")
    assert years[0] == years[3] == 0  # no item, no year
    assert 0 < years[4] < years[1] < years[2] <= N_BUCKETS
    np.testing.assert_allclose(block.bags[0].numpy(), [[0, 0, 0], [1, 0, 0], [0, 0.5, 0.5], [0, 0, 0], [0, 1, 0]])
    rating = block.numbers[:, encoder.schema.column("item.mean_rating")].numpy()
    np.testing.assert_allclose(rating, [0, 0, 0, -np.sqrt(1.5), np.sqrt(1.5)], atol=1e-6)


def test_history_is_the_latest_events_oldest_first(encoder: FeatureEncoder) -> None:
    queries = history_batch([[3, 1, 0], [2], []])
    inputs = encoder.encode(queries, Candidates.empty(3, 1))
    assert inputs.history.tolist() == [[2, 1], [3, 0], [0, 0]]
    assert inputs.item_row.tolist() == [[0], [0], [0]]


def test_missing_and_extreme_numbers_stay_bounded(encoder: FeatureEncoder) -> None:
    candidates = candidates_of(np.array([[0, 1, -1]]))
    features = {**candidates.features, "recall_rank.mf": np.array([[1e30, np.inf, NAN]], np.float32)}
    inputs = encoder.encode(history_batch([[2]]), replace(candidates, features=features))
    assert np.isfinite(inputs.pair.numpy()).all()
    assert np.abs(inputs.pair.numpy()).max() <= CLIP
    assert not inputs.pair[0, 2].any()  # padding


def test_training_numbers_are_standardised_and_state_is_of_fixed_length() -> None:
    setting = board_setting()
    encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users)
    pair = encoder.encode(setting.samples.queries, setting.samples.candidates).pair.numpy()
    column = encoder.schema.column("recall.merged.log_rank")
    assert pair[:, :, column].mean() == pytest.approx(0, abs=1e-5)
    assert pair[:, :, column].std() == pytest.approx(1, abs=1e-4)
    tiny = FeatureEncoder.fit(setting.samples.select(np.arange(1)), ItemTable(24), UserTable(60))
    for fitted in (encoder, tiny):
        lengths = {len(state["boundaries"]) for state in fitted.state.values() if "boundaries" in state}
        assert lengths == {N_BUCKETS - 1}


def test_fields_exist_only_for_columns_that_exist() -> None:
    setting = board_setting()
    bare = replace(setting.samples, candidates=replace(setting.samples.candidates, features={}))
    full = FeatureEncoder.fit(setting.samples, setting.items, setting.users).schema
    schema = FeatureEncoder.fit(bare, ItemTable(24), UserTable(60)).schema
    for name in (
        "item.genres",
        "user.top_genres",
        "user.gender",
        "item.log_count",
        "cross.genre_match",
        "recall.mf.score",
    ):
        assert name in full
        assert name not in schema
    assert "recall.merged.log_rank" in schema


def test_chunks_change_nothing() -> None:
    setting = board_setting(n_users=2 * QUERIES_PER_CHUNK + 6)
    encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users, history_length=3)
    whole = encoder.encode(setting.samples.queries, setting.samples.candidates)
    at = np.array([0, QUERIES_PER_CHUNK - 1, QUERIES_PER_CHUNK, 2 * QUERIES_PER_CHUNK + 5])
    part = encoder.encode(setting.samples.queries.select(at), setting.samples.candidates.select(at))
    np.testing.assert_array_equal(part.pair.numpy(), whole.pair.numpy()[at])
    np.testing.assert_array_equal(part.query.numbers.numpy(), whole.query.numbers.numpy()[at])
    np.testing.assert_array_equal(part.history.numpy(), whole.history.numpy()[at])
    tensors = (part.item_row, part.pair, part.history, part.query.categories, part.query.numbers, *part.query.bags)
    assert part.nbytes == sum(tensor.nbytes for tensor in tensors)


def test_schema_round_trip() -> None:
    schema = FeatureEncoder.fit(board_setting().samples, board_setting().items, UserTable(60)).schema
    assert Schema.from_json(schema.to_json()) == schema
    with pytest.raises(ArtefactError, match="not a list of fields"):
        Schema.from_json([{"title": "x"}])
