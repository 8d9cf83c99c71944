"""Franchises: films whose titles share a name, such as Rocky and Rocky III."""

from __future__ import annotations

import re

import numpy as np

from reccore.arrays import IntArray

_BRACKETS = re.compile(r"\([^)]*\)")
_ARTICLE = re.compile(r",\s*(the|an?|le|la|les|l'|el|los|las|il|der|die|das)\s*$")
_NUMBER = r"(\d{1,2}|\d/\d|[ivx]{1,5}|one|two|three|four|five)"
_INSTALMENT = re.compile(rf"(\s+(part|episode|chapter|volume|vol\.?|no\.?))?(\s+{_NUMBER})+\s*$")
_OTHER = re.compile(r"[\W_]+")


def franchise_key(title: str) -> str:
    """What titles of one franchise share: lower case, without subtitle, number of the instalment, article and brackets.

    ``Rocky III`` → ``rocky``; ``Godfather: Part II, The`` → ``godfather``; ``Naked Gun 33 1/3: The Final Insult`` →
    ``naked gun``; ``Apollo 13`` → ``apollo``, which does no harm as long as no other film is called so.
    """
    name = _BRACKETS.sub(" ", title).lower().split(":")[0]
    name = _ARTICLE.sub("", name.strip())
    return _OTHER.sub(" ", _INSTALMENT.sub("", name)).strip()


def franchise_codes(titles: np.ndarray) -> IntArray:
    """(N,) franchise of each film, from 1; 0 for a film whose key no other film has."""
    keys = np.array([franchise_key(str(title)) for title in titles], dtype=np.str_)
    names, code, films = np.unique(keys, return_inverse=True, return_counts=True)
    several = (films > 1) & (names != "")
    codes: IntArray = np.where(several, np.cumsum(several), 0)[code]
    return codes
