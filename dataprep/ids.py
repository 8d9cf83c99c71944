"""Columns of raw ids in Arrow: whole numbers as int64, or text as a dictionary, which is small however long the ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reccore.arrays import IntArray
from reccore.vocabulary import IdMap

TEXT_IDS = pa.dictionary(pa.int32(), pa.string())


def is_text(column: pa.Array | pa.ChunkedArray) -> bool:
    """Whether the ids are text."""
    return not pa.types.is_integer(column.type)


def as_text(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """(n,) the ids as text, in a dictionary that is sorted, so that its indices have the order of the ids."""
    if isinstance(column, pa.Array):
        column = pa.chunked_array([column])
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    encoded = column.cast(TEXT_IDS).unify_dictionaries().combine_chunks()
    order = pc.array_sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.int32)
    rank[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    indices = rank[np.asarray(encoded.indices)] if len(order) else np.empty(0, dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(indices), encoded.dictionary.take(order))


def numbers(column: pa.Array | pa.ChunkedArray) -> IntArray:
    """(n,) int64 that are equal and ordered as the ids are: the ids themselves, or the places of text in its order."""
    if is_text(column):
        return np.asarray(as_text(column).indices).astype(np.int64)
    return np.asarray(column.to_numpy())


def values(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """(n,) the ids as int64, or as an object array of ``str``; for columns with one row for each id."""
    if not is_text(column):
        return np.asarray(column.to_numpy())
    return np.array(column.cast(pa.string()).to_pylist(), dtype=object)


def distinct(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """(m,) the different ids, sorted; types as ``values``."""
    if not is_text(column):
        return np.sort(pc.unique(column).to_numpy())
    encoded = as_text(column)
    present = np.unique(np.asarray(encoded.indices))
    return values(encoded.dictionary.take(pa.array(present)))


def array_of(ids: npt.NDArray[Any]) -> pa.Array:
    """The inverse of ``values``."""
    return pa.array(ids, pa.string() if ids.dtype == object else pa.int64())


def encode(id_map: IdMap, column: pa.Array | pa.ChunkedArray) -> IntArray:
    """(n,) dense indices, -1 for ids that the map does not hold; every text is looked up once."""
    if not is_text(column):
        return id_map.encode(column.to_numpy())
    encoded = as_text(column)
    if not len(encoded):
        return np.empty(0, dtype=np.int64)
    found: IntArray = id_map.encode(values(encoded.dictionary))[np.asarray(encoded.indices)]
    return found


def decode(id_map: IdMap, idx: IntArray) -> pa.Array:
    """(n,) the raw ids of dense indices as int64, or as a dictionary of text."""
    if not id_map.is_text:
        return pa.array(id_map.decode(idx))
    return pa.DictionaryArray.from_arrays(pa.array(idx.astype(np.int32)), array_of(id_map.ids))


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text ids without white space around them, in one dictionary."""
    encoded = column.cast(TEXT_IDS).unify_dictionaries().combine_chunks()
    text = pc.utf8_trim_whitespace(encoded.dictionary)
    if not text.equals(encoded.dictionary):
        encoded = text.take(encoded.indices).dictionary_encode()
    return pa.chunked_array([encoded])
