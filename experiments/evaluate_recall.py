"""Evaluation of recall: channels and their merge, on the same users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from dataprep.protocols import LastThree
from dataprep.readers.own import EventFile
from evaluation.evaluate import Evaluation, RunningEvaluation, leaderboard
from evaluation.metrics import metric_name
from evaluation.overlap import found_targets
from evaluation.plots import plot_accuracy_against, plot_curves, plot_intervals, plot_overlap
from evaluation.report import markdown_table, metric_label
from experiments import RECALL_KS
from experiments.external_lists import HEADING, ExternalLists, facts_data, facts_table, system_name
from experiments.measuring import EvaluationJob, EvaluationResult, channels_to_evaluate
from experiments.merge_findings import MergeFindings, merge_text, overlap_length
from pipeline.blend import MERGED
from recall.base import BaseRecall
from recall.merge import MergeConfig, RRFConfig, fill_of, merge
from recall.similarity import ItemSimilarityRecall
from reccore import Candidates, ConfigError, Exclusions, QueryBatch, Workspace
from reccore.arrays import BoolArray

PUBLISHED_K = 20
LAST_FILM = " (last film)"
NOT_THE_PIPELINES = (
    'The pipeline merges by options of its own; its merged candidates are called "after recall" in the reports of '
    "evaluate_pipeline.py and evaluate_ranking.py."
)
SIDE_BY_SIDE = "Films of the history offered again, and filtered"


def evaluate_recall(
    workspace: Workspace,
    *,
    names: Sequence[str] | None = None,
    split: str = "test",
    test_file: EventFile | None = None,
    include_seen: bool = False,
    query_time: bool = False,
    merging: MergeConfig | None = None,
    per_channel: int | None = None,
    external: Sequence[Path] = (),
    ks: Sequence[int] = RECALL_KS,
    seed: int = 0,
) -> EvaluationResult:
    """Compare trained channels, the merge of named ones, and lists made elsewhere; writes ``reports/recall*``.

    Without names every trained channel is measured and none is merged, so that a channel left in ``models/`` by an
    experiment changes no figure of the others.

    Args:
        workspace: data root.
        names: channels to measure and to merge; see ``channels_to_evaluate``.
        split, test_file, query_time, ks, seed: see ``EvaluationJob.open``.
        include_seen: let channels offer items of the history.
        merging: how the channels are merged, by default reciprocal-rank fusion with equal weights.
        per_channel: number of candidates that each channel gives the merge, on which its lists depend; None = as many
            as the longest of ``ks``. With fewer, the merged list may be shorter than that of a channel.
        external: files of lists that other programs made, see ``experiments.external_lists``; measured on the same
            users, and never merged.

    Raises:
        ConfigError, ArtefactError, DataError: see ``EvaluationJob.open`` and ``ExternalLists.read``; or lists made
            elsewhere with ``query_time``, which they cannot say whether they knew.
    """
    channels = channels_to_evaluate(workspace, names, query_time=query_time)
    if not names and len(channels) > 1:
        logger.info("no merge: name its channels by --models or in --config, such as --models {}", ",".join(channels))
    job = EvaluationJob.open(
        "recall",
        workspace,
        channels,
        tuple(channels),
        split=split,
        test_file=test_file,
        query_time=query_time,
        ks=ks,
        seed=seed,
    )
    merging = (merging or RRFConfig()) if names and len(channels) > 1 else None
    length = per_channel or max(job.ks)
    lists = read_external(job, external, (*channels, MERGED), include_seen)
    found, evaluations = _measure_all(job, channels, merging, length, include_seen)
    sections: list[tuple[str, str]] = []
    facts: dict[str, Any] = {}
    ours = evaluations[0]
    plain = [evaluation for evaluation in evaluations if not evaluation.name.endswith(LAST_FILM)]
    findings = None if merging is None else MergeFindings.of(job, plain, found)
    if findings is not None and merging is not None:
        text = merge_text(MERGED, merging, tuple(channels), fill_of(channels))
        given = f"Each channel gives the merge its first {length} films."
        sections.append(("What is merged", f"{text} {given} {NOT_THE_PIPELINES}"))
        sections.append(("What merging adds", findings.markdown()))
        facts["merging"] = findings.to_dict()
    if job.prepared.split.protocol == LastThree().name:
        _, other = _measure_all(job, channels, merging, length, not include_seen)
        offered, filtered = (evaluations, other) if include_seen else (other, evaluations)
        sections.append((SIDE_BY_SIDE, side_by_side(offered, filtered)))
        facts["other_seen"] = {"seen_filtered": include_seen, "evaluations": [e.to_dict() for e in other]}
    if lists:
        evaluations = leaderboard([*evaluations, *(job.measure(each.facts.name, each.offer) for each in lists)], job.by)
        sections.append((HEADING, facts_table(lists)))
        facts["external"] = facts_data(lists)
    best = ours.name
    needed = channels if best == MERGED else {name: channels[name] for name in (best.removesuffix(LAST_FILM),)}
    merge_again = merging if best == MERGED else None

    def answer(queries: QueryBatch) -> Candidates:
        long_enough = replace(job, ks=(job.audit_length,))
        return _offers(long_enough, needed, merge_again, length, include_seen, queries)[best]

    return job.report(
        "Recall channels",
        evaluations,
        [job.compare(evaluations[0], other) for other in evaluations[1:]],
        sections=sections,
        draw=lambda: _figures(workspace.reports, job.stem, evaluations, findings, min(job.ks)),
        facts=facts,
        seen_filtered=not include_seen,
        ties=job.audit_ties(ours.name, answer, ours.per_query),
    )


def read_external(
    job: EvaluationJob, paths: Sequence[Path], taken: Sequence[str], include_seen: bool
) -> list[ExternalLists]:
    """The lists of every file; each gets the file's name in the report, which no other system may have.

    Raises:
        ConfigError, DataError: see ``evaluate_recall``.
    """
    if paths and job.query_time:
        raise ConfigError("lists made elsewhere do not say whether they knew the query's time; leave out --query_time")
    lists: list[ExternalLists] = []
    for path in paths:
        name = system_name(path)
        if name in taken or name in (given.facts.name for given in lists):
            raise ConfigError(f"{path} would stand in the report as {name}, and that name is taken; rename the file")
        vocabulary, queries = job.prepared.vocabulary, job.holdout.queries
        lists.append(ExternalLists.read(path, vocabulary, queries, max(job.ks), include_seen=include_seen))
    return lists


def _measure_all(
    job: EvaluationJob,
    channels: Mapping[str, BaseRecall],
    merging: MergeConfig | None,
    per_channel: int,
    include_seen: bool,
) -> tuple[dict[str, BoolArray], list[Evaluation]]:
    """All channels and their merge, a part of the queries at a time.

    Returns:
        System → (L,) which targets are among the first items that the overlap compares; and the figures, the best
        first.
    """
    running: dict[str, RunningEvaluation] = {}
    found: dict[str, list[BoolArray]] = {}
    for part in job.parts():
        for name, offer in _offers(job, channels, merging, per_channel, include_seen, part.queries).items():
            running.setdefault(name, job.running(name)).add(offer, part)
            found.setdefault(name, []).append(found_targets(offer, part, overlap_length(job.ks)))
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return joined, leaderboard(job.finish(running).values(), job.by)


def _offers(
    job: EvaluationJob,
    channels: Mapping[str, BaseRecall],
    merging: MergeConfig | None,
    per_channel: int,
    include_seen: bool,
    queries: QueryBatch,
) -> dict[str, Candidates]:
    """What the channels offer, and the merge of the first ``per_channel`` items of each if there is one.

    Under ``last_three`` an item-to-item channel answers a second time from the last film of the history alone, as
    MetaSpore's do.
    """
    k = max(job.ks)
    exclude = Exclusions.nothing(len(queries)) if include_seen else Exclusions.of_history(queries)
    asked = k if merging is None else max(k, per_channel)
    found = {name: channel.retrieve(queries, asked, exclude=exclude) for name, channel in channels.items()}
    offers = {name: offer.head(k) for name, offer in found.items()}
    if merging is not None:
        to_merge = {name: offer.head(per_channel) for name, offer in found.items()}
        offers[MERGED] = merge(merging, to_merge, k, fill=fill_of(channels))
    if job.prepared.split.protocol == LastThree().name:
        for name, channel in channels.items():
            if isinstance(channel, ItemSimilarityRecall):
                offers[name + LAST_FILM] = channel.retrieve(queries.latest(1), k, exclude=exclude)
    return offers


def side_by_side(offered: Sequence[Evaluation], filtered: Sequence[Evaluation]) -> str:
    """Markdown table of the metrics that MetaSpore publishes, with films of the history offered again and filtered."""
    k = PUBLISHED_K if PUBLISHED_K in offered[0].ks else min(offered[0].ks)
    metrics = [metric_name(metric, k) for metric in ("precision", "recall", "map", "ndcg")]
    by_name = {evaluation.name: evaluation for evaluation in filtered}
    rows = [
        [e.name, *(f"{system.mean(metric):.4f}" for system in (e, by_name[e.name]) for metric in metrics)]
        for e in offered
    ]
    header = [f"{metric_label(metric)}, {seen}" for seen in ("seen offered", "seen filtered") for metric in metrics]
    return markdown_table(["system", *header], rows)


def _figures(
    folder: Path, stem: str, evaluations: Sequence[Evaluation], findings: MergeFindings | None, first: int
) -> list[tuple[str, str]]:
    """Draw the report's figures; returns their captions and files."""
    by_name = {evaluation.name: evaluation for evaluation in sorted(evaluations, key=lambda e: e.name)}
    plot_curves(
        {name: e.curve("hit_rate") for name, e in by_name.items()},
        folder / f"{stem}_hit_rate.png",
        ylabel="HitRate@K",
        title="How often the held-out film is among the first K",
    )
    plot_intervals(
        {name: e.metrics[f"ndcg@{first}"] for name, e in by_name.items()},
        folder / f"{stem}_ndcg.png",
        xlabel=f"NDCG@{first}",
        title="Channels with 95% intervals over users",
    )
    plot_accuracy_against(
        {name: (e.lists[f"popularity@{first}"], e.mean(f"hit_rate@{first}")) for name, e in by_name.items()},
        folder / f"{stem}_popularity.png",
        xlabel=f"mean popularity of the {first} films offered (events in the fit split)",
        ylabel=f"HitRate@{first}",
        title="Accuracy against popularity bias",
    )
    figures = [
        ("HitRate against K", f"{stem}_hit_rate.png"),
        ("NDCG with intervals", f"{stem}_ndcg.png"),
        ("Accuracy against popularity bias", f"{stem}_popularity.png"),
    ]
    if findings is not None:
        overlap = findings.overlap
        plot_overlap(
            overlap.names,
            overlap.found.tolist(),
            overlap.shares,
            overlap.unique_shares,
            folder / f"{stem}_overlap.png",
            title=f"Held-out films found among the first {overlap.k}",
        )
        figures.append(("What the channels find in common", f"{stem}_overlap.png"))
    return figures
