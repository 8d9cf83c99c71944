"""The shape of every evaluation: models, data and held-out events; measurements; a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared, read_holdout
from dataprep.readers.own import EventFile
from evaluation.evaluate import ORDER_BY, Comparison, Evaluation, RunningEvaluation, compare, evaluate_candidates
from evaluation.metrics import check_ks, metric_name
from evaluation.report import EvaluationProtocol, Report, keeping
from experiments.tie_audit import HIT_RATE, NDCG, TieAudit, audit_ties, queries_of
from experiments.tie_audit import K as AUDITED_AT
from pipeline.builder import load_channels
from pipeline.provenance import data_of
from pipeline.trace import Trace
from recall.base import BaseRecall
from reccore import (
    ArtefactError,
    Candidates,
    ConfigError,
    DataError,
    Holdout,
    NotReadyError,
    QueryBatch,
    TrainingData,
    Workspace,
)
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import MANIFEST, read_manifest
from reccore.progress import progress

QUERIES_AT_ONCE = 8192
"""Lists of 500 films of one system take 50 MB."""
LEAST_EVENTS = 3
"""Of a user of whom leave_one_out holds any event out."""
QUERY_TIME = (
    "Every query carried the time of the event to predict. It was read by {}, and by what builds on them. "
    "These figures do not compare with those of a report without query time."
)


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
        evaluations: one per system, in the order of the report.
        comparisons: paired differences.
        protocol: data, split and users.
        report: Markdown file.
        data: the JSON report's content.
        sections: (heading, Markdown) pairs of the report beside its tables.
        trace: of the pipeline, or None.
    """

    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison]
    protocol: EvaluationProtocol
    report: Path
    data: dict[str, Any]
    sections: Sequence[tuple[str, str]] = ()
    trace: Trace | None = None


@dataclass(frozen=True, eq=False)
class EvaluationJob:
    """One evaluation: what all its measurements share.

    Attributes:
        workspace: data root.
        prepared: data that the models were fitted on.
        data: its fit split.
        holdout: queries and targets.
        split: name of the held-out events in reports.
        part: ``valid`` or ``test``; None for a held-out file.
        stem: name of the report's files.
        readers: channels that read the query's time; none unless ``query_time``.
        query_time: whether queries carry the time of the event to predict.
        ks: list lengths.
        seed: of the bootstrap.
        users: whose queries ``holdout`` has; None = all users of the split.
    """

    workspace: Workspace
    prepared: Prepared
    data: TrainingData
    holdout: Holdout
    split: str
    part: str | None
    stem: str
    readers: tuple[str, ...]
    query_time: bool
    ks: tuple[int, ...]
    seed: int
    users: IntArray | None = None

    @classmethod
    def open(
        cls,
        what: str,
        workspace: Workspace,
        channels: Mapping[str, BaseRecall],
        models: Sequence[str],
        *,
        split: str,
        test_file: EventFile | None,
        query_time: bool,
        ks: Sequence[int],
        seed: int,
    ) -> Self:
        """Load the data that the models were fitted on and choose the held-out events.

        Args:
            what: first part of the report's file name.
            workspace, query_time, ks, seed: see the attributes.
            channels: recall channels of the evaluation.
            models: names of all models, which must have been fitted on the same data.
            split: ``valid`` or ``test``.
            test_file: a held-out file to use instead; histories are the events that the models were fitted on.

        Raises:
            ConfigError: see ``check_query_time``.
            ArtefactError: models fitted on different data.
            DataError: see ``choose_holdout``.
        """
        ks = check_ks(ks)
        readers = check_query_time(channels, query_time)
        prepared = data_of(workspace, models)
        holdout, label = choose_holdout(prepared, split, test_file, query_time=query_time)
        stem = report_stem(what, split, test_file, query_time=query_time)
        data = prepared.training_data()
        part = None if test_file is not None else split
        return cls(workspace, prepared, data, holdout, label, part, stem, readers, query_time, ks, seed)

    def of_users(self, users: IntArray) -> Self:
        """The same evaluation on the queries of some users alone."""
        return replace(self, holdout=queries_of(self.holdout, users), users=users)

    @property
    def by(self) -> str:
        """Metric to order and compare systems by: NDCG@10, or at the smallest K if 10 is not measured."""
        return ORDER_BY if 10 in self.ks else metric_name("ndcg", min(self.ks))

    def measure(self, name: str, offer: Candidates) -> Evaluation:
        """Measure one system whose candidates of all queries are in memory."""
        return measure(name, offer, self.holdout, self.data, self.ks, self.seed)

    def parts(self) -> Iterator[Holdout]:
        """The holdout in parts whose candidates fit into memory, with progress."""
        return parts_of(self.holdout, f"evaluating {self.stem}")

    def running(self, name: str) -> RunningEvaluation:
        """A measurement of one system, to be given its candidates of each part."""
        return RunningEvaluation(name, **self._facts, ks=self.ks)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return _facts(self.data)

    def finish(self, systems: Mapping[str, RunningEvaluation]) -> dict[str, Evaluation]:
        """The measurements of systems that have been given all parts."""
        return {name: running.result(self.holdout, seed=self.seed) for name, running in systems.items()}

    def compare(self, a: Evaluation, b: Evaluation, metric: str | None = None) -> Comparison:
        """Is ``a`` better than ``b``? By ``metric``, or by ``by``."""
        return compare(a, b, metric or self.by, seed=self.seed)

    @property
    def audit_length(self) -> int:
        """Length of the lists to give ``audit_ties``: that of the measured lists, but never less than it measures."""
        return max(AUDITED_AT, *self.ks)

    def audit_ties(
        self, system: str, answer: Callable[[QueryBatch], Candidates], per_query: Mapping[str, FloatArray]
    ) -> TieAudit | None:
        """Figures of a system under other orders of ties; None for a held-out file, whose targets have no order.

        Args:
            system: its name.
            answer: what it offers, lists of ``audit_length``.
            per_query: its metrics of every query of the holdout, at 10 if they were measured at 10.
        """
        if self.part is None:
            return None
        measured = per_query if {NDCG, HIT_RATE} <= per_query.keys() else None
        return audit_ties(
            self.prepared,
            self.part,
            system,
            answer,
            query_time=self.query_time,
            measured=measured,
            users=self.users,
        )

    def report(
        self,
        title: str,
        evaluations: Sequence[Evaluation],
        comparisons: Sequence[Comparison],
        *,
        sections: Sequence[tuple[str, str]] = (),
        draw: Callable[[], Sequence[tuple[str, str]]] = tuple,
        facts: Mapping[str, Any] | None = None,
        seen_filtered: bool = True,
        trace: Trace | None = None,
        ties: TieAudit | None = None,
    ) -> EvaluationResult:
        """Write the report.

        The arguments are those of ``Report``, ``EvaluationProtocol`` and ``EvaluationResult``; ``draw`` writes the
        figures and returns them; ``ties`` is the audit of the order of ties.

        Raises:
            UnwrittenReport: the files cannot be written; has the result.
        """
        protocol = EvaluationProtocol.of(
            str(self.prepared.source["dataset"]),
            self.split,
            self.holdout,
            seen_filtered=seen_filtered,
            query_time=self.query_time,
            seed=self.seed,
        )
        query_time = [("The query's time", QUERY_TIME.format(", ".join(self.readers)))] if self.readers else []
        report = Report(
            title=title,
            protocol=protocol,
            evaluations=evaluations,
            comparisons=comparisons,
            sections=[*sections, *query_time],
            facts={
                "reads_query_time": list(self.readers),
                "tie_audit": None if ties is None else ties.to_dict(),
                **(facts or {}),
            },
            ties=None if ties is None else ties.line(),
        )
        path = self.workspace.reports / f"{self.stem}.md"
        result = EvaluationResult(evaluations, comparisons, protocol, path, report.to_dict(), report.sections, trace)
        with keeping(result, path):
            replace(report, figures=draw()).write(self.workspace.reports, self.stem)
        return result


def trained(workspace: Workspace, kind: str) -> tuple[str, ...]:
    """Names of the trained models of one kind, sorted; a folder without a manifest is no model, and a warning says so.

    Raises:
        NotReadyError: there is none.
        ArtefactError: a manifest cannot be read, so that nobody knows of which kind the model is.
    """
    folders = sorted(path for path in workspace.models.glob("[!.]*") if path.is_dir())
    names = tuple(path.name for path in folders if _kind_of(path) == kind)
    if not names:
        command = "train_recall.py --model popularity" if kind == "recall" else "train_ranking.py"
        raise NotReadyError(
            f"no {kind} model under {workspace.models}; run first: PYTHONPATH=. python scripts/{command}"
        )
    return names


def _kind_of(folder: Path) -> str | None:
    """Kind of the model in a folder; None without a manifest."""
    manifest = read_manifest(folder)
    if manifest is not None:
        return str(manifest.get("kind"))
    if (folder / MANIFEST).exists():
        raise ArtefactError(
            f"{folder / MANIFEST} is damaged, so the model is neither taken nor left out; train {folder.name} again, "
            "delete its folder, or name the models to take: --models A,B"
        )
    logger.warning("left out: {} has no {}, so it is no model", folder, MANIFEST)
    return None


def channels_to_evaluate(
    workspace: Workspace, names: Sequence[str] | None, *, query_time: bool
) -> dict[str, BaseRecall]:
    """Trained channels by name; by default all, without those that read the query's time unless ``query_time``.

    If every channel reads it, all are returned.

    Raises:
        NotReadyError: a channel is not trained.
        ArtefactError: a damaged channel, or channels of different vocabularies.
    """
    channels = load_channels(workspace, tuple(names) if names else trained(workspace, "recall"))
    plain = {name: channel for name, channel in channels.items() if not channel.query_time}
    left_out = [name for name in channels if name not in plain]
    if names or query_time or not plain or not left_out:
        return channels
    logger.info("left out, as they read the query's time: {}; add --query_time to compare them", ", ".join(left_out))
    return plain


def check_query_time(channels: Mapping[str, BaseRecall], query_time: bool) -> tuple[str, ...]:
    """Names of the channels that read the query's time.

    A channel that does not read it has the same figures with and without it, and may stand on both leaderboards.

    Raises:
        ConfigError: a channel reads it and ``query_time`` is False, or none reads it and ``query_time`` is True.
    """
    readers = tuple(name for name, channel in channels.items() if channel.query_time)
    if readers and not query_time:
        raise ConfigError(
            f"{', '.join(readers)} learnt with the time of the event to predict, which has a leaderboard of its own; "
            "add --query_time, or leave out such channels"
        )
    if query_time and not readers:
        raise ConfigError(
            f"--query_time is for channels trained with it, and none of {', '.join(channels)} was; leave it out, or "
            "run first: PYTHONPATH=. python scripts/train_recall.py --model two_tower --query_time"
        )
    return readers


def choose_holdout(
    prepared: Prepared, split: str, test_file: EventFile | None, *, query_time: bool = False
) -> tuple[Holdout, str]:
    """The queries to evaluate on, and their name in reports.

    Raises:
        DataError: the protocol has no events in that split; or ``query_time`` with data without times.
    """
    if test_file is not None:
        holdout = read_holdout(test_file, prepared, query_time=query_time)
        return holdout, f"{prepared.split.protocol}, tested on {test_file.path.name}"
    choose = prepared.split.test if split == "test" else prepared.split.valid
    holdout = choose(query_time=query_time)
    if len(holdout) == 0:
        raise DataError(
            f"protocol {prepared.split.protocol} leaves no {split} events; {_advice(prepared)}, or evaluate on "
            "a held-out file of your own: --test FILE"
        )
    return holdout, prepared.split.label(split)


def _advice(prepared: Prepared) -> str:
    """What gives the split events; another protocol cannot where the users have too few."""
    longest = int(prepared.split.interactions.lengths.max(initial=0))
    if longest >= LEAST_EVENTS:
        return "train with --protocol leave_one_out"
    return f"leave_one_out needs users with {LEAST_EVENTS} events, and none here has more than {longest}: add data"


def report_stem(what: str, split: str, test_file: EventFile | None, *, query_time: bool = False) -> str:
    """Name of a report's files: ``what`` alone for the test split; otherwise split or file are appended."""
    what = f"{what}_query_time" if query_time else what
    if test_file is not None:
        return f"{what}_{test_file.name}"
    return what if split == "test" else f"{what}_{split}"


def parts_of(holdout: Holdout, label: str, *, show: bool = True) -> Iterator[Holdout]:
    """A holdout in parts whose candidates fit into memory; with progress under a label, if it is to be shown."""
    with progress(label, len(holdout), unit="queries", enabled=show) as advance:
        for start in range(0, len(holdout), QUERIES_AT_ONCE):
            part = holdout.select(np.arange(start, min(start + QUERIES_AT_ONCE, len(holdout))))
            yield part
            advance(len(part))


def running_evaluation(name: str, data: TrainingData, ks: Sequence[int]) -> RunningEvaluation:
    """As ``measure``, of a system whose candidates come in parts."""
    return RunningEvaluation(name, **_facts(data), ks=ks)


def measure(
    name: str, offer: Candidates, holdout: Holdout, data: TrainingData, ks: Sequence[int], seed: int
) -> Evaluation:
    """Measure one system; popularity counts events of the fit split, diversity is by genre if there are genres."""
    return evaluate_candidates(name, offer, holdout, **_facts(data), ks=ks, seed=seed)


def _facts(data: TrainingData) -> dict[str, Any]:
    """What measurements of lists read of the catalogue."""
    vectors = data.items.genre_matrix() if data.items.n_genres else None
    return {"item_counts": data.interactions.item_counts(), "item_vectors": vectors}
