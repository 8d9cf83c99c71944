"""Features of ranking: one declaration each, in the file of its group; an encoder fits and computes the chosen ones."""

from ranking.features import affinity, cross, franchise, item, recall, sequence, similarity, transitions, user
from ranking.features.choice import DEFAULT, check_names, chooses, named
from ranking.features.declaration import FEATURES, Feature, FeatureBatch, FeatureTables, Fitted, feature
from ranking.features.encoder import FeatureEncoder
from ranking.features.options import Choice, FeatureOptions
from ranking.features.schema import FeatureBlock, FeatureField, RankingInputs, Schema
from ranking.features.windows import with_windows

__all__ = [
    "DEFAULT",
    "FEATURES",
    "Choice",
    "Feature",
    "FeatureBatch",
    "FeatureBlock",
    "FeatureEncoder",
    "FeatureField",
    "FeatureOptions",
    "FeatureTables",
    "Fitted",
    "RankingInputs",
    "Schema",
    "affinity",
    "check_names",
    "chooses",
    "cross",
    "feature",
    "franchise",
    "item",
    "named",
    "recall",
    "sequence",
    "similarity",
    "transitions",
    "user",
    "with_windows",
]
