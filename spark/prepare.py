"""Processed tables → prepared data, with the events encoded, sorted and split by Spark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from dataprep import ids
from dataprep.events import COMPRESSION, OPTIONAL, event_table
from dataprep.prepare import PART_FILES, prepared_bundle, processed_ratings, write_cuts
from dataprep.protocols import GlobalTime, SplitProtocol
from dataprep.side_tables import read_side_tables
from dataprep.splits import Split
from reccore import Interactions, Vocabulary, Workspace
from reccore.arrays import IntArray, offsets_from_lengths
from reccore.bundle import BundleWriter, temporary_folder
from spark.parts import ddl, read_column, read_parts, whole_users, write_parts
from spark.quantiles import SparkTimes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_USERS_PER_CHUNK_ROWS = 1 << 18
_NUMBERS = {"user_idx": pa.int64(), "item_idx": pa.int64()}


def prepare(spark: SparkSession, workspace: Workspace, protocol: SplitProtocol) -> None:
    """``dataprep.prepare.prepare`` of the processed tables, saved under ``workspace.prepared``.

    The driver holds what the bundle has per user and per movie: ids, cuts and side tables. Events pass through it a
    batch at a time on the way into the files of the bundle.

    Raises:
        NotReadyError, ArtefactError, DataError: as the local engine.
    """
    path, source = processed_ratings(workspace)
    with temporary_folder(workspace.prepared.with_name(f"{workspace.prepared.name}.spark")) as work:
        rows = spark.read.parquet(path.resolve().as_uri()).selectExpr("*", "_metadata.row_index as row")
        raw_ids = {}
        for key in ("userId", "movieId"):
            write_parts(rows.select(key).distinct().orderBy(key), work / key)
            raw_ids[key] = read_column(work / key, key)
        side = read_side_tables(workspace, raw_ids["userId"], raw_ids["movieId"])
        encoded = _encode(spark, rows, side.vocabulary, work)
        if isinstance(protocol, GlobalTime):
            times = SparkTimes(rows.select("timestamp")) if "timestamp" in rows.columns else None
            protocol = protocol.at_times(times)
        write_parts(_split(encoded, protocol, len(side.vocabulary.items)), work / "events")
        with prepared_bundle(workspace.prepared, side, protocol.name, source, engine="spark") as bundle:
            split = _assemble(bundle, work, side.vocabulary, protocol)
            write_cuts(bundle, split)
    events = split.interactions
    logger.info("{:,} events of {:,} users over {:,} items", events.n_events, events.n_users, events.n_items)


def _encode(spark: SparkSession, rows: DataFrame, vocabulary: Vocabulary, work: Path) -> DataFrame:
    """Events with dense indices, in the order of ``to_interactions``; a user's events lie in one partition."""
    for key, index, id_map in (
        ("userId", "user_idx", vocabulary.users),
        ("movieId", "item_idx", vocabulary.items),
    ):
        table = pa.table({key: ids.array_of(id_map.ids), index: np.arange(len(id_map))})
        file = work / f"{index}.parquet"
        pq.write_table(table, file)
        rows = rows.join(spark.read.parquet(file.resolve().as_uri()), key)
    facts = [name for name in OPTIONAL if name in rows.columns]
    order = ["user_idx", *(name for name in facts if name == "timestamp"), "row"]
    in_order = rows.repartitionByRange("user_idx").sortWithinPartitions(*order)
    return in_order.select("user_idx", "item_idx", *facts)


def _split(events: DataFrame, protocol: SplitProtocol, n_items: int) -> DataFrame:
    """The same events with ``part``: 0 = fit, 1 = validation, 2 = test."""
    fields = _NUMBERS | {name: kind for name, kind in OPTIONAL.items() if name in events.columns}
    schema = pa.schema([*fields.items(), ("part", pa.int8())])

    def split(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for chunk in whole_users(batches, "user_idx", _USERS_PER_CHUNK_ROWS):
            part = parts_of(chunk, protocol, n_items)
            yield from chunk.append_column("part", pa.array(part)).cast(schema).combine_chunks().to_batches()

    return events.mapInArrow(split, ddl(schema))


def parts_of(chunk: pa.Table, protocol: SplitProtocol, n_items: int) -> IntArray:
    """(n,) int8 part of each event of some users, whose events are all there, in order."""
    lengths = np.unique(chunk["user_idx"].to_numpy(), return_counts=True)[1]
    columns = {name: chunk[name].to_numpy() for name in OPTIONAL if name in chunk.column_names}
    events = Interactions(offsets_from_lengths(lengths), chunk["item_idx"].to_numpy(), n_items, **columns)
    split = protocol.split(events)
    place = np.arange(len(chunk)) - np.repeat(events.user_offsets[:-1], lengths)
    fit, valid = (np.repeat(stop, lengths) for stop in (split.fit_stop, split.valid_stop))
    part: IntArray = ((place >= fit).astype(np.int8) + (place >= valid)).astype(np.int8)
    return part


def _assemble(bundle: BundleWriter, work: Path, vocabulary: Vocabulary, protocol: SplitProtocol) -> Split:
    """Write train, valid and test, and return the split, whose events are in files below ``work``."""
    files = sorted((work / "events").glob("part-*.parquet"))
    n_events = sum(pq.read_metadata(file).num_rows for file in files)
    names = pq.read_schema(files[0]).names
    kinds = {"item_idx": np.int64, "rating": np.float32, "timestamp": np.int64}
    columns: dict[str, Any] = {
        name: np.lib.format.open_memmap(work / f"{name}.npy", mode="w+", dtype=kind, shape=(n_events,))
        for name, kind in kinds.items()
        if name in names
    }
    counts = np.zeros((len(PART_FILES), len(vocabulary.users)), dtype=np.int64)
    at = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(_PartWriter(bundle, name, protocol.name, vocabulary)) for name in PART_FILES]
        for batch in read_parts(work / "events"):
            user_idx, part = batch["user_idx"].to_numpy(), batch["part"].to_numpy()
            values = {name: batch[name].to_numpy() for name in columns}
            for name, column in columns.items():
                column[at : at + len(batch)] = values[name]
            at += len(batch)
            for index, writer in enumerate(writers):
                rows = part == index
                users, n = np.unique(user_idx[rows], return_counts=True)
                counts[index, users] += n
                writer.write(user_idx[rows], {name: column[rows] for name, column in values.items()})
    fit, valid, _ = counts
    events = Interactions(
        offsets_from_lengths(counts.sum(axis=0)), columns.pop("item_idx"), len(vocabulary.items), **columns
    )
    return Split(events, fit, fit + valid, protocol.name, protocol.targets)


class _PartWriter:
    """Writes one part of the split with raw ids, some events at a time."""

    def __init__(self, bundle: BundleWriter, name: str, protocol: str, vocabulary: Vocabulary) -> None:
        self._path = bundle.path(name)
        self._metadata = {"protocol": protocol, "part": name}
        self._vocabulary = vocabulary
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _PartWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, user_idx: IntArray, columns: dict[str, Any]) -> None:
        table = event_table(
            self._vocabulary, user_idx, columns["item_idx"], columns.get("rating"), columns.get("timestamp")
        ).replace_schema_metadata(self._metadata)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, **COMPRESSION)
        if len(table):
            self._writer.write_table(table)
