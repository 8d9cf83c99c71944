"""What an explanation shows of one film: its standing in a channel, in a stage's order, and in the ranker's score."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.fates import place_of
from reccore import Candidates

BLEND = "blend"
"""Role of a view of what orders the list of a short history in place of the ranker alone."""


@dataclass(frozen=True)
class ChannelView:
    """A film in a recall channel.

    Attributes:
        name: of the channel.
        offered: whether the channel offered it in this request.
        rank: from 1, over all items of the catalogue that are not excluded; None where the channel has no score.
        scored: number of items that the channel has a score for, without excluded ones.
        retrieves: number of items that the pipeline takes from the channel.
        score: the channel's own.
        last_score: of the last item that the channel offered; None if it offered none.
    """

    name: str
    offered: bool
    rank: int | None
    scored: int
    retrieves: int
    score: float | None
    last_score: float | None

    @property
    def short_by(self) -> float | None:
        """How much the score is below the last offered one; None where it is offered or a score is missing."""
        if self.offered or self.score is None or self.last_score is None:
            return None
        return self.last_score - self.score


@dataclass(frozen=True)
class StageView:
    """A film in the order of a stage after the channels.

    Attributes:
        stage: role: merge, filter, score, ``blend`` in place of score for a short history, or select.
        name: of the component; of a blend its shares, such as ``75% itemcf_prior, 25% deepfm``.
        place: from 1, beyond ``limit`` too; None where the film is not in the order.
        of: number of films in the order.
        limit: how many of them go on: of the merge its ``k`` or, where ``first`` takes places, fewer; the length of the
            list for the others.
        score: of the film in this order.
        last_score: of the last film that goes on.
        first: of the merge: how many items of every channel go on besides, whatever their place, since the history is
            short.
    """

    stage: str
    name: str
    place: int | None
    of: int
    limit: int
    score: float | None = None
    last_score: float | None = None
    first: int = 0

    @classmethod
    def in_order(cls, stage: str, name: str, order: Candidates, item: int, limit: int) -> StageView:
        """The view of an item in the first row of ordered candidates."""
        place, n = place_of(order, item), int(order.counts[0])
        last = min(limit, n)
        return cls(
            stage=stage,
            name=name,
            place=place,
            of=n,
            limit=limit,
            score=None if place is None else float(order.score[0, place - 1]),
            last_score=float(order.score[0, last - 1]) if last else None,
        )

    def without_scores_beyond(self, pool: int | None) -> StageView:
        """The same view; a place beyond the reranker's pool has no score, as the order before goes on there."""
        if pool is None:
            return self
        return replace(
            self,
            score=None if self.place is None or self.place > pool else self.score,
            last_score=None if min(self.limit, self.of) > pool else self.last_score,
        )

    @property
    def short_by(self) -> float | None:
        """How much the score is below that of the last film that goes on; None where the film goes on."""
        if self.place is None or self.place <= self.limit or self.score is None or self.last_score is None:
            return None
        return self.last_score - self.score


@dataclass(frozen=True)
class Contribution:
    """A feature's part in the difference between the ranker's scores of the film and of the mean candidate.

    Attributes:
        feature: name.
        value: in units of the ranker's score.
        meaning: one sentence.
    """

    feature: str
    value: float
    meaning: str
