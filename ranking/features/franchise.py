"""Films of the candidate's franchise in the history, by titles: Rocky, Rocky II and Rocky III are one."""

from __future__ import annotations

import re

import numpy as np

from ranking.features.declaration import FeatureBatch, FeatureTables, Fitted, Values, feature
from ranking.features.history import event_rows
from reccore import RankingSamples
from reccore.arrays import FloatArray

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


def franchises(_: RankingSamples, tables: FeatureTables, __: str) -> dict[str, Values]:
    """(N,) franchise of each film, from 1; 0 for a film whose key no other film has."""
    assert tables.items.title is not None
    keys = np.array([franchise_key(str(title)) for title in tables.items.title], dtype=np.str_)
    names, code, films = np.unique(keys, return_inverse=True, return_counts=True)
    several = (films > 1) & (names != "")
    return {"franchise": np.where(several, np.cumsum(several), 0)[code]}


@feature("cross.franchise_seen", side="pair", kind="number", requires=("items.title",), fit=franchises, default=True)
def franchise_seen(batch: FeatureBatch, fitted: Fitted) -> FloatArray:
    """log(1 + films of the history that belong to the candidate's franchise); 0 for a film without one."""
    franchise, n = fitted.state["franchise"], len(batch.queries)
    size = int(franchise.max(initial=0)) + 1
    keys = batch.once(event_rows) * size + franchise[batch.queries.history_idx]
    counts = np.bincount(keys, minlength=n * size).reshape(n, size)
    counts[:, 0] = 0
    seen = np.log1p(counts.astype(np.float32))[np.arange(n)[:, None], franchise[batch.candidates.item_idx]]
    return np.where(batch.candidates.mask, seen, np.float32(np.nan))
