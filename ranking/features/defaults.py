"""What stands for missing values: zeros or NaN, and what a configuration puts in their place."""

from __future__ import annotations

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Values, code_names
from ranking.features.schema import FeatureField, Kind
from reccore import ConfigError

NAMES_SHOWN = 10


def missing(field: FeatureField, data: FeatureBatch) -> Values:
    """What stands for a query or pair feature whose required columns the batch lacks."""
    n = len(data.queries)
    if field.side == "pair":
        return np.full(data.candidates.mask.shape, np.nan, dtype=np.float32)
    if field.part == "bag":
        return np.zeros((n, field.size), dtype=np.float32)
    if field.part == "labels":
        return np.zeros((n, 1), dtype=np.int64)
    is_number = field.part == "number" or field.bucket_of
    return np.full(n, np.nan, dtype=np.float32) if is_number else np.zeros(n, dtype=np.int64)


def default_of(field: FeatureField, given: float | str, tables: FeatureTables) -> Values:
    """(1,) the number, the code of the named value, or of a bag the place of its weight.

    Raises:
        ConfigError: the feature takes no default, or none of its values has this name.
    """
    if field.kind == "number":
        if isinstance(given, str):
            raise ConfigError(f"feature {field.name}: its default must be a number, got {given!r}")
        return np.array([given], dtype=np.float32)
    names = code_names(field, tables)
    if names is None:
        reason = "a missing vector is a row of zeros" if field.kind == "vector" else "its values have no names"
        raise ConfigError(f"feature {field.name} takes no default: {reason}; leave default out")
    if given not in names:
        shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
        raise ConfigError(f"feature {field.name}: default {given!r} is none of its values {shown}")
    return np.array([names.index(str(given)) + (field.kind != "bag")], dtype=np.int64)


def filled(values: Values, kind: Kind, default: Values) -> Values:
    """The values of a feature with ``default``, of ``default_of``, where they are missing."""
    if kind == "number":
        return np.where(np.isfinite(values), values, default[0])
    if kind == "category":
        return np.where(values == 0, default[0], values)
    found = values if values.shape[1] else np.zeros((len(values), 1), dtype=values.dtype)
    at, value = (default[0], 1) if kind == "bag" else (0, default[0])
    found = found.copy()
    found[~found.any(axis=1), at] = value
    return found
