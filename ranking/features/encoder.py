"""From queries, candidates and tables to the inputs of a ranker: fits and computes the chosen features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, get_args

import numpy as np
import torch

from ranking.features.choice import DEFAULT, choose_fields
from ranking.features.declaration import FEATURES, Feature, FeatureBatch, FeatureTables, Fitted, Values
from ranking.features.defaults import default_of, filled, missing
from ranking.features.kernels import standardise
from ranking.features.options import Choice, FeatureOptions
from ranking.features.schema import LISTS, FeatureBlock, FeatureField, Part, RankingInputs, Schema, Side
from ranking.features.sharing import owner_codes
from reccore import ArtefactError, Bundle, Candidates, ItemTable, QueryBatch, RankingSamples, UserTable
from reccore.aligned import aligned_items, aligned_users
from reccore.arrays import FloatArray, IntArray
from reccore.buckets import bucket_boundaries, bucket_codes
from reccore.bundle import BundleWriter

FIT_QUERIES = 4096
"""Means, deviations and quantiles are taken over at most this many training queries, evenly spaced."""
QUERIES_PER_CHUNK = 128
"""Small enough that the features of a chunk stay in the cache of a core."""
CLIP = 8.0
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, eq=False)
class FeatureEncoder:
    """Encodes queries and candidates for a ranker. Histories must hold known items only.

    A bundle stores its fitted state together with the tables, so that a loaded ranker needs nothing else. A column
    that is absent at scoring makes the features that require it missing: numbers are 0 after standardisation, and
    codes are 0 (unknown).

    Attributes:
        schema: the fields.
        tables: catalogue and user facts; statistics of the split that the recall models of the samples saw.
        state: fitted arrays of each field by the field's name.
        history_length: T, how many of the latest events are handed to the network.
        missing_number: what stands for a missing number; 0, the mean, for networks, NaN for trees, which take it as it
            is. Not stored: a ranker sets it.
        earlier: this encoder as of each earlier label window, see ``with_windows``; in training alone.
    """

    schema: Schema
    tables: FeatureTables
    state: Mapping[str, Mapping[str, Values]]
    history_length: int = 0
    missing_number: float = 0.0
    earlier: tuple[FeatureEncoder, ...] = ()

    @classmethod
    def fit(
        cls,
        samples: RankingSamples,
        items: ItemTable,
        users: UserTable,
        *,
        features: Sequence[Choice] = (DEFAULT,),
        history_length: int = 0,
    ) -> FeatureEncoder:
        """Fit the chosen features on training samples and tables.

        Args:
            samples: training queries and candidates; their labels only leave events out of what features learn. Means,
                deviations and quantiles are of those of the latest label window, which resembles the use most.
            items: item table, as known before the latest label window.
            users: user table.
            features: names of features, wildcards such as ``recall.*``, ``default``, these after ``!`` to take them
                out again, or features with options.
            history_length: T.

        Raises:
            ConfigError: a named feature is unknown or needs a column that is absent; a wildcard matches nothing; an
                option that a feature cannot have.
        """
        tables = FeatureTables(items, users)
        fields = choose_fields(features, samples, tables)
        tables = tables.only(fields)
        schema, options = Schema(fields), {each.name: each for each in features if isinstance(each, FeatureOptions)}
        state = {field.name: _fitted(field, schema, options.get(field.name), samples, tables) for field in fields}
        encoder = cls(schema, tables, state, history_length)
        latest = np.arange(len(samples)) if samples.window is None else np.flatnonzero(samples.window == 0)
        rows = latest[np.unique(np.linspace(0, len(latest) - 1, min(len(latest), FIT_QUERIES)).astype(np.int64))]
        measured = encoder._numbers(samples.queries.select(rows), samples.candidates.select(rows))
        for field in fields:
            boundaries = options[field.bucket_of].boundaries if field.bucket_of in options else None
            if boundaries is not None:
                state[field.name]["boundaries"] = np.array(boundaries, dtype=np.float32)
            elif field.bucket_of:
                state[field.name]["boundaries"] = bucket_boundaries(measured[field.bucket_of])
            elif field.kind == "number":
                state[field.name]["scale"] = _mean_and_deviation(measured[field.name])
        return encoder

    def _numbers(self, queries: QueryBatch, candidates: Candidates) -> dict[str, Values]:
        """All values of every number in one flat array each: over the catalogue, or over the given samples."""
        parts: dict[str, list[Values]] = {}
        fields = [field for field in self.schema.fields if field.kind == "number"]
        for field in fields:
            if field.side == "item":
                parts[field.name] = [self._values(field, self.tables)]
        for chunk in self._chunks(queries, candidates):
            for field in fields:
                if field.side != "item":
                    parts.setdefault(field.name, []).append(self._values(field, chunk).ravel())
        return {name: np.concatenate(values) for name, values in parts.items()}

    def _chunks(self, queries: QueryBatch, candidates: Candidates) -> Iterator[FeatureBatch]:
        """At least one."""
        if len(queries) <= QUERIES_PER_CHUNK:
            yield FeatureBatch(self.tables, queries, candidates)
            return
        for start in range(0, len(queries), QUERIES_PER_CHUNK):
            cut = slice(start, start + QUERIES_PER_CHUNK)
            yield FeatureBatch(self.tables, queries.select(cut), candidates.select(cut))

    def encode(self, queries: QueryBatch, candidates: Candidates, window: IntArray | None = None) -> RankingInputs:
        """Inputs of B queries with K candidates each, on the CPU. Temporary memory is bounded by chunks of queries.

        Args:
            queries: B queries.
            candidates: (B, K).
            window: (B,) label window of each query, 0 = the latest; None = all of that one. With earlier ones among
                them the inputs are copied once.
        """
        if window is None or not window.any():
            return self._encode(queries, candidates)
        parts, places = [], []
        for number in np.unique(window).tolist():
            rows = np.flatnonzero(window == number)
            part = (self, *self.earlier)[number]._encode(queries.select(rows), candidates.select(rows))
            parts.append(part.shifted(number * (self.tables.items.n_items + 1)))
            places.append(torch.from_numpy(rows))
        return RankingInputs.joined(parts, places)

    def missing_candidate_columns(self, candidates: Candidates) -> list[str]:
        """Features of candidates that fields are computed from and that these candidates lack."""
        each = (FEATURES[f.feature].missing_candidate_columns(f.member, candidates) for f in self.schema.fields)
        return list(dict.fromkeys(chain.from_iterable(each)))

    def _encode(self, queries: QueryBatch, candidates: Candidates) -> RankingInputs:
        """Inputs of queries of the window of this encoder's tables."""
        n_pair = len(self._pair_features)
        pair = np.empty((*candidates.item_idx.shape, n_pair), dtype=np.float32)
        blocks, start = [], 0
        for chunk in self._chunks(queries, candidates):
            stop = start + len(chunk.queries)
            columns = np.empty((n_pair, *chunk.candidates.item_idx.shape), dtype=np.float32)
            absent = self._absent(chunk.queries)
            for values, (name, compute, fitted) in zip(columns, self._pair_features, strict=True):
                values[:] = np.nan if name in absent else compute(chunk, fitted)
            for row, default in self._pair_defaults:
                columns[row] = filled(columns[row], "number", default)
            standardise(columns, self._scales["pair"], CLIP, self.missing_number, pair[start:stop])
            blocks.append(self._block("query", chunk, len(chunk.queries)))
            start = stop
        return RankingInputs(
            query=FeatureBlock.concatenate(blocks),
            item_row=torch.from_numpy(candidates.item_idx + 1),
            pair=torch.from_numpy(pair),
            history=torch.from_numpy(self._history(queries)),
        )

    def _history(self, queries: QueryBatch) -> IntArray:
        """(B, T) rows of the item block."""
        if self.history_length == 0:
            return np.empty((len(queries), 0), dtype=np.int64)
        return queries.padded(self.history_length).item_idx + 1

    @cached_property
    def item_block(self) -> FeatureBlock:
        """Values of the item side, N+1 rows: row 0 stands for no item, item ``i`` is row ``i + 1``.

        Those of each earlier label window follow in the same order.
        """
        own = self._block("item", self.tables, self.tables.items.n_items).with_empty_row()
        return FeatureBlock.concatenate([own, *(before.item_block for before in self.earlier)])

    def _block(self, side: Side, data: FeatureBatch | FeatureTables, n: int) -> FeatureBlock:
        """Encoded fields of the query or the item side, n rows."""
        values: dict[tuple[str, str], Values] = {}  # a number and its bucket share their values
        columns: dict[Part, list[Values]] = {"category": [], "bag": [], "labels": [], "number": []}
        for field in self._fields_of_side[side]:
            key = (field.feature, field.member)
            if key not in values:
                values[key] = self._values(field, data)
            columns[field.part].append(self._encoded(field, values[key]))
        categories = np.stack(columns["category"], axis=1) if columns["category"] else np.zeros((n, 0), dtype=np.int64)
        return FeatureBlock(
            torch.from_numpy(categories),
            tuple(torch.from_numpy(bag) for bag in columns["bag"]),
            tuple(torch.from_numpy(codes) for codes in columns["labels"]),
            torch.from_numpy(self._standardised(side, columns["number"], n)),
        )

    @cached_property
    def _fields_of_side(self) -> dict[Side, list[FeatureField]]:
        return {side: [field for field in self.schema.fields if field.side == side] for side in SIDES}

    @cached_property
    def _declared(self) -> dict[str, tuple[Feature, Fitted]]:
        """Declaration and fitted state of every field by its name."""
        return {
            field.name: (
                FEATURES[field.feature],
                Fitted(field.member, self.state.get(field.bucket_of or field.name, {}), field.length),
            )
            for field in self.schema.fields
        }  # fmt: skip

    @cached_property
    def _pair_features(self) -> list[tuple[str, Callable[[Any, Fitted], Values], Fitted]]:
        """Name, function and fitted state of the fields of the pair side."""
        declared = ((field.name, *self._declared[field.name]) for field in self.schema.of("pair", "number"))
        return [(name, feature.compute, fitted) for name, feature, fitted in declared]

    @cached_property
    def _pair_defaults(self) -> list[tuple[int, Values]]:
        """Place among the fields of the pair side of each that has a default, and the default."""
        places = enumerate(self.schema.of("pair", "number"))
        return [(row, state["default"]) for row, f in places if "default" in (state := self.state.get(f.name, {}))]

    @cached_property
    def _absent_fields(self) -> dict[tuple[bool, bool], frozenset[str]]:
        return {}

    def _absent(self, queries: QueryBatch) -> frozenset[str]:
        """Names of the fields of which the tables or the queries lack a required column."""
        given = (queries.history_rating is not None, queries.history_time is not None)
        if given not in self._absent_fields:
            self._absent_fields[given] = frozenset(
                name for name, (feature, _) in self._declared.items() if feature.missing_columns(self.tables, queries)
            )
        return self._absent_fields[given]

    def _values(self, field: FeatureField, data: FeatureBatch | FeatureTables) -> Values:
        """Values of a feature as declared; missing everywhere if the batch lacks a required column.

        Missing ones are replaced by the default of the configuration, if it has one.
        """
        feature, fitted = self._declared[field.name]
        if isinstance(data, FeatureBatch) and field.name in self._absent(data.queries):
            values = missing(field, data)
        else:
            values = feature.compute(data, fitted)
        return filled(values, feature.kind, fitted.state["default"]) if "default" in fitted.state else values

    def _encoded(self, field: FeatureField, values: Values) -> Values:
        """Buckets of a number, the first codes of a list, codes of a shared table; all other values as they are."""
        if field.bucket_of:
            return bucket_codes(values, self.state[field.name]["boundaries"])
        if field.kind in LISTS and field.length:
            values = values[:, : field.length]
        codes = self.state.get(field.name, {}).get("owner_codes")
        return values if codes is None else codes[values]

    def _standardised(self, side: Side, columns: Sequence[Values], n: int) -> FloatArray:
        """(n, M) numbers of a side."""
        values: FloatArray = np.empty((len(columns), n, 1), dtype=np.float32)
        for row, column in zip(values, columns, strict=True):
            row[:, 0] = column
        found: FloatArray = np.empty((n, 1, len(columns)), dtype=np.float32)
        standardise(values, self._scales[side], CLIP, self.missing_number, found)
        return found[:, 0]

    @cached_property
    def _scales(self) -> dict[Side, FloatArray]:
        """(2, M) mean and deviation of the numbers of each side."""
        scales = {}
        for side in SIDES:
            of_side = [self.state[field.name]["scale"] for field in self.schema.of(side, "number")]
            scales[side] = np.stack(of_side, axis=1) if of_side else np.zeros((2, 0), dtype=np.float32)
        return scales

    def grown(self, items: ItemTable, users: UserTable) -> FeatureEncoder:
        """The same encoder for tables with further items and users behind its own.

        Fields keep their sizes and what was fitted. The statistics of the items are those of ``items``; a genre, label
        or category that the fit did not know is left out, and a new item or user has the unknown code where the id is
        a field.
        """
        tables = FeatureTables(aligned_items(items, self.tables.items), aligned_users(users, self.tables.users))
        state = dict(self.state)
        for field in self.schema.fields:
            grow = FEATURES[field.feature].grow
            if grow is not None and not field.bucket_of:
                state[field.name] = {**state[field.name], **grow(state[field.name], tables)}
        return FeatureEncoder(self.schema, tables, state, self.history_length, self.missing_number)

    def write(self, bundle: BundleWriter) -> None:
        """Store the fitted state of every field under its name, and the tables."""
        bundle.manifest["schema"] = self.schema.to_json()
        bundle.manifest["history_length"] = self.history_length
        bundle.manifest["sizes"] = [self.tables.items.n_items, self.tables.users.n_users]
        bundle.arrays("items.npz", self.tables.items.to_arrays())
        bundle.arrays("users.npz", self.tables.users.to_arrays())
        arrays = {f"{name}/{part}": values for name, parts in self.state.items() for part, values in parts.items()}
        bundle.arrays("features.npz", arrays)

    @classmethod
    def read(cls, bundle: Bundle) -> FeatureEncoder:
        """Inverse of ``write``.

        Raises:
            ArtefactError: the bundle lacks what ``write`` stores, or a feature is declared nowhere.
        """
        arrays, users, items = (bundle.arrays(name) for name in ("features.npz", "users.npz", "items.npz"))
        state: dict[str, dict[str, Values]] = {}
        for key, values in arrays.items():
            name, part = key.split("/")
            state.setdefault(name, {})[part] = values
        try:
            n_items, n_users = bundle.manifest["sizes"]
            schema, length = Schema.from_json(bundle.manifest["schema"]), int(bundle.manifest["history_length"])
            tables = FeatureTables(ItemTable.from_arrays(items, n_items), UserTable.from_arrays(users, n_users))
        except KeyError as error:
            raise ArtefactError(f"{bundle.path} lacks {error}; train the ranker again") from error
        unknown = sorted({field.feature for field in schema.fields} - set(FEATURES))
        if unknown:
            raise ArtefactError(
                f"{bundle.path} needs the features {', '.join(unknown)}, which no module imported so far declares"
            )
        return cls(schema, tables, state, length)


def _fitted(
    field: FeatureField, schema: Schema, options: FeatureOptions | None, samples: RankingSamples, tables: FeatureTables
) -> dict[str, Values]:
    """What is learnt for a field before its values are measured."""
    fit, state = FEATURES[field.feature].fit, dict[str, Values]()
    if fit is not None and not field.bucket_of:
        state.update(fit(samples, tables, field.member))
    if options is not None and options.default is not None:
        state["default"] = default_of(field, options.default, tables)
    if field.shared_with:
        codes = owner_codes(field, schema.field(field.shared_with), tables)
        state.update({} if codes is None else {"owner_codes": codes})
    return state


def _mean_and_deviation(values: Values) -> FloatArray:
    finite = values[np.isfinite(values)].astype(np.float64)
    if len(finite) == 0:
        return np.array([0.0, 1.0], dtype=np.float32)
    deviation = finite.std()
    return np.array([finite.mean(), deviation if deviation > 1e-6 else 1.0], dtype=np.float32)
