"""The sentence on merging in each case, and the section of the recall report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.evaluate import Comparison
from evaluation.overlap import HitOverlap
from evaluation.significance import Interval
from experiments.evaluate_recall import evaluate_recall
from experiments.merge_findings import MergeFindings
from reccore import Workspace

OVERLAP = HitOverlap(("mf",), 10, 4, np.array([[2]]), np.array([2]), 2)


def comparison(b: str, metric: str, low: float, high: float) -> Comparison:
    return Comparison("merged", b, metric, Interval((low + high) / 2, low, high), base=0.5)


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (0.1, 0.3, "Merging pays off on this data: the merged list is above its best channel, mf (NDCG@10 +0.2000"),
        (-0.3, -0.1, "Merging does not pay off on this data: the merged list is below its best channel, mf ("),
        (-0.1, 0.3, "On this data the merged list is not clearly above its best channel, mf ("),
    ],
)
def test_the_case_of_a_data_set(low: float, high: float, start: str) -> None:
    findings = MergeFindings(comparison("mf", "ndcg@10", low, high), [], OVERLAP)
    assert findings.sentence().startswith(start)


def test_recall_is_compared_with_every_channel() -> None:
    recall = [
        comparison("mf", "recall@20", -0.2, -0.1),
        comparison("itemcf", "recall@20", -0.1, 0.1),
        comparison("mf", "recall@100", 0.1, 0.2),
        comparison("itemcf", "recall@100", 0.1, 0.2),
        comparison("mf", "recall@500", 0.1, 0.2),
        comparison("itemcf", "recall@500", 0.1, 0.3),
    ]
    sentence = MergeFindings(comparison("mf", "ndcg@10", 0.1, 0.3), recall, OVERLAP).sentence()
    assert sentence.endswith(
        "[+0.1000, +0.3000], +40.0%). Recall@20: below mf and not clearly different from itemcf. "
        "Recall@100, Recall@500: above every channel."
    )


def test_the_report_holds_the_findings(own: Workspace) -> None:
    measured = evaluate_recall(own, names=["itemcf", "mf", "popularity", "two_tower"])
    merging = json.loads(measured.report.with_suffix(".json").read_text())["merging"]
    by_name = {e.name: e for e in measured.evaluations}
    best = next(e.name for e in measured.evaluations if e.name != "merged")
    assert (merging["against_best"]["b"], merging["against_best"]["metric"]) == (best, "ndcg@10")
    assert [(c["b"], c["metric"]) for c in merging["recall"]] == [
        (e.name, f"recall@{k}") for k in (20, 100, 500) for e in measured.evaluations if e.name != "merged"
    ]
    first = merging["recall"][0]
    expected = by_name["merged"].mean("recall@20") - by_name[best].mean("recall@20")
    assert first["difference"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert merging["overlap"]["k"] == 100
    for name, found in merging["overlap"]["found"].items():
        assert found == pytest.approx(by_name[name].mean("recall@100") * 60)
    assert f"## What merging adds\n\n{merging['sentence']}\n" in measured.report.read_text()
    few = evaluate_recall(own, names=["mf", "popularity"], ks=(5, 15))
    assert few.data["merging"]["overlap"]["k"] == 15
    assert {c["metric"] for c in few.data["merging"]["recall"]} == {"recall@15"}


def test_a_single_channel_has_no_findings(own: Workspace) -> None:
    measured = evaluate_recall(own, names=["mf"])
    assert "merging" not in measured.data
    assert not (own.reports / "recall_overlap.png").exists()
