"""Results of a comparison of channels: tables, figures and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluation.evaluate import Comparison
from evaluation.plots import plot_accuracy_against
from evaluation.report import (
    EvaluationProtocol,
    comparisons_table,
    markdown_table,
    metric_label,
    without_nan,
    write_text,
)
from evaluation.significance import LEVEL
from experiments.compare_runs import BESIDE, HEADLINE, KS
from experiments.results import RowResult, RunResult
from experiments.tie_audit import TieAudit

Result = RowResult[RunResult]
RECALLS = ("recall@20", "recall@100", "recall@500")
LISTS = (f"coverage@{min(KS)}", f"popularity@{min(KS)}")
NOTE = (
    f"[ ]: {LEVEL:.0%} bootstrap interval over users of the mean over the seeds; ±: standard deviation over "
    "seeds. A channel that learns the same from two seeds draws no random numbers and has one run. Coverage: share of "
    "the catalogue in at least one list. Mean popularity: events of an offered film in the fit split. Fit seconds: one "
    "training in a fresh process, which includes loading compiled code. Peak MB: resident memory of that process, "
    "Python and its libraries included, which popularity needs too. Queries/s: lists of "
    f"{max(KS)} for all users at once. Seconds, MB and queries/s depend on the machine and its load."
)
MIN_SECONDS = 0.01
"""Shortest time on the figure's logarithmic axis; times are kept in hundredths of a second."""


@dataclass(frozen=True, eq=False)
class RecallComparison:
    """Results of all channels on the same users.

    Attributes:
        protocol: data, split and users.
        results: one per channel with at least one run.
        seeds: as given.
        failures: run → error.
        command: shown in the report.
        figures: (caption, file name beside the report) pairs.
        ties: the first run of the best channel under other orders of ties.
    """

    protocol: EvaluationProtocol
    results: Sequence[Result]
    seeds: Sequence[int]
    failures: Mapping[str, str]
    command: str
    figures: Sequence[tuple[str, str]] = field(default=())
    ties: TieAudit | None = None

    @cached_property
    def rows(self) -> list[Result]:
        """Results, the best NDCG@10 first; equal ones by name."""
        return sorted(self.results, key=lambda result: (-result.mean(HEADLINE), result.row.name))

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The best channel − each other one, paired over users."""
        best, *others = self.rows
        return [best.minus(other, HEADLINE, self.protocol.seed) for other in others]

    def table(self) -> str:
        """The Markdown table."""
        header = ["channel", "runs", *map(metric_label, (HEADLINE, BESIDE, *RECALLS, *LISTS))]
        return markdown_table([*header, "fit s", "peak MB", "queries/s"], [self._cells(row) for row in self.rows])

    def _cells(self, result: Result) -> list[str]:
        coverage, popularity = LISTS
        return [
            result.row.name,
            str(len(result.runs)),
            *(result.cell(metric, self.protocol.seed) for metric in (HEADLINE, BESIDE)),
            *(f"{result.mean(metric):.4f}" for metric in RECALLS),
            f"{result.mean(coverage):.1%}",
            f"{result.mean(popularity):,.0f}",
            f"{result.fact('seconds'):,.1f}",
            f"{result.fact('peak_bytes') / 1e6:,.0f}",
            f"{result.fact('queries_per_second'):,.0f}",
        ]

    def about(self) -> str:
        """One line: data, split, users, seeds, machine."""
        runs = [run for result in self.rows for run in result.runs]
        machines = sorted({f"{run.facts['device']}, {run.facts['threads']} threads" for run in runs})
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.protocol.line()} · seeds of training {seeds} · trained on {' and '.join(machines)}"

    def to_markdown(self) -> str:
        """The report for people."""
        lines = ["# Recall channels compared", "", self.about(), ""]
        lines += [self.ties.line(), ""] if self.ties else []
        lines += [self.table(), "", NOTE, ""]
        if self.comparisons:
            lines += ["## Paired differences to the best", "", comparisons_table(self.comparisons), ""]
        commits = sorted({str(run.facts["git_commit"])[:8] for result in self.rows for run in result.runs})
        if len(commits) > 1:
            lines += [f"**The channels were trained by different versions of the code**: {', '.join(commits)}.", ""]
        if self.failures:
            lines += [
                "## What could not be trained",
                "",
                *(f"- {run}: {why}" for run, why in self.failures.items()),
                "",
            ]
        for caption, file in self.figures:
            lines += [f"![{caption}]({file})", ""]
        return "\n".join([*lines, "## How", "", f"```bash\n{self.command}\n```", ""])

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        plain: dict[str, Any] = without_nan(
            {
                "protocol": {**asdict(self.protocol), "interval_level": LEVEL},
                "seeds": list(self.seeds),
                "command": self.command,
                "channels": [self._row_dict(result) for result in self.rows],
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                "failures": dict(self.failures),
                "tie_audit": self.ties.to_dict() if self.ties else None,
            }
        )
        return plain

    def _row_dict(self, result: Result) -> dict[str, Any]:
        first = result.runs[0].evaluation
        metrics: dict[str, dict[str, Any]] = {}
        for name in (*first.metrics, *first.lists):
            metrics[name] = {"mean": result.mean(name), "spread": result.spread(name)}
            metrics[name]["seeds"] = result.per_seed(name).tolist()
        for name in (HEADLINE, BESIDE):
            interval = result.interval(name, self.protocol.seed)
            metrics[name] |= {"low": interval.low, "high": interval.high}
        return {
            "name": result.row.name,
            "model": result.row.model,
            "query_time": result.row.query_time,
            "config": dict(result.row.config),
            "metrics": metrics,
            "unanswered": [run.evaluation.unanswered for run in result.runs],
            "runs": [{"seed": run.run.seed, **run.facts} for run in result.runs],
        }

    def write(self, folder: Path, stem: str) -> Path:
        """Write ``<stem>.md`` and ``<stem>.json``; returns the first."""
        write_text(folder / f"{stem}.md", self.to_markdown())
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(folder / f"{stem}.json", text + "\n")
        return folder / f"{stem}.md"


def draw(results: Sequence[Result], folder: Path, stem: str) -> list[tuple[str, str]]:
    """Draw the two figures; returns their captions and file names."""
    coverage = LISTS[0]
    against = {
        "fit_time": {r.row.name: (max(r.fact("seconds"), MIN_SECONDS), r.mean(HEADLINE)) for r in results},
        "coverage": {r.row.name: (r.mean(coverage), r.mean(HEADLINE)) for r in results},
    }
    labels = {
        "fit_time": ("seconds of one training", "Accuracy against training time"),
        "coverage": (f"share of the catalogue in at least one list of {min(KS)}", "Accuracy against coverage"),
    }
    figures = []
    for name, points in against.items():
        xlabel, title = labels[name]
        path = folder / f"{stem}_{name}.png"
        log_x = name == "fit_time"
        plot_accuracy_against(points, path, xlabel=xlabel, ylabel=metric_label(HEADLINE), title=title, log_x=log_x)
        figures.append((title, path.name))
    return figures
