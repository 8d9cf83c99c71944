"""New users at the pipeline: how well every stage serves users who are absent from training.

The users are those of ``experiments.new_users``. Everything that learns is fitted again on the others: the channels of
the pipeline, then the ranker on the label window of these users, with candidates of channels fitted once more without
that window. Nothing is written to ``models/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from loguru import logger

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation
from experiments.funnel import orders_of
from experiments.measuring import measure
from experiments.new_users import NewUsers
from experiments.new_users_report import BASE, K, NewUsersResult
from pipeline.builder import PIPELINE, assemble, load
from pipeline.config import PipelineConfig
from pipeline.fates import Passage
from pipeline.fitting import fit_ranker
from pipeline.history import FrozenHistoryStore
from pipeline.inference import Pipeline
from pipeline.provenance import data_of
from pipeline.samples import make_ranking_data
from pipeline.stages import RankerScorer
from ranking import MAX_QUERIES, SHORT_HISTORIES
from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.popularity import Popularity
from reccore import ConfigError, RunOptions, Workspace
from reccore.bundle import read_manifest

STEM = "new_users_pipeline"


def evaluate_new_users_pipeline(
    workspace: Workspace,
    lengths: Sequence[int],
    *,
    config: PipelineConfig | None = None,
    split: str = "test",
    min_rating: float | None = None,
    short_histories: float | None = None,
    options: RunOptions,
) -> NewUsersResult:
    """Fit the pipeline again without some users and measure it on these; writes ``reports/new_users_pipeline*``.

    Args:
        workspace: data root with a pipeline.
        lengths: numbers of events N that a user has given.
        config: of another pipeline over the same channels and ranker, to compare rules; None = as trained.
        split: ``valid`` and ``test`` are different users, to choose settings on the one and report them on the other.
        min_rating: lowest rating of a target; None = every later event is one.
        short_histories: see ``train_ranker``; None = as the ranker was trained.
        options: seed of training, of the choice of users and of the bootstrap.

    Raises:
        ConfigError: a channel reads the query's time.
        DataError: no user has enough events, or no ratings with ``min_rating``.
    """
    original = load(workspace.model(PIPELINE))
    if original.query_time:
        raise ConfigError("a channel of the pipeline reads the query's time, which --new_users does not offer")
    config = config or original.config
    given = NewUsers.draw(data_of(workspace, original.config.parts), lengths, split, min_rating, options)
    drawn = _draws_of(workspace, original.config.ranker)
    if short_histories is not None:
        drawn["short_histories"] = short_histories
    pipeline = refit_pipeline(original, config, given.prepared, drawn, options)
    data = given.prepared.training_data()
    popularity = Popularity().fit(data)
    evaluations: dict[int, dict[str, Evaluation]] = {}
    chain: tuple[str, ...] = ()
    for n, holdout in given.holdouts.items():
        passage = Passage.of(pipeline, holdout.queries, K)
        orders = orders_of(passage)
        chain = tuple(orders)
        offers = {BASE: popularity.retrieve(holdout.queries, K), **passage.request.offers, **orders}
        evaluations[n] = {
            name: measure(name, offer, holdout, data, (K,), options.seed) for name, offer in offers.items()
        }
    report = workspace.reports / f"{STEM}.md"
    result = NewUsersResult(given.about, tuple(given.holdouts), evaluations, options.seed, report, chain)
    result.write()
    return result


def refit_pipeline(
    original: Pipeline, config: PipelineConfig, prepared: Prepared, drawn: Mapping[str, Any], options: RunOptions
) -> Pipeline:
    """The pipeline ``config`` whose channels, ranker and reranker are those of ``original``, fitted on ``prepared``.

    Args:
        original: gives the options of channels and ranker, and the epochs that its channels chose.
        config: stages.
        prepared: data to fit on.
        drawn: arguments of ``make_ranking_data`` about the training queries.
        options: of the run.
    """
    channels = {source.name: source.channel for source in original.sources}
    data = prepared.training_data()
    refitted: dict[str, BaseRecall] = {}
    for name, channel in channels.items():
        logger.info("fitting {} again on {:,} events", name, data.interactions.n_events)
        refitted[name] = channel.refit(data, options)
    scorer = next((stage for stage in original.stages if isinstance(stage, RankerScorer)), None)
    ranker: BaseRanker | None = None
    if scorer is not None and config.ranker is not None:
        ranker = type(scorer.ranker)(scorer.ranker.config)
        samples = make_ranking_data(
            prepared,
            lambda name, _, events: channels[name].refit(events, options),
            refitted,
            config,
            prepared.split.valid().select(np.zeros(0, dtype=np.int64)),
            tasks=ranker.tasks,
            options=options,
            **drawn,
        )
        fit_ranker(ranker, samples, prepared.vocabulary, options)
    return assemble(
        config,
        channels=refitted,
        ranker=ranker,
        items=data.items.with_columns(()),
        histories=FrozenHistoryStore(prepared.split.history(), prepared.vocabulary),
    )


def _draws_of(workspace: Workspace, ranker: str | None) -> dict[str, Any]:
    """How the training queries of a ranker were drawn: ``max_queries`` and ``short_histories``."""
    manifest = None if ranker is None else read_manifest(workspace.model(ranker))
    return {"max_queries": MAX_QUERIES, "short_histories": SHORT_HISTORIES, **(manifest or {}).get("samples", {})}
