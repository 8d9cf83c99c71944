"""Evaluation reports as Markdown and JSON; each states its protocol first."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.evaluate import ORDER_BY, Comparison, Evaluation, leaderboard
from evaluation.metrics import METRICS, metric_name
from evaluation.significance import LEVEL, n_users
from reccore import ArtefactError, ConfigError, Holdout

LABELS = {
    "hit_rate": "HitRate",
    "recall": "Recall",
    "precision": "Precision",
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "coverage": "Coverage",
    "popularity": "Mean popularity",
    "novelty": "Novelty",
    "diversity": "Intra-list diversity",
}
LISTS_NOTE = (
    "Coverage: share of the catalogue in at least one list. Mean popularity: events of an offered item in the fit "
    "split. Novelty: self-information of an offered item in bits. Diversity: mean of 1 − cosine of the genres over "
    "all pairs in a list."
)
SAME_WITH_ONE_TARGET = {"recall": "hit_rate", "map": "mrr"}
"""Metric → metric of the same value where every query has one target."""
HEADLINE = ("hit_rate@10", "ndcg@10", "recall@100")


class UnwrittenReport(ArtefactError):
    """A report could not be written.

    Attributes:
        result: what was measured, so that a command can print it before it fails.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result


@contextmanager
def keeping(result: Any, report: Path) -> Iterator[None]:
    """Raise ``UnwrittenReport`` with the result if the block cannot write the files of ``report``."""
    try:
        yield
    except OSError as error:
        raise UnwrittenReport(
            f"the report {report} cannot be written: {error.strerror or error}; the results stand above, so free "
            "space or make the folder writable before the next run",
            result,
        ) from error


def metric_label(metric: str) -> str:
    """Display name of a metric: ``ndcg@10`` → ``NDCG@10``."""
    name, _, k = metric.partition("@")
    return f"{LABELS.get(name, name)}@{k}" if k else LABELS.get(name, name)


@dataclass(frozen=True)
class EvaluationProtocol:
    """The conditions under which the figures were measured.

    Attributes:
        dataset: such as ``ml-100k``.
        split: such as ``leave_one_out (test)``.
        users: number of users evaluated, unanswered ones included; each unknown one counts.
        seen_filtered: whether items of the history are excluded.
        query_time: whether a query contains the time of the event to predict; such results get a label and a
            leaderboard of their own.
        tied_share: share of targets whose place in the order was chosen by the tie rule; None = not known.
        seed: of the run.
        queries: number of their queries; None = one per user.
        seen_share: share of the targets that lie in their query's history; always missed where seen items are filtered.
    """

    dataset: str
    split: str
    users: int
    seen_filtered: bool = True
    query_time: bool = False
    tied_share: float | None = None
    seed: int = 0
    queries: int | None = None
    seen_share: float = 0.0

    @classmethod
    def of(
        cls,
        dataset: str,
        split: str,
        holdout: Holdout,
        *,
        seed: int,
        query_time: bool = False,
        seen_filtered: bool = True,
    ) -> EvaluationProtocol:
        """The protocol of measurements on a holdout, which tells its users, queries, tied and seen targets itself."""
        return cls(
            dataset,
            split,
            users=n_users(holdout.queries.user_idx),
            seen_filtered=seen_filtered,
            query_time=query_time,
            tied_share=None if holdout.tied is None else float(holdout.tied.mean()),
            seed=seed,
            queries=len(holdout),
            seen_share=holdout.seen_share(),
        )

    def line(self) -> str:
        """The protocol in one line."""
        parts = [
            self.dataset,
            self.split,
            population(self.users, self.queries),
            f"full catalogue ranked, {self._seen()}",
            "ties unknown" if self.tied_share is None else f"{self.tied_share:.1%} of targets tied in time",
            "QUERY TIME SEEN (separate leaderboard)" if self.query_time else "query time not seen",
            f"seed {self.seed}",
        ]
        return " · ".join(parts)

    def _seen(self) -> str:
        """What becomes of items of the history."""
        if not self.seen_filtered:
            return "seen items not filtered"
        if self.seen_share == 0.0:
            return "seen items filtered"
        return f"seen items filtered, {self.seen_share:.2%} of targets among them, which nothing can find"


def population(users: int, queries: int | None) -> str:
    """``943 users``, or ``2,700 queries of 943 users`` where a user has several."""
    return f"{users:,} users" if queries in (None, users) else f"{queries:,} queries of {users:,} users"


@dataclass(frozen=True, eq=False)
class Report:
    """All results of one evaluation run.

    Attributes:
        title: heading.
        protocol: conditions of the measurement.
        evaluations: the systems, in any order; tables list the best NDCG@10 first.
        comparisons: paired differences.
        sections: further (heading, Markdown) pairs, such as the funnel of a pipeline.
        figures: (caption, file name beside the report) pairs.
        facts: further values for the JSON file.
        ties: line on the order of events with equal times.
    """

    title: str
    protocol: EvaluationProtocol
    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison] = ()
    sections: Sequence[tuple[str, str]] = ()
    figures: Sequence[tuple[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    ties: str | None = None

    def to_markdown(self, headline: Sequence[str] = HEADLINE) -> str:
        """The report as Markdown: intervals for the headline metrics, means for all, lists, comparisons."""
        same = same_metrics(self.evaluations)
        shown = measured_metrics(self.evaluations, _shown_as(same, headline))
        shown = shown or measured_metrics(self.evaluations, _shown_as(same, _headline_of(self.evaluations)))
        lines = [f"# {self.title}", "", self.protocol.line(), ""]
        lines += [self.ties, ""] if self.ties else []
        order = metric_label(_ordering(self.evaluations))
        several = self.protocol.queries not in (None, self.protocol.users)
        means, intervals = ("queries", " over users") if several else ("users", "")
        lines += [f"Means over {means} with {LEVEL:.0%} bootstrap intervals{intervals}; best {order} first.", ""]
        lines += [metrics_table(self.evaluations, shown), ""]
        if self.comparisons:
            lines += ["## Paired comparisons", "", comparisons_table(self.comparisons), ""]
        for heading, text in self.sections:
            lines += [f"## {heading}", "", text, ""]
        for caption, file in self.figures:
            lines += [f"![{caption}]({file})", ""]
        lines += ["## Every metric at every K", ""]
        for metric in (metric for metric in METRICS if metric not in same):
            equals = [LABELS[other] for other, shown_as in same.items() if shown_as == metric]
            also = f", which is {equals[0]} too: every query has one target" if equals else ""
            lines += [f"### {LABELS[metric]}{also}", "", curve_table(self.evaluations, metric), ""]
        lines += ["## The lists", "", LISTS_NOTE, "", lists_table(self.evaluations), ""]
        lines += ["## Unanswered queries and unknown targets", "", answers_table(self.evaluations), ""]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON, None instead of NaN."""
        plain: dict[str, Any] = without_nan(
            {
                "title": self.title,
                "protocol": {**asdict(self.protocol), "interval_level": LEVEL},
                "evaluations": [evaluation.to_dict() for evaluation in ordered(self.evaluations)],
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
                **self.facts,
            }
        )
        return plain

    def write(self, folder: Path, stem: str, headline: Sequence[str] = HEADLINE) -> tuple[Path, Path]:
        """Write ``<stem>.md`` and ``<stem>.json`` into ``folder``, each atomically.

        Returns:
            Paths of the Markdown and the JSON file.
        """
        markdown, data = folder / f"{stem}.md", folder / f"{stem}.json"
        write_text(markdown, self.to_markdown(headline))
        write_text(data, json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return markdown, data


def ordered(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Evaluations by NDCG@10, or NDCG at the smallest K if 10 was not measured; best first."""
    if not evaluations:
        raise ConfigError("a report needs at least one evaluation")
    return leaderboard(evaluations, by=_ordering(evaluations))


def _ordering(evaluations: Sequence[Evaluation]) -> str:
    """The metric that ``ordered`` goes by."""
    return next(iter(measured_metrics(evaluations, (ORDER_BY,))), metric_name("ndcg", min(evaluations[0].ks)))


def _headline_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """Metrics for the first table of evaluations that were not measured at the usual lengths."""
    first, last = min(evaluations[0].ks), max(evaluations[0].ks)
    return [metric_name("hit_rate", first), metric_name("ndcg", first), metric_name("recall", last)]


def _shown_as(same: Mapping[str, str], metrics: Sequence[str]) -> list[str]:
    """The metrics, those of equal value by the name of the one that is shown, see ``same_metrics``."""
    return [metric_name(same.get(name, name), int(k)) for name, _, k in (metric.partition("@") for metric in metrics)]


def same_metrics(evaluations: Sequence[Evaluation]) -> dict[str, str]:
    """Metric → metric of equal value that is shown in its place; empty if a query has several targets."""
    return SAME_WITH_ONE_TARGET if all(e.targets == e.queries for e in evaluations) else {}


def measured_metrics(evaluations: Sequence[Evaluation], wanted: Sequence[str]) -> list[str]:
    """The wanted metrics that every evaluation has."""
    return [name for name in wanted if all(name in e.metrics or name in e.lists for e in evaluations)]


def metrics_table(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> str:
    """Markdown table of systems by metrics, with intervals where there are any.

    Raises:
        ConfigError: no evaluation, or one of them lacks a metric.
    """

    def cell(evaluation: Evaluation, metric: str) -> str:
        if metric in evaluation.metrics:
            return str(evaluation.metrics[metric])
        return _number(evaluation.mean(metric))

    rows = [[e.name, *(cell(e, metric) for metric in metrics)] for e in ordered(evaluations)]
    return markdown_table(["system", *map(metric_label, metrics)], rows)


def curve_table(evaluations: Sequence[Evaluation], metric: str) -> str:
    """Markdown table of the means of one metric, one column per K."""
    ks = sorted({k for e in evaluations for k in e.ks})
    rows = [[e.name, *(_number(e.curve(metric)[k]) if k in e.ks else "–" for k in ks)] for e in ordered(evaluations)]
    return markdown_table(["system", *(f"@{k}" for k in ks)], rows)


def lists_table(evaluations: Sequence[Evaluation]) -> str:
    """Markdown table of coverage, popularity, novelty and diversity at the smallest K and at 100."""
    names = list(dict.fromkeys(name for e in evaluations for name in e.lists))
    ks = sorted({k for e in evaluations for k in e.ks})
    shown = {ks[0], *(k for k in ks if k == 100)}
    names = [name for name in names if int(name.partition("@")[2]) in shown]
    rows = [[e.name, *(_number(e.lists.get(name, math.nan)) for name in names)] for e in ordered(evaluations)]
    return markdown_table(["system", *map(metric_label, names)], rows)


def answers_table(evaluations: Sequence[Evaluation]) -> str:
    """Markdown table of the misses that are not due to the ranking: unanswered queries and unknown targets."""
    rows = [
        [e.name, f"{e.queries:,}", f"{e.unanswered:,}", f"{e.targets:,}", f"{e.unknown_targets:,}"]
        for e in ordered(evaluations)
    ]
    return markdown_table(["system", "queries", "unanswered", "targets", "targets outside the vocabulary"], rows)


def comparisons_table(comparisons: Sequence[Comparison]) -> str:
    """Markdown table of paired differences."""
    rows = [
        [
            f"{c.a} − {c.b}",
            metric_label(c.metric),
            f"{c.difference.mean:+.4f} [{c.difference.low:+.4f}, {c.difference.high:+.4f}]",
            "–" if math.isnan(c.relative) else f"{c.relative:+.1%}",
            c.verdict,
        ]
        for c in comparisons
    ]
    return markdown_table(["pair", "metric", "difference", "relative", "verdict"], rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; the first is text, the others are numbers."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *rest = (
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def without_nan(value: Any) -> Any:
    """The value with None instead of NaN and infinity, which JSON cannot represent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return value


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: temporary file, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _number(value: float) -> str:
    """Four decimals below 10, one above, – for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
