"""The training loop of boosted trees: rounds of trees, the best round on validation, checkpoints.

A round is a LightGBM training of its own that starts from the scores of the trees before it, with random seeds of its
own. So the state between two rounds is the trees and the scores alone, and a resumed training ends with the same trees.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import lightgbm
import numpy as np
import numpy.typing as npt
import torch
from loguru import logger

from ranking.dense import DenseFeatures
from ranking.sampling import stopping_ndcg
from reccore import RankingSamples, ResumeError, RunOptions
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths
from reccore.interrupts import defer_sigint
from reccore.progress import progress
from training import TrainingLog
from training.checkpointing import Checkpoints

Scores: TypeAlias = npt.NDArray[np.float64]
ROWS_PER_CHUNK = 16_384
END = "end of trees\n"


class CandidateRows(lightgbm.Sequence):
    """Rows of chosen candidates, query by query, encoded when LightGBM reads them.

    Args:
        features: the columns.
        samples: B queries with K candidates; histories hold known items only.
        chosen: (B, K) which candidates are rows.
    """

    batch_size = ROWS_PER_CHUNK

    def __init__(self, features: DenseFeatures, samples: RankingSamples, chosen: BoolArray) -> None:
        self.features, self.samples, self.chosen = features, samples, chosen
        self.starts = offsets_from_lengths(chosen.sum(axis=1))

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows: slice) -> FloatArray:  # type: ignore[override]
        """The rows of a slice; their queries are encoded as a whole."""
        first = int(np.searchsorted(self.starts, rows.start, side="right")) - 1
        last = int(np.searchsorted(self.starts, rows.stop, side="left"))
        part = self.samples.select(np.arange(first, last))
        values = self.features.matrix(part.queries, part.candidates, self.chosen[first:last], part.window)
        return values[rows.start - self.starts[first] : rows.stop - self.starts[first]]


@dataclass(frozen=True, eq=False)
class RankingRows:
    """Candidates of queries as rows of a LightGBM data set.

    Attributes:
        dataset: binned values, labels, weights and groups.
        chosen: (B, K) which candidates are rows.
        start: (n,) scores before the first tree.
        labels: (B, K), NaN where a candidate is no row.
        item_idx: (B, K).
        weight: (B,) of each query.
        n_queries: of which these rows were taken; queries without a row count 0 in the stopping metric.
    """

    dataset: lightgbm.Dataset
    chosen: BoolArray
    start: Scores
    labels: FloatArray
    item_idx: IntArray
    weight: FloatArray
    n_queries: int

    def ndcg(self, scores: Scores) -> float:
        """Stopping metric of the rows' scores, (n,)."""
        table = np.full(self.chosen.shape, -np.inf)
        table[self.chosen] = scores
        return stopping_ndcg(table, self.labels, self.item_idx) * len(self.chosen) / self.n_queries

    def loss(self, scores: Scores) -> float:
        """Listwise softmax over the rows of a query, as ``ranking.losses.listwise_softmax``; every query has a row."""
        counts = self.chosen.sum(axis=1)
        starts = offsets_from_lengths(counts)[:-1]
        shifted = scores - np.repeat(np.maximum.reduceat(scores, starts), counts)
        log_share = shifted - np.repeat(np.log(np.add.reduceat(np.exp(shifted), starts)), counts)
        positive = self.labels[self.chosen] == 1.0
        n_positive = np.maximum(np.add.reduceat(positive.astype(np.float64), starts), 1.0)
        per_query = -np.add.reduceat(np.where(positive, log_share, 0.0), starts) / n_positive
        return float(np.average(per_query, weights=self.weight))


class Boosting:
    """Grows trees on ``train`` until the validation figure stops rising.

    Args:
        train: rows to learn from.
        valid: rows to choose the number of rounds by; None = all of them.
        parameters: of LightGBM, without seeds.
        trees: most trees.
        trees_per_round: trees between two validations.
        patience: end after so many rounds without a better figure.
        validates_start: the scores before the first tree count as round 0 and are kept where no round is better.
        options: seed, progress, checkpoints.
        identity: everything that decides the result, for the checkpoint.
    """

    name = "boosting"

    def __init__(
        self,
        train: RankingRows,
        valid: RankingRows | None,
        parameters: Mapping[str, Any],
        *,
        trees: int,
        trees_per_round: int,
        patience: int,
        validates_start: bool,
        options: RunOptions,
        identity: Mapping[str, Any],
    ) -> None:
        self.train, self.valid, self.parameters = train, valid, dict(parameters)
        self.trees, self.trees_per_round, self.patience = trees, trees_per_round, patience
        self.rounds = math.ceil(trees / trees_per_round)
        self.options, self.identity = options, identity
        self.seeds = options.generator("network").integers(2**31 - 1, size=(self.rounds, 2))
        self.scores = train.start
        self.valid_scores = None if valid is None else valid.start
        self.header, self.parts, self.exhausted = "", list[str](), False
        self.log = TrainingLog()
        if valid is not None and validates_start:
            self.log.untrained = valid.ndcg(valid.start)
        self.seconds = 0.0  # of growing trees

    def run(self) -> str:
        """Train to the end; returns the trees to keep in LightGBM's text format.

        Raises:
            ResumeError: the checkpoint belongs to another training, is damaged or of another version.
            ArtefactError: checkpoints cannot be written to their folder.
        """
        checkpoints = self._open_checkpoints()
        started, before = perf_counter(), self.log.minutes * 60
        with (
            progress(
                self.name, self.trees, unit="trees", enabled=self.options.progress, initial=self.n_trees
            ) as advance,
            defer_sigint(enabled=checkpoints is not None) as interrupted,
        ):
            while not self.finished:
                grown = self._grow_round()
                advance(grown, loss=self.log.loss[-1], round=len(self.log.loss))
                self.log.minutes = (before + perf_counter() - started) / 60
                if checkpoints is not None:
                    written = checkpoints.write(self.state_dict(), f"round {len(self.log.loss)} of {self.rounds}")
                    if interrupted():
                        if written:
                            logger.warning("interrupted; progress is kept in the checkpoint at {}", checkpoints.folder)
                        raise KeyboardInterrupt
        if self.valid is None:
            self.log.best_epoch = len(self.parts)
        self.log.samples_per_second = len(self.train.chosen) * self.n_trees / max(self.seconds, 1e-9)
        kept = self.parts[: self.log.best_epoch]
        logger.info(
            "{} trees in {} rounds kept of {}; {:,.0f} queries/s",
            _n_trees(kept), len(kept), self.n_trees, self.log.samples_per_second,
        )  # fmt: skip
        return joined(self.header, kept)

    @property
    def n_trees(self) -> int:
        """Trees grown so far."""
        return _n_trees(self.parts)

    @property
    def finished(self) -> bool:
        """Whether all rounds are done, no split is left, or patience has run out."""
        waited = 0 if self.valid is None else len(self.log.validation) - self.log.best_epoch
        return self.exhausted or len(self.parts) >= self.rounds or waited >= self.patience

    def _grow_round(self) -> int:
        """Grow the trees of one round and validate them; returns their number."""
        started = perf_counter()
        column_seed, row_seed = self.seeds[len(self.parts)].tolist()
        seeds = {"feature_fraction_seed": column_seed, "bagging_seed": row_seed}
        self.train.dataset.set_init_score(self.scores)
        booster = lightgbm.Booster({**self.parameters, **seeds}, self.train.dataset)
        if self.valid is not None:
            self.valid.dataset.set_init_score(self.valid_scores)
            booster.add_valid(self.valid.dataset, "valid")
        grown, wanted = 0, min(self.trees_per_round, self.trees - len(self.parts) * self.trees_per_round)
        while grown < wanted and not booster.update():
            grown += 1
        self.exhausted = grown == 0
        self.header, trees = split(booster.model_to_string(num_iteration=max(grown, 1)))
        self.parts.append(trees if grown else "")
        self.scores = _scores_of(booster.eval_train)
        self.seconds += perf_counter() - started
        self.log.loss.append(self.train.loss(self.scores))
        if self.valid is not None:
            self.valid_scores = _scores_of(booster.eval_valid)
            value, best = self.valid.ndcg(self.valid_scores), self.log.best_validation
            self.log.validation.append(value)
            if best is None or value > best:
                self.log.best_epoch = len(self.parts)
        return grown

    def _open_checkpoints(self) -> Checkpoints | None:
        """The place for checkpoints; an earlier one is resumed or discarded."""
        if self.options.checkpoint_dir is None:
            return None
        checkpoints = Checkpoints(
            self.options.checkpoint_dir,
            component=self.name,
            identity=self.identity,
            every_minutes=self.options.checkpoint_minutes,
        )
        state = checkpoints.read() if self.options.resume else None
        if state is None:
            checkpoints.set_aside()
            return checkpoints
        try:
            self.load_state_dict(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResumeError(
                f"cannot resume: the checkpoint at {checkpoints.folder} does not fit this version of the code "
                f"({error}); train without --resume to start from the beginning"
            ) from error
        logger.info("resumed: {} of {} rounds are done", len(self.parts), self.rounds)
        return checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, except what ``identity`` covers."""
        return {
            "header": self.header,
            "parts": self.parts,
            "exhausted": self.exhausted,
            "scores": torch.from_numpy(self.scores),
            "valid_scores": None if self.valid_scores is None else torch.from_numpy(self.valid_scores),
            "log": copy.deepcopy(vars(self.log)),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""
        self.header, self.parts, self.exhausted = state["header"], list(state["parts"]), state["exhausted"]
        self.scores = state["scores"].numpy()
        self.valid_scores = None if state["valid_scores"] is None else state["valid_scores"].numpy()
        self.log, self.seconds = TrainingLog(**state["log"]), state["seconds"]


def split(model: str) -> tuple[str, str]:
    """Header and trees of a model in LightGBM's text format, without the sizes of the trees, which are optional."""
    header, _, rest = model.partition("tree_sizes=")
    trees = rest[rest.index("Tree=0\n") : rest.index(END)]
    return header, trees


def joined(header: str, parts: list[str]) -> str:
    """One model of the trees of several that have the same columns, numbered anew; its score is the sum of theirs."""
    trees = [tree for part in parts for tree in part.split("Tree=")[1:]]
    return "".join([header, "\n", *(f"Tree={n}\n{tree.partition(chr(10))[2]}" for n, tree in enumerate(trees)), END])


def _n_trees(parts: list[str]) -> int:
    return sum(part.count("Tree=") for part in parts)


def _scores_of(evaluate: Callable[..., Any]) -> Scores:
    """Raw scores of the rows that ``Booster.eval_train`` or ``eval_valid`` evaluates."""
    found: list[Scores] = []

    def keep(scores: Scores, _: lightgbm.Dataset) -> tuple[str, float, bool]:
        found.append(scores.copy())
        return "kept", 0.0, True

    evaluate(keep)
    return found[0]
