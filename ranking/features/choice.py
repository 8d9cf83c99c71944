"""Which of the declared features a ranker takes: names, wildcards and options of its configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from ranking.features.declaration import FEATURES, Feature, FeatureTables
from ranking.features.options import Choice, FeatureOptions
from ranking.features.schema import FeatureField
from ranking.features.sharing import with_owners
from reccore import ConfigError, RankingSamples
from reccore.buckets import N_BUCKETS

DEFAULT = "default"
"""Name of the set of all features declared with ``default=True``."""
WITHOUT = "!"
"""What stands before a name or wildcard that is taken out again."""


def check_names(choices: Collection[Choice]) -> None:
    """Check names of features before there is any data.

    Raises:
        ValueError: no name, a name without a wildcard that no declaration can have, a wildcard with options, or one
            feature twice with options.
    """
    if not choices:
        raise ValueError(f"no feature is named; {DEFAULT!r} stands for the default set")
    with_options = [choice.name for choice in choices if isinstance(choice, FeatureOptions)]
    for name in with_options:
        if with_options.count(name) > 1:
            raise ValueError(f"feature {name} has options twice; write them in one table")
    for choice in choices:
        name = choice.removeprefix(WITHOUT) if isinstance(choice, str) else choice.name
        if not _is_pattern(name):
            _check_declared(name)
        elif not isinstance(choice, str):
            raise ValueError(f"options are of one feature; {name!r} is a wildcard")
        if isinstance(choice, FeatureOptions) and choice.shared_with is not None:
            _check_declared(choice.shared_with)


def _check_declared(name: str) -> None:
    if not any(feature.may_be(name) for feature in FEATURES.values()):
        raise ValueError(f"unknown feature {name!r}; known: {DEFAULT}, {', '.join(FEATURES)}")


def named(choices: Collection[Choice]) -> tuple[str, ...]:
    """The names, wildcards and exclusions as they are written, without options."""
    return tuple(choice if isinstance(choice, str) else choice.name for choice in choices)


def _patterns(choices: Collection[Choice]) -> Iterator[tuple[str, bool]]:
    """The names and wildcards, and whether each is taken out again."""
    for name in named(choices):
        yield name.removeprefix(WITHOUT), name.startswith(WITHOUT)


def chooses(choices: Collection[Choice], name: str) -> bool:
    """Whether the choices take a declared feature that is no family, wherever the data has what it requires."""
    chosen = False
    for pattern, without in _patterns(choices):
        if FEATURES[name].default if pattern == DEFAULT else fnmatchcase(name, pattern):
            chosen = not without
    return chosen


def choose_fields(
    choices: Sequence[Choice], samples: RankingSamples, tables: FeatureTables
) -> tuple[FeatureField, ...]:
    """Fields of the chosen features in the order of declaration, whatever the order of ``choices``.

    Neighbouring families over the same members are ordered member by member.

    Raises:
        ConfigError: a named feature is unknown or needs a column that is absent; a wildcard matches nothing; nothing is
            left; an option that a feature cannot have.
    """
    offered: dict[str, tuple[Feature, str]] = {}
    for members, run in groupby(FEATURES.values(), key=lambda feature: feature.members):
        features = list(run)
        for member in [""] if members is None else members(samples, tables):
            offered |= {feature.name_of(member): (feature, member) for feature in features}
    chosen = _chosen_names(choices, offered, samples, tables)
    options = {choice.name: choice for choice in choices if isinstance(choice, FeatureOptions)}
    fields: list[FeatureField] = []
    for name in (name for name in offered if name in chosen):
        fields += _fields_of(name, *offered[name], tables, options.get(name, FeatureOptions.none(name)))
    return with_owners(fields)


def _fields_of(
    name: str, feature: Feature, member: str, tables: FeatureTables, options: FeatureOptions
) -> Iterator[FeatureField]:
    """The field of a feature, and that of its buckets if it has any."""
    size = 1 if feature.size is None else feature.size(tables, member)
    yield options.applied_to(FeatureField(name, feature.side, feature.kind, feature.name, member, size))
    if feature.buckets or options.boundaries is not None:
        n_buckets = N_BUCKETS if options.boundaries is None else len(options.boundaries) + 1
        bucket = FeatureField(
            f"{name}.bucket", feature.side, "category", feature.name, member, n_buckets + 1, bucket_of=name
        )
        yield options.applied_to_buckets(bucket)
    elif options.embedding_size is not None and feature.kind == "number":
        raise ConfigError(f"feature {name} takes no embedding_size: it is a number without buckets, and has no table")


def _chosen_names(
    choices: Sequence[Choice], offered: dict[str, tuple[Feature, str]], samples: RankingSamples, tables: FeatureTables
) -> set[str]:
    """Names of the features that the choices put in, one after the other, and do not take out again."""
    lacking = {name: feature.missing_columns(tables, samples.queries) for name, (feature, _) in offered.items()}
    own = {"item": tables.items.own, "query": tables.users.own, "pair": frozenset[str]()}
    default = [n for n, (feature, member) in offered.items() if feature.default and member not in own[feature.side]]
    chosen: set[str] = set()
    for pattern, without in _patterns(choices):
        matching = default if pattern == DEFAULT else [name for name in offered if fnmatchcase(name, pattern)]
        if not without and not _is_pattern(pattern) and matching and lacking[pattern]:
            raise ConfigError(f"feature {pattern} needs {', '.join(lacking[pattern])}, which this data lacks")
        found = matching if without else [name for name in matching if not lacking[name]]
        if not found:
            there = ", ".join(name for name in offered if not lacking[name])
            raise ConfigError(f"features: {pattern!r} matches no feature of this data; it has {there}")
        if without:
            chosen.difference_update(found)
        else:
            chosen.update(found)
    if not chosen:
        raise ConfigError(f"features: {list(choices)} leave no feature; name one that is not taken out again")
    return chosen


def _is_pattern(name: str) -> bool:
    return name == DEFAULT or any(sign in name for sign in "*?[")
