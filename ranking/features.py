"""From queries, candidates and tables to the inputs of a ranker, vectorised.

Fitted state (bucket boundaries, means and deviations, which ids were seen) comes from the training samples
and the tables given at fitting; it is stored in the bundle together with the tables, so that a loaded ranker
needs nothing else. Any column may be absent: at fitting its fields then do not exist, at scoring they count
as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from dataprep.features import QueryFeatures, query_features
from ranking.pair_features import ItemFacts, channels_of, cross_features, matches_of, pair_fields, recall_features
from ranking.schema import Block, Field, RankingInputs, Schema, Side
from reccore import ArtefactError, Bundle, Candidates, ItemTable, QueryBatch, RankingSamples, UserTable
from reccore.arrays import BoolArray, FloatArray, IntArray
from reccore.buckets import N_BUCKETS, bucket_boundaries, bucket_codes
from reccore.bundle import BundleWriter
from reccore.tables import UNKNOWN_YEAR

FIT_QUERIES = 4096
"""Means and deviations are taken over at most this many training queries, evenly spaced."""
QUERIES_PER_CHUNK = 512
CLIP = 8.0

Values: TypeAlias = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class FeatureEncoder:
    """Encodes queries and candidates for a ranker. Histories must hold known items only.

    Attributes:
        schema: the fields.
        items: catalogue facts; statistics of the split that the recall models of the samples saw.
        users: user facts.
        channels: recall channels known from training; further ones are ignored at scoring.
        matches: those of them that scored every candidate in training.
        boundaries: bucketed field → (N_BUCKETS - 1,) float32, always of that length.
        scale: number field → (2,) float32, mean and deviation.
        seen_users: (U,) which users occurred in training; the others share the unknown code.
        seen_items: (N,) the same for items, as candidates or in histories.
        history_length: T, how many of the latest events are handed to the network.
    """

    schema: Schema
    items: ItemTable
    users: UserTable
    channels: tuple[str, ...]
    matches: tuple[str, ...]
    boundaries: dict[str, FloatArray]
    scale: dict[str, FloatArray]
    seen_users: BoolArray
    seen_items: BoolArray
    history_length: int = 0

    @classmethod
    def fit(
        cls, samples: RankingSamples, items: ItemTable, users: UserTable, *, history_length: int = 0
    ) -> FeatureEncoder:
        """Learn boundaries and scales from the training samples and the tables alone."""
        queries, candidates = samples.queries, samples.candidates
        channels, matches = channels_of(candidates), matches_of(candidates)
        encoder = cls(
            schema=_schema(items, users, channels, matches, rated=queries.history_rating is not None),
            items=items,
            users=users,
            channels=channels,
            matches=matches,
            boundaries={},
            scale={},
            seen_users=_seen(queries.user_idx, users.n_users),
            seen_items=_seen(np.concatenate([queries.history_idx, candidates.item_idx.ravel()]), items.n_items),
            history_length=history_length,
        )
        encoder._fit_scales(queries, candidates)
        return encoder

    def _fit_scales(self, queries: QueryBatch, candidates: Candidates) -> None:
        rows = np.unique(np.linspace(0, len(queries) - 1, min(len(queries), FIT_QUERIES)).astype(np.int64))
        queries, candidates = queries.select(rows), candidates.select(rows)
        numbers: dict[str, list[npt.NDArray[Any]]] = {}
        parts: list[Values] = [_item_measures(self.items)]
        for start in range(0, len(queries), QUERIES_PER_CHUNK):
            chunk = slice(start, start + QUERIES_PER_CHUNK)
            part, offered = queries.select(chunk), candidates.select(chunk)
            known = query_features(part, self.items)
            parts += [_query_measures(known), self._pair_values(part, known, offered)]
        for values in parts:
            for name, column in values.items():
                numbers.setdefault(name, []).append(column.ravel())
        for name, columns in numbers.items():
            if name in self.schema:
                self.scale[name] = _mean_and_deviation(np.concatenate(columns))
            if f"{name}.bucket" in self.schema:
                self.boundaries[f"{name}.bucket"] = bucket_boundaries(np.concatenate(columns))

    def encode(self, queries: QueryBatch, candidates: Candidates) -> RankingInputs:
        """Inputs of B queries with K candidates each, on the CPU.

        O(B·K·(P + G)) time; temporary memory is bounded by working through the queries in chunks, the
        result takes ``bytes_per_query(K)`` each.
        """
        fields = self.schema.of("pair", "number")
        pair = np.empty((*candidates.item_idx.shape, len(fields)), dtype=np.float32)
        blocks = []
        for start in range(0, max(len(queries), 1), QUERIES_PER_CHUNK):
            chunk = slice(start, start + QUERIES_PER_CHUNK)
            part, offered = queries.select(chunk), candidates.select(chunk)
            known = query_features(part, self.items)
            values = self._pair_values(part, known, offered)
            for column, field in enumerate(fields):
                pair[chunk, :, column] = self._scaled(field, values[field.name])
            blocks.append(self._query_block(part, known))
        return RankingInputs(
            query=Block.concatenate(blocks),
            item_row=torch.from_numpy(candidates.item_idx + 1),
            pair=torch.from_numpy(pair),
            history=torch.from_numpy(queries.padded(self.history_length).item_idx + 1),
        )

    def bytes_per_query(self, k: int) -> int:
        """Memory of the encoded inputs of one query with K candidates."""
        bags = sum(field.size for field in self.schema.of("query", "bag"))
        floats = k * len(self.schema.of("pair", "number")) + len(self.schema.of("query", "number")) + bags
        return 4 * floats + 8 * (k + self.history_length + len(self.schema.of("query", "category")))

    @cached_property
    def item_block(self) -> Block:
        """Values of the item side, N+1 rows: row 0 stands for no item, item ``i`` is row ``i + 1``."""
        n, measures = self.items.n_items, _item_measures(self.items)
        codes = {"item.id": np.where(self.seen_items, np.arange(1, n + 1), 0)}
        bags = {"item.genres": _shares(self.items.genre_matrix())}
        bags |= {f"item.{name}": vectors for name, vectors in self.items.vectors.items()}
        labels = {f"item.{name}": found.padded() + 1 for name, found in self.items.labels.items()}
        return self._block("item", n, codes, bags, labels, measures).with_empty_row()

    def _query_block(self, queries: QueryBatch, known: QueryFeatures) -> Block:
        n_users = self.users.n_users
        inside = (queries.user_idx >= 0) & (queries.user_idx < n_users)
        inside[inside] = self.seen_users[queries.user_idx[inside]]
        codes = {"user.id": np.where(inside, queries.user_idx + 1, 0)}
        for name in self.users.categories:
            codes[f"user.{name}"] = self.users.codes(name, queries.user_idx) + 1
        top = np.zeros((len(queries), self.items.n_genres + 1), dtype=np.float32)
        np.put_along_axis(top, known.top_genres, 1.0, axis=1)  # -1 (none) falls into the extra column
        bags = {"user.top_genres": _shares(top[:, :-1])}
        return self._block("query", len(queries), codes, bags, {}, _query_measures(known))

    def _pair_values(self, queries: QueryBatch, known: QueryFeatures, candidates: Candidates) -> Values:
        cross = cross_features(self._facts, queries, known, candidates)
        return {**cross, **recall_features(candidates, self.channels, self.matches)}

    @cached_property
    def _facts(self) -> ItemFacts:
        return ItemFacts(self.items)

    def _block(self, side: Side, n: int, codes: Values, bags: Values, labels: Values, measures: Values) -> Block:
        """Arrays by name to the columns of the schema; a measure gives both its number and its bucket."""
        categories = np.zeros((n, len(self.schema.of(side, "category"))), dtype=np.int64)
        for column, field in enumerate(self.schema.of(side, "category")):
            bucketed = self.boundaries.get(field.name)
            if bucketed is None:
                categories[:, column] = codes[field.name]
            else:
                categories[:, column] = bucket_codes(measures[field.name.removesuffix(".bucket")], bucketed)
        numbers = np.zeros((n, len(self.schema.of(side, "number"))), dtype=np.float32)
        for column, field in enumerate(self.schema.of(side, "number")):
            numbers[:, column] = self._scaled(field, measures[field.name])
        return Block(
            torch.from_numpy(categories),
            tuple(torch.from_numpy(bags[field.name]) for field in self.schema.of(side, "bag")),
            tuple(torch.from_numpy(labels[field.name]) for field in self.schema.of(side, "labels")),
            torch.from_numpy(numbers),
        )

    def _scaled(self, field: Field, values: npt.NDArray[Any]) -> FloatArray:
        mean, deviation = self.scale[field.name]
        scaled = np.clip((values - mean) / deviation, -CLIP, CLIP)
        return np.where(np.isfinite(values), scaled, 0.0).astype(np.float32)

    def write(self, bundle: BundleWriter) -> None:
        """Store the fitted state and the tables."""
        bundle.manifest["schema"] = self.schema.to_json()
        bundle.manifest["channels"] = list(self.channels)
        bundle.manifest["matches"] = list(self.matches)
        bundle.manifest["history_length"] = self.history_length
        bundle.arrays("items.npz", self.items.to_arrays())
        bundle.arrays("users.npz", self.users.to_arrays())
        state = {f"boundaries.{name}": values for name, values in self.boundaries.items()}
        state |= {f"scale.{name}": values for name, values in self.scale.items()}
        bundle.arrays("features.npz", {**state, "seen_users": self.seen_users, "seen_items": self.seen_items})

    @classmethod
    def read(cls, bundle: Bundle) -> FeatureEncoder:
        """Inverse of ``write``.

        Raises:
            ArtefactError: the bundle lacks what ``write`` stores.
        """
        state, users, items = (bundle.arrays(name) for name in ("features.npz", "users.npz", "items.npz"))
        try:
            seen_users, seen_items = state.pop("seen_users"), state.pop("seen_items")
            return cls(
                schema=Schema.from_json(bundle.manifest["schema"]),
                items=ItemTable.from_arrays(items, len(seen_items)),
                users=UserTable.from_arrays(users, len(seen_users)),
                channels=tuple(bundle.manifest["channels"]),
                matches=tuple(bundle.manifest["matches"]),
                boundaries=_with_prefix(state, "boundaries."),
                scale=_with_prefix(state, "scale."),
                seen_users=seen_users,
                seen_items=seen_items,
                history_length=int(bundle.manifest["history_length"]),
            )
        except KeyError as error:
            raise ArtefactError(f"{bundle.path} lacks {error}; train the ranker again") from error


def _schema(
    items: ItemTable, users: UserTable, channels: Sequence[str], matches: Sequence[str], *, rated: bool
) -> Schema:
    fields = [Field("user.id", "query", "category", "user", users.n_users + 1)]
    for name, values in users.category_names.items():
        fields.append(Field(f"user.{name}", "query", "category", "user", len(values) + 1))
    fields.append(Field("user.log_activity.bucket", "query", "category", "user", N_BUCKETS + 1))
    fields.append(Field("user.log_activity", "query", "number", "user"))
    if rated:
        fields.append(Field("user.mean_rating", "query", "number", "user"))
    fields.append(Field("item.id", "item", "category", "item", items.n_items + 1))
    for name in _item_measures(items):
        if name in ("item.year", "item.log_count") or name.removeprefix("item.log_") in items.numbers:
            fields.append(Field(f"{name}.bucket", "item", "category", "item", N_BUCKETS + 1))
        fields.append(Field(name, "item", "number", "item"))
    if items.n_genres:
        fields.append(Field("user.top_genres", "query", "bag", "user", items.n_genres))
        fields.append(Field("item.genres", "item", "bag", "item", items.n_genres))
    for name in sorted(items.labels):
        fields.append(Field(f"item.{name}", "item", "labels", "item", len(items.labels[name]) + 1))
    for name in sorted(items.vectors):
        fields.append(Field(f"item.{name}", "item", "bag", "item", items.vectors[name].shape[1]))
    return Schema((*fields, *pair_fields(items, channels, matches)))


def _item_measures(items: ItemTable) -> dict[str, npt.NDArray[Any]]:
    """Numbers of the item side, (N,) each, NaN = missing."""
    measures: dict[str, npt.NDArray[Any]] = {}
    if items.year is not None:
        measures["item.year"] = np.where(items.year == UNKNOWN_YEAR, np.nan, items.year)
    for name, statistic in (("item.log_count", "count"), ("item.log_recent_count", "recent_count")):
        if statistic in items.statistics:
            measures[name] = np.log1p(items.statistics[statistic])
    if "mean_rating" in items.statistics:
        measures["item.mean_rating"] = items.statistics["mean_rating"]
    for name in sorted(items.numbers):
        measures[f"item.log_{name}"] = np.log1p(items.numbers[name])
    return measures


def _query_measures(known: QueryFeatures) -> dict[str, npt.NDArray[Any]]:
    """Numbers of the query side, (B,) each, NaN = missing."""
    return {"user.log_activity": np.log1p(known.activity), "user.mean_rating": known.mean_rating}


def _seen(idx: IntArray, n: int) -> BoolArray:
    seen = np.zeros(n, dtype=bool)
    seen[idx[(idx >= 0) & (idx < n)]] = True
    return seen


def _mean_and_deviation(values: npt.NDArray[Any]) -> FloatArray:
    finite = values[np.isfinite(values)].astype(np.float64)
    if len(finite) == 0:
        return np.array([0.0, 1.0], dtype=np.float32)
    deviation = finite.std()
    return np.array([finite.mean(), deviation if deviation > 1e-6 else 1.0], dtype=np.float32)


def _shares(weights: npt.NDArray[Any]) -> FloatArray:
    shares: FloatArray = (weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)).astype(np.float32)
    return shares


def _with_prefix(state: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, FloatArray]:
    return {name.removeprefix(prefix): values for name, values in state.items() if name.startswith(prefix)}
