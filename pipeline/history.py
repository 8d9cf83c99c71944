"""Histories of requests: events with their ratings and times, given by the caller or read from a store."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from reccore import DataError, IdMap, Interactions, QueryBatch, RawId, Vocabulary, parse_raw_id
from reccore.arrays import IntArray

_EVENT_TEXT = re.compile(r"(?P<film>.*?\S)(:(?P<rating>-?\d+(\.\d+)?))?(@(?P<time>-?\d+))?")


@dataclass(frozen=True)
class Event:
    """One film of a history.

    Attributes:
        movie_id: raw id.
        rating: in the scale of the training data; None = not rated.
        time: Unix seconds; None = unknown.

    Raises:
        DataError: an id or time that is no whole number of 64 bits, or a rating that is no finite number.
    """

    movie_id: RawId
    rating: float | None = None
    time: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.movie_id, str):
            whole_numbers("history", [self.movie_id])
        if self.rating is not None and not (isinstance(self.rating, Real) and math.isfinite(self.rating)):
            raise DataError(f"the rating of movie {self.movie_id} must be a finite number, got {self.rating!r}")
        if self.time is not None:
            whole_numbers(f"the time of movie {self.movie_id}", [self.time])

    @classmethod
    def of(cls, value: EventLike) -> Event:
        """An event from a raw id, (id, rating), (id, rating, time), a mapping of the fields, or an event.

        Raises:
            DataError: none of these.
        """
        if isinstance(value, Event):
            return value
        try:
            if isinstance(value, Mapping):
                return cls(**value)
            fields = value if isinstance(value, tuple | list) else (value,)
            return cls(*fields)
        except TypeError as error:
            raise DataError(f"an event is a movie_id with an optional rating and time, got {value!r}") from error

    @staticmethod
    def parse_film(text: str, find: Callable[[str], RawId]) -> RawId:
        """The raw id that a text is, or that of the film that it names, see ``parse``."""
        film = parse_raw_id(text.strip())
        return find(film) if isinstance(film, str) else film

    @classmethod
    def parse(cls, text: str, find: Callable[[str], RawId]) -> Self:
        """An event from ``FILM``, ``FILM:RATING``, ``FILM@TIME`` or ``FILM:RATING@TIME``: ``172:4.5@881250949``.

        Args:
            text: FILM is a whole number, which is a raw id, or a text for ``find``.
            find: the raw id of the film that a text names, such as ``FilmFinder.find``.

        Raises:
            DataError: no film; and as ``find``.
        """
        found = _EVENT_TEXT.fullmatch(text.strip())
        if found is None:
            raise DataError(f"an event is written FILM, FILM:RATING or FILM:RATING@TIME, got {text!r}")
        film, rating, time = found["film"], found["rating"], found["time"]
        return cls(
            cls.parse_film(film, find),
            None if rating is None else float(rating),
            None if time is None else int(time),
        )


EventLike: TypeAlias = RawId | Sequence[Any] | Mapping[str, Any] | Event


def history_query(
    history: Sequence[EventLike], vocabulary: Vocabulary, user_idx: IntArray
) -> tuple[QueryBatch, tuple[RawId, ...]]:
    """A batch of one query with the given history, and the raw ids that are not in the catalogue.

    Events are oldest first; where they have times, these decide the order. Unknown films are left out. An event without
    a rating among rated ones has rating NaN.

    Raises:
        DataError: an invalid event, or times for some events only.
    """
    events = [Event.of(value) for value in history]
    timed = [event for event in events if event.time is not None]
    if timed and len(timed) < len(events):
        place = next(place for place, event in enumerate(events) if event.time is None)
        raise DataError(
            f"{len(timed)} of {len(events)} events of the history have a time; give it for all or for none",
            f"history.{place}.time",
        )
    if timed:
        events.sort(key=lambda event: event.time or 0)
    idx = encode_ids("history", [event.movie_id for event in events], vocabulary.items)
    known = [(event, item) for event, item in zip(events, idx.tolist(), strict=True) if item >= 0]
    ratings = [math.nan if event.rating is None else event.rating for event, _ in known]
    query = QueryBatch.from_histories(
        [[item for _, item in known]],
        ratings=[ratings] if any(event.rating is not None for event in events) else None,
        times=[[event.time or 0 for event, _ in known]] if timed else None,
        user_idx=user_idx,
    )
    return query, tuple(event.movie_id for event, item in zip(events, idx.tolist(), strict=True) if item < 0)


def extended_query(
    stored: QueryBatch, new_events: Sequence[EventLike], vocabulary: Vocabulary
) -> tuple[QueryBatch, tuple[RawId, ...]]:
    """A stored history of one user followed by new events, as ``history_query`` makes a query of them.

    A new event of a film takes the place of an earlier one. New events without times, where the stored ones have them,
    come last and take the time of the latest.

    Raises:
        DataError: an invalid event, or times for some events only.
    """
    given = [Event.of(value) for value in new_events]
    events = _events_of(stored, vocabulary)
    latest = max((event.time for event in events if event.time is not None), default=None)
    if latest is not None and not any(event.time is not None for event in given):
        given = [replace(event, time=latest) for event in given]
    last_of_film: dict[RawId, Event] = {}
    for event in (*events, *given):
        last_of_film.pop(event.movie_id, None)
        last_of_film[event.movie_id] = event
    return history_query(list(last_of_film.values()), vocabulary, stored.user_idx)


def _events_of(query: QueryBatch, vocabulary: Vocabulary) -> list[Event]:
    """The known events of a batch of one query, oldest first."""
    known = query.known_items_only(len(vocabulary.items))
    ids: list[RawId] = vocabulary.items.decode(known.history_idx).tolist()
    nothing: list[None] = [None] * len(ids)
    ratings = nothing if known.history_rating is None else known.history_rating.tolist()
    times = nothing if known.history_time is None else known.history_time.tolist()
    rated = [None if rating is None or math.isnan(rating) else rating for rating in ratings]
    return [Event(*fields) for fields in zip(ids, rated, times, strict=True)]


class HistoryStore(Protocol):
    """Where the pipeline reads the history of a user who comes without one."""

    def history(self, users: Sequence[RawId]) -> QueryBatch:
        """One query per user with the user's events, oldest first.

        Args:
            users: B raw user ids.

        Raises:
            DataError: a user who is not in the store.
        """
        ...


class FrozenHistoryStore:
    """The histories that a pipeline was built with; part of its bundle."""

    def __init__(self, interactions: Interactions, vocabulary: Vocabulary) -> None:
        self.interactions = interactions
        self.vocabulary = vocabulary

    @classmethod
    def load(cls, folder: Path, vocabulary: Vocabulary) -> Self:
        """Read what ``save`` wrote."""
        return cls(Interactions.load(folder), vocabulary)

    def save(self, folder: Path) -> None:
        """Write the events into a folder."""
        self.interactions.save(folder)

    def history(self, users: Sequence[RawId]) -> QueryBatch:
        """One query per user, see ``HistoryStore``."""
        idx = encode_ids("user", users, self.vocabulary.users)
        if (idx < 0).any():
            raise DataError(f"user {users[int(idx.argmin())]} is not known here; give a history instead")
        return self.interactions.queries(idx)


def encode_ids(what: str, values: Sequence[RawId], ids: IdMap) -> IntArray:
    """(n,) dense indices of raw ids, -1 for those that ``ids`` does not hold.

    Raises:
        DataError: a value that cannot be such an id: text where ids are whole numbers, or neither text nor a whole
            number of 64 bits; ``what`` names the values.
    """
    given = [parse_raw_id(value) if isinstance(value, str) else value for value in values]
    if not ids.is_text:
        return ids.encode(whole_numbers(what, given))
    whole_numbers(what, [value for value in given if not isinstance(value, str)])
    return ids.encode(np.array(given, dtype=object))


def whole_numbers(what: str, values: Sequence[Any]) -> IntArray:
    """(n,) int64.

    Raises:
        DataError: a value that is no whole number of 64 bits; ``what`` names the values.
    """
    try:
        return np.array([operator.index(value) for value in values], dtype=np.int64)
    except (TypeError, OverflowError):
        raise DataError(f"{what} must hold whole numbers of at most 64 bits, got {list(values)!r}") from None
