"""Results of a comparison of rankers: the table and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.evaluate import Comparison
from evaluation.report import (
    EvaluationProtocol,
    comparisons_table,
    markdown_table,
    metric_label,
    without_nan,
    write_text,
)
from evaluation.significance import LEVEL
from experiments.ranking_runs import BESIDE, HEADLINE, KS
from experiments.results import RowResult, RunResult
from experiments.tie_audit import TieAudit

Result = RowResult[RunResult]
WITHIN = {"auc": "AUC", "gauc": "GAUC", "mrr": "MRR", "logloss": "logloss", "ece": "ECE"}
ALIKE_BY = f"ndcg@{max(KS)}"
RANKERS_NOT_ASKED = (
    "The rankers order that list and are not kept, so they are not asked again; evaluate_ranking.py asks a trained one."
)
NOTE = f"""\
- {metric_label(HEADLINE)} and {metric_label(BESIDE)}: of lists as they are served before reranking; a film that recall
  missed is a miss. Those of the best channel are of its own list.
- AUC, GAUC, MRR, logloss, ECE: of the candidates alone, by the ranker's own scores; a film that recall missed is no
  row. GAUC and MRR are means over the queries with a positive among their candidates. Logloss (nats) and ECE (15 bins
  of equal mass) are of calibrated probabilities.
- [ ]: {LEVEL:.0%} bootstrap interval over users of the mean over the seeds. ±: standard deviation over seeds
  of the rankers; the channels are those trained under models/.
- Candidates/s: scored after training, features included. Minutes: one training, without the making of its samples.
  Both depend on the machine and its load."""


@dataclass(frozen=True, eq=False)
class RankingComparison:
    """Results of all orders on the same users.

    Attributes:
        protocol: data, split and users.
        results: all lines: rankers, the merged list and the best channel, which are not trained here.
        channel: name of the best single channel.
        baseline: name of the line that the others are compared with.
        seeds: of the rankers.
        samples: line on the candidates and the samples.
        short: line on the queries with a short history.
        ties: the merged list under other orders of tied events.
        command: shown in the report.
        left_out: names of rows that were not trained, since this data has no ratings.
    """

    protocol: EvaluationProtocol
    results: Sequence[Result]
    channel: str
    baseline: str
    seeds: tuple[int, ...]
    samples: str
    short: str
    ties: TieAudit
    command: str
    left_out: tuple[str, ...] = ()

    @cached_property
    def rows(self) -> list[Result]:
        """The best NDCG@10 first; equal ones by name."""
        return sorted(self.results, key=lambda result: (-result.mean(HEADLINE), result.row.name))

    def _named(self, name: str) -> Result:
        return next(result for result in self.results if result.row.name == name)

    @property
    def comparisons(self) -> list[Comparison]:
        """Every other line − the baseline, paired over users."""
        base = self._named(self.baseline)
        return [result.minus(base, HEADLINE, self.protocol.seed) for result in self.rows if result is not base]

    @property
    def alike(self) -> list[list[str]]:
        """Names of rankers that put the target of every query at the same place with every seed."""
        groups: dict[bytes, list[str]] = {}
        for result in filter(is_trained, self.rows):
            places = b"".join(run.evaluation.per_query[ALIKE_BY].tobytes() for run in result.runs)
            groups.setdefault(places, []).append(result.row.name)
        return [names for names in groups.values() if len(names) > 1]

    def table(self) -> str:
        """The Markdown table."""
        header = ["order by", *map(metric_label, (HEADLINE, BESIDE)), "× best channel", *WITHIN.values()]
        return markdown_table([*header, "candidates/s", "minutes"], [self._cells(result) for result in self.rows])

    def _cells(self, result: Result) -> list[str]:
        base = self._named(self.channel).mean(HEADLINE)
        trained = is_trained(result)
        return [
            result.row.name,
            *(result.cell(metric, self.protocol.seed) for metric in (HEADLINE, BESIDE)),
            f"{result.mean(HEADLINE) / base:.3f}" if base else "–",
            *(_cell(within(result, figure)) for figure in WITHIN),
            f"{within(result, 'examples_per_second').mean():,.0f}" if trained else "–",
            f"{result.minutes:.2f}" if trained else "–",
        ]

    def about(self) -> str:
        """One line: data, split, users, seeds, machine."""
        runs = [run for result in filter(is_trained, self.rows) for run in result.runs]
        machines = sorted({f"{run.facts['device']}, threads: {run.facts['threads']}" for run in runs})
        seeds = ", ".join(map(str, self.seeds))
        return f"{self.protocol.line()} · seeds of training {seeds} · trained on {' and '.join(machines)}"

    def warnings(self) -> list[str]:
        """What a reader should know before comparing the lines."""
        commits = sorted(
            {str(run.facts.get("git_commit"))[:8] for row in filter(is_trained, self.rows) for run in row.runs}
        )
        found = [
            f"**{', '.join(names)} order every list alike**: what differs between their settings has no effect on this "
            "data, or none of them left the merged order."
            for names in self.alike
        ]
        if self.left_out:
            found.append(
                f"**Left out: {', '.join(self.left_out)}.** They learn what is liked, from ratings, and this data set "
                "has none."
            )
        if len(commits) > 1:
            found.append(f"**The rankers were trained by different versions of the code**: {', '.join(commits)}.")
        return found

    def to_markdown(self) -> str:
        """The report for people."""
        parts = [
            "# Rankers compared",
            self.about(),
            self.samples,
            self.short,
            f"{self.ties.line()} {RANKERS_NOT_ASKED}",
            self.table(),
            NOTE,
            *self.warnings(),
            f"## Against {self.baseline}",
            comparisons_table(self.comparisons),
            *(["## How", f"```bash\n{self.command}\n```"] if self.command else []),
        ]
        return "\n\n".join(parts) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        plain: dict[str, Any] = without_nan(
            {
                "protocol": {**asdict(self.protocol), "interval_level": LEVEL},
                "seeds": list(self.seeds),
                "best_channel": self.channel,
                "baseline": self.baseline,
                "left_out": list(self.left_out),
                "command": self.command,
                "rows": [_row_dict(result, self.protocol.seed) for result in self.rows],
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                "alike": self.alike,
                "tie_audit": self.ties.to_dict(),
            }
        )
        return plain

    def write(self, folder: Path, stem: str) -> Path:
        """Write ``<stem>.md`` and ``<stem>.json``; returns the first."""
        write_text(folder / f"{stem}.md", self.to_markdown())
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(folder / f"{stem}.json", text + "\n")
        return folder / f"{stem}.md"


def is_trained(result: Result) -> bool:
    """Whether the line is a ranker, whose training was timed."""
    return "seconds" in result.runs[0].facts


def within(result: Result, figure: str) -> npt.NDArray[np.float64]:
    """(S,) a figure within the candidates for each seed, see ``WithinCandidates``; empty where the order has none."""
    return np.array([value for run in result.runs if (value := _figure(run.facts["within"], figure)) is not None])


def _figure(found: Mapping[str, Any], figure: str) -> float | None:
    of_orders = {name: interval["mean"] for name, interval in found["metrics"].items()}
    own = {"ece": found["ece"].get("calibrated"), "examples_per_second": found["examples_per_second"]}
    return {**of_orders, **own}.get(figure)


def _cell(values: npt.NDArray[np.float64]) -> str:
    """Mean and standard deviation over the seeds."""
    if len(values) == 0:
        return "–"
    return f"{values.mean():.4f}" + (f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "")


def _row_dict(result: Result, seed: int) -> dict[str, Any]:
    intervals = {metric: result.interval(metric, seed) for metric in (HEADLINE, BESIDE)}
    return {
        "name": result.row.name,
        "model": result.row.model if is_trained(result) else None,
        "config": dict(result.row.config),
        **{metric: result.per_seed(metric).tolist() for metric in (HEADLINE, BESIDE)},
        "intervals": {metric: {"low": i.low, "high": i.high} for metric, i in intervals.items()},
        **{figure: within(result, figure).tolist() for figure in (*WITHIN, "examples_per_second")},
        "minutes": result.minutes if is_trained(result) else None,
        "runs": [{"seed": run.run.seed, **_told(run.facts)} for run in result.runs if is_trained(result)],
    }


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run without the text that it is recognised by."""
    return {name: value for name, value in facts.items() if name != "basis"}
