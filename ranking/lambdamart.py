"""LambdaMART: boosted regression trees whose gradients are the changes of NDCG that swapping two candidates makes.

Burges: From RankNet to LambdaRank to LambdaMART: An Overview, Microsoft Research TR 2010-82. Trees by LightGBM: Ke et
al.: LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

import lightgbm
import numpy as np
import torch
from loguru import logger
from pydantic import Field, PositiveInt

from dataprep.tmdb import metadata_to_read
from ranking.base import EXPECTED, BaseRanker
from ranking.boosting import ROWS_PER_CHUNK, Boosting, CandidateRows, RankingRows, Scores
from ranking.compiled_trees import CompiledTrees
from ranking.config import FeatureRankerConfig, LabelsConfig
from ranking.dense import DenseFeatures
from ranking.features import FeatureEncoder, named
from ranking.features.recall import MERGED_LOG_RANK
from ranking.losses import LOSSES
from ranking.sampling import rows_to_learn_from, sample_columns, training_inputs, usable_rows
from reccore import (
    ArtefactError,
    Bundle,
    Candidates,
    ItemTable,
    QueryBatch,
    RankingSamples,
    RunOptions,
    UserTable,
    Vocabulary,
)
from reccore.arrays import BoolArray, FloatArray
from reccore.bundle import BundleWriter
from reccore.threads import n_threads
from training import TrainingLog

TREES = "trees.txt"
LISTWISE = LOSSES["softmax"]
"""Like this loss, LambdaMART learns from the queries with a positive."""
BIN_QUERIES = 4096
"""Bins of the columns are cut by the rows of at most this many training queries, evenly spaced."""
DRAWN_TOGETHER = 4096
"""Queries whose candidates are drawn at once."""
STOPPING_QUERIES = 20_000
"""At most so many validation queries with a positive, evenly spaced, choose the number of trees: each has a row for
every candidate."""


class LambdaMARTConfig(FeatureRankerConfig, LabelsConfig):
    """Options of LambdaMART.

    Ids are read only if ``features`` names them in full. The other defaults are careful, for
    some thousands of label queries: with 15 leaves of 50 rows and little penalty it was hardly better than the merged
    order on users kept out (MovieLens-100K, NDCG@10 .169 against .177).

    Attributes:
        task: the labels to learn.
        expand: a bag or list of at most so many values gets a column for each; larger ones are left out.
        negatives: unchosen candidates drawn for each training query, once.
        init: ``merged`` starts from −log(place in the merged list) and learns corrections to it; ``none`` from 0.
        trees: most trees.
        trees_per_round: trees between two validations, checkpoints and draws of random seeds.
        patience: stop after so many rounds without a better NDCG@10 of the validation samples.
        learning_rate: shrinkage of every tree.
        num_leaves: most leaves of a tree.
        min_data_in_leaf: fewest training rows of a leaf.
        l2: penalty of a leaf's squared value.
        truncation: pairs count only if one of the two is among so many best (``lambdarank_truncation_level``).
        column_share: share of the columns, drawn for each tree.
        row_share: share of the training rows, drawn for each tree; gradients are of all rows of a query. LightGBM 4.7's
            ``bagging_by_query`` is not used: it leaves scores on the rows of the other queries that are not the trees'.
    """

    without_effect: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("embedding_size", "shared_with"), "trees embed no field"),
        "boundaries": "trees cut numbers themselves",
    }

    task: str = "click"
    expand: PositiveInt = 64
    negatives: PositiveInt = 100
    init: Literal["merged", "none"] = "merged"
    trees: PositiveInt = 500
    trees_per_round: PositiveInt = 10
    patience: PositiveInt = 5
    learning_rate: float = Field(default=0.05, gt=0)
    num_leaves: int = Field(default=7, ge=2)
    min_data_in_leaf: PositiveInt = 200
    l2: float = Field(default=10.0, ge=0)
    truncation: PositiveInt = 30
    column_share: float = Field(default=0.3, gt=0, le=1)
    row_share: float = Field(default=0.8, gt=0, le=1)

    @property
    def learned(self) -> tuple[str, ...]:
        """The task."""
        return (self.task,)

    def parameters(self) -> dict[str, Any]:
        """Parameters of LightGBM, without seeds."""
        return {
            "objective": "lambdarank",
            "metric": "None",
            "label_gain": [0, 1],
            "lambdarank_truncation_level": self.truncation,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.column_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "feature_pre_filter": False,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": n_threads(),
            "verbosity": -1,
        }


class LambdaMART(BaseRanker):
    """Boosted trees over user, item, cross and recall features, with missing values as missing.

    Training holds one byte per row and column (rows: training queries × (positives + ``negatives``)) and, of the values
    themselves, one chunk. The same seed and number of threads give the same trees.

    Attributes:
        log: how training went; an epoch is a round of ``trees_per_round`` trees, a sample one query in one tree.
    """

    name: ClassVar[str] = "lambdamart"
    Config: ClassVar[type[LambdaMARTConfig]] = LambdaMARTConfig
    config: LambdaMARTConfig

    log: TrainingLog
    _encoder: FeatureEncoder
    _features: DenseFeatures
    _trees: lightgbm.Booster
    _compiled: CompiledTrees | None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task it learns."""
        return (self.config.task,)

    def _fit(
        self,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        valid: RankingSamples | None,
        options: RunOptions,
    ) -> None:
        config = self.config
        samples = replace(samples, queries=samples.queries.known_items_only(items.n_items))
        items = items.with_columns([*metadata_to_read(items, config.metadata), *items.own])
        self._encoder = FeatureEncoder.fit(samples, items, users, features=config.features)
        self._features = DenseFeatures(self._encoder, named(config.features), config.expand)
        features = self._features.with_windows(samples)
        train = self._training_rows(features, samples, options)
        identity = {} if options.checkpoint_dir is None else self._identity(samples, valid, options)
        boosting = Boosting(
            train,
            None if valid is None else self._validation_rows(features, valid, train),
            config.parameters(),
            trees=config.trees,
            trees_per_round=config.trees_per_round,
            patience=config.patience,
            validates_start=config.init == "merged",
            options=options,
            identity=identity,
        )
        self._take(boosting.run())
        self.log = boosting.log
        if self.log.best_epoch == 0:
            logger.warning("{}: no round was better on validation than the merged order, which stays", self.name)

    def _training_rows(self, features: DenseFeatures, samples: RankingSamples, options: RunOptions) -> RankingRows:
        """Positives and drawn negatives of every query that has a positive."""
        usable = rows_to_learn_from(samples.labels[self.config.task][:, :, None], LISTWISE)
        samples = samples if len(usable) == len(samples) else samples.select(usable)
        chosen = self._drawn(samples, options)
        sample = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), BIN_QUERIES)).astype(np.int64))
        part = samples.select(sample)
        bins = lightgbm.Dataset(
            features.matrix(part.queries, part.candidates, chosen[sample], part.window),
            label=part.labels[self.config.task][chosen[sample]],
            categorical_feature=features.categorical,
            params=self.config.parameters(),
        )
        return self._rows(features, samples, chosen, len(samples), bins)

    def _drawn(self, samples: RankingSamples, options: RunOptions) -> BoolArray:
        """(B, K) the candidates to learn from."""
        labels = samples.labels_of(self.config.task)
        chosen, draws = np.zeros(labels.shape, dtype=bool), options.torch_generator("negatives")
        for start in range(0, len(labels), DRAWN_TOGETHER):
            part = slice(start, start + DRAWN_TOGETHER)
            columns = sample_columns(torch.from_numpy(labels[part]), self.config.negatives, draws)
            np.put_along_axis(chosen[part], columns.numpy(), True, axis=1)
        return chosen & ~np.isnan(labels)

    def _validation_rows(
        self, features: DenseFeatures, valid: RankingSamples, train: RankingRows
    ) -> RankingRows | None:
        """All labelled candidates of the queries with a positive among them, of ``STOPPING_QUERIES`` at most."""
        labels = valid.labels_of(self.config.task)
        usable = usable_rows(labels[:, :, None], LISTWISE)
        if len(usable) == 0:
            logger.warning("none of the {:,} validation queries has a positive: all rounds are kept", len(valid))
            return None
        n_queries = len(valid)
        if len(usable) > STOPPING_QUERIES:
            n_queries = round(n_queries * STOPPING_QUERIES / len(usable))  # as if of so many, these had a positive
            usable = usable[np.linspace(0, len(usable) - 1, STOPPING_QUERIES).astype(np.int64)]
        n_items = self._encoder.tables.items.n_items
        known = replace(valid, queries=valid.queries.known_items_only(n_items)).select(usable)
        return self._rows(features, known, ~np.isnan(labels[usable]), n_queries, train.dataset)

    def _rows(
        self,
        features: DenseFeatures,
        samples: RankingSamples,
        chosen: BoolArray,
        n_queries: int,
        reference: lightgbm.Dataset,
    ) -> RankingRows:
        """The chosen candidates, encoded chunk by chunk and cut into the bins of ``reference``."""
        labels = np.where(chosen, samples.labels[self.config.task], np.nan).astype(np.float32)
        weight = np.ones(len(samples), dtype=np.float32) if samples.weight is None else samples.weight
        counts = chosen.sum(axis=1)
        dataset = lightgbm.Dataset(
            CandidateRows(features, samples, chosen),
            label=labels[chosen],
            weight=np.repeat(weight, counts),
            group=counts,
            reference=reference,
            params=self.config.parameters(),
        )
        start = np.broadcast_to(self._start(chosen.shape[1]), chosen.shape)[chosen]
        return RankingRows(dataset.construct(), chosen, start, labels, samples.candidates.item_idx, weight, n_queries)

    def _start(self, k: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(K,) scores before the first tree."""
        return -np.log(np.arange(1.0, k + 1)) if self.config.init == "merged" else np.zeros(k)

    def _identity(self, samples: RankingSamples, valid: RankingSamples | None, options: RunOptions) -> dict[str, Any]:
        """What training reads, for the checkpoint's identity."""
        read = training_inputs(self._encoder, samples, valid)
        return {"config": self.config.model_dump(mode="json"), "seed": options.seed, **read}

    def _score(self, queries: QueryBatch, candidates: Candidates) -> FloatArray:
        scores = np.tile(self._start(candidates.k), (len(queries), 1))
        for part, chosen, values in self._chunks(queries, candidates):
            if self._trees.num_trees():
                scores[part][chosen] += self._predicted(values)
        return scores.astype(np.float32)

    def _take(self, model: str) -> None:
        """Take the trees of a model in LightGBM's text format."""
        self._trees = lightgbm.Booster(model_str=model)
        self._compiled = CompiledTrees(model, len(self._features.columns)) if CompiledTrees.fits(model) else None

    def _predicted(self, values: FloatArray) -> Scores:
        """(n,) sums of the trees for rows (n, C)."""
        if self._compiled is not None:
            return self._compiled(values)
        return np.asarray(self._trees.predict(values, num_threads=n_threads()))

    def missing_columns(self, candidates: Candidates) -> list[str]:
        return self._encoder.missing_candidate_columns(candidates)

    def _contributions(self, queries: QueryBatch, candidates: Candidates) -> dict[str, FloatArray]:
        """SHAP values of the trees (Lundberg et al.: From local explanations to global understanding, 2020).

        The values of all columns of one bag or list are added up. What ``init`` adds counts for
        ``recall.merged.log_rank``, and the mean score of the trees in training for ``EXPECTED``.
        """
        names = [*dict.fromkeys(column.field for column in self._features.columns), MERGED_LOG_RANK, EXPECTED]
        found = {name: np.zeros(candidates.item_idx.shape, dtype=np.float32) for name in names}
        found[MERGED_LOG_RANK] += np.where(candidates.mask, self._start(candidates.k), 0.0).astype(np.float32)
        for part, chosen, values in self._chunks(queries, candidates):
            if self._trees.num_trees():
                each = np.asarray(self._trees.predict(values, num_threads=n_threads(), pred_contrib=True))  # (n, C + 1)
                for name, column in zip([c.field for c in self._features.columns] + [EXPECTED], each.T, strict=True):
                    found[name][part][chosen] += column
        return found

    def _chunks(self, queries: QueryBatch, candidates: Candidates) -> Iterator[tuple[slice, BoolArray, FloatArray]]:
        """Queries of each chunk, (b, K) which slots hold an item, and the rows of those slots."""
        step = max(1, ROWS_PER_CHUNK // max(candidates.k, 1))
        for start in range(0, len(queries) if candidates.k else 0, step):
            part = slice(start, min(start + step, len(queries)))
            offered = candidates.select(part)
            if offered.mask.any():
                yield part, offered.mask, self._features.matrix(queries.select(part), offered, offered.mask)

    def _grow(self, items: ItemTable, users: UserTable, vocabulary: Vocabulary) -> None:
        self._encoder = self._encoder.grown(items, users)
        self._features = DenseFeatures(self._encoder, named(self.config.features), self.config.expand)

    def _write(self, bundle: BundleWriter) -> None:
        self._encoder.write(bundle)
        bundle.path(TREES).write_text(self._trees.model_to_string(num_iteration=-1), encoding="utf-8")
        bundle.manifest["columns"] = self._features.names  # LightGBM's own names refuse some characters
        bundle.manifest["training"] = asdict(self.log)

    def _read(self, bundle: Bundle) -> None:
        self._encoder = FeatureEncoder.read(bundle)
        self._features = DenseFeatures(self._encoder, named(self.config.features), self.config.expand)
        if bundle.manifest["columns"] != self._features.names:
            raise ArtefactError(f"{bundle.path} was written for other columns than this version makes; train it again")
        try:
            self._take(bundle.file(TREES).read_text(encoding="utf-8"))
        except lightgbm.basic.LightGBMError as error:
            raise ArtefactError(f"{bundle.file(TREES)} cannot be read: {error}") from error
        self.log = TrainingLog(**bundle.manifest["training"])
