"""The comparison of rankers over the candidates of one pipeline: several seeds, the same users, the same channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataprep.prepare import Prepared
from evaluation.report import EvaluationProtocol
from experiments.funnel import RECALL
from experiments.measuring import choose_holdout, report_stem
from experiments.ranking_orders import common_task
from experiments.ranking_report import RankingComparison
from experiments.ranking_runs import RankerRuns
from experiments.results import RowResult
from experiments.runs import Row
from experiments.tie_audit import K as TIE_K
from experiments.tie_audit import audit_ties
from pipeline.builder import load_channels
from pipeline.config import PipelineConfig
from pipeline.label_window import WindowKind
from pipeline.provenance import data_of
from pipeline.samples import WITHOUT_RATINGS, common_liked_from
from pipeline.train_ranker import pipeline_of_ranker
from ranking import MAX_QUERIES, RANKERS, SHORT_HISTORIES
from ranking.config import LIKE
from reccore import ConfigError, RunOptions, Workspace

FOLDER = "rankers"


def compare_ranking(
    workspace: Workspace,
    rows: Sequence[Row],
    pipeline_settings: Mapping[str, Any],
    *,
    seeds: Sequence[int],
    baseline: str | None = None,
    split: str = "test",
    max_queries: int | None = MAX_QUERIES,
    short_histories: float = SHORT_HISTORIES,
    found_only: bool = False,
    label_window: WindowKind | None = None,
    label_windows: int = 1,
    name: str = FOLDER,
    options: RunOptions,
    command: str = "",
) -> tuple[RankingComparison, Path]:
    """Fit every ranker with every seed on one pipeline's candidates; writes ``reports/compare_<name>*``.

    Rows that learn what is liked are left out, and named in the report, where the data has no ratings.
    Samples, fitting and the rule for short histories are those of ``train_ranker`` with the same seed. What was
    measured with the same options, channels, seed and held-out events is not repeated.

    Args:
        workspace: data root with trained channels.
        rows: rankers with their options.
        pipeline_settings: options of ``PipelineConfig``; its ranker is replaced, its reranker left out.
        seeds: of rankers, label queries and stopping users.
        baseline: row that the others are compared with; None = the best channel.
        split: ``valid`` or ``test``.
        max_queries, short_histories, found_only, label_window, label_windows: as for ``train_ranker``.
        name: of the report and of the folder under ``comparisons/``.
        options: device, progress, and the seed of the bootstrap.
        command: shown in the report.

    Raises:
        ConfigError: repeated seeds, an unknown baseline, a row named like a channel, rankers of different tasks, an
            invalid pipeline, or data without the ratings that every row needs.
        DataError: recall offers no positive of the split.
    """
    configs = {row.name: _pipeline_of(row, pipeline_settings) for row in rows}
    config = configs[rows[0].name]
    _check(rows, seeds, baseline, config)
    channels = load_channels(workspace, config.channels)
    prepared = data_of(workspace, config.channels)
    rows, left_out = _with_labels(rows, prepared)
    if baseline in left_out:
        raise ConfigError(f"--baseline names {baseline!r}: {WITHOUT_RATINGS}")
    rankers = [RANKERS[row.model](row.config) for row in rows]
    task, liked_from = common_task(rankers), common_liked_from(rankers)
    query_time = any(channel.query_time for channel in channels.values())
    holdout, label = choose_holdout(prepared, split, None, query_time=query_time)
    folder = workspace.root / "comparisons" / name
    runs = RankerRuns(
        workspace,
        configs,
        channels,
        prepared,
        holdout,
        task,
        liked_from,
        split,
        folder,
        max_queries,
        short_histories,
        found_only,
        label_window,
        label_windows,
        options,
    )
    by_seed = [runs.of_seed(rows, seed) for seed in seeds]
    results = [RowResult(row, of_row) for row, of_row in zip(rows, zip(*by_seed, strict=True), strict=True)]
    merged, best = runs.before_ranking()
    results += [RowResult(result.run.row, [result]) for result in (merged, best)]
    protocol = EvaluationProtocol.of(
        str(prepared.source["dataset"]), label, holdout, query_time=query_time, seed=options.seed
    )
    ties = audit_ties(
        prepared,
        split,
        RECALL,
        lambda queries: runs.pipeline.run(queries, TIE_K)[0],
        query_time=query_time,
        measured=merged.evaluation.per_query,
    )
    comparison = RankingComparison(
        protocol,
        results,
        channel=best.run.row.name,
        baseline=baseline or best.run.row.name,
        seeds=tuple(seeds),
        samples=_samples(runs),
        short=_short(runs),
        left_out=left_out,
        ties=ties,
        command=command,
    )
    stem = report_stem(f"compare_{name}", split, None, query_time=query_time)
    return comparison, comparison.write(workspace.reports, stem)


def _pipeline_of(row: Row, settings: Mapping[str, Any]) -> PipelineConfig:
    """The pipeline that ``train_ranker`` would train the row for."""
    if "stages" not in settings:
        settings = {**{key: value for key, value in settings.items() if key != "ranker"}, "rerank": None}
    return pipeline_of_ranker(settings, row.name)


def _check(rows: Sequence[Row], seeds: Sequence[int], baseline: str | None, config: PipelineConfig) -> None:
    names = [row.name for row in rows]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must differ from each other, got {', '.join(map(str, seeds))}")
    if baseline is not None and baseline not in names:
        raise ConfigError(f"--baseline names no row {baseline!r}; rows: {', '.join(names)}")
    for taken in (name for name in names if name in (*config.channels, RECALL)):
        raise ConfigError(f"the row {taken!r} is named like another line of the table; rename its file")


def _with_labels(rows: Sequence[Row], prepared: Prepared) -> tuple[list[Row], tuple[str, ...]]:
    """The rows whose tasks have labels in this data, and the names of the others."""
    if prepared.split.interactions.rating is not None:
        return list(rows), ()
    unfit = {row.name for row in rows if LIKE in RANKERS[row.model](row.config).tasks}
    if len(unfit) == len(rows):
        raise ConfigError(WITHOUT_RATINGS)
    return [row for row in rows if row.name not in unfit], tuple(row.name for row in rows if row.name in unfit)


def _samples(runs: RankerRuns) -> str:
    """The line on candidates and samples."""
    sources = ", ".join(source.name for source in runs.config.sources if source.below is None)
    given = [] if runs.label_window is None else [f"label_window = {runs.label_window}"]
    given += ["found_only"] if runs.found_only else []
    options = f" with {' and '.join(given)}" if given else ""
    drawn = "all" if runs.max_queries is None else f"up to {runs.max_queries:,}"
    windows = f" of {runs.label_windows} label windows" if runs.label_windows > 1 else ""
    return (
        f"Candidates: {runs.config.merge.k} of {sources}. Samples: those of train_ranking.py{options}, {drawn} label "
        f"events{windows} for each seed, {runs.short_histories:.0%} of the users play new users."
    )


def _short(runs: RankerRuns) -> str:
    """The line on the queries whose lists follow the rule for short histories."""
    rule = runs.config.short_history
    if rule is None:
        return "Short histories: no rule, so that the ranker orders every list."
    known = runs.holdout.queries.known_items_only(len(runs.prepared.vocabulary.items)).lengths
    n_short = int(np.count_nonzero(known < rule.below))
    if n_short == 0:
        return f"Short histories: no query has fewer than {rule.below} events, so that the ranker orders every list."
    return (
        f"Short histories: {n_short:,} of {len(known):,} queries have fewer than {rule.below} events. Their lists "
        "follow the rule that is chosen with each ranker, or the ranker where there are too few users to choose on."
    )
