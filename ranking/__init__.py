"""Rankers: score the candidates of recall with everything known about user, item and both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reccore.component import Registry

if TYPE_CHECKING:
    from ranking.base import BaseRanker

RANKERS: Registry[BaseRanker] = Registry(
    "ranking",
    {
        "lr": "ranking.lr:LR",
        "fm": "ranking.fm:FM",
        "deep": "ranking.deep:Deep",
        "wide_deep": "ranking.wide_deep:WideDeep",
        "deepfm": "ranking.deepfm:DeepFM",
        "dcn": "ranking.dcn:DCN",
        "dcnv2": "ranking.dcnv2:DCNv2",
        "din": "ranking.din:DIN",
        "autoint": "ranking.autoint:AutoInt",
        "mmoe": "ranking.mmoe:MMoE",
        "ple": "ranking.ple:PLE",
        "lambdamart": "ranking.lambdamart:LambdaMART",
        "ensemble": "ranking.ensemble:Ensemble",
    },
)

MAX_QUERIES = 60_000
"""Queries that a ranker is trained on by default. On MovieLens-1M 50,000 add 16% to a two-tower, and 20,000 add 15%."""
SHORT_HISTORIES = 0.1
"""Share of the users from whom a ranker learns to serve new users."""

__all__ = ["MAX_QUERIES", "RANKERS", "SHORT_HISTORIES"]
