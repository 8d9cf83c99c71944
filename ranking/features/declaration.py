"""A feature of ranking is one declaration: what it describes, what it requires, how to fit and how to compute it.

A file of this package declares features with the decorator ``feature``; configurations choose them by name. To add one,
write one function::

    @feature("item.is_recent", side="item", kind="number", requires=("items.year",))
    def is_recent(tables: FeatureTables, fitted: Fitted) -> FloatArray:
        return (tables.items.year >= 1995).astype(np.float32)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ranking.features.schema import FeatureField, Kind, Side
from reccore import Candidates, ItemTable, QueryBatch, RankingSamples, UserTable

Values: TypeAlias = npt.NDArray[Any]
Table: TypeAlias = Literal["items", "users"]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class SharedResults:
    """Computes what several features need only once."""

    _shared: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, function: Callable[[Self], T]) -> T:
        """``function(self)``, computed at the first call and kept."""
        if function not in self._shared:
            self._shared[function] = function(self)
        return self._shared[function]  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class FeatureTables(SharedResults):
    """What item features are computed from: the tables that a ranker stores."""

    items: ItemTable
    users: UserTable

    def only(self, fields: Sequence[FeatureField]) -> FeatureTables:
        """The same tables without the own columns that no field reads, so that no bundle carries them."""
        read: dict[Table | None, set[str]] = {"items": set(), "users": set()}
        for each in fields:
            read.setdefault(FEATURES[each.feature].table, set()).add(each.member)
        kept = {*self.items.labels, *self.items.numbers, *self.items.vectors} - (self.items.own - read["items"])
        return FeatureTables(self.items.with_columns(kept), self.users.with_columns(read["users"]))


@dataclass(frozen=True, eq=False)
class FeatureBatch(SharedResults):
    """What query and pair features are computed from: B queries with K candidates each. Histories hold known items."""

    tables: FeatureTables
    queries: QueryBatch
    candidates: Candidates


@dataclass(frozen=True)
class Fitted:
    """What ``compute`` takes besides the data.

    Attributes:
        member: for a family of features the member's own part of the name, such as the channel; "" otherwise.
        state: what ``fit`` returned.
        length: of a sequence, how many of the latest events are read.
    """

    member: str = ""
    state: Mapping[str, Values] = field(default_factory=dict)
    length: int = 0


@dataclass(frozen=True, eq=False)
class Feature:
    """One feature, or a family of them.

    Attributes:
        name: unique, ``group.what``. The name of a family holds a placeholder, as in ``recall.{channel}.score``.
        side: what the feature describes. ``item``: ``compute(FeatureTables, Fitted)`` returns N rows. ``query``:
            ``compute(FeatureBatch, Fitted)`` returns B rows. ``pair``: the same returns (B, K).
        kind: ``number``: float, NaN = missing; standardised by the encoder. ``category``: (…,) int64 codes, 0 =
            unknown. ``bag``: (…, size) float32 weights. ``vector``: (…, size) float32, zeros = missing. ``labels``:
            (…, P) int64 codes, the most important first, then 0. ``sequence``: (…, T) int64 codes of the latest
            ``Fitted.length`` events, the last one first, 0 = none or unknown. Pairs: only numbers.
        compute: values of a batch or of the catalogue.
        requires: columns without which the feature is missing, such as ``items.year``, ``items.labels.director`` or
            ``queries.history_rating``. At fitting it is then left out; at scoring all its values are missing.
        fit: what to learn from the training samples, tables and member, as arrays; stored in the bundle. It may read
            labels only to leave their events out.
        grow: state for tables with further items and users behind the old ones, from the state; None = it stays.
        size: number of codes or weights, of tables and member.
        vocabulary: what codes stand for: names of the codes 1, 2, … (of a bag, of the weights 0, 1, …), of tables and
            member; or ``items`` or ``users``, whose index is one less than the code. None = nothing that another
            feature could hold too.
        members: members of a family, of samples and tables.
        columns: the table whose columns the members are; by default that of the side.
        candidate_columns: features of the candidates that it is computed from, with the placeholder of the name; what
            it is without any of them says nothing.
        buckets: whether a number also becomes a category, ``<name>.bucket``, by its quantiles.
        default: whether it belongs to the set ``default``. Of a family, own columns of items and users never do.
    """

    name: str
    side: Side
    kind: Kind
    compute: Callable[[Any, Fitted], Values]
    requires: tuple[str, ...] = ()
    fit: Callable[[RankingSamples, FeatureTables, str], dict[str, Values]] | None = None
    grow: Callable[[Mapping[str, Values], FeatureTables], dict[str, Values]] | None = None
    size: Callable[[FeatureTables, str], int] | None = None
    vocabulary: Table | Callable[[FeatureTables, str], Sequence[str]] | None = None
    members: Callable[[RankingSamples, FeatureTables], Sequence[str]] | None = None
    columns: Table | None = None
    candidate_columns: tuple[str, ...] = ()
    buckets: bool = False
    default: bool = False

    def __post_init__(self) -> None:
        if self.side == "pair" and self.kind != "number":
            raise ValueError(f"feature {self.name}: a pair feature is a number, not a {self.kind}")
        if (self.kind == "number") != (self.size is None):
            raise ValueError(f"feature {self.name}: a number has no size, every other kind needs one")
        if ("{" in self.name) != (self.members is not None):
            raise ValueError(f"feature {self.name}: a placeholder in the name and members come together")

    @property
    def table(self) -> Table | None:
        """The table whose columns the members of a family are."""
        of_side: dict[Side, Table] = {"item": "items", "query": "users"}
        return self.columns or of_side.get(self.side)

    def name_of(self, member: str) -> str:
        """Name with the member in place of the placeholder."""
        return _with_member(self.name, member)

    def may_be(self, name: str) -> bool:
        """Whether a feature called ``name`` can come from this declaration."""
        return fnmatchcase(name, self.name_of("*"))

    def missing_columns(self, tables: FeatureTables, queries: QueryBatch) -> list[str]:
        """Required columns that are absent."""
        return [path for path in self.requires if not _has_column(path, tables, queries)]

    def missing_candidate_columns(self, member: str, candidates: Candidates) -> list[str]:
        """What the candidates would need for a member of the family; none if they have a column that it reads."""
        columns = [_with_member(column, member) for column in self.candidate_columns]
        return [] if any(column in candidates.features for column in columns) else columns


FEATURES: dict[str, Feature] = {}
"""All declared features by name; the order decides the order of a network's fields."""


def feature(name: str, **facts: Any) -> Callable[[Callable[[Any, Fitted], Values]], Feature]:
    """Declare the decorated function as the ``compute`` of a feature; arguments are those of ``Feature``.

    Raises:
        ValueError: the name is taken, or side, kind, size and members contradict each other.
    """

    def declare(compute: Callable[[Any, Fitted], Values]) -> Feature:
        if name in FEATURES:
            raise ValueError(f"feature {name} is declared twice")
        FEATURES[name] = Feature(name, compute=compute, **facts)
        return FEATURES[name]

    return declare


def _with_member(text: str, member: str) -> str:
    return re.sub(r"\{\w+\}", lambda _: member, text)


def _has_column(path: str, tables: FeatureTables, queries: QueryBatch) -> bool:
    room, name, *key = path.split(".", maxsplit=2)
    column = getattr({"items": tables.items, "users": tables.users, "queries": queries}[room], name)
    if key:
        return key[0] in column
    return len(column) > 0 if isinstance(column, tuple) else column is not None


def code_names(field: FeatureField, tables: FeatureTables) -> tuple[str, ...] | None:
    """Names of the codes of a field from 1 on, or of a bag's weights; None where they have none, as ids do."""
    vocabulary = FEATURES[field.feature].vocabulary
    if vocabulary is None or isinstance(vocabulary, str) or field.bucket_of:
        return None
    return tuple(vocabulary(tables, field.member))


def seen(idx: Values, n: int) -> npt.NDArray[np.bool_]:
    """(n,) which of the indices 0 … n-1 occur; others are ignored."""
    found = np.zeros(n, dtype=bool)
    found[idx[(idx >= 0) & (idx < n)]] = True
    return found


def still_seen(state: Mapping[str, Values], n: int) -> dict[str, Values]:
    """The state ``seen`` with False for rows that came later, n in all."""
    return {"seen": np.pad(state["seen"], (0, n - len(state["seen"])))}


def shares(weights: Values) -> npt.NDArray[np.float32]:
    """Rows scaled to the sum 1; a row below 1 stays."""
    scaled: npt.NDArray[np.float32] = (weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)).astype(np.float32)
    return scaled
