"""A like-for-like click-through table: single (user, film) rows, trained pointwise, without channels.

A row is one rating: positive from 4 stars, negative below. Each user's last ten ratings are test, the ten before choose
the epoch, and the rest is trained on. A row knows the user, the film and the positive events before it; nothing that is
counted over all ratings (an item's mean or popularity) is an input, because it would contain the row's own label.

The models are the project's own rankers, each row a query with one candidate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from dataprep.prepare import Prepared, load_prepared
from evaluation.pointwise import auc, auc_resamples, log_losses, ratio_interval, totals_by_group
from evaluation.report import markdown_table, without_nan, write_text
from evaluation.significance import Interval, percentile_interval
from ranking import RANKERS
from ranking.calibration import sigmoid
from ranking.config import USER_ID, FeatureRankerConfig
from ranking.features import chooses
from reccore import (
    Candidates,
    ConfigError,
    DataError,
    Interactions,
    ItemTable,
    RankingSamples,
    RunOptions,
    UserTable,
    Workspace,
)
from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions

MODELS = ("lr", "fm", "deepfm", "dcnv2", "autoint", "din")
BASELINES = ("lr", "fm")
PAIRWISE = ("lambdamart", "ensemble")
"""Models that compare the candidates of a query, or have a member that does by default."""
POSITIVE_FROM = 4.0
HELD_OUT = 10
HISTORY = 50
LABEL = "click"

SHARED: dict[str, Any] = {
    "loss": "bce",
    "select_by": "auc",
    "batch_size": 1024,
    "learning_rate": 1e-3,
    "epochs": 30,
    "patience": 2,
    "user_dropout": 0.0,
    "embedding_size": 16,
    "weight_decay": 1.0,
}
"""Options of every model of the table."""
FIXED = {
    "loss": "the other losses learn from the order of a query's films",
    "select_by": "NDCG is of the order of a query's films",
}
"""Options of ``SHARED`` of which no other value works here, and why."""
WITHOUT_EFFECT = {
    "negatives": "a row is one film alone",
    "calibration": "the probabilities of the table are the sigmoid of the scores",
}
"""Options that would change no figure, and why."""
DEEP: dict[str, Any] = {"hidden": [64, 32], "dropout": 0.2}
OPTIONS: dict[str, dict[str, Any]] = {
    "lr": {"learning_rate": 1e-2},  # at 1e-3 it is far from its best after all epochs
    "deepfm": DEEP,
    "dcnv2": DEEP,
    "autoint": DEEP,
    "din": {**DEEP, "history_length": HISTORY},
}


@dataclass(frozen=True, eq=False)
class ImpressionRows:
    """The rows of one part, and the facts that models may read.

    Attributes:
        samples: one candidate per query; the history is that before the row.
        items, users: facts that depend on no rating.
    """

    samples: RankingSamples
    items: ItemTable
    users: UserTable

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """(N,) 1 or 0."""
        return self.samples.labels[LABEL][:, 0]

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, eq=False)
class CTRData:
    """Rows of the three parts."""

    train: ImpressionRows
    valid: ImpressionRows
    test: ImpressionRows


def impressions(prepared: Prepared) -> CTRData:
    """Cut every user's ratings into the three parts.

    Of a user with at most ten ratings all are test; with at most twenty, the rest choose the epoch.

    Raises:
        ConfigError: the data has no ratings.
    """
    events = prepared.split.interactions
    if events.rating is None:
        raise ConfigError("a click-through table needs ratings, and this data set has none")
    test_start = np.maximum(events.lengths - HELD_OUT, 0)
    valid_start = np.maximum(test_start - HELD_OUT, 0)
    items, users = prepared.items.with_columns(()), prepared.users.with_columns(())

    def part(start: IntArray, stop: IntArray) -> ImpressionRows:
        return ImpressionRows(_rows(events, start, stop), items, users)

    return CTRData(
        train=part(np.zeros_like(valid_start), valid_start),
        valid=part(valid_start, test_start),
        test=part(test_start, events.lengths),
    )


def _rows(events: Interactions, start: IntArray, stop: IntArray) -> RankingSamples:
    """One sample for each event ``start[u] … stop[u]-1`` of every user, with the positive events before it."""
    users = np.repeat(np.arange(events.n_users), stop - start)
    stops = ragged_positions(start, stop - start)
    at = events.user_offsets[users] + stops
    positive = np.asarray(events.rating) >= POSITIVE_FROM
    items = np.asarray(events.item_idx[at], dtype=np.int64)[:, None]
    before = offsets_from_lengths(positive)  # positive events before each event
    clicks = Interactions(before[events.user_offsets], np.asarray(events.item_idx)[positive], n_items=events.n_items)
    queries = clicks.queries(users, before[at] - before[events.user_offsets[users]]).latest(HISTORY)
    labels = positive[at].astype(np.float32)[:, None]
    return RankingSamples(queries, Candidates(items, np.zeros(items.shape, dtype=np.float32)), {LABEL: labels})


def features_of(rows: ImpressionRows) -> list[str]:
    """Ids, what is known of users, and genres: the same fields for every model."""
    genres = ["item.genres"] if rows.items.n_genres else []
    return ["user.id", *(f"user.{name}" for name in rows.users.category_names), "item.id", *genres]


@dataclass(frozen=True, eq=False)
class CTRRun:
    """One model of one seed on the test rows.

    Attributes:
        model: name.
        seed: of initial weights and the order of rows.
        probabilities: (N,) of each test row.
        seconds: of the training.
        epochs: epochs run.
    """

    model: str
    seed: int
    probabilities: npt.NDArray[np.float64]
    seconds: float
    epochs: int


def train_model(
    data: CTRData,
    prepared: Prepared,
    model: str,
    options: RunOptions,
    settings: Mapping[str, Any] | None = None,
) -> CTRRun:
    """Train one of the project's rankers on the rows and score the test rows."""
    config = {"features": features_of(data.train), **SHARED, **OPTIONS.get(model, {})}
    given = dict(settings or {})
    if not chooses(
        FeatureRankerConfig.parse({"features": given.get("features", config["features"])}).features, USER_ID
    ):
        del config["user_dropout"]  # without effect then, which is an error
    known = RANKERS[model].Config.model_fields
    ranker = RANKERS[model]({name: value for name, value in (config | given).items() if name in known})
    started = perf_counter()
    ranker.fit(
        data.train.samples,
        items=data.train.items,
        users=data.train.users,
        vocabulary=prepared.vocabulary,
        valid=data.valid.samples,
        options=options,
    )
    seconds = perf_counter() - started
    scores = ranker.score(data.test.samples.queries, data.test.samples.candidates)[:, 0]
    epochs = len(ranker.log.loss) if hasattr(ranker, "log") else 0
    return CTRRun(model, options.seed, sigmoid(scores), seconds, epochs)


@dataclass(frozen=True, eq=False)
class CTRResult:
    """A model over all its seeds.

    Attributes:
        model: name.
        aucs, losses: (S,) AUC and logloss of each seed.
        auc, logloss: means over the seeds, with bootstrap intervals over users.
        resamples: (R,) mean over the seeds of the AUC of each bootstrap resample; the same users for all models.
        seconds: of one training, mean over the seeds.
    """

    model: str
    aucs: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    auc: Interval
    logloss: Interval
    resamples: npt.NDArray[np.float64]
    seconds: float

    @classmethod
    def of(cls, runs: Sequence[CTRRun], rows: ImpressionRows, seed: int = 0) -> CTRResult:
        """Figures of one model's runs on the test rows; ``seed`` is that of the bootstrap."""
        users, user = np.unique(rows.samples.queries.user_idx, return_inverse=True)
        labels = rows.labels
        aucs = np.array([auc(run.probabilities, labels) for run in runs])
        losses = np.array([log_losses(run.probabilities, labels) for run in runs])  # (S, N)
        resamples = np.mean([auc_resamples(run.probabilities, labels, user, seed=seed) for run in runs], axis=0)
        totals = totals_by_group(losses.mean(axis=0), user, len(users))
        return cls(
            model=runs[0].model,
            aucs=aucs,
            losses=losses.mean(axis=1),
            auc=percentile_interval(float(aucs.mean()), resamples),
            logloss=ratio_interval(totals, totals_by_group(np.ones(len(rows)), user, len(users)), seed=seed),
            resamples=resamples,
            seconds=float(np.mean([run.seconds for run in runs])),
        )

    @property
    def deviation(self) -> float:
        """Standard deviation of AUC over the seeds; NaN for one seed."""
        return float(self.aucs.std(ddof=1)) if len(self.aucs) > 1 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "auc": {"mean": self.auc.mean, "low": self.auc.low, "high": self.auc.high},
            "auc_per_seed": self.aucs.tolist(),
            "auc_deviation": self.deviation,
            "logloss": {"mean": self.logloss.mean, "low": self.logloss.low, "high": self.logloss.high},
            "logloss_per_seed": self.losses.tolist(),
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class CTRDifference:
    """AUC of one model minus that of another on the same rows.

    Attributes:
        a, b: names.
        over_users: the difference of the means over seeds, with its paired bootstrap interval over users.
        seed_error: standard error of the difference from the spread over seeds; NaN for one seed.
    """

    a: str
    b: str
    over_users: Interval
    seed_error: float

    @classmethod
    def between(cls, a: CTRResult, b: CTRResult) -> CTRDifference:
        """a − b."""
        difference = percentile_interval(a.auc.mean - b.auc.mean, a.resamples - b.resamples)
        error = np.sqrt(a.deviation**2 / len(a.aucs) + b.deviation**2 / len(b.aucs))
        return cls(a.model, b.model, difference, float(error))

    @property
    def standard_errors(self) -> float:
        """The difference in standard errors over the seeds; NaN where they are not known."""
        return self.over_users.mean / self.seed_error if self.seed_error > 0 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        d = self.over_users
        difference = {"mean": d.mean, "low": d.low, "high": d.high}
        return {"a": self.a, "b": self.b, "difference": difference, "standard_errors": self.standard_errors}


@dataclass(frozen=True, eq=False)
class CTRComparison:
    """The table of one data set.

    Attributes:
        dataset: name.
        rows: number of rows of each part.
        positives: share of positives among the test rows.
        features: names of the inputs that all models read.
        seeds: of the runs.
        results: one per model, in the order given.
        differences: each model against the better of the baselines ``lr`` and ``fm``, if one was run.
    """

    dataset: str
    rows: Mapping[str, int]
    positives: float
    features: Sequence[str]
    seeds: Sequence[int]
    results: Sequence[CTRResult]
    differences: Sequence[CTRDifference]

    def markdown(self) -> str:
        """The tables, with what they were measured on."""
        parts = ", ".join(f"{count:,} {name}" for name, count in self.rows.items())
        about = (
            f"{self.dataset} · rows: {parts} · positive from {POSITIVE_FROM:g} stars ({self.positives:.1%} of test) · "
            f"each user's last {HELD_OUT} ratings are test · seeds {', '.join(map(str, self.seeds))} · "
            f"inputs: {', '.join(self.features)}"
        )
        lines = [
            [r.model, str(r.auc), _known(r.deviation, ".4f"), str(r.logloss), f"{r.seconds:.0f}"] for r in self.results
        ]
        header = ["model", "AUC, 95% over users", "deviation over seeds", "logloss, 95% over users", "seconds"]
        pairs = [[f"{d.a} − {d.b}", _signed(d.over_users), _known(d.standard_errors, "+.1f")] for d in self.differences]
        tables = [markdown_table(header, lines)]
        if pairs:
            tables.append(markdown_table(["pair", "AUC difference, 95% over users", "standard errors of seeds"], pairs))
        return "\n\n".join([about, *tables])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, None instead of NaN."""
        facts = {"dataset": self.dataset, "rows": dict(self.rows), "positives": self.positives}
        plain: dict[str, Any] = without_nan(
            {
                **facts,
                "features": list(self.features),
                "seeds": list(self.seeds),
                "results": [result.to_dict() for result in self.results],
                "differences": [difference.to_dict() for difference in self.differences],
            }
        )
        return plain


def compare_ctr(
    workspace: Workspace,
    *,
    models: Sequence[str] = MODELS,
    seeds: Sequence[int] = (0, 1, 2),
    settings: Mapping[str, Any] | None = None,
    options: RunOptions,
) -> tuple[CTRComparison, Path]:
    """Train every model on the prepared data's rows with every seed; writes ``reports/ctr.md`` and ``.json``.

    Args:
        workspace: data root with prepared data; its split plays no part.
        models: registered rankers.
        seeds: of initial weights and the order of rows.
        settings: options of all models that have them, over ``SHARED`` and ``OPTIONS``.
        options: device, threads, progress; its seed is that of the bootstrap.

    Raises:
        ConfigError: an unknown model, one that learns from pairs of candidates, an option that no model has, one that
            cannot work with a single film per query or has no effect, or data without ratings.
        DataError: a part lacks positive or negative rows.
        NotReadyError: no prepared data.
    """
    unfit = [model for model in models if model in PAIRWISE]
    if unfit:
        raise ConfigError(
            f"{', '.join(unfit)} cannot learn here: a row is one film alone, and it compares the films of one query; "
            "leave it out"
        )
    configs = [RANKERS[model].Config.model_fields for model in models]
    for name in settings or ():
        if not any(name in fields for fields in configs):
            raise ConfigError(f"{name!r} is an option of none of {', '.join(models)}")
    for name, reason in FIXED.items():
        if (given := (settings or {}).get(name, SHARED[name])) != SHARED[name]:
            raise ConfigError(
                f"{name} = {given!r} cannot work here: a row is one film alone, and {reason}; use {SHARED[name]!r}, "
                "which is set"
            )
    for name, reason in WITHOUT_EFFECT.items():
        if name in (settings or {}):
            raise ConfigError(f"{name} has no effect here, since {reason}; leave it out")
    prepared = load_prepared(workspace.prepared)
    data = impressions(prepared)
    _check_classes(data)
    results = []
    for model in models:
        runs = [train_model(data, prepared, model, replace(options, seed=seed), settings) for seed in seeds]
        results.append(CTRResult.of(runs, data.test, options.seed))
        logger.info("{}: AUC {}", model, results[-1].auc)
    comparison = summarise(str(prepared.source["dataset"]), data, seeds, results)
    path = workspace.reports / "ctr.md"
    write_text(path, f"# Click-through prediction, like for like\n\n{comparison.markdown()}\n")
    write_text(path.with_suffix(".json"), json.dumps(comparison.to_dict(), indent=2) + "\n")
    return comparison, path


def _check_classes(data: CTRData) -> None:
    """Raise ``DataError`` unless every part has positive and negative rows."""
    parts = {"train": data.train, "validation": data.valid, "test": data.test}
    counts = {name: (int(part.labels.sum()), len(part)) for name, part in parts.items()}
    if all(0 < positive < rows for positive, rows in counts.values()):
        return
    said = ", ".join(f"{positive:,} of {rows:,} {name} rows" for name, (positive, rows) in counts.items())
    raise DataError(
        f"every part needs rows rated {POSITIVE_FROM:g} stars or more and rows rated lower; the former are {said}; "
        f"only users with more than {2 * HELD_OUT} ratings have rows to train on, and ratings must be on a scale where "
        f"{POSITIVE_FROM:g} parts liked films from others, such as 1 to 5 stars"
    )


def summarise(dataset: str, data: CTRData, seeds: Sequence[int], results: Sequence[CTRResult]) -> CTRComparison:
    """The table of results, with the differences from the better baseline."""
    baselines = [result for result in results if result.model in BASELINES]
    base = max(baselines, key=lambda result: result.auc.mean, default=None)
    others = [] if base is None else [result for result in results if result.model not in BASELINES]
    return CTRComparison(
        dataset=dataset,
        rows={"train": len(data.train), "valid": len(data.valid), "test": len(data.test)},
        positives=float(data.test.labels.mean()),
        features=features_of(data.train),
        seeds=seeds,
        results=results,
        differences=[CTRDifference.between(result, base) for result in others if base is not None],
    )


def _known(value: float, form: str) -> str:
    """A figure that takes several seeds; a dash without them."""
    return "–" if np.isnan(value) else format(value, form)


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
