"""What merging adds to the best single channel: a sentence, paired comparisons, and what each channel alone finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.evaluate import Comparison, Evaluation
from evaluation.metrics import metric_name
from evaluation.overlap import HitOverlap, overlap_of
from evaluation.report import comparisons_table, markdown_table, metric_label
from experiments.measuring import EvaluationJob
from pipeline.blend import MERGED
from recall.merge import MergeConfig, QuotaConfig
from reccore.arrays import BoolArray

RECALL_AT = (20, 100)
OVERLAP_AT = 100


def merge_text(name: str, config: MergeConfig, channels: Sequence[str], fill: str | None) -> str:
    """What a row of a report that is a merge is made of: which channels, by which options, and which one only fills."""
    options = config.model_dump(mode="json", exclude_defaults=True) | {"kind": config.kind}
    shown = ", ".join(f"{option} {_option_text(value)}" for option, value in options.items() if option != "kind")
    text = f'"{name}": {", ".join(channels)} merged by {config.kind} ({shown or "default options"}).'
    if fill in channels and fill not in config.channels:
        option = "quota" if isinstance(config, QuotaConfig) else "weights"
        text += f" As no {option} name it, {fill} only follows where the others offer too few films."
    return text


def _option_text(value: Any) -> str:
    """An option of a merge; a table of weights in one line."""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={number:g}" for key, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def overlap_length(ks: Sequence[int]) -> int:
    """Length of the lists whose finds are compared: 100, or the longest shorter one that is measured."""
    return max((k for k in ks if k <= OVERLAP_AT), default=min(ks))


@dataclass(frozen=True, eq=False)
class MergeFindings:
    """What merging adds.

    Attributes:
        against_best: merged − the best channel, by the metric that orders the report.
        recall: merged − every channel, by Recall at 20, 100 and the longest list, as far as they are measured.
        overlap: what the channels find, at 100 or the longest shorter list that is measured.
    """

    against_best: Comparison
    recall: Sequence[Comparison]
    overlap: HitOverlap

    @classmethod
    def of(cls, job: EvaluationJob, evaluations: Sequence[Evaluation], found: Mapping[str, BoolArray]) -> MergeFindings:
        """Compare the merged list with the channels.

        Args:
            job: the evaluation.
            evaluations: of all channels and of the merged list, the best first.
            found: channel → (L,) which targets are among its first ``overlap_length(job.ks)`` items.
        """
        merged = next(evaluation for evaluation in evaluations if evaluation.name == MERGED)
        channels = [evaluation for evaluation in evaluations if evaluation is not merged]
        ks = sorted({*(k for k in RECALL_AT if k in job.ks), max(job.ks)})
        return cls(
            against_best=job.compare(merged, channels[0]),
            recall=[job.compare(merged, channel, metric_name("recall", k)) for k in ks for channel in channels],
            overlap=overlap_of({e.name: found[e.name] for e in channels}, overlap_length(job.ks)),
        )

    def sentence(self) -> str:
        """Whether merging beats the best channel on this data, and where its recall is above that of every channel."""
        c = self.against_best
        d = c.difference
        case = {
            "better": f"Merging pays off on this data: the merged list is above its best channel, {c.b}",
            "worse": f"Merging does not pay off on this data: the merged list is below its best channel, {c.b}",
        }.get(c.verdict, f"On this data the merged list is not clearly above its best channel, {c.b}")
        change = "" if np.isnan(c.relative) else f", {c.relative:+.1%}"
        text = f"{case} ({metric_label(c.metric)} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]{change})."
        metrics_of: dict[str, list[str]] = {}
        for metric in dict.fromkeys(one.metric for one in self.recall):
            metrics_of.setdefault(self._recall_case(metric), []).append(metric_label(metric))
        recall = [f"{', '.join(metrics)}: {found}." for found, metrics in metrics_of.items()]
        return " ".join([text, *recall])

    def _recall_case(self, metric: str) -> str:
        """How the merged list's recall compares with that of the channels."""
        others = [c for c in self.recall if c.metric == metric and c.verdict != "better"]
        below = [c.b for c in others if c.verdict == "worse"]
        unclear = [c.b for c in others if c.verdict != "worse"]
        parts = [f"below {', '.join(below)}"] if below else []
        parts += [f"not clearly different from {', '.join(unclear)}"] if unclear else []
        return " and ".join(parts) or "above every channel"

    def markdown(self) -> str:
        """The section of the report."""
        return "\n\n".join([self.sentence(), comparisons_table(self.recall), self.hits_table()])

    def hits_table(self) -> str:
        """Markdown table of what each channel finds, and what it alone finds."""
        overlap = self.overlap
        rows = [
            [name, f"{found:,}", f"{found / overlap.targets:.1%}", f"{unique:,}", f"{unique / max(found, 1):.1%}"]
            for name, found, unique in zip(overlap.names, overlap.found.tolist(), overlap.unique.tolist(), strict=True)
        ]
        by_any = overlap.found_by_any
        rows.append(["any channel", f"{by_any:,}", f"{by_any / overlap.targets:.1%}", "", ""])
        header = ["channel", f"targets in its first {overlap.k}", "of all", "found by no other channel", "of its finds"]
        return markdown_table(header, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the JSON report."""
        return {
            "sentence": self.sentence(),
            "against_best": self.against_best.to_dict(),
            "recall": [comparison.to_dict() for comparison in self.recall],
            "overlap": self.overlap.to_dict(),
        }
