"""Which samples a ranker learns from: options that train_ranking.py and compare_ranking.py share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ranking import MAX_QUERIES, SHORT_HISTORIES
from reccore import ComponentConfig


class SamplesSettings(ComponentConfig):
    """Options of a command that makes samples for rankers."""

    max_queries: int | None = Field(
        default=MAX_QUERIES, ge=1, description="greatest number of training queries, drawn at random; null for all"
    )
    short_histories: float = Field(
        default=SHORT_HISTORIES, ge=0, le=1, description="share of users who play new users for the ranker"
    )
    found_only: bool = Field(
        default=False,
        strict=True,
        description="learn from the queries alone that recall offers a film of: for millions of queries",
    )
    label_window: Literal["own_history", "moment"] | None = Field(
        default=None,
        description="which events to learn from: the last of each user, or those of all users after one moment "
        "(default: as the protocol asks, moment under global_time)",
    )
    label_windows: int = Field(
        default=1,
        ge=1,
        description="how many label windows to learn from, each before the other and with its own fits of the channels",
    )
