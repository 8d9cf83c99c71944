"""The losses that ``loss.kind`` chooses from."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Tag

from recall.neural.losses.bce import BCEConfig
from recall.neural.losses.bpr import BPRConfig
from recall.neural.losses.ccl import CCLConfig
from recall.neural.losses.ranking_max import BPRMaxConfig, TOP1MaxConfig
from recall.neural.losses.softmax import CorrectedSoftmaxConfig, SoftmaxConfig
from reccore.config import by_kind

LossConfig: TypeAlias = Annotated[
    Annotated[SoftmaxConfig, Tag("softmax")]
    | Annotated[CorrectedSoftmaxConfig, Tag("corrected_softmax")]
    | Annotated[BCEConfig, Tag("bce")]
    | Annotated[BPRConfig, Tag("bpr")]
    | Annotated[BPRMaxConfig, Tag("bpr_max")]
    | Annotated[TOP1MaxConfig, Tag("top1_max")]
    | Annotated[CCLConfig, Tag("ccl")],
    by_kind("softmax"),
]
