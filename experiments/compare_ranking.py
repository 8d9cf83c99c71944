"""The comparison of rankers over the candidates of one pipeline: several seeds, the same users, the same channels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Comparison, Evaluation, holdout_digest, leaderboard
from evaluation.report import EvaluationProtocol, comparisons_table, markdown_table, metric_label, write_text
from evaluation.significance import bootstrap_mean, paired_bootstrap
from evaluation.stored import read_evaluation, write_evaluation
from experiments.measuring import choose_holdout, measure, report_stem
from pipeline.builder import load_channels
from pipeline.config import PipelineConfig
from pipeline.fitting import fit_ranker
from pipeline.provenance import data_of
from pipeline.samples import RankingData, make_ranking_data, stored_refits
from pipeline.stages import MERGED
from ranking import MAX_QUERIES, RANKERS, SHORT_HISTORIES
from recall.base import BaseRecall
from recall.merge import merge
from reccore import Bundle, Candidates, ConfigError, Holdout, RunOptions, Workspace
from reccore.arrays import FloatArray

KS = (10, 20, 100)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"
FOLDER = "rankers"


@dataclass(frozen=True)
class RankerRow:
    """One line of the table: a registered ranker with its options."""

    name: str
    model: str
    config: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str, settings: Mapping[str, Any], *, source: str) -> RankerRow:
        """Check ``model`` and its options.

        Raises:
            ConfigError: unknown model, unknown option or value out of range; names the ``source``.
        """
        options = dict(settings)
        model = options.pop("model", None)
        if model is None:
            raise ConfigError(f"{source}: model is missing; known: {', '.join(RANKERS)}")
        try:
            return cls(name, model, RANKERS[model](options).config.model_dump(mode="json"))
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error


@dataclass(frozen=True, eq=False)
class RankerResult:
    """A ranker, a channel or the merged list over all seeds.

    Attributes:
        name: of the line.
        evaluations: one per seed, on the same users.
        minutes: of one training, mean over the seeds; None for what is not trained here.
    """

    name: str
    evaluations: Sequence[Evaluation]
    minutes: float | None = None

    def per_user(self, metric: str) -> FloatArray:
        """(B,) each user's mean over the seeds."""
        mean: FloatArray = np.mean([e.per_query[metric] for e in self.evaluations], axis=0, dtype=np.float64)
        return mean

    def cell(self, metric: str, seed: int) -> str:
        """Mean with interval over users, and the standard deviation over seeds."""
        means = [evaluation.mean(metric) for evaluation in self.evaluations]
        spread = f" ± {np.std(means, ddof=1):.4f}" if len(means) > 1 else ""
        return f"{bootstrap_mean(self.per_user(metric), seed=seed)}{spread}"


@dataclass(frozen=True, eq=False)
class RankingComparison:
    """The table.

    Attributes:
        protocol: data, split and users.
        results: all lines.
        channel: name of the best single channel.
        seeds: of the rankers.
    """

    protocol: EvaluationProtocol
    results: Sequence[RankerResult]
    channel: str
    seeds: tuple[int, ...]

    @cached_property
    def rows(self) -> list[RankerResult]:
        """The best NDCG@10 first; equal ones by name."""
        return sorted(self.results, key=lambda row: (-float(row.per_user(HEADLINE).mean()), row.name))

    @property
    def comparisons(self) -> list[Comparison]:
        """Every ranker − the best channel, paired over users."""
        base = next(row for row in self.results if row.name == self.channel).per_user(HEADLINE)
        return [
            Comparison(
                row.name,
                self.channel,
                HEADLINE,
                paired_bootstrap(row.per_user(HEADLINE), base, seed=self.protocol.seed),
                base=float(base.mean()),
            )
            for row in self.rows
            if row.name != self.channel
        ]

    def table(self) -> str:
        """The Markdown table."""
        header = ["order by", metric_label(HEADLINE), metric_label(BESIDE), "× best channel", "minutes"]
        base = float(next(row for row in self.results if row.name == self.channel).per_user(HEADLINE).mean())
        lines = [
            [
                row.name,
                *(row.cell(metric, self.protocol.seed) for metric in (HEADLINE, BESIDE)),
                f"{row.per_user(HEADLINE).mean() / base:.3f}" if base else "–",
                "–" if row.minutes is None else f"{row.minutes:.1f}",
            ]
            for row in self.rows
        ]
        return markdown_table(header, lines)

    def to_dict(self) -> list[dict[str, Any]]:
        """The lines for programs."""
        return [
            {
                "name": row.name,
                "ndcg@10": [evaluation.mean(HEADLINE) for evaluation in row.evaluations],
                "hit_rate@10": [evaluation.mean(BESIDE) for evaluation in row.evaluations],
                "minutes": row.minutes,
            }
            for row in self.rows
        ]

    def to_markdown(self) -> str:
        """The report for people."""
        note = (
            "Every ranker orders the same candidates. Intervals are over users, ± is the standard deviation over "
            f"{len(self.seeds)} seeds of the ranker; the channels are those trained under models/."
        )
        parts = ["# Rankers", self.protocol.line(), self.table(), note, "## Against the best channel"]
        return "\n\n".join([*parts, comparisons_table(self.comparisons), ""])


@dataclass(frozen=True, eq=False)
class RankerRuns:
    """What all runs of a comparison share.

    Attributes:
        workspace: data root with trained channels.
        config: pipeline whose candidates are ranked.
        channels: its channels.
        prepared: data that they were fitted on.
        holdout: queries and targets of the split.
        split: ``valid`` or ``test``.
        folder: where measurements are kept.
        max_queries, short_histories: as for ``train_ranker``.
        options: device, progress, and the seed of the bootstrap.
    """

    workspace: Workspace
    config: PipelineConfig
    channels: Mapping[str, BaseRecall]
    prepared: Prepared
    holdout: Holdout
    split: str
    folder: Path
    max_queries: int | None
    short_histories: float
    options: RunOptions

    @cached_property
    def basis(self) -> dict[str, Any]:
        """What decides the figures of every run."""
        return {
            "channels": {name: Bundle.open(self.workspace.model(name)).fingerprint for name in self.channels},
            "pipeline": self.config.before_ranking().model_dump(mode="json"),
            "holdout": holdout_digest(self.holdout),
            "samples": [self.max_queries, self.short_histories],
        }

    def of_seed(self, rows: Sequence[RankerRow], seed: int) -> dict[str, tuple[Evaluation, float]]:
        """Name of the row → its evaluation and minutes; candidates are collected only where something is missing."""
        found, data = {}, None
        options = replace(self.options, seed=seed)
        for row in rows:
            path = self.folder / f"{row.name}-seed{seed}-{self.split}.npz"
            basis = json.dumps({**self.basis, "model": row.model, "config": row.config, "seed": seed}, sort_keys=True)
            stored = read_evaluation(path) if path.is_file() else None
            if stored is not None and stored[1]["basis"] == basis:
                found[row.name] = stored[0], stored[1]["minutes"]
                continue
            if data is None:
                data = self._data(rows, options)
            evaluation, minutes = self._run(row, data, options)
            write_evaluation(path, evaluation, {"basis": basis, "minutes": minutes})
            found[row.name] = evaluation, minutes
            value = evaluation.mean(HEADLINE)
            logger.info(
                "{}, seed {}: {} {:.4f}, {:.1f} minutes", row.name, seed, metric_label(HEADLINE), value, minutes
            )
        return found

    def _data(self, rows: Sequence[RankerRow], options: RunOptions) -> RankingData:
        tasks = dict.fromkeys(task for row in rows for task in RANKERS[row.model](row.config).tasks)
        return make_ranking_data(
            self.prepared,
            stored_refits(self.workspace, options),
            self.channels,
            self.config,
            self.holdout,
            tasks=tuple(tasks),
            max_queries=self.max_queries,
            short_histories=self.short_histories,
            options=options,
        )

    def _run(self, row: RankerRow, data: RankingData, options: RunOptions) -> tuple[Evaluation, float]:
        """Fit a ranker and measure its order of the holdout's candidates; and the minutes of fitting."""
        started = perf_counter()
        ranker = RANKERS[row.model](row.config)
        fit_ranker(ranker, data, self.prepared.vocabulary, options)
        minutes = (perf_counter() - started) / 60
        candidates = data.valid.candidates
        return self.measure(row.name, candidates.reordered(ranker.score(data.valid.queries, candidates))), minutes

    def measure(self, name: str, offer: Candidates) -> Evaluation:
        return measure(name, offer, self.holdout, self.prepared.training_data(), KS, self.options.seed)

    def before_ranking(self) -> tuple[Evaluation, Evaluation]:
        """The merged list, and the best single channel."""
        offers = {
            source.name: self.channels[source.name].retrieve(self.holdout.queries, source.k)
            for source in self.config.sources
        }
        merge_stage = self.config.merge
        merged = merge(merge_stage.method, offers, merge_stage.k, fill=merge_stage.fill)
        single = [self.measure(name, offer) for name, offer in offers.items()]
        return self.measure(MERGED, merged), leaderboard(single, HEADLINE)[0]


def compare_ranking(
    workspace: Workspace,
    rows: Sequence[RankerRow],
    pipeline_settings: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    split: str = "test",
    max_queries: int | None = MAX_QUERIES,
    short_histories: float = SHORT_HISTORIES,
    name: str = FOLDER,
    options: RunOptions,
) -> tuple[RankingComparison, Path]:
    """Fit every ranker with every seed on one pipeline's candidates; writes ``reports/compare_<name>*``.

    What was measured with the same options, channels, seed and held-out events is not repeated.

    Args:
        workspace: data root with trained channels.
        rows: rankers with their options.
        pipeline_settings: options of ``PipelineConfig``; its ranker is replaced.
        seeds: of rankers, label queries and stopping users.
        split: ``valid`` or ``test``.
        max_queries, short_histories: as for ``train_ranker``.
        name: of the report and of the folder under ``comparisons/``.
        options: device, progress, and the seed of the bootstrap.

    Raises:
        ConfigError: repeated seeds, an invalid pipeline, or a task without labels in this data.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ from each other, got {', '.join(map(str, seeds))}")
    config = PipelineConfig.parse({**pipeline_settings, "ranker": rows[0].model})
    channels = load_channels(workspace, config.channels)
    prepared = data_of(workspace, config.channels)
    query_time = any(channel.query_time for channel in channels.values())
    holdout, label = choose_holdout(prepared, split, None, query_time=query_time)
    folder = workspace.root / "comparisons" / name
    runs = RankerRuns(
        workspace, config, channels, prepared, holdout, split, folder, max_queries, short_histories, options
    )
    by_seed = [runs.of_seed(rows, seed) for seed in seeds]
    merged, best = runs.before_ranking()
    lines = [
        RankerResult(row.name, [found[row.name][0] for found in by_seed], _mean([f[row.name][1] for f in by_seed]))
        for row in rows
    ]
    lines += [RankerResult(MERGED, [merged]), RankerResult(best.name, [best])]
    protocol = EvaluationProtocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        query_time=query_time,
        tied_share=merged.tied_share,
        seed=options.seed,
    )
    comparison = RankingComparison(protocol, lines, best.name, tuple(seeds))
    path = workspace.reports / f"{report_stem(f'compare_{name}', split, None, query_time=query_time)}.md"
    write_text(path, comparison.to_markdown())
    return comparison, path


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
