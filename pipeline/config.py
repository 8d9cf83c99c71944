"""Configuration of a pipeline: the list of its stages, or the short form of the default chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.stage_configs import (
    FIRST_OF_CHANNELS,
    AnyStage,
    ChannelStage,
    ClosenessStage,
    MatchStage,
    MergeStage,
    RankStage,
    RerankStage,
    SeenStage,
    ShortHistory,
    StageConfig,
    TopStage,
)
from pipeline.weighted_closeness import ClosenessSum
from recall.merge import MergeConfig, RRFConfig
from recall.merge.methods import WeightedMergeConfig
from reccore import ComponentConfig

SELECTORS = ("rerank", "top")


class ChainConfig(ComponentConfig):
    """Short form of the default chain: channels, merge, match, seen, rank, and rerank or top.

    Attributes:
        channels: names of trained recall channels.
        fill: name of the channel that fills short rows; None = no filling.
        per_channel: number of candidates to retrieve from each channel.
        merge: how the channels' lists become one.
        candidates: number of candidates to keep after the merge.
        ranker: name of a trained ranker, or None for the merged order.
        short_history: which queries are scored by the ranker and others together; None = none. For these the first
            items of every channel are among the candidates, and in the merge its ``channel`` weighs as much as all
            others together, unless ``merge`` gives it a weight.
        latest: numbers n; the ranker also sees how every candidate fits the latest n events alone, by channels of the
            item-to-item family and by item vectors.
        closeness_sums: ``decayed``, ``rated``: further features by the item vectors of these events, see
            ``ClosenessStage``.
        rerank: method and options of the reranker, a list of several to apply in order, or None to take the first
            candidates.
    """

    channels: tuple[str, ...] = Field(default=("popularity", "itemcf", "mf", "two_tower"), min_length=1)
    fill: str | None = "popularity"
    per_channel: int = Field(default=300, ge=1)
    merge: MergeConfig = RRFConfig()
    candidates: int = Field(default=200, ge=1)
    latest: tuple[PositiveInt, ...] = (1, 3, 10)
    closeness_sums: tuple[ClosenessSum, ...] = ()
    ranker: str | None = "deepfm"
    short_history: ShortHistory | None = None
    rerank: RerankStage | None = RerankStage()

    @field_validator("rerank", mode="before")
    @classmethod
    def _several_are_a_chain(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return value[0] if len(value) == 1 else {"method": "chain", "steps": value}

    @model_validator(mode="after")
    def _sums_are_over_events(self) -> ChainConfig:
        if self.closeness_sums and not self.latest:
            raise ValueError("closeness_sums are over the events that latest counts; name some there, or leave it out")
        return self

    @model_validator(mode="after")
    def _rule_has_a_ranker(self) -> ChainConfig:
        if self.ranker is None and self.short_history is not None:
            raise ValueError("short_history is blended with a ranker's scores; give a ranker, or leave it out")
        return self

    def stages(self) -> list[ComponentConfig]:
        """The stages in order."""
        method, rule = self.merge, self.short_history
        sources = [ChannelStage(name=name, k=self.per_channel) for name in self.channels]
        if rule is not None and rule.channel is not None:
            sources.append(ChannelStage(name=rule.channel, k=self.per_channel, below=rule.below))
            if isinstance(method, WeightedMergeConfig):
                total = sum(method.weight(name, is_fill=name == self.fill) for name in self.channels)
                method = method.model_copy(update={"weights": {rule.channel: total, **method.weights}})
        merge = MergeStage(method=method, k=self.candidates, fill=self.fill)
        if rule is not None:
            merge = merge.model_copy(update={"first": FIRST_OF_CHANNELS, "below": rule.below})
        return [*sources, merge, *self._ranking(), self.rerank or TopStage()]

    def _ranking(self) -> list[ComponentConfig]:
        if self.ranker is None:
            return [SeenStage()]
        latest: list[ComponentConfig] = []
        if self.latest:
            closeness = ClosenessStage(latest=self.latest, sums=self.closeness_sums)
            latest = [MatchStage(latest=self.latest), closeness]
        return [MatchStage(), *latest, SeenStage(), RankStage(model=self.ranker, short_history=self.short_history)]


class PipelineConfig(ComponentConfig):
    """Stages of a pipeline in order; without ``stages`` the options are those of ``ChainConfig``.

    Attributes:
        stages: one or more ``channel``, one ``merge``, any number of ``match``, ``closeness`` and ``seen`` and at
            most one ``rank``, and last ``rerank`` or ``top``.
    """

    stages: tuple[AnyStage, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        if "stages" not in values:
            return {"stages": ChainConfig.parse(values).stages()}
        if len(values) > 1:
            others = ", ".join(name for name in values if name != "stages")
            raise ValueError(f"stages describe the whole pipeline; leave out {others}, or leave out stages")
        return values

    @model_validator(mode="after")
    def _in_order(self) -> PipelineConfig:
        kinds = [stage.kind for stage in self.stages]
        n_sources = kinds.index("merge") if "merge" in kinds else 0
        sources, rest = kinds[:n_sources], kinds[n_sources + 1 :]
        fits = set(sources) == {"channel"} and rest and rest[-1] in SELECTORS and rest.count("rank") <= 1
        if not fits or {"channel", "merge", *SELECTORS} & set(rest[:-1]):
            raise ValueError(
                "stages must be one or more 'channel', one 'merge', any number of 'match', 'closeness' and 'seen' and "
                f"at most one 'rank', and last 'rerank' or 'top'; got {', '.join(kinds)}"
            )
        return self

    @model_validator(mode="after")
    def _channels_fit(self) -> PipelineConfig:
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"a channel is named twice: {', '.join(self.channels)}")
        for stage in self.stages:
            for name in () if isinstance(stage, ChannelStage) else stage.needs:
                if name not in self.channels:
                    raise ValueError(
                        f"stage {stage.kind!r} needs channel {name!r}, which is not among the channels: "
                        f"{', '.join(self.channels)}"
                    )
        return self

    @property
    def sources(self) -> tuple[ChannelStage, ...]:
        """The channels."""
        return tuple(stage for stage in self.stages if isinstance(stage, ChannelStage))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(source.name for source in self.sources)

    @property
    def merge(self) -> MergeStage:
        """The merge."""
        return next(stage for stage in self.stages if isinstance(stage, MergeStage))

    @property
    def later(self) -> tuple[StageConfig, ...]:
        """Stages after the merge."""
        return tuple(stage for stage in self.stages if isinstance(stage, StageConfig))

    @property
    def ranker(self) -> str | None:
        """Name of the ranker, or None."""
        return next((stage.model for stage in self.stages if isinstance(stage, RankStage)), None)

    @property
    def rerank(self) -> RerankStage | None:
        """The selector if it is a reranker, or None."""
        last = self.stages[-1]
        return last if isinstance(last, RerankStage) else None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the trained components."""
        return self.channels if self.ranker is None else (*self.channels, self.ranker)

    @property
    def short_history(self) -> ShortHistory | None:
        """The rule for short histories, or None."""
        return next((stage.short_history for stage in self.stages if isinstance(stage, RankStage)), None)

    @property
    def undecided(self) -> ShortHistory | None:
        """The rule for short histories if its weights are yet to be chosen."""
        rule = self.short_history
        return rule if rule is not None and rule.weights is None else None

    @property
    def judge_below(self) -> int:
        """Samples of new users with fewer events are needed to choose the rule, see ``label_window``; 0 = none."""
        return 0 if self.undecided is None else self.undecided.below

    def with_short_history(self, rule: ShortHistory | None) -> PipelineConfig:
        """The same stages with another rule for short histories; the channels and their candidates stay."""
        stages = [
            stage.model_copy(update={"short_history": rule}) if isinstance(stage, RankStage) else stage
            for stage in self.stages
        ]
        return PipelineConfig(stages=tuple(stages))

    def before_ranking(self) -> PipelineConfig:
        """The stages before the ranker, whose answer is what the ranker scores; all but the selector without one."""
        kinds = [stage.kind for stage in self.stages]
        stop = kinds.index("rank") if "rank" in kinds else -1
        return PipelineConfig(stages=(*self.stages[:stop], TopStage()))
