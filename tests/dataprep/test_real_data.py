"""The 2018 release ml-latest-small, compared with what pandas and Python read from the same files."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dataprep.preprocess import preprocess, read_report
from tests.dataprep.miniatures import QUIET

SOURCE = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ml-latest-small"

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="ml-latest-small is not beside the project")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "processed"
    report = preprocess(SOURCE, folder, options=QUIET)
    assert read_report(folder) == report
    assert report.rows == {"ratings": 100_836, "movies": 9_742, "links": 9_742, "tags": 3_683}
    assert (report.n_rejected, report.n_users, report.n_items) == (0, 610, 9_724)
    return folder


def test_ratings(out):
    ours, theirs = pq.read_table(out / "ratings.parquet").to_pandas(), pd.read_csv(SOURCE / "ratings.csv")
    assert (np.diff(ours.userId) >= 0).all()
    assert all((np.diff(times) >= 0).all() for _, times in ours.groupby("userId").timestamp)
    ours = ours.sort_values(["userId", "movieId"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(ours.astype(theirs.dtypes), theirs)


def test_ties_are_not_in_the_order_of_ids(out):
    ratings = pq.read_table(out / "ratings.parquet").to_pandas()
    tied = (ratings.userId.diff() == 0) & (ratings.timestamp.diff() == 0)
    rising = (ratings.movieId.diff() > 0)[tied].mean()
    assert 0.48 < rising < 0.52


def test_movies(out):
    ours = pq.read_table(out / "movies.parquet").to_pandas().set_index("movieId")
    with (SOURCE / "movies.csv").open(encoding="utf-8", newline="") as file:
        theirs = {int(row["movieId"]): row for row in csv.DictReader(file)}
    assert list(ours.index) == sorted(theirs)
    for movie, row in theirs.items():
        genres = [] if row["genres"] == "(no genres listed)" else row["genres"].split("|")
        assert ours.genres[movie].tolist() == genres
        plain = re.fullmatch(r"(.*) \((\d{4})\)", row["title"])
        if plain:
            assert (ours.title[movie], ours.year[movie]) == (plain[1].strip(), int(plain[2]))
    assert ours.year.isna().sum() == 12


def test_links_and_tags(out):
    links, theirs = pq.read_table(out / "links.parquet").to_pandas(), pd.read_csv(SOURCE / "links.csv")
    pd.testing.assert_frame_equal(links.astype(theirs.dtypes), theirs)
    tags = pq.read_table(out / "tags.parquet").to_pandas()
    theirs = pd.read_csv(SOURCE / "tags.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(tags.astype({"tag": theirs.tag.dtype}), theirs)
