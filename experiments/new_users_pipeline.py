"""New users at the pipeline: how well every stage serves users who are absent from training.

The users are those of ``experiments.new_users``. Everything that learns is fitted again on the others: the channels of
the pipeline, then the ranker on the label window of these users, with candidates of channels fitted once more without
that window. Nothing is written to ``models/``.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.evaluate import Evaluation, RunningEvaluation
from experiments.funnel import orders_of
from experiments.measuring import parts_of, running_evaluation
from experiments.new_users import NewUsers
from experiments.new_users_report import BASE, K, NewUsersResult
from pipeline.builder import PIPELINE, load_trained, open_pipeline
from pipeline.config import PipelineConfig
from pipeline.fates import Passage
from pipeline.provenance import data_of
from pipeline.refitting import draws_of, refit_pipeline
from pipeline.stage_configs import ShortHistory
from recall.popularity import Popularity
from reccore import ConfigError, RunOptions, Workspace

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
        config: of another pipeline over the same channels and ranker, to compare rules; None = as trained. A rule that
            was chosen in training is chosen again, since that choice may have seen the users.
        split: ``valid`` and ``test`` are different users, to choose settings on the one and report them on the other.
        min_rating: lowest rating of a target; None = every later event is one.
        short_histories: see ``train_ranker``; None = as the ranker was trained.
        options: seed of training, of the choice of users and of the bootstrap.

    Raises:
        ConfigError: a channel reads the query's time.
        DataError: no user has enough events, or no ratings with ``min_rating``.
    """
    original, bundle = load_trained(workspace), open_pipeline(workspace.model(PIPELINE))
    if original.query_time:
        raise ConfigError("a channel of the pipeline reads the query's time, which --new_users does not offer")
    chosen = bundle.manifest.get("short_history")
    if config is None:
        config = original.config
        if chosen is not None:
            config = config.with_short_history(ShortHistory(below=chosen["below"]))
    given = NewUsers.draw(data_of(workspace, [PIPELINE]), lengths, split, min_rating, options)
    drawn = draws_of(bundle)
    if short_histories is not None:
        drawn["short_histories"] = short_histories
    pipeline = refit_pipeline(original, config, given.prepared, drawn, options)
    data = given.prepared.training_data()
    popularity = Popularity().fit(data)
    evaluations: dict[int, dict[str, Evaluation]] = {}
    chain: tuple[str, ...] = ()
    for n, holdout in given.holdouts.items():
        running: dict[str, RunningEvaluation] = {}
        for part in parts_of(holdout, f"new users, {n} events", show=options.progress):
            passage = Passage.of(pipeline, part.queries, K)
            orders = orders_of(passage)
            chain = tuple(orders)
            offers = {BASE: popularity.retrieve(part.queries, K), **passage.request.offers, **orders}
            for name, offer in offers.items():
                if name not in running:
                    running[name] = running_evaluation(name, data, (K,))
                running[name].add(offer, part)
        evaluations[n] = {name: each.result(holdout, seed=options.seed) for name, each in running.items()}
    report = workspace.reports / f"{STEM}.md"
    result = NewUsersResult(
        given.about, given.split_ties, tuple(given.holdouts), evaluations, options.seed, report, chain
    )
    result.write()
    return result
