"""Weights of the merge learnt on validation events, and checked on users that they were not learnt from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from evaluation.evaluate import Comparison, Evaluation, leaderboard
from evaluation.metrics import METRICS
from evaluation.report import UnwrittenReport, metric_label, write_text
from experiments.measuring import EvaluationJob, EvaluationResult, channels_to_evaluate
from experiments.merge_search import MergeObjective, MergeWeights, search
from recall.merge import MergeConfig, fill_of, merge
from reccore import Candidates, ConfigError, Exclusions, Holdout, QueryBatch, Workspace
from reccore.arrays import IntArray
from reccore.candidates import concatenate

EQUAL, TUNED, CHECKED = "equal weights", "tuned on the same users", "tuned on the other half"
TUNE_METRICS = ("ndcg@10", "recall@200")
PER_CHANNEL = 300


@dataclass(frozen=True, eq=False)
class MergeTuning:
    """Result of a tuning.

    Attributes:
        config: the tuned options.
        result: the report on equal weights, tuned weights and channels.
        recall_toml: file for ``evaluate_recall.py --config``.
        pipeline_toml: file for ``train_ranking.py --config``.
    """

    config: MergeConfig
    result: EvaluationResult
    recall_toml: Path
    pipeline_toml: Path


def tune_merge(
    workspace: Workspace,
    *,
    names: Sequence[str],
    kind: str = "rrf",
    metrics: Sequence[str] = TUNE_METRICS,
    per_channel: int | None = None,
    max_users: int = 20_000,
    query_time: bool = False,
    seed: int = 0,
) -> MergeTuning:
    """Learn weights on the validation split; writes ``reports/merge_tuning*`` and two TOML files.

    The check learns weights on one half of the users, measures them on the other half, and the other way round.

    Args:
        workspace: data root.
        names, query_time: see ``channels_to_evaluate``; the channels to merge are always named.
        kind: method of merging, ``rrf`` (with k0) or ``scores`` (with margin).
        metrics: what to raise; the mean of their relative changes counts.
        per_channel: number of candidates to merge from each channel, which both files state; None = 300, or as many
            as the longest list of ``metrics``. With fewer, a channel alone would be measured on a shorter list than
            the merge.
        max_users: greatest number of validation users, drawn at random.
        seed: of the draw, the halves and the bootstrap.

    Raises:
        ConfigError: fewer than two channels, an unknown metric, or fewer candidates than a metric's list has.
        ArtefactError, DataError: see ``EvaluationJob.open``.
        UnwrittenReport: the files cannot be written; has the result.
    """
    ks = _list_lengths(metrics)
    per_channel = max(PER_CHANNEL, *ks) if per_channel is None else per_channel
    if per_channel < max(ks):
        raise ConfigError(
            f"per_channel {per_channel} is too few for lists of {max(ks)}: a channel alone would be cut short and the "
            f"merge would not; give at least {max(ks)}, or metrics of shorter lists"
        )
    channels = channels_to_evaluate(workspace, names, query_time=query_time)
    if len(channels) < 2:
        raise ConfigError(f"merging needs at least two channels, got {', '.join(channels)}; train another one")
    job = EvaluationJob.open(
        "merge_tuning",
        workspace,
        channels,
        tuple(channels),
        split="valid",
        test_file=None,
        query_time=query_time,
        ks=ks,
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    users = np.unique(job.holdout.queries.user_idx)
    if len(users) > max_users:
        job = job.of_users(users[rng.permutation(len(users))[:max_users]])
    queries = job.holdout.queries
    exclude = Exclusions.of_history(queries)
    offers = {name: channel.retrieve(queries, per_channel, exclude=exclude) for name, channel in channels.items()}
    fill = fill_of(offers)
    tuner = MergeTuner(offers, job.holdout, MergeWeights.equal(kind, tuple(offers), fill), tuple(metrics), ks, fill)
    best = tuner.tune(np.arange(len(queries)), "all users")
    lists = {
        EQUAL: tuner.merged(tuner.start.config()),
        TUNED: tuner.merged(best),
        CHECKED: tuner.check(rng.permutation(len(queries))),
    }
    evaluations = leaderboard((job.measure(name, offer) for name, offer in {**offers, **lists}.items()), job.by)
    comparisons = _comparisons(job, evaluations, tuple(offers), metrics)
    text = verdict(comparisons, metrics)
    tuned = next(evaluation for evaluation in evaluations if evaluation.name == TUNED)
    files = workspace.reports / "merge_recall.toml", workspace.reports / "merge_pipeline.toml"

    def answer(given: QueryBatch) -> Candidates:
        found = {
            name: channel.retrieve(given, max(per_channel, job.audit_length)) for name, channel in channels.items()
        }
        return merge(best, found, job.audit_length, fill=fill)

    def write_toml() -> Sequence[tuple[str, str]]:
        _write_toml(*files, best, tuple(offers), fill, per_channel, text)
        return ()

    try:
        result = job.report(
            "Merge tuning",
            evaluations,
            comparisons,
            sections=[("Tuned weights", f"{text}\n\n```toml\n{_toml(best, 'merge')}```")],
            draw=write_toml,
            facts={"config": best.model_dump(mode="json"), "verdict": text},
            ties=job.audit_ties(tuned.name, answer, tuned.per_query),
        )
    except UnwrittenReport as error:
        raise UnwrittenReport(str(error), MergeTuning(best, error.result, *files)) from error
    return MergeTuning(best, result, *files)


@dataclass(frozen=True, eq=False)
class MergeTuner:
    """Searches for the best options of a merge, and their check.

    Attributes:
        offers: channel → (B, K_c) candidates.
        holdout: the B queries and their targets.
        start: equal weights.
        metrics: what to raise.
        ks: the list lengths of the metrics.
        fill: channel that fills short rows, or None.
    """

    offers: Mapping[str, Candidates]
    holdout: Holdout
    start: MergeWeights
    metrics: tuple[str, ...]
    ks: tuple[int, ...]
    fill: str | None

    def tune(self, rows: IntArray, label: str) -> MergeConfig:
        """The options found on some of the users."""
        offers = {name: offer.select(rows) for name, offer in self.offers.items()}
        objective = MergeObjective(offers, self.holdout.select(rows), self.metrics, self.ks, self.fill, self.start)
        best = search(self.start, objective)
        gain = objective(best).mean() - objective(self.start).mean()
        logger.info("{}: {:+.1%} over equal weights after {} merges", label, gain, objective.merges)
        return best.config()

    def merged(self, config: MergeConfig) -> Candidates:
        """All users' lists."""
        return merge(config, self.offers, max(self.ks), fill=self.fill)

    def check(self, shuffled: IntArray) -> Candidates:
        """All users' lists, those of each half merged with the options found on the other half."""
        halves = np.sort(shuffled[: len(shuffled) // 2]), np.sort(shuffled[len(shuffled) // 2 :])
        parts = []
        for n, (mine, other) in enumerate((halves, halves[::-1]), start=1):
            offers = {name: offer.select(mine) for name, offer in self.offers.items()}
            config = self.tune(other, f"half {n}")
            parts.append(merge(config, offers, max(self.ks), fill=self.fill))
        return concatenate(parts, max(self.ks)).select(np.argsort(np.concatenate(halves)))


def _list_lengths(metrics: Sequence[str]) -> tuple[int, ...]:
    """The K of every metric.

    Raises:
        ConfigError: no metric, or an unknown one.
    """
    ks = set()
    for metric in metrics:
        name, _, k = metric.partition("@")
        if name not in METRICS or not k.isdecimal() or int(k) < 1:
            raise ConfigError(f"unknown metric {metric!r}; write NAME@K with a NAME of {', '.join(METRICS)}")
        ks.add(int(k))
    if not ks:
        raise ConfigError("no metric to raise; give one such as ndcg@10")
    return tuple(sorted(ks))


def _comparisons(
    job: EvaluationJob, evaluations: Sequence[Evaluation], channels: Sequence[str], metrics: Sequence[str]
) -> list[Comparison]:
    """For each metric: weights of the other half and equal weights, each against equal weights and the best channel."""
    by_name = {evaluation.name: evaluation for evaluation in evaluations}
    equal, tuned, checked = (by_name[name] for name in (EQUAL, TUNED, CHECKED))
    compared = []
    for metric in metrics:
        best = leaderboard([by_name[name] for name in channels], metric)[0]
        pairs = [(checked, equal), (checked, best), (equal, best), (tuned, equal), (tuned, best)]
        compared += [job.compare(a, b, metric) for a, b in pairs]
    return compared


def verdict(comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """Whether tuning holds on users that it did not see."""
    checked = {c.metric: c for c in comparisons if (c.a, c.b) == (CHECKED, EQUAL)}
    changes = []
    for metric in metrics:
        d = checked[metric].difference
        changes.append(f"{metric_label(metric)} {d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]")
    better = [metric_label(metric) for metric in metrics if checked[metric].verdict == "better"]
    worse = [metric_label(metric) for metric in metrics if checked[metric].verdict == "worse"]
    if better and worse:
        outcome = f"tuned weights raise {', '.join(better)} and lower {', '.join(worse)} against equal weights"
    elif better:
        outcome = "tuned weights are better than equal weights"
    elif worse:
        outcome = "tuned weights are worse than equal weights; keep those"
    else:
        outcome = "tuned weights are not clearly better than equal weights"
    return f"On users that they were not learnt from: {outcome} ({', '.join(changes)})."


def _write_toml(
    recall: Path,
    pipeline: Path,
    config: MergeConfig,
    names: Sequence[str],
    fill: str | None,
    per_channel: int,
    text: str,
) -> None:
    """Write the options for ``evaluate_recall.py`` and for ``train_ranking.py``."""
    head = f"# Written by scripts/tune_merge.py. {text}\n"
    channels = json.dumps(list(names), ensure_ascii=False)
    write_text(recall, f"{head}models = {channels}\nper_channel = {per_channel}\n\n{_toml(config, 'merge')}")
    table = f"[pipeline]\nchannels = {channels}\nper_channel = {per_channel}\nfill = {json.dumps(fill or 'null')}\n"
    write_text(pipeline, f"{head}{table}\n{_toml(config, 'pipeline.merge')}")


def _toml(config: MergeConfig, table: str) -> str:
    """The options as a TOML table; names that TOML takes without quotes have none."""
    values: dict[str, Any] = config.model_dump(mode="json")
    weights = values.pop("weights")
    lines = [f"[{table}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    names = {name: name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name) for name in weights}
    lines += ["", f"[{table}.weights]", *(f"{names[name]} = {weight}" for name, weight in weights.items())]
    return "\n".join([*lines, ""])
