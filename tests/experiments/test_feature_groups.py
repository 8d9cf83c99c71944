"""The rows of ``configs/ranking/ablation``: every one of them, and every name in it, changes what the ranker sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataprep.prepare import Prepared
from experiments.runs import Row
from pipeline import Pipeline
from pipeline.samples import label
from ranking import RANKERS
from ranking.features import FeatureEncoder
from reccore import RankingSamples
from scripts._rows import read_rows
from tests.pipeline.small import before_ranking

FOLDER = Path(__file__).parents[2] / "configs" / "ranking" / "ablation"
ROWS = {row.name: row for row in read_rows(FOLDER, {}, registry=RANKERS)}
BASELINE, ALL_OF_RECALL = "all", "no_recall"
LEFT_OUT = [name for name in ROWS if name != BASELINE]

Seen = Callable[[list[str]], set[str]]


@pytest.fixture(scope="module")
def seen(pipeline: Pipeline, prepared: Prepared) -> Seen:
    """From choices to features, after a channel of the item-to-item family and channels with item vectors."""
    holdout, data = prepared.split.valid(), prepared.training_data()
    items = data.items.with_columns(())  # as a ranker without metadata reads them
    candidates = before_ranking(pipeline, holdout.queries)
    samples = RankingSamples(holdout.queries, candidates, {"click": label(candidates, holdout)[0]})

    def features(choices: list[str]) -> set[str]:
        encoder = FeatureEncoder.fit(samples, items, data.users, features=choices)
        return {field.name for field in encoder.schema.fields}

    return features


def choices_of(row: Row) -> list[str]:
    return list(row.config["features"])


@pytest.mark.parametrize("name", LEFT_OUT)
def test_every_choice_of_a_row_changes_what_the_ranker_sees(name: str, seen: Seen) -> None:
    first, *others = choices_of(ROWS[name])
    found = seen([first, *others])
    assert found < seen(choices_of(ROWS[BASELINE]))
    for choice in others:
        assert seen([first, *(other for other in others if other != choice)]) != found, choice


def test_rows_differ_in_features_alone_and_leave_out_each_of_them(seen: Seen) -> None:
    default = seen(["default"])
    of_rows = {name: seen(choices_of(row)) for name, row in ROWS.items()}
    assert of_rows[BASELINE] == default
    assert len({frozenset(features) for features in of_rows.values()}) == len(ROWS)
    groups = [default - of_rows[name] for name in LEFT_OUT if name.startswith("no_") and name != ALL_OF_RECALL]
    assert set().union(*groups) == default
    others = [{**row.config, "features": None, "model": row.model} for row in ROWS.values()]
    assert all(other == others[0] for other in others)
