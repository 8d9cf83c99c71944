"""Lists that another program made, behind the evaluation of our own channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from experiments.evaluate_recall import HEADING, evaluate_recall
from experiments.external_lists import ExternalLists
from recall import CHANNELS
from reccore import ConfigError, DataError, QueryBatch, Vocabulary, Workspace
from reccore.vocabulary import IdMap
from tests.pipeline import small
from tests.pipeline.small import N_USERS, movie_id, user_id

Write = Callable[..., Path]


@pytest.fixture
def space(trained: Workspace, tmp_path: Path) -> Workspace:
    return small.copy_of(trained.root, tmp_path)


def lists_of(space: Workspace, channel: str, k: int = 20) -> pa.Table:
    """What a channel offers for the test queries, as another library would write it: raw ids, one row per film."""
    prepared = Prepared.load(space.prepared)
    queries = prepared.split.test().queries
    offer = CHANNELS.load(space.model(channel)).retrieve(queries, k)
    query, place = np.nonzero(offer.mask)
    return pa.table(
        {
            "user_id": prepared.vocabulary.users.decode(queries.user_idx[query]),
            "item_id": prepared.vocabulary.items.decode(offer.item_idx[query, place]),
            "score": offer.score[query, place],
            "rank": place + 1,
        }
    )


@pytest.mark.parametrize("columns", [["rank"], ["score"], ["score", "rank"]])
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_our_own_lists_from_a_file_get_our_own_figures(
    space: Workspace, tmp_path: Path, columns: list[str], ending: str
) -> None:
    table = lists_of(space, "itemcf").select(["user_id", "item_id", *columns])
    table = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))  # the rows' order says nothing
    path = tmp_path / f"other.{ending}"
    pq.write_table(table, path) if ending == "parquet" else table.to_pandas().to_csv(path, index=False)
    result = evaluate_recall(space, names=["itemcf"], external=[path], ks=(5, 20))
    by_name = {evaluation.name: evaluation for evaluation in result.evaluations}
    assert set(by_name) == {"itemcf", "other"}
    for metric, measured in by_name["itemcf"].metrics.items():
        assert by_name["other"].metrics[metric].mean == measured.mean, metric
    assert result.data["external"][0]["users"] == N_USERS
    assert "| other " in dict(result.sections)[HEADING]


def test_it_is_never_merged_with_our_channels(space: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(lists_of(space, "two_tower"), path)
    names = ["itemcf", "popularity"]
    alone = evaluate_recall(space, names=names, ks=(5,))
    beside = evaluate_recall(space, names=names, external=[path], ks=(5,))
    merged = [{e.name: e for e in result.evaluations}["merged"].mean("ndcg@5") for result in (alone, beside)]
    assert merged[0] == merged[1]


VOCABULARY = Vocabulary(IdMap(np.array([3, 13, 23])), IdMap(np.array([5, 12, 19, 26])))
QUERIES = QueryBatch(
    history_offsets=np.array([0, 1, 1]), history_idx=np.array([2]), user_idx=np.array([0, 2]), as_of=np.array([9, 9])
)  # user 3 has seen film 19; user 13 is not asked about


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def go(text: str, name: str = "lists.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return go


def read(path: Path, **options: bool) -> ExternalLists:
    return ExternalLists.read(path, VOCABULARY, QUERIES, 3, **options)


def test_rows_of_seen_films_and_of_other_users_are_left_out(write: Write) -> None:
    given = read(write("user,item,score\n3,19,9\n3,5,1.5\n3,26,2\n13,5,1\n99,5,1\n"))
    np.testing.assert_array_equal(given.offer.item_idx, [[3, 0, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(given.offer.score, np.float32([[0, -1, -math.inf], 3 * [-math.inf]]))
    facts = given.facts
    assert (facts.name, facts.rows, facts.users, facts.users_without) == ("lists", 5, 1, 1)
    assert (facts.rows_of_others, facts.rows_seen, facts.median_length) == (2, 1, 2)


def test_seen_films_stay_where_they_are_asked_for(write: Write) -> None:
    given = read(write("user,item,rank\n3,19,1\n3,5,2\n"), include_seen=True)
    np.testing.assert_array_equal(given.offer.item_idx[0], [2, 0, -1])


def test_equal_scores_stand_in_the_order_of_ids(write: Write) -> None:
    given = read(write("user,item,score\n23,26,1\n23,12,1\n23,5,1\n23,19,7\n"))
    np.testing.assert_array_equal(given.offer.item_idx[1], [2, 0, 1])


@pytest.mark.filterwarnings("error")
def test_scores_of_any_size_are_ordered_as_they_are_written(write: Write) -> None:
    given = read(write("user,item,score\n23,5,-1e308\n23,19,1e308\n23,26,1.00000000001\n23,12,1.00000000002\n"))
    np.testing.assert_array_equal(given.offer.item_idx[1], [2, 1, 3])
    assert np.isfinite(given.offer.score[1]).all()


def test_ids_may_be_text_that_holds_numbers(write: Write) -> None:
    given = read(write('user,item,rank\n"23","26",1\n"u7","5",1\n'))
    np.testing.assert_array_equal(given.offer.item_idx[1], [3, -1, -1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("user,item\n3,5\n", "neither a column rank nor a column score"),
        ("user,rank\n3,5\n", "no column for the item, such as movieId; its columns are user, rank$"),
        ("user,item,movie,rank\n3,5,5,1\n", "several columns for the item: item, movie; keep one of them"),
        ("user,item,rank\n3,5,1\n3,7,2\n3,8,3\n", r"films that the data do not have, such as 7 \(2 rows\)"),
        ("user,item,rank\n3,5,1\n3,5,2\n", "recommends film 5 to user 3 twice"),
        ("user,item,rank\n3,5,1\n3,12,1\n", "two films of rank 1 for user 3"),
        ("user,item,score\n3,5,nan\n", "row 2: score"),
        ("user,item,score\n3,5,inf\n", "row 2: score"),
        ("user,item,score\n13,5,1\n", "no list for any of the 2 users"),
        ("user,item,score\n", "no rows|no list|holds no"),
    ],
)
def test_what_is_wrong_is_said(write: Write, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(write(text))


def test_a_protocol_that_asks_twice_is_refused(write: Write) -> None:
    twice = QueryBatch(np.array([0, 0, 0]), np.array([], dtype=np.int64), np.array([1, 1]), np.array([8, 9]))
    with pytest.raises(ConfigError, match="asked about several times"):
        ExternalLists.read(write("user,item,rank\n13,5,1\n"), VOCABULARY, twice, 3)


def test_names_that_are_taken_are_refused(space: Workspace, write: Write) -> None:
    row = f"user,item,rank\n{user_id(0)},{movie_id(0)},1\n"
    for paths in ([write(row, "mf.csv")], [write(row, "a.csv"), write(row, "a.csv.gz")]):
        with pytest.raises(ConfigError, match="that name is taken"):
            evaluate_recall(space, names=["mf"], external=paths)


def test_lists_have_no_query_time(space: Workspace, write: Write) -> None:
    path = write(f"user,item,rank\n{user_id(0)},{movie_id(0)},1\n")
    with pytest.raises(ConfigError, match="query_time"):
        evaluate_recall(space, names=["mf"], external=[path], query_time=True)
