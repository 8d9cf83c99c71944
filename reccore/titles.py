"""Titles as people write them: MovieLens puts the article last, as in ``Empire Strikes Back, The``."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ARTICLES = (
    *("the", "a", "an"),
    *("le", "la", "les", "l'", "un", "une"),
    *("il", "lo", "i", "gli", "una"),
    *("el", "los", "las", "o", "os", "as"),
    *("der", "die", "das", "ein", "eine"),
    *("den", "det", "en", "de", "het"),
)
_LAST = re.compile(rf"(?P<rest>[^()]*\S), (?P<article>{'|'.join(ARTICLES)})(?=\)|\s*\(|\s*$)", re.IGNORECASE)
_FIRST = re.compile(r"(?:the|an?) ")
_NOT_WORD = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 15)  # lists show the same films again and again
def natural_title(title: str) -> str:
    """The title with its article in front, in further titles in parentheses too.

    ``City of Lost Children, The (Cité des enfants perdus, La)`` → ``The City of Lost Children (La Cité des enfants
    perdus)``; ``Star Maker, The (Uomo delle stelle, L')`` → ``The Star Maker (L'Uomo delle stelle)``.
    """
    return _LAST.sub(_article_first, title) if ", " in title else title


def _article_first(found: re.Match[str]) -> str:
    article = found["article"]
    return article + ("" if article.endswith("'") else " ") + found["rest"]


def comparable_title(title: str) -> str:
    """What is compared where films are searched by title: words in lower case, without accents and punctuation."""
    plain = natural_title(title).casefold()
    if not plain.isascii():
        letters = unicodedata.normalize("NFKD", plain)
        plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _NOT_WORD.sub(" ", re.sub("['’]", "", plain)).strip()


def without_article(comparable: str) -> str:
    """A comparable title without an English article in front."""
    return _FIRST.sub("", comparable, count=1) if _FIRST.match(comparable) else comparable
