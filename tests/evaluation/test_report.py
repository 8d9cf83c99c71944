"""Reports in Markdown and JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation import report as report_module
from evaluation.evaluate import Evaluation, compare, evaluate_candidates
from evaluation.report import EvaluationProtocol, Report, markdown_table, metrics_table, without_nan, write_text
from reccore import Candidates, ConfigError, Holdout, QueryBatch

KS = (10, 100)


def evaluation(name: str, shift: int, *, ks: tuple[int, ...] = KS) -> Evaluation:
    """Twenty users whose target has rank ``shift`` + 1; one of them gets no answer."""
    targets = np.arange(20)
    item_idx = (targets[:, None] - shift + np.arange(30)) % 40
    item_idx[-1] = -1
    score = np.where(item_idx >= 0, -np.arange(30.0), -np.inf).astype(np.float32)
    holdout = Holdout.single(QueryBatch.from_histories([[]] * 20, user_idx=targets), targets)
    return evaluate_candidates(
        name, Candidates(item_idx, score), holdout, item_counts=np.arange(40), ks=ks, n_resamples=100
    )


def report() -> Report:
    good, poor = evaluation("good", 0), evaluation("poor", 5)
    return Report(
        title="Recall on a toy",
        protocol=EvaluationProtocol("toy", "leave_one_out (test)", users=20, tied_share=0.125, seed=7),
        evaluations=[poor, good],
        comparisons=[compare(good, poor)],
        sections=[("The funnel", "All kept.")],
        figures=[("Recall", "recall.png")],
        facts={"share": math.nan, "depth": np.float64(2.0).item()},
    )


def test_markdown_holds_protocol_tables_and_extras() -> None:
    text = report().to_markdown()
    assert text.startswith("# Recall on a toy\n")
    assert (
        "toy · leave_one_out (test) · 20 users · full catalogue ranked, seen items filtered · 12.5% of targets" in text
    )
    assert "query time not seen · seed 7" in text
    assert "95% bootstrap intervals" in text
    rows = [line for line in text.splitlines() if line.startswith("| good ") or line.startswith("| poor ")]
    assert rows[0].startswith("| good ")  # the best first
    assert "0.9500 [" in rows[0]
    assert "better" in text
    assert "## The funnel\n\nAll kept." in text
    assert "![Recall](recall.png)" in text
    assert "| good   |      20 |          1 |" in text
    assert not re.search(r"\bnan\b", text)


def test_protocol_line_labels_query_time() -> None:
    line = EvaluationProtocol("toy", "s", users=1, seen_filtered=False, query_time=True).line()
    assert "QUERY TIME SEEN (separate leaderboard)" in line
    assert "seen items not filtered" in line
    assert "ties unknown" in line


def test_protocol_line_says_which_targets_nothing_can_find() -> None:
    """Only where there are such targets, and where they cannot be found."""
    plain = EvaluationProtocol("toy", "s", users=1)
    assert (
        "seen items filtered, 12.50% of targets among them, which nothing can find ·"
        in replace(plain, seen_share=0.125).line()
    )
    assert "seen items filtered ·" in plain.line()
    offered = replace(plain, seen_filtered=False)
    assert replace(offered, seen_share=0.125).line() == offered.line()


def test_a_report_states_queries_where_a_user_has_several() -> None:
    single, several = (EvaluationProtocol("toy", "s", 20, queries=queries) for queries in (20, 50))
    assert single.line() == EvaluationProtocol("toy", "s", 20).line()
    assert "· 50 queries of 20 users ·" in several.line()
    texts = [replace(report(), protocol=protocol).to_markdown() for protocol in (single, several)]
    assert "Means over users with 95% bootstrap intervals; best" in texts[0]
    assert "Means over queries with 95% bootstrap intervals over users; best" in texts[1]


def test_json_is_strict_and_complete(tmp_path: Path) -> None:
    markdown, data = report().write(tmp_path / "reports", "recall")
    assert (markdown.name, data.name) == ("recall.md", "recall.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(data.read_text(encoding="utf-8"), parse_constant=refuse)
    assert read["share"] is None
    assert read["protocol"]["seed"] == 7
    assert [e["name"] for e in read["evaluations"]] == ["good", "poor"]
    best = read["evaluations"][0]
    assert best["metrics"]["hit_rate@10"]["mean"] == pytest.approx(0.95)
    assert best["metrics"]["hit_rate@10"]["low"] <= 0.95 <= best["metrics"]["hit_rate@10"]["high"]
    assert (best["queries"], best["unanswered"]) == (20, 1)
    assert read["comparisons"][0]["verdict"] == "better"


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.md"
    write_text(path, "old")

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(report_module.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_headline_shows_only_metrics_of_all_systems() -> None:
    found = Report("t", EvaluationProtocol("toy", "s", 20), [evaluation("a", 0), evaluation("b", 1, ks=(5, 10))])
    text = found.to_markdown(headline=("ndcg@10", "recall@100", "coverage@10"))
    header = next(line for line in text.splitlines() if line.startswith("| system"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["system", "NDCG@10", "Coverage@10"]
    assert "–" in text  # recall@100 of b in the table of every K


def test_metrics_that_are_equal_with_one_target_are_shown_once() -> None:
    text = report().to_markdown()
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert headings == [
        "HitRate, which is Recall too: every query has one target",
        "Precision",
        "NDCG",
        "MRR, which is MAP too: every query has one target",
    ]
    header = next(line for line in text.splitlines() if line.startswith("| system"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["system", "HitRate@10", "NDCG@10", "HitRate@100"]
    assert {"recall@10", "map@10"} <= report().to_dict()["evaluations"][0]["metrics"].keys()


def test_metrics_that_differ_with_several_targets_are_all_shown() -> None:
    holdout = Holdout(QueryBatch.from_histories([[]]), np.array([0, 2]), np.array([1, 2]))
    offered = Candidates(np.array([[1, 3]]), np.array([[2.0, 1.0]], dtype=np.float32))
    found = evaluate_candidates("a", offered, holdout, item_counts=np.arange(4), ks=(1, 2), n_resamples=10)
    text = Report("t", EvaluationProtocol("toy", "s", 1), [found]).to_markdown()
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == ["HitRate", "Recall", "Precision", "NDCG", "MAP", "MRR"]


def test_without_k_of_ten_the_smallest_k_orders() -> None:
    found = report_module.ordered([evaluation("poor", 3, ks=(2, 5)), evaluation("good", 1, ks=(2, 5))])
    assert [e.name for e in found] == ["good", "poor"]
    with pytest.raises(ConfigError, match="at least one evaluation"):
        report_module.ordered([])


def test_the_first_table_holds_what_was_measured_where_the_usual_lengths_were_not() -> None:
    found = [evaluation("a", 0, ks=(20, 50)), evaluation("b", 1, ks=(20, 50))]
    text = Report("t", EvaluationProtocol("toy", "s", 20), found).to_markdown()
    assert "; best NDCG@20 first." in text
    header = next(line for line in text.splitlines() if line.startswith("| system"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == ["system", "HitRate@20", "NDCG@20", "HitRate@50"]


def test_metrics_table_refuses_the_unmeasured() -> None:
    with pytest.raises(ConfigError, match="ndcg@3"):
        metrics_table([evaluation("a", 0)], ["ndcg@3"])


def test_markdown_table_is_aligned_and_escapes_bars() -> None:
    assert markdown_table(["system", "x"], [["a|b", "1"], ["c", "22.5"]]).splitlines() == [
        "| system |    x |",
        "|--------|-----:|",
        "| a\\|b   |    1 |",
        "| c      | 22.5 |",
    ]


def test_without_nan_is_recursive() -> None:
    given = {"a": math.inf, "b": [1.5, math.nan, {"c": (math.nan, 2)}], 3: "x"}
    assert without_nan(given) == {"a": None, "b": [1.5, None, {"c": [None, 2]}], "3": "x"}
