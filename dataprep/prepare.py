"""Processed tables → vocabulary, split and aligned item and user tables, ready for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from dataprep import ids
from dataprep.events import read_event_file, read_events, to_interactions, write_events
from dataprep.features import item_statistics
from dataprep.protocols import LeaveLastN, SplitProtocol, parse_protocol
from dataprep.readers.own import EventFile
from dataprep.side_tables import SideTables, read_side_tables
from dataprep.sources import check_sources
from dataprep.splits import Split
from dataprep.table_hashes import check_tables, table_hashes
from dataprep.tags import TagEvents, with_tags
from reccore import (
    Bundle,
    ConfigError,
    DataError,
    Holdout,
    Interactions,
    ItemTable,
    TrainingData,
    UserTable,
    Vocabulary,
    Workspace,
    write_bundle,
)
from reccore.arrays import offsets_from_lengths
from reccore.bundle import BundleWriter
from reccore.workspace import require

TRAIN_FILE = "train.parquet"
PART_FILES = (TRAIN_FILE, "valid.parquet", "test.parquet")
TAGS_FILE = "tags.npz"
MOST_SEEN = 0.01
"""Share of targets in their query's history above which a warning says so."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set and its split.

    Attributes:
        split: events with their cuts.
        items: the catalogue, without statistics and tags, which depend on the events a model may see.
        users: the users.
        vocabulary: raw ids of the indices.
        source: origin of the data: ``dataset``, ``input`` (a path or None), ``tie_order``, ``fingerprint`` and, of
            processed tables, ``tables`` (file → SHA-256).
        tags: all tags, or None; ``training_data`` selects those a model may see.
    """

    split: Split
    items: ItemTable
    users: UserTable
    vocabulary: Vocabulary
    source: dict[str, Any]
    tags: TagEvents | None = None

    def training_data(self, interactions: Interactions | None = None) -> TrainingData:
        """The fit split, or the given part of it, with the item statistics and tags of those events only."""
        events = self.split.fit() if interactions is None else interactions
        items = replace(self.items, statistics=item_statistics(events))
        if self.tags is not None:
            items = with_tags(items, self.tags, events)
        return TrainingData(events, items, self.users, self.vocabulary)

    def resplit(self, protocol: SplitProtocol) -> Prepared:
        """The same events under another protocol."""
        return replace(self, split=protocol.split(self.split.interactions))

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin of the training data, for the manifest of a model."""
        return {**self.source, "protocol": self.split.protocol, "events": int(self.split.fit_stop.sum())}

    def save(self, path: Path) -> None:
        """Write the bundle: dense events, cuts, tables, and train, valid and test with raw ids."""
        events, split = self.split.interactions, self.split
        side = SideTables(self.items, self.users, self.vocabulary, self.tags)
        with prepared_bundle(path, side, split.protocol, self.source, engine="local") as b:
            write_cuts(b, split)
            parts = (
                split.fit(),
                events.between(split.fit_stop, split.valid_stop),
                events.between(split.valid_stop, events.lengths),
            )
            for name, part in zip(PART_FILES, parts, strict=True):
                write_events(b.path(name), part, self.vocabulary, protocol=split.protocol, part=name)

    @classmethod
    def load(cls, path: Path) -> Prepared:
        """Read the bundle; events are memory-mapped."""
        bundle = Bundle.open(path, kind="prepared")
        vocabulary = bundle.vocabulary()
        events, cuts = Interactions.load(path), bundle.arrays("cuts.npz")
        protocol = parse_protocol(bundle.manifest["protocol"])
        has_tags = TAGS_FILE in bundle.manifest["files"]
        return cls(
            split=Split(events, cuts["fit_stop"], cuts["valid_stop"], protocol.name, protocol.targets),
            items=ItemTable.from_arrays(bundle.arrays("items.npz"), len(vocabulary.items)),
            users=UserTable.from_arrays(bundle.arrays("users.npz"), len(vocabulary.users)),
            vocabulary=vocabulary,
            source=dict(bundle.manifest["source"]),
            tags=TagEvents.from_arrays(bundle.arrays(TAGS_FILE)) if has_tags else None,
        )


def prepare(
    workspace: Workspace, protocol: SplitProtocol | None = None, *, known: Vocabulary | None = None
) -> Prepared:
    """Read and split the processed tables; the catalogue is all movies listed or rated.

    Users and movies of ``known`` keep its indices, and others come behind them.

    Raises:
        NotReadyError: preprocessing has not run.
        ArtefactError: a raw file changed since; names it and the command.
        DataError: the tables are not what preprocessing writes.
    """
    path, source = processed_ratings(workspace)
    return _prepare(read_events(path), workspace, protocol or LeaveLastN(1), source, known=known)


def warn_of_seen_targets(split: Split) -> dict[str, float]:
    """The ``seen_shares`` of a split; a warning says what to do where they are large."""
    shares = split.seen_shares()
    if max(shares.values()) > MOST_SEEN:
        logger.warning(
            "{:.1%} of the validation and {:.1%} of the test targets are items of their query's history, such as one "
            "viewed and then bought. No list offers items of the history, so these targets are always missed. Keep one "
            "event of each user and item before run_preprocessing.py; to measure channels that offer seen items again: "
            "evaluate_recall.py --include_seen",
            shares["valid"],
            shares["test"],
        )
    return shares


def processed_ratings(workspace: Workspace) -> tuple[Path, dict[str, Any]]:
    """The processed ratings, and the origin of the tables for ``Prepared.source``.

    Raises:
        NotReadyError, ArtefactError, DataError: as ``prepare``.
    """
    path = require(workspace.processed / "ratings.parquet", "processed ratings", "run_preprocessing.py")
    about = require(workspace.processed / "processed.json", "manifest of the tables", "run_preprocessing.py")
    try:
        manifest = json.loads(about.read_text(encoding="utf-8"))
        source = {name: manifest[name] for name in ("dataset", "tie_order", "fingerprint")} | {"input": None}
    except (ValueError, KeyError, TypeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise DataError(
            f"{about} is damaged ({reason}); run PYTHONPATH=. python scripts/run_preprocessing.py"
        ) from error
    check_sources(workspace.processed, manifest.get("sources", {}))
    source["tables"] = table_hashes(workspace.processed)
    return path, source


@contextmanager
def prepared_bundle(
    path: Path, side: SideTables, protocol: str, source: dict[str, Any], *, engine: str
) -> Iterator[BundleWriter]:
    """Write a bundle of prepared data: the side tables, and what the block writes of the events."""
    facts = {"protocol": protocol, "source": source, "engine": engine}
    with write_bundle(path, kind="prepared", component="prepared", **facts) as b:
        b.vocabulary(side.vocabulary)
        b.arrays("items.npz", side.items.to_arrays())
        b.arrays("users.npz", side.users.to_arrays())
        if side.tags is not None:
            b.arrays(TAGS_FILE, side.tags.to_arrays())
        yield b


def write_cuts(bundle: BundleWriter, split: Split) -> None:
    """Write dense events and their cuts."""
    split.interactions.save(bundle.folder)
    bundle.arrays("cuts.npz", {"fit_stop": split.fit_stop, "valid_stop": split.valid_stop})


def load_prepared(folder: Path) -> Prepared:
    """The prepared data of a folder below ``processed/``, if the tables it was made from are unchanged.

    Raises:
        NotReadyError: there is no prepared data.
        ArtefactError: the tables changed since; names the command.
    """
    prepared = Prepared.load(require(folder, "prepared data", "prepare_two_tower_data.py"))
    if "tables" in prepared.source:
        check_tables(folder.parent, prepared.source["tables"], prepared.split.protocol)
    return prepared


def prepare_file(file: EventFile, workspace: Workspace, protocol: SplitProtocol) -> Prepared:
    """Prepare a file of events with raw ids; titles and genres come from the data root, if it has any.

    Raises:
        ConfigError, DataError: as ``read_event_file``.
    """
    if not file.path.is_file():
        raise DataError(f"no such file: {file.path}")
    ours = _is_prepared_train(file.path)
    events = read_events(file.path) if ours else read_event_file(file)
    source = {
        "dataset": file.name,
        "tie_order": "file",
        "fingerprint": file.fingerprint,
        **file.facts,
    }
    return _prepare(events, workspace, protocol, source, None if ours else file.path)


def load_for_training(workspace: Workspace, given: EventFile | None, protocol: str | None) -> Prepared:
    """The data of a training command.

    Without ``--input``, or with the prepared ``train.parquet``, this is the prepared data, split again if
    ``--protocol`` names another protocol. With any other file it is that file, split by ``--protocol`` (default
    ``leave_one_out``).

    Raises:
        NotReadyError: there is no prepared data.
        ArtefactError: the tables it was made from changed since.
        ConfigError: ``--input`` is the prepared fit split and ``--protocol`` a protocol other than its own or none, or
            options say how to read it.
        DataError: the input is not a valid file of events.
    """
    if given is not None and not _is_prepared_train(given.path):
        prepared = prepare_file(given, workspace, parse_protocol(protocol or "leave_one_out"))
        warn_of_seen_targets(prepared.split)
        return prepared
    if given is not None and given != EventFile(given.path):
        raise ConfigError(
            f"{given.path} has been read and prepared; leave out --columns, --time_unit and --text_ids, which are for "
            "files of your own"
        )
    folder = given.path.parent if given is not None else workspace.prepared
    prepared = load_prepared(folder)
    if protocol is None or protocol == prepared.split.protocol:
        return prepared
    if given is None:
        return prepared.resplit(parse_protocol(protocol))
    if protocol != "none":
        raise ConfigError(
            f"{given.path} is the fit split of {prepared.split.protocol}; leave out --input to split the data by "
            f"{protocol}, or set --protocol none to train on the whole file"
        )
    # Train on the whole fit split and on none of the held-out events.
    return prepare_file(given, workspace, parse_protocol("none"))


def _is_prepared_train(path: Path) -> bool:
    return path.name == TRAIN_FILE and (path.parent / "cuts.npz").is_file()


def _prepare(
    events: pa.Table,
    workspace: Workspace,
    protocol: SplitProtocol,
    source: dict[str, Any],
    path: Path | None = None,
    *,
    known: Vocabulary | None = None,
) -> Prepared:
    """The prepared data; ties are reported of the file ``path``."""
    users, rated = ids.distinct(events["userId"]), ids.distinct(events["movieId"])
    side = read_side_tables(workspace, users, rated, known)
    interactions = to_interactions(events, side.vocabulary, path=path)
    prepared = Prepared(protocol.split(interactions), side.items, side.users, side.vocabulary, source, side.tags)
    logger.info(
        "{:,} events of {:,} users over {:,} items, protocol {}",
        interactions.n_events,
        interactions.n_users,
        interactions.n_items,
        protocol.name,
    )
    return prepared


def read_holdout(file: EventFile, prepared: Prepared, *, query_time: bool = False) -> Holdout:
    """Queries and targets of a held-out file, one query per user and one target per row.

    The history of a query is the user's fit and validation events in ``prepared``, empty for an unknown user. An
    unknown movie is kept as a target and always a miss. With ``query_time`` the ``as_of`` of a query is the earliest
    time of its targets.

    Raises:
        ConfigError, DataError: as ``read_event_file``; or ``query_time`` without a column timestamp.
    """
    table = read_event_file(file)
    raw_users = ids.numbers(table["userId"])
    order = np.argsort(raw_users, kind="stable")
    counts = np.unique(raw_users, return_counts=True)[1]
    users = prepared.vocabulary.users.encode(ids.distinct(table["userId"]))
    events = prepared.split.history()
    known = users >= 0
    queries = events.queries(np.where(known, users, 0), np.where(known, events.lengths[np.where(known, users, 0)], 0))
    targets = ids.encode(prepared.vocabulary.items, table["movieId"])[order]
    queries = replace(queries, user_idx=users)
    offsets = offsets_from_lengths(counts)
    if query_time:
        if "timestamp" not in table.column_names:
            raise DataError(f"--query_time needs a column for the time, and {file.path} has none")
        earliest = np.minimum.reduceat(table["timestamp"].to_numpy()[order], offsets[:-1])
        queries = replace(queries, as_of=earliest)
    rating = table["rating"].to_numpy()[order].astype(np.float32) if "rating" in table.column_names else None
    return Holdout(queries, offsets, targets, target_rating=rating)
