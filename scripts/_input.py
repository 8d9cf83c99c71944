"""Options shared by the commands that read a file of the user's own events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from reccore import ComponentConfig
from scripts._cli import split_commas

if TYPE_CHECKING:
    from dataprep.readers.own import EventFile


def _pairs(value: Any) -> Any:
    """``role=name`` texts, from such texts or from a table of TOML."""
    return [f"{role}={name}" for role, name in value.items()] if isinstance(value, Mapping) else split_commas(value)


ColumnPairs = Annotated[tuple[str, ...], BeforeValidator(_pairs)]
TimeUnits = Literal["s", "ms", "us", "ns"]


class EventFileSettings(ComponentConfig):
    """How a file of events is read."""

    columns: ColumnPairs = Field(
        default=(),
        description="columns of the file of events, as user=NAME,item=NAME,rating=NAME,time=NAME,position=NAME; by "
        "number (user=1,item=2) where the file has no header (default: the usual spellings)",
    )
    time_unit: TimeUnits | None = Field(default=None, description="unit of times that are numbers (default: by size)")
    text_ids: bool = Field(default=False, description="read ids as text even where they are whole numbers")

    def event_file(self, path: Path | None) -> EventFile | None:
        """The file at ``path``; None without one."""
        from dataprep.readers.own import EventFile

        return None if path is None else EventFile(path, self.columns, self.time_unit, self.text_ids)

    def check_read(self, path: Path | None, option: str) -> None:
        """Raise ``ValueError`` where an option says how to read a file that is not given."""
        given = [name for name in EventFileSettings.model_fields if getattr(self, name)]
        if path is None and given:
            raise ValueError(f"--{given[0]} says how to read {option} FILE; give that too, or leave out --{given[0]}")


class InputSettings(EventFileSettings):
    """A file of events to learn from."""

    input: Path | None = Field(default=None, description="file of events to learn from: Parquet, CSV or .csv.gz")

    @model_validator(mode="after")
    def _has_file(self) -> Self:
        self.check_read(self.input, "--input")
        return self

    @property
    def input_file(self) -> EventFile | None:
        """The file of ``--input``."""
        return self.event_file(self.input)


class OwnTablesSettings(EventFileSettings):
    """Files of events, items and users of one's own."""

    interactions: Path | None = Field(default=None, description="own events: Parquet, CSV or .csv.gz")
    items: Path | None = Field(default=None, description="own items: id, title, year, genres, …")
    item_columns: ColumnPairs = Field(default=(), description="their columns, as item=NAME,title=NAME,genres=NAME")
    users: Path | None = Field(default=None, description="own users: id, age, gender, occupation, …")
    user_columns: ColumnPairs = Field(default=(), description="their columns, as user=NAME,age=NAME")
    max_reject_share: float = Field(default=0.01, description="share of bad rows per file that is tolerated")

    @model_validator(mode="after")
    def _has_files(self) -> Self:
        self.check_read(self.interactions, "--interactions")
        for columns, path, option in (
            (self.item_columns, self.items, "item"),
            (self.user_columns, self.users, "user"),
        ):
            if columns and path is None:
                raise ValueError(f"--{option}_columns names columns of --{option}s FILE; give that too")
        return self
