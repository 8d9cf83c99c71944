"""Choosing what users with a short history get: a blend of the ranker, the merge and the channels.

A ranker learns mostly from users with long histories, whose next films are others than those of a new user. Which
order serves a short history best depends on the data: on MovieLens popularity is hard to beat after one film, in a
shop it is worth nothing. So the blend is chosen by ensemble selection (Caruana et al., "Ensemble selection from
libraries of models", ICML 2004) for NDCG@10, on users whom neither the channels nor the ranker have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.blend import MERGED, scores_of, shares, standardised
from pipeline.stage_configs import ShortHistory
from ranking.base import BaseRanker
from recall.base import BaseRecall
from reccore import RankingSamples
from reccore.arrays import BoolArray, FloatArray, IntArray

K = 10
DISCOUNT = 1.0 / np.log2(np.arange(2, K + 2))
STEPS = 6
"""Orders in an ensemble, with repetition: enough for shares of a sixth, and few enough not to fit noise."""
MAX_QUERIES = 2000
"""Of each kind; more change little and take long."""
MIN_KNOWN = 200
"""Queries of known users count where there are as many. On MovieLens only a few, and those nearly long, would."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries with a short history, and the scores that their candidates get.

    Attributes:
        known: (B,) events of each history.
        scores: order → (B, K) standardised scores; the ranker's first.
        gain: (B, K) 1 on targets, 0 on other candidates.
        mask: (B, K) True for candidates.
        ideal: (B,) DCG of a perfect list, targets that recall missed among them.
    """

    known: IntArray
    scores: Mapping[str, FloatArray]
    gain: FloatArray
    mask: BoolArray
    ideal: FloatArray

    @classmethod
    def of(cls, samples: RankingSamples, name: str, ranker: BaseRanker, channels: Mapping[str, BaseRecall]) -> Judged:
        """Score samples by the ranker ``name``, by the merge and by every channel."""
        queries, candidates = samples.queries, samples.candidates
        known = queries.known_items_only(len(ranker.vocabulary.items)).lengths
        scores = {name: standardised(ranker.score(queries, candidates), candidates.mask)}
        for other in (MERGED, *channels):
            scores[other] = standardised(scores_of(other, channels, queries, candidates), candidates.mask)
        gain = np.nan_to_num(samples.labels_of(samples.tasks[0]))
        missed = 0 if samples.missed is None else samples.missed
        n_targets = gain.sum(axis=1).astype(np.int64) + missed
        ideal = np.concatenate([[0.0], np.cumsum(DISCOUNT)])[np.minimum(n_targets, K)]
        return cls(known, scores, gain, candidates.mask, ideal)

    def __len__(self) -> int:
        return len(self.known)

    def select(self, rows: IntArray | BoolArray) -> Judged:
        """The given queries."""
        scores = {name: score[rows] for name, score in self.scores.items()}
        return Judged(self.known[rows], scores, self.gain[rows], self.mask[rows], self.ideal[rows])

    def blended(self, weights: Mapping[str, float]) -> FloatArray:
        """(B, K) the weighted sum of scores."""
        total = np.zeros(self.mask.shape, dtype=np.float32)
        for name, weight in weights.items():
            total += np.float32(weight) * self.scores[name]
        return total

    def ndcg(self, score: FloatArray) -> FloatArray:
        """(B,) NDCG@10 of the candidates in the order of a score; 0 for a query without targets."""
        k = min(K, score.shape[1])
        score = np.where(self.mask, score, -np.inf)
        top = np.argpartition(-score, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable")
        gain = np.take_along_axis(self.gain, np.take_along_axis(top, order, axis=1), axis=1)
        dcg = gain @ DISCOUNT[:k]
        found: FloatArray = np.divide(dcg, self.ideal, out=np.zeros_like(dcg), where=self.ideal > 0)
        return found


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen rule and what it was chosen on.

    Attributes:
        rule: to apply; None = the ranker's order for everyone, as there were too few users to choose on.
        facts: plain values: threshold, users, queries, NDCG@10 of the rule and of every order.
    """

    rule: ShortHistory | None
    facts: dict[str, Any]

    def __str__(self) -> str:
        facts = self.facts
        if "orders" not in facts:
            why = "short histories: the ranker alone, since there are too few users to choose another order on"
            given = None if self.rule is None else self.rule.without_history
            return why if given is None else f"{why}; without events, as given: {shares(given)}"
        assert self.rule is not None
        assert self.rule.weights is not None
        best = max(facts["orders"], key=lambda name: facts["orders"][name])
        return (
            f"short histories, below {self.rule.below} events: {shares(self.rule.weights)}; without events: "
            f"{shares(self.rule.without_history or self.rule.weights)}. NDCG@{K} on the {facts['users']:,} users it "
            f"was chosen on: {facts['ndcg']:.4f}, of the best single order, {best}, {facts['orders'][best]:.4f}"
        )


def choose_rule(
    rule: ShortHistory,
    name: str,
    ranker: BaseRanker,
    channels: Mapping[str, BaseRecall],
    judging: RankingSamples,
    stopping: RankingSamples,
) -> Choice:
    """Choose the weights of a rule; what it has for queries without events stays.

    The threshold is not chosen: where the ranker is best, the weights say so, and a threshold chosen on some dozens of
    users would follow chance. Every query counts alike. Those of ``stopping`` are queries for the next event, whose
    NDCG is lower by nature, so both kinds are measured in units of what the ranker's own order reaches on them.

    Args:
        rule: its threshold.
        name: of the ranker, in the weights.
        ranker: fitted without the users of both kinds of samples.
        channels: that offered the samples.
        judging: queries of new users with their first events, whose targets are all later ones.
        stopping: other samples that the ranker was not fitted on; those of known users with a short history count
            too, if they are ``MIN_KNOWN`` or more.
    """
    users = int(np.count_nonzero(judging.queries.lengths == 0))
    facts: dict[str, Any] = {"below": rule.below, "users": users, "queries": len(judging)}
    if users == 0:
        kept = None if rule.without_history is None else rule.model_copy(update={"weights": {name: 1.0}})
        return Choice(kept, facts)
    new = Judged.of(judging, name, ranker, channels)
    short = np.flatnonzero((stopping.queries.user_idx >= 0) & (stopping.queries.lengths < rule.below))
    seen = Judged.of(stopping.select(_thinned(short)), name, ranker, channels)
    some = new.select(_thinned(np.flatnonzero(new.known > 0)))
    weights = select_ensemble([kind for kind, least in ((some, 1), (seen, MIN_KNOWN)) if len(kind) >= least], name)
    without = rule.without_history or select_ensemble([new.select(new.known == 0)], name)
    chosen = rule.model_copy(update={"weights": weights, "without_history": without})
    served = np.where(new.known == 0, new.ndcg(new.blended(without)), new.ndcg(new.blended(weights)))
    facts["ndcg"] = round(float(served.mean()), 5)
    facts["orders"] = {order: round(float(new.ndcg(score).mean()), 5) for order, score in new.scores.items()}
    return Choice(chosen, facts)


def select_ensemble(kinds: Sequence[Judged], own: str) -> dict[str, float]:
    """Weights of the ensemble that grows by the order that helps most, until nothing helps; ties: the earlier order.

    Args:
        kinds: queries of one or more kinds, each measured against the order ``own``.
        own: name of the ranker; its order alone is what no queries choose.
    """
    if not kinds:
        return {own: 1.0}
    members: Counter[str] = Counter()
    best, chosen = -1.0, dict(members)
    totals = [np.zeros(kind.mask.shape, dtype=np.float32) for kind in kinds]
    for _ in range(STEPS):
        values = {
            order: sum(
                _relative(kind, kind.ndcg(total + kind.scores[order]), own)
                for kind, total in zip(kinds, totals, strict=True)
            )
            for order in kinds[0].scores
        }
        order = max(values, key=lambda name: values[name])
        members[order] += 1
        totals = [total + kind.scores[order] for kind, total in zip(kinds, totals, strict=True)]
        if values[order] > best:
            best, chosen = values[order], dict(members)
    return {order: float(weight) for order, weight in chosen.items()}


def _thinned(rows: IntArray) -> IntArray:
    """At most ``MAX_QUERIES`` rows from everywhere."""
    if len(rows) <= MAX_QUERIES:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_QUERIES).astype(np.int64)]


def _relative(kind: Judged, ndcg: FloatArray, own: str) -> float:
    base = float(kind.ndcg(kind.scores[own]).mean())
    return float(ndcg.sum()) / base if base > 0 else float(ndcg.sum())
