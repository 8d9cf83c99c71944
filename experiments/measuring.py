"""What evaluation jobs share: which models, which data, which held-out events, and one measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprep.prepare import Prepared, read_holdout
from evaluation.evaluate import ORDER_BY, Comparison, Evaluation, evaluate_candidates
from evaluation.metrics import metric_name
from evaluation.report import EvaluationProtocol
from pipeline.trace import Trace
from recall.base import BaseRecall
from reccore import Candidates, ConfigError, DataError, Holdout, NotReadyError, TrainingData, Workspace
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
    protocol: EvaluationProtocol
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


def check_query_time(channels: Mapping[str, BaseRecall], query_time: bool) -> tuple[str, ...]:
    """Names of the channels that read the query's time, which all channels of one table must be given or none.

    A channel that does not read it has the same figures either way, and may stand on both leaderboards.

    Raises:
        ConfigError: some read it and it is not given, or it is given and nobody reads it.
    """
    readers = tuple(name for name, channel in channels.items() if channel.query_time)
    if readers and not query_time:
        raise ConfigError(
            f"{', '.join(readers)} learnt with the time of the event to predict, which has a leaderboard of its own; "
            "add --query_time, or leave it out"
        )
    if query_time and not readers:
        raise ConfigError(
            f"--query_time is for channels trained with it, and none of {', '.join(channels)} was; leave it out, or "
            "run first: PYTHONPATH=. python scripts/train_recall.py --model two_tower --query_time"
        )
    return readers


def query_time_section(readers: Sequence[str]) -> list[tuple[str, str]]:
    """What a report says where the query's time was given: the heading and the text, or nothing."""
    if not readers:
        return []
    text = (
        "Every query came with the time of the event to predict. It was read by "
        f"{', '.join(readers)}, and by what builds on them. These figures are not to be compared with those of a "
        "report without query time."
    )
    return [("The query's time", text)]


def choose_holdout(
    prepared: Prepared, split: str, test_file: Path | None, *, query_time: bool = False
) -> tuple[Holdout, str]:
    """The queries to evaluate on, and how to call them in a report.

    Raises:
        DataError: the protocol leaves nothing to evaluate on; or ``query_time`` with data that has no times.
    """
    if test_file is not None:
        holdout = read_holdout(test_file, prepared, query_time=query_time)
        return holdout, f"{prepared.split.protocol}, tested on {test_file.name}"
    choose = prepared.split.test if split == "test" else prepared.split.valid
    holdout = choose(query_time=query_time)
    if len(holdout) == 0:
        raise DataError(
            f"protocol {prepared.split.protocol} leaves no {split} events; train with --protocol leave_one_out, "
            "or evaluate on a held-out file of your own: --test FILE"
        )
    return holdout, f"{prepared.split.protocol} ({split})"


def report_stem(what: str, split: str, test_file: Path | None, *, query_time: bool = False) -> str:
    """Name of a report's files: the test split's own name is plain, others say what they were measured on."""
    what = f"{what}_query_time" if query_time else what
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
