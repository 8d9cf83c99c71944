"""The shared vocabulary of the project: the types that cross rooms, artefacts, run options and errors."""

import os

# OpenMP runtimes read this once, when they are loaded. Threads that spin while they wait make every small operation
# several times slower when another process uses a core; threads that sleep cost little.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from reccore.bundle import Bundle, write_bundle
from reccore.candidates import Candidates, top_k
from reccore.component import Component
from reccore.config import ComponentConfig
from reccore.errors import (
    ArtefactError,
    ConfigError,
    DataError,
    NotFittedError,
    NotReadyError,
    RecommenderError,
    ResumeError,
)
from reccore.exclusions import Exclusions
from reccore.interactions import Interactions
from reccore.labels import Labels
from reccore.options import RunOptions
from reccore.queries import PaddedHistory, QueryBatch
from reccore.samples import Holdout, RankingSamples, TrainingData
from reccore.tables import ItemTable, UserTable
from reccore.vocabulary import IdMap, RawId, Vocabulary, parse_raw_id
from reccore.workspace import Workspace

__all__ = [
    "ArtefactError",
    "Bundle",
    "Candidates",
    "Component",
    "ComponentConfig",
    "ConfigError",
    "DataError",
    "Exclusions",
    "Holdout",
    "IdMap",
    "Interactions",
    "ItemTable",
    "Labels",
    "NotFittedError",
    "NotReadyError",
    "PaddedHistory",
    "QueryBatch",
    "RankingSamples",
    "RawId",
    "RecommenderError",
    "ResumeError",
    "RunOptions",
    "TrainingData",
    "UserTable",
    "Vocabulary",
    "Workspace",
    "parse_raw_id",
    "top_k",
    "write_bundle",
]
