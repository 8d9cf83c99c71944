"""Which of the declared features a ranker takes, by the names and wildcards of its configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from ranking.features.declaration import FEATURES, Feature, FeatureTables
from ranking.features.schema import FeatureField
from reccore import ConfigError, RankingSamples
from reccore.buckets import N_BUCKETS

DEFAULT = "default"
"""Name of the set of all features declared with ``default=True``."""


def check_names(names: Collection[str]) -> None:
    """Check names of features before there is any data.

    Raises:
        ValueError: a name without a wildcard that no declaration can have.
    """
    for name in names:
        if not _is_pattern(name) and not any(feature.may_be(name) for feature in FEATURES.values()):
            raise ValueError(f"unknown feature {name!r}; known: {DEFAULT}, {', '.join(FEATURES)}")


def choose_fields(patterns: Sequence[str], samples: RankingSamples, tables: FeatureTables) -> tuple[FeatureField, ...]:
    """Fields of the chosen features in the order of declaration, whatever the order of ``patterns``.

    Neighbouring families over the same members are ordered member by member.

    Raises:
        ConfigError: a named feature is unknown or needs a column that is absent; a wildcard matches nothing.
    """
    offered: dict[str, tuple[Feature, str]] = {}
    for members, run in groupby(FEATURES.values(), key=lambda feature: feature.members):
        features = list(run)
        for member in [""] if members is None else members(samples, tables):
            offered |= {feature.name_of(member): (feature, member) for feature in features}
    lacking = {name: feature.missing_columns(tables, samples.queries) for name, (feature, _) in offered.items()}
    own = {"item": tables.items.own, "query": tables.users.own, "pair": frozenset[str]()}
    default = [n for n, (feature, member) in offered.items() if feature.default and member not in own[feature.side]]
    chosen: set[str] = set()
    for pattern in patterns:
        if _is_pattern(pattern):
            matching = default if pattern == DEFAULT else [name for name in offered if fnmatchcase(name, pattern)]
            found = [name for name in matching if not lacking[name]]
        else:
            found = [name for name in offered if name == pattern]
            if found and lacking[pattern]:
                raise ConfigError(f"feature {pattern} needs {', '.join(lacking[pattern])}, which this data lacks")
        if not found:
            there = ", ".join(name for name in offered if not lacking[name])
            raise ConfigError(f"features: {pattern!r} matches no feature of this data; it has {there}")
        chosen.update(found)
    fields: list[FeatureField] = []
    for name, (feature, member) in offered.items():
        if name in chosen:
            size = 1 if feature.size is None else feature.size(tables, member)
            fields.append(FeatureField(name, feature.side, feature.kind, feature.name, member, size))
            if feature.buckets:
                bucket = f"{name}.bucket"
                fields.append(
                    FeatureField(bucket, feature.side, "category", feature.name, member, N_BUCKETS + 1, bucket_of=name)
                )
    return tuple(fields)


def _is_pattern(name: str) -> bool:
    return name == DEFAULT or any(sign in name for sign in "*?[")
