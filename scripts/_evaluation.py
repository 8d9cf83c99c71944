"""Options shared by the commands that evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from reccore import ComponentConfig
from scripts._cli import Lengths


class EvaluationSettings(ComponentConfig):
    """Options of every evaluation; each gives its own default list lengths."""

    split: Literal["valid", "test"] | None = Field(default=None, description="which held-out events (default: test)")
    test: Path | None = Field(default=None, description="a held-out Parquet file of your own")
    ks: Lengths
    query_time: bool = Field(default=False, description="queries carry the time of the event to predict")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.split is not None and self.test is not None:
            raise ValueError("--split and --test exclude each other; give one of them")
        return self


def lengths(default: tuple[int, ...]) -> Lengths:
    """The field ``ks`` with its default."""
    ks: Lengths = Field(default=default, description="list lengths, separated by commas")
    return ks


def metrics_to_show(ks: Sequence[int], shown: Sequence[str]) -> Sequence[str]:
    """``shown``, which needs lists of 10; where 10 is not measured, the first NDCG and every hit rate."""
    return shown if 10 in ks else (f"hit_rate@{ks[0]}", f"ndcg@{ks[0]}", *(f"hit_rate@{k}" for k in ks[1:]))
