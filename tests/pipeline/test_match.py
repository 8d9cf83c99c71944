"""What the hydrators show a ranker: scores by the latest events alone, and cosines of item vectors."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import Pipeline
from pipeline.builder import assemble
from pipeline.config import PipelineConfig
from pipeline.match import ClosenessHydrator, LatestHydrator, MatchHydrator
from pipeline.stages import Request
from pipeline.weighted_closeness import WeightedClosenessHydrator
from reccore import Candidates, ConfigError, Exclusions, QueryBatch

VECTORS = np.array([[1, 0], [0, 2], [3, 3], [0, 0], [-1, 0]], dtype=np.float32)
HALF = float(np.sqrt(0.5))


@pytest.fixture(scope="module")
def users(pipeline: Pipeline) -> QueryBatch:
    queries: QueryBatch = pipeline.histories.interactions.queries()  # type: ignore[attr-defined]
    return queries


def request_of(queries: QueryBatch) -> Request:
    return Request(queries, 5, Exclusions.of_history(queries))


def candidates_of(item_idx: list[list[int]]) -> Candidates:
    items = np.array(item_idx)
    return Candidates(items, np.where(items >= 0, 1.0, -np.inf).astype(np.float32))


def test_closeness_by_hand() -> None:
    queries = QueryBatch.from_histories([[4, 1, 0], [2], []])
    found = ClosenessHydrator("net", VECTORS, (1, 2, 3)).apply(
        request_of(queries), candidates_of([[2, 1, 3], [0, 4, -1], [0, 1, 2]])
    )
    expected = {
        # Cosines of film 2 with films 0, 1, 4: √½, √½, −√½; of film 1: 0, 1, 0; of film 3, the zero vector: 0.
        "mean1": [[HALF, 0, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
        "max1": [[HALF, 0, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
        "mean2": [[HALF, 0.5, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
        "max2": [[HALF, 1, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
        "mean3": [[HALF / 3, 1 / 3, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
        "max3": [[HALF, 1, 0], [HALF, -HALF, np.nan], [0, 0, 0]],
    }
    assert set(found.features) == {f"match.net.{name}" for name in expected}
    for name, values in expected.items():
        np.testing.assert_allclose(found.features[f"match.net.{name}"], values, atol=1e-6, err_msg=name)


def test_weighted_closeness_by_hand() -> None:
    queries = QueryBatch.from_histories([[4, 1, 0], [2, 1], [1], []], ratings=[[1, np.nan, 5], [3, 4], [np.nan], []])
    hydrator = WeightedClosenessHydrator("net", VECTORS, (1, 3), ("decayed", "rated"))
    item_idx = [[2, 1, 3, -1], [0, 1, 2, 4], [1, -1, -1, -1], [0, -1, -1, -1]]
    found = hydrator.apply(request_of(queries), candidates_of(item_idx))
    one, two, none = 0.5 ** (1 / 5), 0.5 ** (2 / 5), np.nan
    expected = {
        # The first query's films, the latest first: 0, 1 and 4, whose vector is that of 0 turned round.
        "decayed1": [[HALF, 0, 0, none], [0, 1, HALF, 0], [1, none, none, none], [0, none, none, none]],
        "decayed3": [
            [HALF + one * HALF - two * HALF, one, 0, none],
            [one * HALF, 1 + one * HALF, HALF + one, -one * HALF],
            [1, none, none, none],
            [0, none, none, none],
        ],
        # Ratings less their mean: 2, none, −2; then ½ and −½.
        "rated1": [[2 * HALF, 0, 0, none], [0, 0.5, HALF / 2, 0], [none] * 4, [none] * 4],
        "rated3": [
            [(2 * HALF + 2 * HALF) / 2, 0, 0, none],
            [-HALF / 4, (1 - HALF) / 4, (HALF - 1) / 4, HALF / 4],
            [none] * 4,
            [none] * 4,
        ],
    }
    assert set(found.features) == {f"match.net.{name}" for name in expected}
    for name, values in expected.items():
        np.testing.assert_allclose(found.features[f"match.net.{name}"], values, atol=1e-6, err_msg=name)


def test_without_ratings_there_is_no_sum_weighted_by_them() -> None:
    hydrator = WeightedClosenessHydrator("net", VECTORS, (2,), ("rated",))
    found = hydrator.apply(request_of(QueryBatch.from_histories([[0, 1], []])), candidates_of([[2, 1], [0, 1]]))
    assert np.isnan(found.features["match.net.rated2"]).all()


def test_a_ranker_is_shown_the_sums_that_are_asked_for(pipeline: Pipeline, users: QueryBatch) -> None:
    channels = {source.name: source.channel for source in pipeline.sources}
    config = PipelineConfig.parse(
        {"channels": list(channels), "ranker": "deepfm", "latest": [2], "closeness_sums": ["decayed"]}
    ).before_ranking()
    built = assemble(config, channels=channels, ranker=None, items=pipeline.items, histories=pipeline.histories)
    found = built.run(users, 5)[0].features
    assert {name for name in found if "decayed" in name} == {"match.mf.decayed2", "match.two_tower.decayed2"}
    assert not {name for name in found if "rated" in name}
    assert np.isfinite(found["match.mf.decayed2"]).all()
    with pytest.raises(ConfigError, match="closeness_sums are over the events that latest counts"):
        PipelineConfig.parse({"ranker": "deepfm", "latest": [], "closeness_sums": ["rated"]})


def test_closeness_is_the_same_on_one_thread_and_on_several(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4)).astype(np.float32)
    queries = QueryBatch.from_histories([rng.integers(0, 30, size=n).tolist() for n in range(12)])
    candidates = Candidates(rng.permuted(np.tile(np.arange(30), (12, 1)), axis=1)[:, :7], np.zeros((12, 7), np.float32))
    hydrators = (
        ClosenessHydrator("net", vectors, (3,)),
        WeightedClosenessHydrator("net", vectors, (3,), ["decayed"]),
    )
    whole = [hydrator.apply(request_of(queries), candidates).features for hydrator in hydrators]
    monkeypatch.setattr("recall.topk.n_threads", lambda: 3)
    monkeypatch.setattr("recall.topk.ROWS_PER_THREAD", 1)
    for hydrator, expected in zip(hydrators, whole, strict=True):
        parts = hydrator.apply(request_of(queries), candidates).features
        for name, values in expected.items():
            np.testing.assert_allclose(parts[name], values, atol=1e-6)


def test_unknown_items_of_the_history_are_no_events() -> None:
    hydrator = ClosenessHydrator("net", VECTORS, (1,))
    known, mixed = (QueryBatch.from_histories([history]) for history in ([0], [0, -1, 99]))
    ask = candidates_of([[2, 1]])
    np.testing.assert_array_equal(
        hydrator.apply(request_of(mixed), ask).features["match.net.max1"],
        hydrator.apply(request_of(known), ask).features["match.net.max1"],
    )


def test_a_match_by_the_latest_events_is_the_score_of_a_shorter_history(pipeline: Pipeline, users: QueryBatch) -> None:
    itemcf = pipeline.sources[1].channel
    candidates = itemcf.retrieve(users, 12)
    request = request_of(users)
    found = LatestHydrator("itemcf", itemcf, [2]).apply(request, candidates).features["match.itemcf.latest2"]
    short = QueryBatch.from_histories([row[row >= 0].tolist() for row in users.padded(2).item_idx])
    expected = np.nan_to_num(itemcf.score(short, candidates), nan=0.0)
    np.testing.assert_allclose(found[candidates.mask], expected[candidates.mask], rtol=1e-6)
    whole = MatchHydrator("itemcf", itemcf).apply(request, candidates).features["match.itemcf"]
    assert not np.allclose(found[candidates.mask], whole[candidates.mask])


def test_the_short_form_chooses_which_latest_events_count(pipeline: Pipeline, users: QueryBatch) -> None:
    channels = {source.name: source.channel for source in pipeline.sources}

    def matches(**values: object) -> set[str]:
        config = PipelineConfig.parse({"channels": list(channels), "ranker": "deepfm", **values}).before_ranking()
        built = assemble(config, channels=channels, ranker=None, items=pipeline.items, histories=pipeline.histories)
        return {n.removeprefix("match.") for n in built.run(users, 5)[0].features if n.startswith("match.")}

    whole = set(channels)
    assert matches(latest=[]) == whole
    close = {f"{name}.{kind}{n}" for name in ("mf", "two_tower") for kind in ("mean", "max") for n in (2, 5)}
    assert matches(latest=[2, 5]) == whole | close | {"itemcf.latest2", "itemcf.latest5"}


def test_closeness_needs_item_vectors(pipeline: Pipeline) -> None:
    channels = {source.name: source.channel for source in pipeline.sources}
    stages = [
        {"kind": "channel", "name": "itemcf"},
        {"kind": "merge", "fill": None},
        {"kind": "closeness", "channels": ["itemcf"]},
        {"kind": "top"},
    ]
    with pytest.raises(ConfigError, match="'closeness' needs item vectors, and channel 'itemcf' has none"):
        assemble(
            PipelineConfig.parse({"stages": stages}),
            channels=channels,
            ranker=None,
            items=pipeline.items,
            histories=pipeline.histories,
        )
