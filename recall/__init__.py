"""Recall channels: from the whole catalogue to some hundreds of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reccore.component import Registry

if TYPE_CHECKING:
    from recall.base import BaseRecall

CHANNELS: Registry[BaseRecall] = Registry(
    "recall",
    {
        "popularity": "recall.popularity:Popularity",
        "itemcf": "recall.itemcf:ItemCF",
        "usercf": "recall.usercf:UserCF",
        "swing": "recall.swing:Swing",
        "markov": "recall.markov:Markov",
        "itemcf_prior": "recall.itemcf_prior:ItemCFPrior",
        "ease": "recall.ease:EASE",
        "mf": "recall.mf:MF",
        "rating_mf": "recall.rating_mf:RatingMF",
        "bpr": "recall.bpr:BPR",
        "word2vec": "recall.word2vec:Word2Vec",
        "deepwalk": "recall.deepwalk:DeepWalk",
        "deepwalk_users": "recall.deepwalk_users:DeepWalkUsers",
        "two_tower": "recall.two_tower:TwoTower",
        "dssm": "recall.dssm:DSSM",
        "youtube_dnn": "recall.youtube_dnn:YouTubeDNN",
        "simplex": "recall.simplex:SimpleX",
        "gru4rec": "recall.gru4rec:GRU4Rec",
        "sasrec": "recall.sasrec:SASRec",
        "mind": "recall.mind:MIND",
    },
)

__all__ = ["CHANNELS"]
