"""Evaluation of rankers within the candidates of recall, beside the merged order and every channel's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.evaluate import Comparison
from evaluation.metrics import metric_name, per_query_metrics
from evaluation.plots import plot_intervals, plot_reliability
from evaluation.report import comparisons_table, keeping, markdown_table, metric_label, without_nan, write_text
from evaluation.significance import paired_bootstrap
from evaluation.within_candidates import WEIGHTED, WithinCandidates
from experiments.funnel import RECALL
from experiments.measuring import EvaluationJob
from experiments.ranking_orders import channel_orders, common_task, measure_order, measure_ranker, timed_scores
from experiments.tie_audit import K, TieAudit
from pipeline.builder import PIPELINE, assemble, load_trained
from pipeline.candidate_buffer import CandidateBuffer
from pipeline.inference import Pipeline
from pipeline.samples import common_liked_from, positive_counts, ranking_samples
from pipeline.stages import RECALL_RANK
from ranking import RANKERS
from ranking.base import BaseRanker
from ranking.config import LIKE
from reccore import Candidates, ConfigError, QueryBatch, RankingSamples, RunOptions, Workspace
from reccore.arrays import FloatArray
from reccore.workspace import require

RANKING_KS = (10,)
WITH_MISSED = ", a positive that recall missed counting as a miss"
LIKED_OR_NOT = ", by all held-out films, liked or not, one that recall missed counting as a miss"
"""The audit of ties knows the held-out films, and not which of them were liked."""
NOTE = (
    "Within the candidates of recall, by the ranker's own scores (the rule for short histories is not applied): a "
    "positive that recall missed is no row. AUC: over all labelled candidates. "
    "GAUC: mean over queries of the AUC within each, plain and weighted by the number of candidates. GAUC, NDCG and "
    "MRR are means over the queries with a positive among their candidates. Logloss (nats) and ECE (15 bins of equal "
    "mass): of calibrated probabilities. After recall: the pipeline's merged order of "
    "these candidates. Intervals: 95%, bootstrap over users, each drawn with all queries; paired differences too."
)


@dataclass(frozen=True, eq=False)
class RankingEvaluation:
    """Result of an evaluation of rankers.

    Attributes:
        systems: rankers, the merged order, and the channels.
        comparisons: each ranker against the merged order, and against the best channel.
        about: data, split, users, and how many positives recall offers.
        offered, positives: positives of the rankers' task among the candidates, and all of them.
        report: Markdown file.
        ties: the best ranker's list under other orders of tied events.
    """

    systems: Sequence[WithinCandidates]
    comparisons: Sequence[Comparison]
    about: str
    offered: int
    positives: int
    report: Path
    ties: TieAudit | None

    def table(self) -> str:
        """All figures in one Markdown table."""
        names = list(dict.fromkeys(name for system in self.systems for name in system.metrics))
        rows = [[s.name, *(_figure(s, name) for name in names), _ece(s), _speed(s)] for s in self.systems]
        labels = {"gauc": "GAUC", WEIGHTED: "GAUC by impressions", "auc": "AUC", "mrr": "MRR", "logloss": "Logloss"}
        header = [labels.get(name, metric_label(name)) for name in names]
        return markdown_table(["system", *header, "ECE", "candidates/s"], rows)

    def calibration(self) -> str:
        """Markdown table of the calibration error before and after, for systems with probabilities."""
        rows = [
            [s.name, f"{s.raw_reliability.error:.4f}", f"{s.reliability.error:.4f}"]
            for s in self.systems
            if s.reliability is not None and s.raw_reliability is not None
        ]
        return markdown_table(["system", "ECE of sigmoid(score)", "ECE calibrated"], rows) if rows else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, None instead of NaN."""
        plain: dict[str, Any] = without_nan(
            {
                "about": self.about,
                "offered": self.offered,
                "positives": self.positives,
                "tie_audit": None if self.ties is None else self.ties.to_dict(),
                "systems": [system.to_dict() for system in self.systems],
                "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            }
        )
        return plain


def evaluate_ranking(
    workspace: Workspace,
    *,
    models: Sequence[str] = (),
    split: str = "test",
    query_time: bool = False,
    ks: Sequence[int] = RANKING_KS,
    options: RunOptions,
) -> RankingEvaluation:
    """Measure trained rankers on the candidates of the pipeline; writes ``reports/ranking*``.

    Args:
        workspace: data root.
        models: names under ``models/``; by default the pipeline's ranker.
        split, query_time, ks: see ``EvaluationJob.open``.
        options: its seed is that of the bootstrap.

    Raises:
        ConfigError: the pipeline has no ranker and none is named; a ranker learnt from columns that the pipeline's
            candidates lack; or see ``EvaluationJob.open``.
        ArtefactError, NotReadyError: a model is not trained, or on other data.
        DataError: no candidate is a positive; or see ``EvaluationJob.open``.
    """
    pipeline = load_trained(workspace)
    for name in models:
        require(workspace.model(name), f"ranker {name!r}", f"train_ranking.py --model {name}")
    rankers = {name: RANKERS.load(workspace.model(name)) for name in models}
    if not models and pipeline.ranker is not None:
        rankers = {str(pipeline.config.ranker): pipeline.ranker}
    if not rankers:
        raise ConfigError(
            "the pipeline has no ranker; train one (scripts/train_ranking.py), or name one: --models NAME"
        )
    channels = {source.name: source.channel for source in pipeline.sources}
    job = EvaluationJob.open(
        "ranking",
        workspace,
        channels,
        [PIPELINE, *models],
        split=split,
        test_file=None,
        query_time=query_time,
        ks=ks,
        seed=options.seed,
    )
    task = common_task(rankers.values())
    before = _before_ranking(pipeline)
    liked_from = common_liked_from(rankers.values())
    for_all = [source.name for source in pipeline.sources_for_all]
    samples, scores = _scored(job, before, rankers, task, liked_from, for_all, options)
    how: dict[str, Any] = {"ks": job.ks, "seed": job.seed}
    systems = [measure_ranker(name, ranker, samples, *scores[name], **how) for name, ranker in rankers.items()]
    best = max(systems, key=lambda system: system.metrics[metric_name("ndcg", job.ks[0])].mean).name
    ties = _audit_ties(job, best, rankers[best], before, samples.candidates.reordered(scores[best][0]))
    orders = {RECALL: samples.candidates.place_scores, **channel_orders(samples, for_all)}
    systems += [measure_order(name, order, samples, task, **how) for name, order in orders.items()]
    offered = int((samples.labels[task] == 1.0).sum())
    positives = int(positive_counts(task, job.holdout, liked_from).sum())
    named = f"held-out films rated {liked_from:g} or more" if task == LIKE else "positives"
    return _report(job, systems, len(rankers), samples, offered, positives, named, ties)


def _scored(
    job: EvaluationJob,
    before: Pipeline,
    rankers: Mapping[str, BaseRanker],
    task: str,
    liked_from: float,
    channels: Sequence[str],
    options: RunOptions,
) -> tuple[RankingSamples, dict[str, tuple[FloatArray, float]]]:
    """The samples of all queries, and ranker → its scores of them and the seconds that they took.

    Queries are answered in parts, and of the candidates' columns the ranks by the given channels alone are kept.
    """
    kept = CandidateBuffer(len(job.holdout), before.config.merge.k)
    ranks = [RECALL_RANK + name for name in channels]
    labels: list[FloatArray] = []
    scores: dict[str, list[FloatArray]] = {name: [] for name in rankers}
    seconds = dict.fromkeys(rankers, 0.0)
    quiet = replace(options, progress=False)  # the parts have a progress of their own
    for part in job.parts():
        samples = ranking_samples(before, part, tasks=[task], liked_from=liked_from, source=job.split, options=quiet)
        offered = samples.candidates
        _check_columns(rankers, offered)
        for name, ranker in rankers.items():
            of_part, took = timed_scores(ranker, samples)
            scores[name].append(of_part)
            seconds[name] += took
        columns = {name: offered.features[name] for name in ranks if name in offered.features}
        kept.add(Candidates(offered.item_idx, offered.score, columns))
        labels.append(samples.labels[task])
    joined = RankingSamples(job.holdout.queries, kept.candidates(), {task: np.concatenate(labels)})
    return joined, {name: (np.concatenate(scores.pop(name)), seconds[name]) for name in rankers}


def _before_ranking(pipeline: Pipeline) -> Pipeline:
    """The stages whose candidates the ranker scores."""
    channels = {source.name: source.channel for source in pipeline.sources}
    return assemble(
        pipeline.config.before_ranking(),
        channels=channels,
        ranker=None,
        items=pipeline.items,
        histories=pipeline.histories,
    )


def _check_columns(rankers: Mapping[str, BaseRanker], candidates: Candidates) -> None:
    """Raise ``ConfigError`` for a ranker of other channels, whose figures on these candidates would be too low."""
    for name, ranker in rankers.items():
        missing = ranker.missing_columns(candidates)
        if missing:
            raise ConfigError(
                f"ranker {name!r} learnt from columns that the pipeline's candidates lack: {', '.join(missing)}; train "
                "it with the pipeline's channels, or measure it in the pipeline that it was trained with"
            )


def _audit_ties(
    job: EvaluationJob, name: str, ranker: BaseRanker, before: Pipeline, ranked: Candidates
) -> TieAudit | None:
    """The ranker's list under other orders of ties, where other films can be the targets.

    Args:
        before: the stages that offer the candidates.
        ranked: the candidates of the holdout in the ranker's order.
    """

    def answer(queries: QueryBatch) -> Candidates:
        candidates = before.run(queries, before.config.merge.k)[0]
        return candidates.reordered(ranker.score(queries, candidates))

    system = f"{name}{LIKED_OR_NOT if ranker.tasks[0] == LIKE else WITH_MISSED}"
    return job.audit_ties(system, answer, per_query_metrics(ranked.head(K), job.holdout, (K,)))


def _report(
    job: EvaluationJob,
    systems: Sequence[WithinCandidates],
    n_rankers: int,
    samples: RankingSamples,
    offered: int,
    positives: int,
    named: str,
    ties: TieAudit | None,
) -> RankingEvaluation:
    """Compare, draw and write; ``named`` is what the positives are."""
    by = metric_name("ndcg", job.ks[0])
    rankers, merged, channels = systems[:n_rankers], systems[n_rankers], systems[n_rankers + 1 :]
    best = sorted(channels, key=lambda system: -system.metrics[by].mean)[:1]
    pairs = [(ranker, base, metric) for ranker in rankers for base in (merged, *best) for metric in (by, "gauc")]
    about = (
        f"{job.prepared.source['dataset']} · {job.split} · {len(samples):,} queries, {systems[0].rows:,} labelled "
        f"candidates, up to {samples.candidates.k} each · recall offers {offered:,} of {positives:,} {named} "
        f"({offered / max(positives, 1):.1%}) · seed {job.seed}"
    )
    path = job.workspace.reports / f"{job.stem}.md"
    comparisons = [_compare(a, b, metric, job.seed) for a, b, metric in pairs]
    result = RankingEvaluation(systems, comparisons, about, offered, positives, path, ties)
    calibration = result.calibration()
    parts = [
        "# Rankers within the candidates of recall",
        about,
        *([ties.line()] if ties else []),
        result.table(),
        NOTE,
        *(["## Calibration", calibration] if calibration else []),
        "## Paired comparisons",
        comparisons_table(comparisons),
    ]
    with keeping(result, path):
        figures = [f"![{caption}]({file})" for caption, file in _figures(job, systems, by)]
        write_text(path, "\n\n".join([*parts, *figures]) + "\n")
        write_text(path.with_suffix(".json"), json.dumps(result.to_dict(), indent=2) + "\n")
    return result


def _compare(a: WithinCandidates, b: WithinCandidates, metric: str, seed: int) -> Comparison:
    difference = paired_bootstrap(a.per_query[metric], b.per_query[metric], users=a.user_idx, seed=seed)
    return Comparison(a.name, b.name, metric, difference, base=b.metrics[metric].mean)


def _figures(job: EvaluationJob, systems: Sequence[WithinCandidates], by: str) -> list[tuple[str, str]]:
    """Draw the report's figures; returns their captions and files."""
    folder, stem = job.workspace.reports, job.stem
    plot_intervals(
        {system.name: system.metrics[by] for system in systems},
        folder / f"{stem}_ndcg.png",
        xlabel=metric_label(by),
        title="Orders of the same candidates",
    )
    curves = {}
    for system in systems:
        for name, curve in ((system.name, system.reliability), (f"{system.name}, sigmoid", system.raw_reliability)):
            if curve is not None:
                curves[name] = (curve.predicted, curve.observed)
    plot_reliability(curves, folder / f"{stem}_reliability.png", title="Predicted and observed clicks")
    return [
        (f"{metric_label(by)} within the candidates", f"{stem}_ndcg.png"),
        ("Reliability: predicted probability and share of positives", f"{stem}_reliability.png"),
    ]


def _figure(system: WithinCandidates, name: str) -> str:
    return str(system.metrics[name]) if name in system.metrics else "–"


def _ece(system: WithinCandidates) -> str:
    return "–" if system.reliability is None else f"{system.reliability.error:.4f}"


def _speed(system: WithinCandidates) -> str:
    return "–" if system.examples_per_second is None else f"{system.examples_per_second:,.0f}"
