"""Small data sets that are hard to read and to sort: ties, repeated and malformed rows, CRLF, quotes, unknown films."""

from __future__ import annotations

import numpy as np


def hard_csv(seed: int = 0, n_users: int = 60, n_items: int = 40) -> dict[str, bytes]:
    """Files in the layout of ml-20m: sorted by nothing, so that Spark has something to do."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in rng.permutation(n_users) + 1:
        films = rng.permutation(n_items)[: rng.integers(1, n_items // 2)] + 1
        times = 1_000_000_000 + 86_400 * rng.integers(0, 6, len(films))  # few times, so many ties
        rows += [f"{user},{film},{rng.integers(1, 11) / 2},{time}" for film, time in zip(films, times, strict=True)]
    rows = [rows[at] for at in rng.permutation(len(rows))]
    again = [f"{row.rsplit(',', 1)[0]},{1_000_000_001 + at}" for at, row in enumerate(rows[::20])]  # repeated pairs
    bad = ["7,3", "x,3,4.0,1000000000", "7,3,9.5,1000000000", "-7,3,4.0,1000000000", "", "7,3,nan,5", '7,"3,4.0,5']
    for at, row in enumerate([*again, *bad]):
        rows.insert(int(rng.integers(0, len(rows))) if at % 2 else len(rows), row)
    rows.append(f"{n_users + 1},{n_items + 5},4.0,1000000000")  # a film that movies.csv does not list
    films = [f'{n},"Film, {n} ""é"" ({1990 + n})",Drama|Comedy' for n in range(1, n_items + 1)]
    films.insert(3, '2,"Again (1999)",Drama')
    tags = [f"{u},{m},Tag {(u + m) % 3},{1_000_000_000 + u}" for u in range(1, 9) for m in range(1, 9)]
    return {
        "ratings.csv": ("\r\n".join(["userId,movieId,rating,timestamp", *rows]) + "\r\n").encode(),
        "movies.csv": ("\r\n".join(["movieId,title,genres", *films]) + "\r\n").encode(),
        "tags.csv": ("\n".join(["userId,movieId,tag,timestamp", *tags]) + "\n").encode(),
    }


def hard_dat(seed: int = 1, n_users: int = 30, n_items: int = 25) -> dict[str, bytes]:
    """Files in the layout of ml-1m, whose ties keep the order of the file: Latin-1 titles, no line end at the end."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in rng.permutation(n_users * n_items)[: n_users * n_items // 2]:
        user, film = at // n_items + 1, at % n_items + 1
        rows.append(f"{user}::{film}::{rng.integers(1, 6)}::{978_300_000 + rng.integers(0, 4)}")
    rows[5:5] = [rows[0], "1::2::6::978300000", "1:2:3:4"]
    films = [f"{n}::Café {n} (1995)::Drama|Musical" for n in range(1, n_items + 1)]
    users = [f"{n}::{'FM'[n % 2]}::25::{n % 20}::4806{n % 7}" for n in range(1, n_users + 1)]
    return {
        "ratings.dat": "\n".join(rows).encode(),
        "movies.dat": ("\n".join(films) + "\n").encode("latin-1"),
        "users.dat": ("\n".join(users) + "\n").encode(),
    }
