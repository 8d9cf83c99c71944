"""Options of every kind of stage, each with the channels it needs and how it is built."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, PositiveInt

from pipeline.blend import MERGED, Blend
from pipeline.match import ClosenessHydrator, LatestHydrator, MatchHydrator
from pipeline.stages import (
    RankerScorer,
    RerankSelector,
    SeenFilter,
    Stage,
    TopSelector,
)
from pipeline.weighted_closeness import ClosenessSum, WeightedClosenessHydrator
from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.embedding import EmbeddingRecall
from recall.merge import MergeConfig, RRFConfig
from recall.similarity import ItemSimilarityRecall
from reccore import ComponentConfig, ConfigError, ItemTable, Vocabulary
from rerank import RERANKERS
from rerank.base import BaseReranker

FIRST_OF_CHANNELS = 20
SHORT_HISTORY = 18
"""The shortest history of the ordinary evaluation of MovieLens, whose users have 20 events and more."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What stages are built from.

    Attributes:
        channels: fitted recall channels by name.
        ranker: fitted ranker, or None for a pipeline without one.
        reranker: fitted reranker; None = fit the configured one.
        items: item facts.
        vocabulary: of all parts.
        partial: names of the channels that serve some queries only, and that stages leave out unless they name them.
    """

    channels: Mapping[str, BaseRecall]
    ranker: BaseRanker | None
    reranker: BaseReranker | None
    items: ItemTable
    vocabulary: Vocabulary
    partial: frozenset[str] = frozenset()

    @property
    def for_all(self) -> dict[str, BaseRecall]:
        """The channels that serve every query."""
        return {name: channel for name, channel in self.channels.items() if name not in self.partial}


class StageConfig(ComponentConfig):
    """Options of a stage after the merge."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the channels that the stage needs."""
        return ()

    @abstractmethod
    def build(self, parts: Parts) -> Sequence[Stage]:
        """The stages that these options describe.

        Raises:
            ConfigError: a part is missing or unsuitable.
        """


class ChannelStage(ComponentConfig):
    """A recall channel as a source of candidates.

    Attributes:
        name: of a trained channel, a folder under ``models/``.
        k: number of candidates to retrieve.
        below: retrieve for queries with fewer known events only; None = for all. The ranker sees the scores and ranks
            of what such a channel offers; other stages leave it out unless they name it.
    """

    kind: Literal["channel"] = "channel"
    name: str
    k: int = Field(default=300, ge=1)
    below: int | None = Field(default=None, ge=1)


class MergeStage(ComponentConfig):
    """The merge of all sources.

    Attributes:
        method: how the sources' lists become one.
        k: number of candidates to keep.
        fill: name of the channel that fills short rows; None = no filling.
        first: number of items of every source that are kept for queries with fewer than ``below`` known events,
            whatever their place in the merged list is, so that the ranker can follow any single channel. They take half
            of the places at most.
        below: see ``first``.
    """

    kind: Literal["merge"] = "merge"
    method: MergeConfig = RRFConfig()
    k: int = Field(default=200, ge=1)
    fill: str | None = "popularity"
    first: int = Field(default=0, ge=0)
    below: int = Field(default=0, ge=0)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the channels that the options mention."""
        return (*self.method.channels, *([] if self.fill is None else [self.fill]))


class MatchStage(StageConfig):
    """Adds every candidate's score by single channels, whether or not they offered it.

    Attributes:
        channels: names of channels; None = all, or with ``latest`` all of the item-to-item family, whose scores are
            sums over the events of the history.
        latest: score by the latest n events alone, for each n, as ``match.<channel>.latest<n>``; none = by the whole
            history, as ``match.<channel>``.
    """

    kind: Literal["match"] = "match"
    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    latest: tuple[PositiveInt, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        return self.channels or ()

    def build(self, parts: Parts) -> Sequence[Stage]:
        names, channels = self.channels, parts.channels
        if names is None:
            names = tuple(n for n in parts.for_all if not self.latest or isinstance(channels[n], ItemSimilarityRecall))
        if self.latest:
            return [LatestHydrator(name, channels[name], self.latest) for name in names]
        return [MatchHydrator(name, channels[name]) for name in names]


class ClosenessStage(StageConfig):
    """Adds the cosines between every candidate's item vector and those of the latest events.

    The features are ``match.<channel>.mean<n>`` and ``match.<channel>.max<n>``.

    Attributes:
        channels: names of channels with item vectors; None = all that have them.
        latest: numbers n of latest events.
        sums: further features by the same events: ``decayed``, in which later events count more, and ``rated``,
            weighted by ratings; see ``WeightedClosenessHydrator``.
    """

    kind: Literal["closeness"] = "closeness"
    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    latest: tuple[PositiveInt, ...] = Field(default=(1, 3, 10), min_length=1)
    sums: tuple[ClosenessSum, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        return self.channels or ()

    def build(self, parts: Parts) -> Sequence[Stage]:
        stages: list[Stage] = []
        for name in self.channels or parts.for_all:
            channel = parts.channels[name]
            if isinstance(channel, EmbeddingRecall):
                stages.append(ClosenessHydrator(name, channel.item_vectors, self.latest))
                if self.sums:
                    stages.append(WeightedClosenessHydrator(name, channel.item_vectors, self.latest, self.sums))
            elif self.channels:
                raise ConfigError(f"stage 'closeness' needs item vectors, and channel {name!r} has none")
        return stages


class SeenStage(StageConfig):
    """Drops items of the history and other excluded items."""

    kind: Literal["seen"] = "seen"

    def build(self, parts: Parts) -> Sequence[Stage]:
        return [SeenFilter()]


Weights = Annotated[dict[str, Annotated[float, Field(gt=0, le=1e6)]], Field(min_length=1)]


class ShortHistory(ComponentConfig):
    """Whose scores are averaged for users with a short history, in place of the ranker's alone, see ``Blend``.

    Attributes:
        below: queries with fewer known events are concerned.
        channel: name of a trained channel that retrieves for these queries alone; None = none.
        weights: name of the ranker, ``merged`` or name of a channel → weight of its scores, in units of their
            deviation over the candidates. None = chosen when the ranker is trained, see ``pipeline.short_history``;
            until then the ranker's alone.
        without_history: the same for queries without a known event; None = as given ``weights``, or chosen with them.
    """

    below: int = Field(default=SHORT_HISTORY, ge=1)
    channel: str | None = None
    weights: Weights | None = None
    without_history: Weights | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """Names in the weights."""
        return tuple(dict.fromkeys([*(self.weights or ()), *(self.without_history or ())]))


class RankStage(StageConfig):
    """Orders candidates by a ranker.

    Attributes:
        model: name of a trained ranker, a folder under ``models/``.
        short_history: which queries are scored by the ranker and others together; None = none.
    """

    kind: Literal["rank"] = "rank"
    model: str = "deepfm"
    short_history: ShortHistory | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        rule = self.short_history
        if rule is None:
            return ()
        given = dict.fromkeys([*rule.named, *([] if rule.channel is None else [rule.channel])])
        return tuple(name for name in given if name not in (self.model, MERGED))

    def build(self, parts: Parts) -> Sequence[Stage]:
        if parts.ranker is None:
            raise ConfigError(f"the pipeline has a stage for ranker {self.model!r}, and no ranker is given")
        rule = self.short_history
        if rule is None or not rule.named:
            return [RankerScorer(parts.ranker)]
        channels = {name: parts.channels[name] for name in self.needs}
        weights = rule.weights or {self.model: 1.0}
        without = rule.without_history or weights
        return [RankerScorer(parts.ranker, Blend(rule.below, self.model, weights, without, channels))]


class RerankStage(StageConfig):
    """Chooses the final list with a reranker.

    Attributes:
        method: registered name of the reranker. All other keys are options of that reranker.
    """

    model_config = ConfigDict(extra="allow")

    kind: Literal["rerank"] = "rerank"
    method: str = "mmr"

    @property
    def options(self) -> dict[str, Any]:
        """Options of the reranker."""
        return dict(self.model_extra or {})

    @property
    def needs(self) -> tuple[str, ...]:
        vectors_of = self.reranker().vectors_of
        return () if vectors_of is None else (vectors_of,)

    def reranker(self) -> BaseReranker:
        """The reranker, not yet fitted.

        Raises:
            ConfigError: an unknown method, an unknown option or a value out of range.
        """
        return RERANKERS[self.method](self.options)

    def build(self, parts: Parts) -> Sequence[Stage]:
        return [RerankSelector(parts.reranker or self.fit(parts.channels, parts.items, parts.vocabulary))]

    def fit(self, channels: Mapping[str, BaseRecall], items: ItemTable, vocabulary: Vocabulary) -> BaseReranker:
        """The reranker with the item facts and vectors that it needs.

        Raises:
            ConfigError: the channel whose vectors it needs has none.
        """
        reranker = self.reranker()
        source = None if reranker.vectors_of is None else channels[reranker.vectors_of]
        vectors = source.item_vectors if isinstance(source, EmbeddingRecall) else None
        return reranker.fit(items, vectors, vocabulary)


class TopStage(StageConfig):
    """Takes the first candidates as the final list."""

    kind: Literal["top"] = "top"

    def build(self, parts: Parts) -> Sequence[Stage]:
        return [TopSelector()]


AnyStage = Annotated[
    ChannelStage | MergeStage | MatchStage | ClosenessStage | SeenStage | RankStage | RerankStage | TopStage,
    Discriminator("kind"),
]
