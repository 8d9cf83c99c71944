"""Results of an ablation: the table and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.evaluate import Comparison
from evaluation.report import markdown_table, metric_label, population, without_nan
from evaluation.significance import LEVEL, n_users
from experiments.ablation_runs import BESIDE, HEADLINE, KS, AblationResult, Job
from experiments.results import RowResult
from experiments.tie_audit import TieAudit

NOTE = (
    f"The difference is that of {metric_label(HEADLINE)} to the baseline, of the mean over the seeds, with "
    f"its {LEVEL:.0%} interval from a paired bootstrap over users; ± is the standard deviation over seeds. "
    "“Seeds overlap” where a seed of the worse of the two does better than one of the other. Minutes are those of "
    "one training. Mean popularity: events of an offered film in the fit split."
)


@dataclass(frozen=True, eq=False)
class Ablation:
    """Results of all rows, the baseline first.

    Attributes:
        job: what the runs share.
        label: protocol and split, such as ``leave_one_out (valid)``.
        rows: results; the first is the baseline.
        seeds: of the runs.
        failures: run → error of its training; rows with an error are not among ``rows``.
        command: shown in the report.
        figures: (caption, file name beside the report) pairs.
        ties: the baseline under other orders of tied events.
    """

    job: Job
    label: str
    rows: Sequence[RowResult[AblationResult]]
    seeds: Sequence[int]
    failures: Mapping[str, str]
    command: str
    figures: Sequence[tuple[str, str]] = field(default=())
    ties: TieAudit | None = None

    @property
    def baseline(self) -> RowResult[AblationResult]:
        return self.rows[0]

    def comparison(self, result: RowResult[AblationResult], metric: str = HEADLINE) -> Comparison:
        """Row − baseline, paired over users."""
        return result.minus(self.baseline, metric, self.job.options.seed)

    def verdict(self, result: RowResult[AblationResult]) -> str:
        """Whether the row is better or worse than the baseline, in words."""
        words = self.comparison(result).verdict
        better, worse = result.per_seed(HEADLINE), self.baseline.per_seed(HEADLINE)
        if words == "worse":
            better, worse = worse, better
        clear = words in ("better", "worse")
        return f"{words}, but seeds overlap" if clear and worse.max() >= better.min() else words

    def change(self, result: RowResult[AblationResult]) -> str:
        """Options that differ from the baseline's, by their dotted names."""
        row, base = result.row, self.baseline.row
        if result is self.baseline:
            return "(baseline)"
        if row.model != base.model:
            return f"model = {row.model}"
        before = _dotted(base.config)
        changed = [f"{key} = {value}" for key, value in _dotted(row.config).items() if value != before.get(key)]
        return ", ".join(changed) or "nothing"

    def table(self) -> str:
        """The Markdown table."""
        cells = [self._cells(result) for result in self.rows]
        return markdown_table(
            [
                "row",
                "change",
                metric_label(BESIDE),
                metric_label(HEADLINE),
                "difference",
                "relative",
                metric_label(f"coverage@{min(KS)}"),
                metric_label(f"popularity@{min(KS)}"),
                "minutes",
                "verdict",
            ],
            cells,
        )

    def _cells(self, result: RowResult[AblationResult]) -> list[str]:
        spread = result.spread(HEADLINE)
        difference, relative, verdict = "–", "–", "–"
        if result is not self.baseline:
            comparison = self.comparison(result)
            d = comparison.difference
            difference, verdict = f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]", self.verdict(result)
            relative = "–" if np.isnan(comparison.relative) else f"{comparison.relative:+.1%}"
        return [
            result.row.name,
            self.change(result),
            f"{result.mean(BESIDE):.4f}",
            f"{result.mean(HEADLINE):.4f}" + ("" if spread is None else f" ± {spread:.4f}"),
            difference,
            relative,
            f"{result.mean(f'coverage@{min(KS)}'):.1%}",
            f"{result.mean(f'popularity@{min(KS)}'):,.0f}",
            f"{result.minutes:.1f}",
            verdict,
        ]

    def about(self) -> str:
        """One line: data, split, users, what was ranked, seeds, machine."""
        runs = [run for result in self.rows for run in result.runs]
        tied = runs[0].evaluation.tied_share
        machines = sorted({f"{run.facts['device']}, {_many(run.facts['threads'], 'thread')}" for run in runs})
        return " · ".join(
            [
                str(self.job.prepared.source["dataset"]),
                self.label,
                population(self._users, len(self.job.holdout)),
                "full catalogue ranked, seen items filtered",
                "ties unknown" if tied is None else f"{tied:.1%} of targets tied in time",
                self.query_time(),
                f"{'seeds' if len(self.seeds) > 1 else 'seed'} {', '.join(map(str, self.seeds))}",
                f"trained on {' and '.join(machines)}",
            ]
        )

    @property
    def _users(self) -> int:
        return n_users(self.job.holdout.queries.user_idx)

    def query_time(self) -> str:
        """Which rows read the time of the event to predict, for ``about``."""
        readers = [result.row.name for result in self.rows if result.row.query_time]
        if not readers:
            return "query time not seen"
        return f"QUERY TIME SEEN by {', '.join(readers)} (separate leaderboard: the value of that time)"

    def to_markdown(self) -> str:
        """The report for people."""
        others = len(self.rows) - 1
        lines = ["# Ablation", "", self.about(), ""]
        lines += [self.ties.line(), ""] if self.ties else []
        lines += [self.table(), "", NOTE]
        if others:
            expected = f"{others * (1 - LEVEL):.1f}"
            lines[-1] += f" Of {_many(others, 'difference')} without any effect, {expected} would look clear by chance."
        commits = sorted({str(run.facts["git_commit"])[:8] for result in self.rows for run in result.runs})
        if len(commits) > 1:
            lines += ["", f"**The rows were trained by different versions of the code**: {', '.join(commits)}."]
        if self.failures:
            lines += ["", "## What could not be trained", ""]
            lines += [f"- {run}: {why}" for run, why in self.failures.items()]
        for caption, file in self.figures:
            lines += ["", f"![{caption}]({file})"]
        lines += ["", "## How", "", f"```bash\n{self.command}\n```", "", "The baseline:", "", "```toml"]
        base = self.baseline.row
        lines += [f"{key} = {value}" for key, value in _dotted({"model": base.model, **base.config}).items()]
        return "\n".join([*lines, "```", ""])

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        plain: dict[str, Any] = without_nan(
            {
                "dataset": self.job.prepared.source["dataset"],
                "split": self.label,
                "users": self._users,
                "queries": len(self.job.holdout),
                "seeds": list(self.seeds),
                "baseline": self.baseline.row.name,
                "command": self.command,
                "interval_level": LEVEL,
                "rows": [self._row_dict(result) for result in self.rows],
                "failures": dict(self.failures),
                "tie_audit": self.ties.to_dict() if self.ties else None,
            }
        )
        return plain

    def _row_dict(self, result: RowResult[AblationResult]) -> dict[str, Any]:
        first = result.runs[0].evaluation
        comparisons = [] if result is self.baseline else [self.comparison(result, m) for m in (HEADLINE, BESIDE)]
        return {
            "name": result.row.name,
            "model": result.row.model,
            "query_time": result.row.query_time,
            "config": dict(result.row.config),
            "change": self.change(result),
            "minutes": result.minutes,
            "metrics": {
                name: {
                    "mean": result.mean(name),
                    "spread": result.spread(name),
                    "seeds": result.per_seed(name).tolist(),
                }
                for name in (*first.metrics, *first.lists)
            },
            "against_baseline": [comparison.to_dict() for comparison in comparisons],
            "verdict": None if result is self.baseline else self.verdict(result),
            "popularity_shares": [run.shares.tolist() for run in result.runs],
            "training": [{"seed": run.run.seed, **run.facts} for run in result.runs],
        }


def _dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name of every option, nested tables included → its value in TOML."""
    options: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            options |= _dotted(value, f"{prefix}{name}.")
        else:
            options[prefix + name] = json.dumps("null" if value is None else value, ensure_ascii=False)
    return options


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
