"""Rerankers in a row: each orders what the one before it has ordered."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field

from reccore import Bundle, Candidates, ComponentConfig, ConfigError, ItemTable, QueryBatch, Vocabulary
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from rerank import RERANKERS
from rerank.base import BaseReranker


class StepConfig(ComponentConfig):
    """One reranker of a chain.

    Attributes:
        method: registered name of the reranker. All other keys are options of that reranker.
    """

    model_config = ConfigDict(extra="allow")

    method: str

    def reranker(self) -> BaseReranker:
        """The reranker, not yet fitted.

        Raises:
            ConfigError: an unknown method or option, a value out of range, or a chain in a chain.
        """
        if self.method == Chain.name:
            raise ConfigError("a chain of rerankers cannot be a step of a chain; list its steps in place of it")
        return RERANKERS[self.method](dict(self.model_extra or {}))


class ChainConfig(ComponentConfig):
    """Options of a chain.

    Attributes:
        steps: the rerankers in order.
    """

    steps: tuple[StepConfig, ...] = Field(min_length=1)


class Chain(BaseReranker):
    """Applies its steps in order; the scores of one are the relevance that the next reads.

    A step orders as many items as the steps after it consider: their ``pool``, or all candidates without one, and at
    least ``k``. ``rank_score`` stays the score before the first step.
    """

    name: ClassVar[str] = "chain"
    Config: ClassVar[type[ComponentConfig]] = ChainConfig
    config: ChainConfig

    def __init__(self, config: ChainConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(config)
        self.steps = tuple(step.reranker() for step in self.config.steps)
        channels = sorted({step.vectors_of for step in self.steps if step.vectors_of is not None})
        if len(channels) > 1:
            raise ConfigError(
                f"the steps of a chain compare items by vectors of several channels: {', '.join(channels)}; name one "
                "of them in every similarity, or compare by genres"
            )
        self._channel = channels[0] if channels else None

    @property
    def vectors_of(self) -> str | None:
        """The channel whose vectors a step needs, if any."""
        return self._channel

    @property
    def trade_off(self) -> float | None:
        """λ of the first step that has one."""
        return next((step.trade_off for step in self.steps if step.trade_off is not None), None)

    def with_trade_off(self, value: float) -> Self:
        """A copy in which every step that has a λ has this one; the other steps stay.

        Raises:
            ConfigError: no step has a trade-off, or the value is out of range.
        """
        if self.trade_off is None:
            raise ConfigError("no step of the chain has a trade_off between relevance and diversity")
        changed = copy(self)
        changed.steps = tuple(step if step.trade_off is None else step.with_trade_off(value) for step in self.steps)
        dumped = self.config.model_dump()["steps"]
        for options, step in zip(dumped, changed.steps, strict=True):
            options |= {} if step.trade_off is None else {"trade_off": value}
        changed.config = self.config.parse({"steps": dumped})
        return changed

    @property
    def pool(self) -> int | None:
        """The pool of the first step."""
        return self.steps[0].pool

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None:
        for step in self.steps:
            step.fit(items, vectors, vocabulary)

    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        lengths = [k]  # of the answers, from the last step to the first
        for following in reversed(self.steps[1:]):
            considered = candidates.k if following.pool is None else following.pool
            lengths.append(max(lengths[-1], considered))
        for step, length in zip(self.steps, reversed(lengths), strict=True):
            candidates = step.rerank(queries, candidates, length)
        return candidates

    def _write(self, bundle: BundleWriter) -> None:
        for place, step in enumerate(self.steps):
            step.save(bundle.path(f"step_{place}"))

    def _read(self, bundle: Bundle) -> None:
        self.steps = tuple(RERANKERS.load(bundle.path / f"step_{place}") for place in range(len(self.config.steps)))
