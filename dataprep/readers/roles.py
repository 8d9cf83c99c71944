"""What the columns of a user's own files mean: the names given with --columns, and the usual spellings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dataprep.readers.columns import Kind
from reccore.errors import ConfigError, DataError

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Role:
    """What a column means.

    Attributes:
        option: its name in ``--columns``.
        name: of the column in the tables.
        kind: of its values. ``ID`` and ``TIME`` are refined by what the file holds.
        spellings: names by which it is recognised, in lower case, without anything but letters and digits.
        required: whether every file must have it.
    """

    option: str
    name: str
    kind: Kind
    spellings: Collection[str]
    required: bool = False

    def is_called(self, name: str) -> bool:
        """Whether the name is one of the spellings."""
        return re.sub(r"[\W_]", "", name).lower() in self.spellings


USER = Role(
    "user",
    "userId",
    Kind.ID,
    ("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "member", "memberid"),
    required=True,
)
ITEM = Role(
    "item",
    "movieId",
    Kind.ID,
    (
        *("item", "itemid", "movie", "movieid", "film", "filmid", "product", "productid", "article", "articleid"),
        *("sku", "asin"),
    ),
    required=True,
)
TIME = Role(
    "time",
    "timestamp",
    Kind.TIME,
    ("time", "timestamp", "ts", "datetime", "date", "eventtime", "unixtime", "createdat"),
)
EVENT_ROLES = (
    USER,
    ITEM,
    Role("rating", "rating", Kind.RATING, ("rating", "stars", "score")),
    TIME,
    Role("position", "position", Kind.ORDER, ("position",)),
)
ITEM_ROLES = (
    replace(ITEM, spellings=(*ITEM.spellings, "id")),
    Role("title", "title", Kind.TEXT, ("title",)),
    Role("year", "year", Kind.LOOSE_INT, ("year",)),
    Role("genres", "genres", Kind.TEXT, ("genres", "genre")),
)
USER_ROLES = (
    replace(USER, spellings=(*USER.spellings, "id")),
    Role("age", "age", Kind.LOOSE_INT, ("age",)),
    Role("gender", "gender", Kind.TEXT, ("gender",)),
    Role("occupation", "occupation", Kind.TEXT, ("occupation",)),
    Role("zip", "zip", Kind.TEXT, ("zip",)),
)


@dataclass(frozen=True)
class ColumnNames:
    """Columns that the caller names.

    Attributes:
        option: where they were given, such as ``--columns``; None = the file's own names are all there is.
        of: name of the role in the option → column of the file, or its number from 1 in a file without a header.
    """

    option: str | None = "--columns"
    of: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, pairs: Sequence[str], roles: Sequence[Role], option: str = "--columns") -> ColumnNames:
        """From texts such as ``user=user_id``.

        Raises:
            ConfigError: another form, an unknown role, or a role or column that is named twice.
        """
        known = [role.option for role in roles]
        of: dict[str, str] = {}
        for pair in pairs:
            role, separator, name = (part.strip() for part in pair.partition("="))
            if not (separator and role and name):
                raise ConfigError(f"{option} is written {known[0]}=NAME,…, got {pair!r}")
            if role not in known:
                raise ConfigError(f"{option} knows {', '.join(known)}, not {role!r}")
            if role in of or name in of.values():
                raise ConfigError(f"{option} names {role if role in of else name} twice")
            of[role] = name
        return cls(option, of)

    def by_number(self, header: Sequence[str]) -> bool:
        """Whether the columns are given by their numbers, for a file without a header."""
        names = (self.of or {}).values()
        return bool(names) and all(name.isdecimal() for name in names) and not set(names) <= set(header)


def find_roles(path: Path, names: Sequence[str], roles: Sequence[Role], given: ColumnNames) -> dict[str, Role]:
    """Column of the file → its role; columns without a role are left out.

    Raises:
        DataError: a column that was named and is not there, a required one that is missing, or several for one role.
    """
    chosen = dict(given.of or {})
    for option, name in chosen.items():
        if name not in names:
            raise DataError(f"{path} has no column {name} ({given.option} {option}={name}); it has {', '.join(names)}")
    found: dict[str, Role] = {}
    for role in roles:
        if role.option in chosen:
            found[chosen[role.option]] = role
            continue
        like = [name for name in names if name not in chosen.values() and role.is_called(name)]
        if len(like) > 1:
            raise DataError(
                f"{path} has several columns for the {role.option}: {', '.join(like)}; "
                + (f"choose one with {given.option} {role.option}=NAME" if given.option else "keep one of them")
            )
        if like:
            found[like[0]] = role
        elif role.required:
            raise DataError(_missing(path, names, role, given))
    return found


def _missing(path: Path, names: Sequence[str], role: Role, given: ColumnNames) -> str:
    sentence = f"{path} has no column for the {role.option}, such as {role.name}; its columns are {', '.join(names)}"
    if given.option is None:
        return sentence
    sentence += f". Name it with {given.option} {role.option}=NAME"
    if any(_NUMBER.fullmatch(name.strip()) for name in names):  # this is a row, not a header
        sentence += f"; in a file without a header, by its number: {given.option} {role.option}=1,…"
    return sentence
