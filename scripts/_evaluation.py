"""What the commands that evaluate share: which events, at which list lengths, and whether queries know the time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from reccore import ComponentConfig
from scripts._cli import Lengths


class EvaluationSettings(ComponentConfig):
    """Options of every evaluation.

    Attributes:
        split: which held-out events of the protocol; None = ``test``.
        test: a held-out file instead.
        ks: list lengths.
        query_time: queries know when the event to predict happens.
    """

    split: Literal["valid", "test"] | None = None
    test: Path | None = None
    ks: Lengths
    query_time: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.split is not None and self.test is not None:
            raise ValueError("--split and --test exclude each other; give one of them")
        return self


EVALUATION_FLAGS = ("split", "test", "ks", "query_time")


def add_evaluation_flags(parser: argparse.ArgumentParser, ks: Sequence[int]) -> None:
    """Flags for ``EvaluationSettings``; ``ks`` are the default list lengths."""
    parser.add_argument("--split", choices=("valid", "test"), help="which held-out events (default: test)")
    parser.add_argument("--test", type=Path, metavar="FILE.parquet", help="a held-out file of your own")
    parser.add_argument("--ks", help=f"list lengths, separated by commas (default: {','.join(map(str, ks))})")
    parser.add_argument(
        "--query_time", action="store_true", default=None, help="queries know when the event to predict happens"
    )


def metrics_to_show(ks: Sequence[int], shown: Sequence[str]) -> Sequence[str]:
    """``shown``, which is for lists of 10 among others; where those are not measured, hit rates and the first NDCG."""
    return shown if 10 in ks else (f"hit_rate@{ks[0]}", f"ndcg@{ks[0]}", *(f"hit_rate@{k}" for k in ks[1:]))
