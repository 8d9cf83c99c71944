"""The synthetic data: exact counts, no repeats, long tails, learnable preferences, the same bytes for a seed."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from dataprep.preprocess import preprocess
from dataprep.synthetic import ML_32M_MOVIES, ML_32M_RATINGS, ML_32M_USERS, SyntheticSize, event_counts, make_synthetic
from reccore.errors import ConfigError, DataError
from reccore.options import RunOptions

SIZE = SyntheticSize(users=1500, movies=2000, ratings=90_001)
OPTIONS = RunOptions(seed=3, progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "raw" / "synthetic"
    rows = make_synthetic(folder, SIZE, OPTIONS)
    return folder, rows, pd.read_csv(folder / "ratings.csv"), pd.read_csv(folder / "movies.csv")


def test_counts_are_exact(made):
    folder, rows, ratings, movies = made
    assert (len(ratings), ratings.userId.nunique(), len(movies)) == (90_001, 1500, 2000)
    assert movies.movieId.is_monotonic_increasing
    assert movies.movieId.is_unique
    assert set(ratings.movieId) <= set(movies.movieId)
    assert len(pd.read_csv(folder / "tags.csv")) == rows["tags"] > 0
    assert len(pd.read_csv(folder / "links.csv")) == 2000


def test_rows_are_as_in_ml_32m(made):
    folder, _, ratings, _ = made
    assert not ratings.duplicated(["userId", "movieId"]).any()
    assert ratings.sort_values(["userId", "movieId"], kind="stable").index.equals(ratings.index)
    assert set(ratings.rating) <= set(np.arange(1, 11) / 2)
    assert ratings.timestamp.between(820_454_400, 1_697_155_200).all()
    first = (folder / "ratings.csv").read_bytes().split(b"\n")
    assert first[0] == b"userId,movieId,rating,timestamp\r"
    assert first[1].split(b",")[2] in {b"%.1f" % (half / 2) for half in range(1, 11)}


def test_users_and_movies_have_long_tails(made):
    _, _, ratings, _ = made
    per_user, per_movie = ratings.userId.value_counts(), ratings.movieId.value_counts()
    assert per_user.max() == SIZE.heaviest == round(33_000 * 2000 / 87_585)
    assert (per_user == per_user.max()).sum() == 1
    assert per_user.min() >= 20
    assert per_user.median() < per_user.mean()
    assert per_movie.head(20).sum() > 0.04 * len(ratings)
    assert per_movie.median() < 0.6 * per_movie.mean()


def test_a_shop_has_short_histories_over_small_clusters(tmp_path):
    folder = tmp_path / "raw" / "synthetic"
    size = SyntheticSize.of_shape("shop", users=3000, movies=2400, ratings=28_000)
    assert make_synthetic(folder, size, OPTIONS)["ratings"] == 28_000
    ratings, movies = pd.read_csv(folder / "ratings.csv"), pd.read_csv(folder / "movies.csv")
    per_user = ratings.userId.value_counts()
    assert per_user.median() < 10
    assert per_user.max() == size.heaviest == 30
    per_item = ratings.movieId.value_counts().reindex(movies.movieId, fill_value=0)
    assert per_item.quantile(0.25) >= 3  # no item is all but unsold
    # A cluster has a dozen items, so the same two items follow each other far more often than by their popularity.
    ordered = ratings.sort_values(["userId", "timestamp", "movieId"])
    shuffled = ordered.assign(movieId=np.random.default_rng(0).permutation(ordered.movieId))
    assert _repeated_pairs(ordered) > 2 * _repeated_pairs(shuffled)


def _repeated_pairs(events):
    """Share of pairs of successive events whose two items follow each other elsewhere too."""
    next_item = events.movieId.shift(-1)[events.userId == events.userId.shift(-1)]
    counts = pd.Series(list(zip(events.movieId.loc[next_item.index], next_item, strict=True))).value_counts()
    return counts[counts > 1].sum() / counts.sum()


def test_the_usual_size_of_a_shape_gives_way_to_given_numbers():
    shop = SyntheticSize.of_shape("shop", users=100)
    assert (shop.users, shop.movies, shop.ratings) == (100, 24_000, 287_000)
    assert SyntheticSize.of_shape("movielens") == SyntheticSize()


def test_neighbours_in_time_share_genres(made):
    """A user's films are similar (preference), and films close in time even more so (change over time)."""
    _, _, ratings, movies = made
    genres = movies.set_index("movieId").genres.str.split("|").map(set)
    ordered = ratings.sort_values(["userId", "timestamp"], kind="stable")
    groups = [genres.loc[events.movieId].tolist() for _, events in ordered.groupby("userId")][:400]

    def overlap(pairs):
        return np.mean([bool(a & b) for a, b in pairs])

    near = overlap([(g[i], g[i + 1]) for g in groups for i in range(len(g) - 1)])
    far = overlap([(g[i], g[-1 - i]) for g in groups for i in range(len(g) // 4)])
    rng = np.random.default_rng(0)
    every = [films for g in groups for films in g]
    chance = overlap([(every[a], every[b]) for a, b in rng.integers(0, len(every), (20_000, 2))])
    assert near > far + 0.02
    assert near > chance + 0.05


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    def digest(seed):
        make_synthetic(tmp_path / "s", SyntheticSize(50, 100, 600), RunOptions(seed=seed, progress=False))
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / "s").iterdir())]

    first = digest(1)
    assert digest(1) == first
    assert digest(2) != first


def test_preprocessing_rejects_no_row(made, tmp_path):
    report = preprocess(made[0], tmp_path / "processed", max_reject_share=0, options=OPTIONS)
    assert report.n_rejected == 0
    assert (report.rows["ratings"], report.n_users) == (90_001, 1500)


def test_full_size_has_the_shape_of_ml_32m():
    counts = event_counts(SyntheticSize(), np.random.default_rng(0))
    assert (len(counts), counts.sum(), counts.max(), counts.min()) == (ML_32M_USERS, ML_32M_RATINGS, 33_000, 20)
    assert SyntheticSize().movies == ML_32M_MOVIES
    assert 50 < np.median(counts) < 100  # ML-32M: 73


@pytest.mark.parametrize(("users", "movies", "ratings"), [(1, 20, 1), (30, 20, 30), (2, 20, 12), (40, 5000, 3000)])
def test_small_sizes(tmp_path, users, movies, ratings):
    make_synthetic(tmp_path / "s", SyntheticSize(users, movies, ratings), OPTIONS)
    table = pd.read_csv(tmp_path / "s" / "ratings.csv")
    assert (len(table), table.userId.nunique()) == (ratings, users)
    assert not table.duplicated(["userId", "movieId"]).any()


@pytest.mark.parametrize(("users", "movies", "ratings"), [(0, 100, 10), (5, 10, 50), (5, 100, 4), (5, 100, 490)])
def test_impossible_sizes(tmp_path, users, movies, ratings):
    with pytest.raises(ConfigError):
        make_synthetic(tmp_path / "s", SyntheticSize(users, movies, ratings), OPTIONS)
    assert not (tmp_path / "s").exists()


def test_a_folder_that_is_not_a_data_set_is_not_replaced(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not a data set"):
        make_synthetic(tmp_path / "s", SyntheticSize(50, 100, 600), OPTIONS)
    assert (tmp_path / "s" / "thesis.txt").exists()
