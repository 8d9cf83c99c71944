"""Recommendations of the two-tower alone: the latest films of three users beside their top ten.

A program to read and to run; the test suite has its own tests. It needs the trained channel and its data.

    PYTHONPATH=. python examples/test_recall_two_tower.py
    PYTHONPATH=. python examples/test_recall_two_tower.py --seed 7 --set users=5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from pydantic import Field

from dataprep.prepare import Prepared
from pipeline.provenance import data_of
from recall.two_tower import TwoTower
from reccore import ComponentConfig, DataError, Holdout, QueryBatch, RawId
from reccore.arrays import IntArray
from reccore.workspace import require
from scripts._cli import parse_command, run

MODEL = "two_tower"
TITLE_WIDTH, GENRE_WIDTH, PLACE_WIDTH = 35, 20, 3
LEFT_WIDTH = TITLE_WIDTH + 1 + GENRE_WIDTH
MARK = "★"


class ExampleSettings(ComponentConfig):
    """Options of the program."""

    users: int = Field(default=3, ge=1, description="number of users")
    k: int = Field(default=10, ge=1, description="recommendations per user")
    latest: int = Field(default=8, ge=1, description="films of the history to show")


@dataclass(frozen=True)
class UserPage:
    """One user's page.

    Attributes:
        user: raw user id.
        n_seen: films in the whole history.
        latest: item indices of the latest films, the latest first.
        offered: item indices of the recommendations, the best first.
        held_out: item index → place in the two-tower's ranking of everything not seen, from 1; None = not ranked.
        n_ranked: films in that ranking.
    """

    user: RawId
    n_seen: int
    latest: list[int]
    offered: list[int]
    held_out: dict[int, int | None]
    n_ranked: int


def main(argv: list[str] | None = None) -> None:
    command = parse_command(argv, __doc__, ExampleSettings)
    sizes, space = command.settings, command.workspace
    channel = TwoTower.load(require(space.model(MODEL), "the trained two-tower", f"train_recall.py --model {MODEL}"))
    prepared = data_of(space, [MODEL])
    holdout = choose_users(prepared, sizes.users, command.options.generator())
    pages = rank_for(channel, holdout, prepared, k=sizes.k, latest=sizes.latest)
    command.emit(to_dict(pages, prepared), "\n\n".join(page_text(page, prepared) for page in pages))


def choose_users(prepared: Prepared, n: int, generator: np.random.Generator) -> Holdout:
    """Random users with a held-out film, ordered by id; under protocol ``none`` users with a history."""
    everyone = prepared.split.test()
    if len(everyone) == 0:
        queries = _with_history(prepared)
        everyone = Holdout(queries, np.zeros(len(queries) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    if len(everyone) == 0:
        raise DataError("the data the two-tower was fitted on holds no events, so there is no history to show")
    return everyone.select(np.sort(generator.choice(len(everyone), min(n, len(everyone)), replace=False)))


def _with_history(prepared: Prepared) -> QueryBatch:
    events = prepared.split.history()
    return events.queries(np.flatnonzero(events.lengths > 0))


def rank_for(channel: TwoTower, holdout: Holdout, prepared: Prepared, *, k: int, latest: int) -> list[UserPage]:
    """Rank the whole catalogue for every user, without the films of the history."""
    queries = holdout.queries
    ranking = channel.retrieve(queries, len(prepared.vocabulary.items))
    pages = []
    for row, user in enumerate(prepared.vocabulary.users.decode(queries.user_idx).tolist()):
        history = queries.select([row]).history_idx
        ranked = ranking.item_idx[row][ranking.mask[row]]
        targets = holdout.target_idx[holdout.target_offsets[row] : holdout.target_offsets[row + 1]]
        pages.append(
            UserPage(
                user=user,
                n_seen=len(history),
                latest=history[::-1][:latest].tolist(),
                offered=ranked[:k].tolist(),
                held_out={target: _place(ranked, target) for target in targets.tolist()},
                n_ranked=len(ranked),
            )
        )
    return pages


def _place(ranked: IntArray, item: int) -> int | None:
    at = np.flatnonzero(ranked == item)
    return int(at[0]) + 1 if len(at) else None


def page_text(page: UserPage, prepared: Prepared) -> str:
    """Two columns within 120 characters; a held-out film among the recommendations is marked."""
    left = [_film(item, prepared) for item in page.latest]
    right = [
        f"{place:>{PLACE_WIDTH}}{MARK if item in page.held_out else ' '} {_film(item, prepared)}"
        for place, item in enumerate(page.offered, start=1)
    ]
    lines = [f"User {page.user}, {page.n_seen:,} films seen", ""]
    lines.append(f"{'the latest of them, newest first':<{LEFT_WIDTH}} │ {'':{PLACE_WIDTH + 2}}the two-tower's top")
    lines += [f"{a:<{LEFT_WIDTH}} │ {b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]
    for item, place in page.held_out.items():
        lines.append("")
        where = "not ranked" if place is None else f"place {place:,} of {page.n_ranked:,}"
        lines.append(f"{MARK} held out: {_cut(_title(item, prepared), 80)}, {where}")
    return "\n".join(lines)


def _film(item: int, prepared: Prepared) -> str:
    genres = _cut(", ".join(prepared.items.genres_of(item)), GENRE_WIDTH)
    return f"{_cut(_title(item, prepared), TITLE_WIDTH):<{TITLE_WIDTH}} {genres:<{GENRE_WIDTH}}"


def _title(item: int, prepared: Prepared) -> str:
    return prepared.items.label(item, prepared.vocabulary.items.raw_id(item))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def to_dict(pages: list[UserPage], prepared: Prepared) -> Mapping[str, Any]:
    """The pages as JSON-able values with raw ids."""

    def film(item: int) -> dict[str, Any]:
        raw = prepared.vocabulary.items.raw_id(item)
        return {"movieId": raw, "title": _title(item, prepared), "genres": prepared.items.genres_of(item)}

    return {
        "dataset": prepared.source["dataset"],
        "protocol": prepared.split.protocol,
        "users": [
            {
                "user": page.user,
                "seen": page.n_seen,
                "latest": [film(item) for item in page.latest],
                "recommendations": [film(item) for item in page.offered],
                "held_out": [{**film(item), "place": place} for item, place in page.held_out.items()],
            }
            for page in pages
        ],
    }


if __name__ == "__main__":
    run(main)
