"""Runs of a comparison of rankers: a ranker with a seed, fitted and measured where its figures are not stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation, holdout_digest, leaderboard
from evaluation.report import metric_label
from evaluation.stored import read_evaluation, write_evaluation
from experiments.funnel import RECALL
from experiments.measuring import measure
from experiments.ranking_orders import channel_orders, measure_order, measure_ranker, timed_scores
from experiments.results import RunResult
from experiments.runs import Row, Run
from pipeline.builder import assemble
from pipeline.config import PipelineConfig
from pipeline.fates import Passage
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.label_window import WindowKind, kind_under
from pipeline.samples import RankingData, labels_of_task, make_ranking_data
from pipeline.stage_configs import TopStage
from pipeline.train_ranker import as_served, fit_ranker, with_chosen_rule
from pipeline.window_refits import stored_refits
from ranking import RANKERS
from ranking.base import BaseRanker
from recall.base import BaseRecall
from reccore import Bundle, Candidates, Holdout, RankingSamples, RunOptions, TrainingData, Workspace
from reccore.arrays import FloatArray
from reccore.bundle import git_commit

KS = (10, 20, 100)
WITHIN_KS = (10,)
HEADLINE, BESIDE = "ndcg@10", "hit_rate@10"
VERSION = 2
"""Of what a run measures and stores; a run stored by another version is measured again."""


@dataclass(frozen=True, eq=False)
class RankerRuns:
    """What all runs of a comparison share.

    Attributes:
        workspace: data root with trained channels.
        configs: name of a row → its pipeline; all offer the same candidates.
        channels: their channels.
        prepared: data that they were fitted on.
        holdout: queries and targets of the split.
        task: whose labels the rankers are measured by.
        liked_from: least rating of an item that counts as liked.
        split: ``valid`` or ``test``.
        folder: where measurements are kept.
        max_queries, short_histories, found_only, label_window, label_windows: as for ``train_ranker``.
        options: device, progress, and the seed of the bootstrap.
    """

    workspace: Workspace
    configs: Mapping[str, PipelineConfig]
    channels: Mapping[str, BaseRecall]
    prepared: Prepared
    holdout: Holdout
    task: str
    liked_from: float
    split: str
    folder: Path
    max_queries: int | None
    short_histories: float
    found_only: bool
    label_window: WindowKind | None
    label_windows: int
    options: RunOptions

    @property
    def config(self) -> PipelineConfig:
        """The pipeline of the first row, whose stages before the ranker and rule for short histories are everyone's."""
        return next(iter(self.configs.values()))

    @cached_property
    def basis(self) -> dict[str, Any]:
        """What decides the figures of every run."""
        rule = self.config.short_history
        return {
            "version": VERSION,
            "channels": {name: Bundle.open(self.workspace.model(name)).fingerprint for name in self.channels},
            "pipeline": self.config.before_ranking().model_dump(mode="json"),
            "short_history": None if rule is None else rule.model_dump(mode="json"),
            "holdout": holdout_digest(self.holdout),
            "samples": [self.max_queries, self.short_histories, self.label_windows, *self._other_samples],
        }

    @property
    def _other_samples(self) -> list[str]:
        """What other samples than the default ones are: the runs of these were stored without it."""
        cut = self.label_window
        other = [cut] if cut is not None and cut != kind_under(self.prepared.split.protocol) else []
        return [*other, *(["found_only"] if self.found_only else [])]

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
        """The samples that ``train_ranker`` makes of this seed, with the labels of all rows' tasks."""
        tasks = dict.fromkeys(task for row in rows for task in RANKERS[row.model](row.config).tasks)
        return make_ranking_data(
            self.prepared,
            stored_refits(self.workspace, options),
            self.channels,
            self.config,
            self.holdout,
            tasks=tuple(tasks),
            liked_from=self.liked_from,
            max_queries=self.max_queries,
            short_histories=self.short_histories,
            judge_below=self.config.judge_below,
            found_only=self.found_only,
            window_kind=self.label_window,
            label_windows=self.label_windows,
            options=options,
        )

    def _measured(
        self, row: Row, data: RankingData, options: RunOptions, basis: str
    ) -> tuple[Evaluation, dict[str, Any]]:
        """Fit a ranker as ``train_ranker`` does, and measure its lists as served and its scores of the candidates."""
        started = perf_counter()
        ranker = RANKERS[row.model](row.config)
        _, stop = fit_ranker(ranker, data, self.prepared.vocabulary, options)
        config, choice = with_chosen_rule(self.configs[row.name], ranker, data, stop)
        seconds = perf_counter() - started
        scores, scoring = timed_scores(ranker, data.valid)
        how: dict[str, Any] = {"ks": WITHIN_KS, "seed": self.options.seed}
        within = measure_ranker(row.name, ranker, data.valid, scores, scoring, **how)
        served = as_served(self._pipeline(config, ranker), data.valid, scores)
        facts = {
            "basis": basis,
            "seconds": seconds,
            "device": str(options.torch_device()),
            "threads": torch.get_num_threads(),
            "git_commit": git_commit(),
            "short_history": None if choice is None else str(choice),
            "within": within.to_dict(),
        }
        return self.measure(row.name, served), facts

    def measure(self, name: str, offer: Candidates) -> Evaluation:
        """Measure lists of the holdout."""
        return measure(name, offer, self.holdout, self.table, KS, self.options.seed)

    def _pipeline(self, config: PipelineConfig, ranker: BaseRanker | None) -> Pipeline:
        """A pipeline without its reranker."""
        return assemble(
            PipelineConfig(stages=(*config.stages[:-1], TopStage())),
            channels=self.channels,
            ranker=ranker,
            items=self.table.items,
            histories=FrozenHistoryStore(self.table.interactions, self.table.vocabulary),
        )

    @cached_property
    def pipeline(self) -> Pipeline:
        """The stages whose candidates are ranked."""
        return self._pipeline(self.config.before_ranking(), None)

    def before_ranking(self) -> tuple[RunResult, RunResult]:
        """The merged list, and the best single channel; each with its order of the merged candidates."""
        passage = Passage.of(self.pipeline, self.holdout.queries, self.pipeline.config.merge.k)
        offers = passage.request.offers
        single = [self.measure(source.name, offers[source.name]) for source in self.pipeline.sources_for_all]
        best = leaderboard(single, HEADLINE)[0]
        candidates = passage.final
        labels = {self.task: labels_of_task(self.task, candidates, self.holdout, None, self.liked_from)[0]}
        samples = RankingSamples(self.holdout.queries, candidates, labels)
        orders = {RECALL: candidates.place_scores, **channel_orders(samples, [best.name])}
        return (
            self._of_order(self.measure(RECALL, passage.merged), orders[RECALL], samples),
            self._of_order(best, orders[best.name], samples),
        )

    def _of_order(self, evaluation: Evaluation, scores: FloatArray, samples: RankingSamples) -> RunResult:
        name, seed = evaluation.name, self.options.seed
        within = measure_order(name, scores, samples, self.task, ks=WITHIN_KS, seed=seed)
        return RunResult(Run(Row(name, name, {}), seed), evaluation, {"within": within.to_dict()})
