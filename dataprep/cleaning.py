"""Cleaning of titles, years, genres, ages and dates; repeated rows; the hash that orders tied events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from reccore.arrays import BoolArray, IntArray, offsets_from_lengths

# "Heat (1995)", "Death Note (2006–2007)", "Cosmos (1994– )", "Land Before Time III (1995) (V)"
_TITLE_YEAR = (
    r"(?s)^(?P<title>.*?)\s*\(\s*(?P<year>(?:18|19|20)[0-9]{2})\s*(?:[-–—/]\s*(?:[0-9]{2,4})?\s*)?\)"
    r"\s*(?:\((?:V|TV|VG)\)\s*)?$"
)
_YEAR = r"(?P<year>(?:18|19|20)[0-9]{2})"
# "unkonwn" is how the RecBole files spell the film that ml-100k calls "unknown".
_NO_GENRE = ("", "(no genres listed)", "unknown", "unkonwn")
_NO_TITLE = ("unknown", "unkonwn")

_DATE = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}:[0-9]{2})(?P<seconds>:[0-9]{2})?(?:[.,](?P<fraction>[0-9]+))?)?"
    r" ?(?:Z|UTC|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?$"
)

# Lower ends and names of the age groups in the README of ml-1m.
_AGE_FROM = (18, 25, 35, 45, 50, 56)
_AGE_GROUPS = ("Under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
ML_1M_OCCUPATIONS = (
    "other or not specified", "academic/educator", "artist", "clerical/admin", "college/grad student",
    "customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student",
    "lawyer", "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip


def split_titles(titles: pa.Array, *, unknown_words: bool = False) -> tuple[pa.Array, pa.Array]:
    """Split titles into the title proper and the year in trailing parentheses.

    Args:
        titles: (n,) strings, such as ``Heat (1995)``.
        unknown_words: whether the title "unknown" means no title, as in ml-100k.

    Returns:
        Titles (n,) without the year, and years (n,) int16, null if the title has none. Of a span such as
        ``2006–2007`` the first year is taken. A title that is only a year is not changed.
    """
    parts = pc.extract_regex(titles, _TITLE_YEAR)
    stem = pc.struct_field(parts, "title")
    usable = pc.fill_null(pc.not_equal(stem, ""), False)
    title = pc.utf8_trim_whitespace(pc.if_else(usable, stem, titles))
    year = pc.if_else(usable, pc.struct_field(parts, "year"), pa.scalar(None, pa.string())).cast(pa.int16())
    if unknown_words:
        title = pc.if_else(pc.is_in(title, value_set=pa.array(_NO_TITLE)), "", title)
    return title, year


def find_years(texts: pa.Array) -> pa.Array:
    """(n,) int16, the first four-digit year of each text, such as ``01-Jan-1995``; null if there is none."""
    return pc.struct_field(pc.extract_regex(texts, _YEAR), "year").cast(pa.int16())


def split_genres(texts: pa.Array, separator: str) -> pa.Array:
    """Genre lists of texts such as ``Action|Comedy``; empty for "(no genres listed)" and "unknown"."""
    return clean_genres(pc.split_pattern(texts, separator))


def split_genre_texts(texts: pa.Array) -> pa.Array:
    """Genre lists of a column of texts: ``A|B``, ``A, B``, ``A; B``, ``[A, B]`` or ``['A', 'B']``.

    The separator is one for the whole column: a bar if one occurs, else a semicolon, else a comma.
    """
    inside = pc.utf8_trim(pc.utf8_trim_whitespace(texts), "[]")
    separator = next((one for one in "|;" if pc.any(pc.match_substring(inside, one)).as_py()), ",")
    lists = pc.split_pattern(inside, separator)
    names = pc.utf8_trim(pc.utf8_trim_whitespace(pc.list_flatten(lists)), "\"'")
    return clean_genres(pa.ListArray.from_arrays(lists.offsets, names))


def clean_genres(lists: pa.ListArray) -> pa.Array:
    """Trim every name and drop the names that mean "no genre"; a null list becomes an empty one."""
    names = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    rows = np.asarray(pc.list_parent_indices(lists))
    kept = ~np.asarray(pc.fill_null(pc.is_in(names, value_set=pa.array(_NO_GENRE, type=names.type)), False))
    kept &= np.asarray(names.is_valid())
    offsets = offsets_from_lengths(np.bincount(rows[kept], minlength=len(lists)))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), names.filter(pa.array(kept)).cast(pa.string()))


def genres_from_flags(flags: npt.NDArray[np.bool_], names: Sequence[str]) -> pa.Array:
    """Genre lists of an (n, G) table of flags."""
    rows, columns = np.nonzero(flags)
    offsets = offsets_from_lengths(np.bincount(rows, minlength=len(flags)))
    values = pa.array(names, pa.string()).take(pa.array(columns))
    return clean_genres(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values))


def age_groups(ages: pa.Array) -> pa.Array:
    """Names of ml-1m's age groups for ages in years (n,); null stays null.

    The codes of ml-1m are the lowest ages of the groups (1 for under 18), so this also decodes ml-1m.
    """
    group = np.searchsorted(_AGE_FROM, np.asarray(pc.fill_null(ages, 0)), side="right")
    names = pa.array(_AGE_GROUPS).take(pa.array(group))
    return pc.if_else(ages.is_valid(), names, pa.scalar(None, pa.string()))


def parse_dates(texts: pa.Array) -> pa.Array:
    """(n,) int64 microseconds since 1970 of ISO 8601 dates and times, in UTC without an offset; null for other text."""
    parts = pc.extract_regex(pc.utf8_trim_whitespace(texts), _DATE)

    def part(name: str, default: str) -> pa.Array:
        found = pc.struct_field(parts, name)
        return pc.if_else(pc.equal(found, ""), default, found)

    plain = pc.binary_join_element_wise(
        pc.struct_field(parts, "date"), " ", part("time", "00:00"), part("seconds", ":00"), ""
    )
    seconds = pc.strptime(plain, format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True).cast(pa.int64())
    minutes = pc.add(pc.multiply(part("hours", "0").cast(pa.int64()), 60), part("minutes", "0").cast(pa.int64()))
    ahead = pc.multiply(minutes, pc.if_else(pc.equal(part("sign", "+"), "-"), -60, 60))
    micros = pc.utf8_slice_codeunits(pc.utf8_rpad(part("fraction", "0"), 6, "0"), 0, 6).cast(pa.int64())
    return pc.add(pc.multiply(pc.subtract(seconds, ahead), 10**6), micros)


def tie_hash(user: IntArray, movie: IntArray) -> npt.NDArray[np.uint64]:
    """(n,) fixed 64-bit hash of (userId, movieId): ``splitmix64(splitmix64(userId) XOR movieId)``.

    It orders events of equal user and time in releases whose files are sorted by id, where the order of the file
    would leak which film is last.
    """
    return _splitmix64(_splitmix64(user.astype(np.uint64)) ^ movie.astype(np.uint64))


def _splitmix64(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One step of Steele, Lea and Flood (2014); arithmetic modulo 2^64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def user_chunks(users: IntArray, rows: int) -> Iterator[slice]:
    """Slices of about ``rows`` rows of events grouped by user, (n,); every user is within one slice."""
    start = 0
    while start < len(users):
        stop = start + rows
        if stop < len(users):
            # Users ascend, so the last user's events end where the next id begins.
            stop = int(np.searchsorted(users, users[stop - 1], side="right"))
        yield slice(start, min(stop, len(users)))
        start = stop


def repeated_pairs(users: IntArray, movies: IntArray, rows: int) -> BoolArray:
    """(n,) whether the (user, movie) of a row also occurs on an earlier row; users must not decrease."""
    repeated = np.zeros(len(users), dtype=np.bool_)
    for part in user_chunks(users, rows):
        user, movie = users[part], movies[part]
        same_user = user[1:] == user[:-1]
        if np.all(~same_user | (movie[1:] > movie[:-1])):
            continue
        order = np.lexsort((movie, user))  # stable, so the earliest row of a pair comes first
        again = (user[order][1:] == user[order][:-1]) & (movie[order][1:] == movie[order][:-1])
        repeated[part.start + order[1:][again]] = True
    return repeated


def repeated_ids(ids: IntArray) -> BoolArray:
    """(n,) whether the id of a row also occurs on an earlier row."""
    _, first = np.unique(ids, return_index=True)
    repeated = np.ones(len(ids), dtype=np.bool_)
    repeated[first] = False
    return repeated
