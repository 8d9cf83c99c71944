"""One colour and one marker for each system in every figure, whatever else the figure shows.

Names that people meet have a fixed place. Any other name, such as that of an experiment, gets the place that its
letters choose, and the next free one if another name of the figure has it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from evaluation.figure_style import COLOURS, MARKERS

# Eight channels in turn share the eight colours, so the first eight differ in colour.
CHANNELS = (
    "two_tower", "itemcf", "mf", "markov", "usercf", "sasrec", "popularity", "ease",
    "dssm", "swing", "bpr", "word2vec", "itemcf_prior", "gru4rec", "rating_mf", "deepwalk",
    "youtube_dnn", "simplex", "mind", "deepwalk_users",
)  # fmt: skip
_PLACES = len(COLOURS) * len(MARKERS)


@dataclass(frozen=True)
class SystemStyle:
    """How a system is drawn."""

    colour: str
    marker: str


STAGES = {
    "merged": SystemStyle("#000000", "o"),
    "after recall": SystemStyle("#000000", "s"),
    "after ranking": SystemStyle("#7B3294", "D"),
    "after reranking": SystemStyle("#882255", "^"),
}


def system_styles(names: Iterable[str]) -> dict[str, SystemStyle]:
    """The style of each name; no two of up to 64 names have the same.

    A variant, ``itemcf (last film)`` or ``itemcf, N=3``, has the colour of its channel and another marker.
    """
    names = list(names)
    styles = {
        name: STAGES[name] if name in STAGES else _style(CHANNELS.index(name)) for name in filter(_is_known, names)
    }
    for name in sorted(name for name in names if not _is_known(name)):
        base = name.partition(" (")[0].partition(",")[0]
        place, step = zlib.crc32(name.encode()) % _PLACES, 1
        if base in CHANNELS:
            place, step = CHANNELS.index(base) + len(COLOURS), len(COLOURS)
        for _ in range(_PLACES):
            if _style(place) not in styles.values():
                break
            place += step
        styles[name] = _style(place)
    return {name: styles[name] for name in names}


def series_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, for figures without markers: known systems keep theirs, the others get what is left."""
    names = list(names)
    fixed = {name: style.colour for name, style in system_styles(filter(_is_known, names)).items()}
    others = [name for name in names if name not in fixed]
    left = [colour for colour in COLOURS if colour not in fixed.values()] or list(COLOURS)
    return {**fixed, **{name: left[i % len(left)] for i, name in enumerate(others)}}


def _is_known(name: str) -> bool:
    return name in CHANNELS or name in STAGES


def _style(place: int) -> SystemStyle:
    """Neighbours differ in colour; eight places further the colour is the same and the marker the next one."""
    return SystemStyle(COLOURS[place % len(COLOURS)], MARKERS[(place // len(COLOURS) + place) % len(MARKERS)])
