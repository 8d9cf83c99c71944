"""Fields that read the embedding table of another field, as the history does that of the candidate's id.

Ids share a table by their index, everything else by name: a list of a user and a category of the items, for example,
where both hold the same values. A value that the other feature lacks is unknown, code 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from loguru import logger

from ranking.features.declaration import FEATURES, FeatureTables, code_names
from ranking.features.schema import LISTS, FeatureField
from reccore import ConfigError
from reccore.arrays import IntArray


def with_owners(fields: Sequence[FeatureField]) -> tuple[FeatureField, ...]:
    """The fields, of which those that share a table have its size.

    Raises:
        ConfigError: the other feature is none of the fields, shares a table itself, or holds something else.
    """
    by_name = {field.name: field for field in fields}
    return tuple(replace(f, size=_owner(f, by_name).size) if f.shared_with else f for f in fields)


def owner_codes(field: FeatureField, owner: FeatureField, tables: FeatureTables) -> IntArray | None:
    """(own codes,) the code in the owner's table of each own code, 0 = unknown; None where codes are the same ids.

    Raises:
        ConfigError: the two have no value in common.
    """
    names = code_names(field, tables)
    if names is None:
        return None
    place = {name: code for code, name in enumerate(code_names(owner, tables) or (), start=1)}
    codes = np.array([0, *(place.get(name, 0) for name in names)], dtype=np.int64)
    known = np.count_nonzero(codes)
    if known == 0:
        raise ConfigError(
            f"feature {field.name} cannot share the table of {owner.name}: they have no value in common, "
            f"{_few(names)} and {_few(tuple(place))}"
        )
    logger.info("{} shares the table of {}: {:,} of {:,} values are in it", field.name, owner.name, known, len(names))
    return codes


def _owner(field: FeatureField, by_name: Mapping[str, FeatureField]) -> FeatureField:
    owner = by_name.get(field.shared_with)
    if owner is None:
        raise ConfigError(
            f"feature {field.name} shares the table of {field.shared_with!r}, which is none of the features; add it"
        )
    if owner.shared_with:
        raise ConfigError(
            f"feature {field.name} shares the table of {owner.name}, which itself shares that of {owner.shared_with}; "
            "name that one"
        )
    of_field, of_owner = (FEATURES[each.feature].vocabulary for each in (field, owner))
    ids = isinstance(of_field, str) or isinstance(of_owner, str)
    alike = of_field == of_owner if ids else of_field is not None and of_owner is not None
    if not alike or owner.kind not in (*LISTS, "category"):
        raise ConfigError(
            f"feature {field.name} cannot share the table of {owner.name}: their codes are not of the same values"
        )
    return owner


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
