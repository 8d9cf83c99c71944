"""The report on new users: NDCG@10 of every list by the number of events given, differences, and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.evaluate import Comparison, Evaluation, compare, leaderboard
from evaluation.plots import plot_curves
from evaluation.report import comparisons_table, keeping, markdown_table, metric_label, without_nan, write_text
from evaluation.significance import LEVEL
from experiments.tie_audit import NO_TIES

K = 10
METRIC = f"ndcg@{K}"
BASE = "popularity"


@dataclass(frozen=True, eq=False)
class NewUsersResult:
    """Results by list and number of events.

    Attributes:
        about: data, users, targets in one line.
        split_ties: N → share of the users whose event N has the time of the next one; None = data without times.
        lengths: N, ascending.
        evaluations: N → evaluation of every list, on the same users.
        seed: of the bootstrap.
        report: Markdown file; JSON and a plot are written beside it.
        chain: names of the pipeline's lists after its stages; none where single channels are compared.
    """

    about: str
    split_ties: Mapping[int, float] | None
    lengths: tuple[int, ...]
    evaluations: Mapping[int, Mapping[str, Evaluation]]
    seed: int
    report: Path
    chain: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Lists, the best at the smallest N first."""
        return [evaluation.name for evaluation in leaderboard(self.evaluations[self.lengths[0]].values(), METRIC)]

    def best_channel(self, n: int) -> str:
        """The channel with the highest mean after ``n`` events on these very users, so that it is hard to beat."""
        channels = [evaluation for name, evaluation in self.evaluations[n].items() if name not in self.chain]
        return leaderboard(channels, METRIC)[0].name

    def comparisons(self, n: int) -> list[Comparison]:
        """Paired over users: every other channel − popularity; of a chain every list − popularity and − best channel.

        If popularity is the best channel, each list of the chain is compared once.
        """
        found = self.evaluations[n]
        if self.chain:
            pairs = [(name, base) for name in self.chain for base in dict.fromkeys((BASE, self.best_channel(n)))]
        else:
            pairs = [(name, BASE) for name in self.names if name != BASE]
        return [
            replace(compare(found[name], found[base], METRIC, seed=self.seed), a=f"{name}, N={n}")
            for name, base in pairs
        ]

    def table(self) -> str:
        """NDCG@10 by list and N."""
        rows = [[name, *(str(self.evaluations[n][name].metrics[METRIC]) for n in self.lengths)] for name in self.names]
        return markdown_table([metric_label(METRIC), *(f"N = {n}" for n in self.lengths)], rows)

    def differences(self) -> str:
        """Differences by N."""
        return comparisons_table([comparison for n in self.lengths for comparison in self.comparisons(n)])

    def ties(self) -> str:
        """What the order of events with equal times decides here, in one line."""
        if self.split_ties is None:
            return NO_TIES
        shares = ", ".join(f"{share:.1%} of the users at N = {n}" for n, share in self.split_ties.items())
        return (
            "Order of ties: not audited, since every later event is a target. The order decides only which events of "
            f"one time are among the first N; such events lie on both sides of N for {shares}."
        )

    def to_markdown(self) -> str:
        """The report for people."""
        note = (
            f"Means over users with {LEVEL:.0%} bootstrap intervals. Every user has one query for each N: the first N "
            "events are the history, which is not offered again."
        )
        lines = ["# New users", "", self.about, "", self.ties(), "", self.table(), "", note, ""]
        if len(self.names) > 1:
            against = "popularity and the best channel of each N" if self.chain else "popularity"
            lines += [f"## Against {against}", "", self.differences(), ""]
        return "\n".join([*lines, f"![{metric_label(METRIC)} by events given]({self.report.stem}.png)", ""])

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        by_length = [
            {
                "events": n,
                "evaluations": [self.evaluations[n][name].to_dict() for name in self.names],
                "comparisons": [comparison.to_dict() for comparison in self.comparisons(n)],
            }
            for n in self.lengths
        ]
        plain: dict[str, Any] = without_nan(
            {
                "about": self.about,
                "seed": self.seed,
                "split_ties": None if self.split_ties is None else {str(n): s for n, s in self.split_ties.items()},
                "new_users": by_length,
            }
        )
        return plain

    def write(self) -> None:
        """Write Markdown, JSON and the plot.

        Raises:
            UnwrittenReport: they cannot be written.
        """
        with keeping(self, self.report):
            self._write()

    def _write(self) -> None:
        plot_curves(
            {name: {n: self.evaluations[n][name].mean(METRIC) for n in self.lengths} for name in self.names},
            self.report.with_suffix(".png"),
            xlabel="events that the user has given",
            ylabel=metric_label(METRIC),
            title="Users who are absent from training",
        )
        write_text(self.report, self.to_markdown())
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(self.report.with_suffix(".json"), text + "\n")
