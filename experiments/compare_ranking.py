"""The comparison of rankers over the candidates of one pipeline: several seeds, the same users, the same channels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Comparison, Evaluation, holdout_digest, leaderboard
from evaluation.report import EvaluationProtocol, comparisons_table, markdown_table, metric_label, write_text
from evaluation.stored import read_evaluation, write_evaluation
from experiments.funnel import RECALL
from experiments.measuring import choose_holdout, measure, report_stem
from experiments.results import RowResult, RunResult
from experiments.runs import Row, Run
from experiments.tie_audit import K as TIE_K
from experiments.tie_audit import TieAudit, audit_ties
from pipeline.builder import assemble, load_channels
from pipeline.config import PipelineConfig
from pipeline.fates import Passage
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.provenance import data_of
from pipeline.samples import RankingData, make_ranking_data
from pipeline.train_ranker import fit_ranker
from pipeline.window_refits import stored_refits
from ranking import MAX_QUERIES, RANKERS, SHORT_HISTORIES
from recall.base import BaseRecall
from reccore import Bundle, Candidates, ConfigError, Holdout, RunOptions, TrainingData, Workspace

Result = RowResult[RunResult]
KS = (10, 20, 100)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"
FOLDER = "rankers"
RANKERS_NOT_ASKED = (
    "The rankers order that list and are not kept, so they are not asked again; evaluate_ranking.py asks a trained one."
)


@dataclass(frozen=True, eq=False)
class RankingComparison:
    """The table.

    Attributes:
        protocol: data, split and users.
        results: all lines: rankers, the merged list and the best channel, which are not trained here.
        channel: name of the best single channel.
        seeds: of the rankers.
        ties: the merged list under other orders of tied events.
    """

    protocol: EvaluationProtocol
    results: Sequence[Result]
    channel: str
    seeds: tuple[int, ...]
    ties: TieAudit

    @cached_property
    def rows(self) -> list[Result]:
        """The best NDCG@10 first; equal ones by name."""
        return sorted(self.results, key=lambda result: (-result.mean(HEADLINE), result.row.name))

    @property
    def base(self) -> Result:
        """The best single channel."""
        return next(result for result in self.results if result.row.name == self.channel)

    @property
    def comparisons(self) -> list[Comparison]:
        """Every other line − the best channel, paired over users."""
        return [
            result.minus(self.base, HEADLINE, self.protocol.seed) for result in self.rows if result is not self.base
        ]

    def table(self) -> str:
        """The Markdown table."""
        header = ["order by", metric_label(HEADLINE), metric_label(BESIDE), "× best channel", "minutes"]
        base = self.base.mean(HEADLINE)
        lines = [
            [
                result.row.name,
                *(result.cell(metric, self.protocol.seed) for metric in (HEADLINE, BESIDE)),
                f"{result.mean(HEADLINE) / base:.3f}" if base else "–",
                f"{result.minutes:.1f}" if is_trained(result) else "–",
            ]
            for result in self.rows
        ]
        return markdown_table(header, lines)

    def to_dict(self) -> list[dict[str, Any]]:
        """The lines for programs."""
        return [
            {
                "name": result.row.name,
                HEADLINE: result.per_seed(HEADLINE).tolist(),
                BESIDE: result.per_seed(BESIDE).tolist(),
                "minutes": result.minutes if is_trained(result) else None,
            }
            for result in self.rows
        ]

    def to_markdown(self) -> str:
        """The report for people."""
        note = (
            "Every ranker orders the same candidates. Intervals are over users, ± is the standard deviation over "
            f"{len(self.seeds)} seeds of the ranker; the channels are those trained under models/."
        )
        ties = f"{self.ties.line()} {RANKERS_NOT_ASKED}"
        parts = ["# Rankers", self.protocol.line(), ties, self.table(), note, "## Against the best channel"]
        return "\n\n".join([*parts, comparisons_table(self.comparisons), ""])


def is_trained(result: Result) -> bool:
    """Whether the line is a ranker, whose training was timed."""
    return "seconds" in result.runs[0].facts


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

    @cached_property
    def table(self) -> TrainingData:
        """The fit split, whose counts and genres figures are of."""
        return self.prepared.training_data()

    def of_seed(self, rows: Sequence[Row], seed: int) -> list[RunResult]:
        """A result of each row; candidates are collected only where something is missing."""
        found, data = [], None
        options = replace(self.options, seed=seed)
        for run in (Run(row, seed) for row in rows):
            path = self.folder / f"{run.name}-{self.split}.npz"
            about = {**self.basis, "model": run.row.model, "config": run.row.config, "seed": seed}
            basis = json.dumps(about, sort_keys=True)
            stored = read_evaluation(path) if path.is_file() else None
            if stored is None or stored[1]["basis"] != basis:
                if data is None:
                    data = self._data(rows, options)
                stored = self._measured(run.row, data, options, basis)
                write_evaluation(path, *stored)
                value = stored[0].mean(HEADLINE)
                logger.info("{}: {} {:.4f}, {:.0f} seconds", run, metric_label(HEADLINE), value, stored[1]["seconds"])
            found.append(RunResult(run, *stored))
        return found

    def _data(self, rows: Sequence[Row], options: RunOptions) -> RankingData:
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

    def _measured(
        self, row: Row, data: RankingData, options: RunOptions, basis: str
    ) -> tuple[Evaluation, dict[str, Any]]:
        """Fit a ranker and measure its order of the holdout's candidates; and the seconds of fitting."""
        started = perf_counter()
        ranker = RANKERS[row.model](row.config)
        fit_ranker(ranker, data, self.prepared.vocabulary, options)
        seconds = perf_counter() - started
        candidates = data.valid.candidates
        ranked = candidates.reordered(ranker.score(data.valid.queries, candidates))
        return self.measure(row.name, ranked), {"basis": basis, "seconds": seconds}

    def measure(self, name: str, offer: Candidates) -> Evaluation:
        return measure(name, offer, self.holdout, self.table, KS, self.options.seed)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The stages whose candidates are ranked."""
        return assemble(
            self.config.before_ranking(),
            channels=self.channels,
            ranker=None,
            items=self.table.items,
            histories=FrozenHistoryStore(self.table.interactions, self.table.vocabulary),
        )

    def before_ranking(self) -> tuple[Evaluation, Evaluation]:
        """The merged list, and the best single channel."""
        passage = Passage.of(self.pipeline, self.holdout.queries, self.pipeline.config.merge.k)
        offers = passage.request.offers
        single = [self.measure(source.name, offers[source.name]) for source in self.pipeline.sources_for_all]
        return self.measure(RECALL, passage.merged), leaderboard(single, HEADLINE)[0]


def compare_ranking(
    workspace: Workspace,
    rows: Sequence[Row],
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
    results = [RowResult(row, of_row) for row, of_row in zip(rows, zip(*by_seed, strict=True), strict=True)]
    merged, best = runs.before_ranking()
    for evaluation in (merged, best):
        row = Row(evaluation.name, evaluation.name, {})
        results.append(RowResult(row, [RunResult(Run(row, options.seed), evaluation, {})]))
    protocol = EvaluationProtocol(
        dataset=str(prepared.source["dataset"]),
        split=label,
        users=len(holdout),
        query_time=query_time,
        tied_share=merged.tied_share,
        seed=options.seed,
    )
    ties = audit_ties(
        prepared,
        split,
        merged.name,
        lambda queries: runs.pipeline.run(queries, TIE_K)[0],
        query_time=query_time,
        measured=merged.per_query,
    )
    comparison = RankingComparison(protocol, results, best.name, tuple(seeds), ties)
    path = workspace.reports / f"{report_stem(f'compare_{name}', split, None, query_time=query_time)}.md"
    write_text(path, comparison.to_markdown())
    return comparison, path
