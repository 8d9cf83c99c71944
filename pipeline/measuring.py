"""What evaluation jobs share: which models, which data, which held-out events, and one measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.prepare import Prepared, read_holdout
from evaluation.evaluate import ORDER_BY, Comparison, Evaluation, evaluate_candidates
from evaluation.metrics import metric_name
from evaluation.report import Protocol
from pipeline.trace import Trace
from reccore import Candidates, DataError, Holdout, NotReadyError, TrainingData, Workspace
from reccore.bundle import read_manifest


@dataclass(frozen=True, eq=False)
class Measured:
    """Result of an evaluation job.

    Attributes:
        evaluations: best NDCG@10 first.
        comparisons: paired differences.
        protocol: how they came about.
        report: Markdown file.
        data: the JSON report's content.
        trace: of the pipeline, or None.
    """

    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison]
    protocol: Protocol
    report: Path
    data: dict[str, Any]
    trace: Trace | None = None


def trained(workspace: Workspace, kind: str) -> tuple[str, ...]:
    """Names of the trained models of one kind, sorted.

    Raises:
        NotReadyError: there is none.
    """
    folders = sorted(path for path in workspace.models.glob("[!.]*") if path.is_dir())
    names = tuple(path.name for path in folders if (read_manifest(path) or {}).get("kind") == kind)
    if not names:
        command = "train_recall.py --model popularity" if kind == "recall" else "train_ranking.py"
        raise NotReadyError(
            f"no {kind} model under {workspace.models}; run first: PYTHONPATH=. python scripts/{command}"
        )
    return names


def choose_holdout(prepared: Prepared, split: str, test_file: Path | None) -> tuple[Holdout, str]:
    """The queries to evaluate on, and how to call them in a report.

    Raises:
        DataError: the protocol leaves nothing to evaluate on.
    """
    if test_file is not None:
        return read_holdout(test_file, prepared), f"{prepared.split.protocol}, tested on {test_file.name}"
    holdout = prepared.split.test() if split == "test" else prepared.split.valid()
    if len(holdout) == 0:
        raise DataError(
            f"protocol {prepared.split.protocol} leaves no {split} events; train with --protocol leave_one_out, "
            "or evaluate the channels on a held-out file: evaluate_recall.py --test FILE"
        )
    return holdout, f"{prepared.split.protocol} ({split})"


def report_stem(what: str, split: str, test_file: Path | None) -> str:
    """Name of a report's files: the test split's own name is plain, others say what they were measured on."""
    if test_file is not None:
        return f"{what}_{test_file.stem}"
    return what if split == "test" else f"{what}_{split}"


def order_by(ks: Sequence[int]) -> str:
    """What systems are ordered and compared by: NDCG@10, or at the smallest K where 10 is not measured."""
    return ORDER_BY if 10 in ks else metric_name("ndcg", min(ks))


def measure(
    name: str, offer: Candidates, holdout: Holdout, data: TrainingData, ks: Sequence[int], seed: int
) -> Evaluation:
    """Measure one system; popularity is that of the fit split, diversity that of genres where there are any."""
    return evaluate_candidates(
        name,
        offer,
        holdout,
        item_counts=data.interactions.item_counts(),
        item_vectors=data.items.genre_matrix() if data.items.n_genres else None,
        ks=ks,
        seed=seed,
    )
