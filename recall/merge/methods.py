"""Methods of merging: how many points an item gets for its place or its score in a channel.

- Reciprocal-rank fusion: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual
  rank learning methods" (SIGIR 2009); k0 = 60 is theirs.
- Sum of normalised scores (CombSUM): Fox and Shaw, "Combination of multiple searches" (TREC-2, 1994); the two ways to
  normalise: Montague and Aslam, "Relevance score normalization for metasearch" (CIKM 2001).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, Tag

from reccore import Candidates, ComponentConfig
from reccore.config import by_kind

Points: TypeAlias = npt.NDArray[np.float64]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class BaseMergeConfig(ComponentConfig):
    """Options of a method of merging.

    Attributes:
        takes_best: whether an item of several channels gets the most points that one of them gives, not their sum.
    """

    takes_best: ClassVar[bool] = False
    kind: str

    @property
    @abstractmethod
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that the options mention."""

    @property
    @abstractmethod
    def meaning(self) -> str:
        """What the score of a merged item is, as a phrase."""

    @abstractmethod
    def points(self, name: str, candidates: Candidates, *, is_fill: bool) -> Points:
        """Points of every slot of a channel, (1, K) where they depend on the rank alone, else (B, K).

        Args:
            name: of the channel.
            candidates: (B, K) of the channel; a padded slot may get any points.
            is_fill: whether the channel fills short rows. It then gives no points unless the options mention it.

        Returns:
            Finite points from 0. An item with 0 points of every channel is not merged.
        """


class WeightedMergeConfig(BaseMergeConfig):
    """Options of a weighted sum over channels.

    Attributes:
        weights: channel → weight, by default 1 (the fill channel: 0). A channel of weight 0 adds features and no items.
    """

    weights: dict[str, Weight] = Field(default={})

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.weights)

    def weight(self, name: str, *, is_fill: bool) -> float:
        """Weight of a channel."""
        return self.weights.get(name, 0.0 if is_fill else 1.0)


class RRFConfig(WeightedMergeConfig):
    """Reciprocal-rank fusion: an item's score is Σ weight / (k0 + rank) over the channels that offer it.

    Attributes:
        k0: a greater value flattens the differences between ranks.
    """

    kind: Literal["rrf"] = "rrf"
    k0: float = Field(default=60.0, ge=0)

    @property
    def meaning(self) -> str:
        return f"the sum of weight / ({self.k0:g} + rank) over the channels that found the film"

    def points(self, name: str, candidates: Candidates, *, is_fill: bool) -> Points:
        return self.weight(name, is_fill=is_fill) / (self.k0 + _ranks(candidates.k))


class ScoresConfig(WeightedMergeConfig):
    """Sum of normalised scores: Σ weight · ((score − lowest) / spread + margin) over the channels that offer an item.

    ``lowest`` is the lowest score that the channel offers in that row. An item that the channel does not offer gets 0
    from it, as if its score lay ``margin`` spreads below the lowest. The normalised scores depend on the number of
    candidates that a channel retrieves.

    Attributes:
        spread: ``deviation`` = standard deviation of the channel's scores in the row (standard scores), ``range`` =
            highest minus lowest (min-max). Where all scores of a row are equal, each of them gets weight · margin.
        margin: distance from the lowest offered score to an item that was not offered, in spreads. The greater it is,
            the more it counts by how many channels an item is offered, and the less with what scores.
    """

    kind: Literal["scores"] = "scores"
    spread: Literal["deviation", "range"] = "deviation"
    margin: float = Field(default=0.5, gt=0, le=1e6)

    @property
    def meaning(self) -> str:
        return "the weighted sum of the normalised scores of the channels that found the film"

    def points(self, name: str, candidates: Candidates, *, is_fill: bool) -> Points:
        mask = candidates.mask
        score = np.where(mask, candidates.score, 0.0).astype(np.float64)
        lowest = np.where(mask, score, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        above = np.where(mask, score - lowest, 0.0)  # from 0
        if self.spread == "deviation":
            n = np.maximum(mask.sum(axis=1, keepdims=True), 1)
            mean = above.sum(axis=1, keepdims=True) / n
            spread = np.sqrt((np.where(mask, above - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / n)
        else:
            spread = above.max(axis=1, keepdims=True, initial=0.0)
        normalised = np.divide(above, spread, out=np.zeros_like(above), where=(above > 0) & (spread > 0))
        points: Points = self.weight(name, is_fill=is_fill) * (normalised + self.margin)
        return points


class QuotaConfig(BaseMergeConfig):
    """At most ``quota`` items of each channel, in rounds: every channel's first item, then every channel's second.

    An item of several channels takes its best rank.

    Attributes:
        quota: channel → number of items, by default unlimited (the fill channel: 0).
    """

    takes_best: ClassVar[bool] = True
    kind: Literal["quota"] = "quota"
    quota: dict[str, Annotated[int, Field(ge=0)]] = Field(default={})

    @property
    def meaning(self) -> str:
        return "1 / the best rank in a channel"

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.quota)

    def points(self, name: str, candidates: Candidates, *, is_fill: bool) -> Points:
        ranks = _ranks(candidates.k)
        points: Points = np.where(ranks <= self.quota.get(name, 0 if is_fill else candidates.k), 1.0 / ranks, 0.0)
        return points


MergeConfig = Annotated[
    Annotated[RRFConfig, Tag("rrf")] | Annotated[ScoresConfig, Tag("scores")] | Annotated[QuotaConfig, Tag("quota")],
    by_kind("rrf"),
]
"""Type of a field ``merge: MergeConfig = RRFConfig()``, in TOML ``merge = {kind = "quota", quota = {mf = 50}}``."""


def _ranks(k: int) -> Points:
    """(1, k) ranks from 1."""
    return np.arange(1, k + 1, dtype=np.float64)[None, :]
