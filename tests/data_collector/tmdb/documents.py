"""Artificial movies in the format of TMDb's answers; nothing is copied from TMDb.

The field names are those documented for version 3 of the interface: ``GET /3/movie/{id}`` with
``append_to_response=credits,keywords,translations``. What repeats over movies on TMDb repeats here too: people,
companies, genres and keywords come from pools, and a person's facts are the same in every movie of one seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

N_PEOPLE = 20_000
N_COMPANIES = 3_000
N_KEYWORDS = 5_000

GENRES = {
    12: "Adventure",
    18: "Drama",
    27: "Horror",
    28: "Action",
    35: "Comedy",
    53: "Thriller",
    878: "Science Fiction",
}
COUNTRIES = {"US": "United States of America", "CN": "China", "FR": "France", "JP": "Japan", "BR": "Brazil"}
LANGUAGES = {
    "en": ("US", "English", "English"),
    "zh": ("CN", "普通话", "Mandarin"),
    "fr": ("FR", "Français", "French"),
    "ja": ("JP", "日本語", "Japanese"),
    "pt": ("BR", "Português", "Portuguese"),
    "de": ("DE", "Deutsch", "German"),
}
JOBS = {
    "Directing": ("Director", "Script Supervisor"),
    "Writing": ("Screenplay", "Novel"),
    "Production": ("Producer", "Executive Producer", "Casting"),
    "Camera": ("Director of Photography", "Still Photographer"),
    "Sound": ("Original Music Composer", "Foley Artist"),
    "Editing": ("Editor", "Colorist"),
    "Art": ("Production Design", "Set Decoration"),
    "Crew": ("Stunts", "Thanks"),
}
_WORDS = {
    "en": ("river", "night", "return", "letter", "winter", "city", "stranger", "last", "garden", "signal"),
    "zh": ("河流", "夜晚", "归来", "信", "冬天", "城市", "陌生人", "最后", "花园", "信号"),
    "fr": ("rivière", "nuit", "retour", "lettre", "hiver", "ville", "étranger", "dernière", "jardin", "signal"),
    "ja": ("川", "夜", "帰還", "手紙", "冬", "都市", "異邦人", "最後", "庭", "信号"),
    "pt": ("rio", "noite", "regresso", "carta", "inverno", "cidade", "estranho", "última", "jardim", "sinal"),
    "de": ("Fluß", "Nacht", "Rückkehr", "Brief", "Winter", "Stadt", "Fremder", "letzte", "Garten", "Signal"),
}
_SYLLABLES = ("ka", "ri", "mon", "del", "tes", "ü", "bran", "xi", "lo", "van", "Ø", "shi", "mar", "né", "go", "wen")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def movie_document(tmdb_id: int, *, language: str = "en-US", seed: int = 0) -> dict[str, Any]:
    """What TMDb would answer for a movie, as the object that JSON gives: about 20 kB, 50 to 90 credits.

    The same arguments give the same document. The language changes only texts: ``title`` and ``overview``. Now and
    then ``budget``, ``revenue``, ``runtime`` or the votes are 0, ``release_date``, ``title`` or ``overview`` empty,
    ``imdb_id`` or ``poster_path`` null, somebody acts and directs, or a person has two jobs.

    Args:
        tmdb_id: TMDb's id of the movie, ``id`` in the document.
        language: a tag such as ``en-US``; its first part is one of ``LANGUAGES``, else texts are English.
        seed: another world; every movie and every person in it is another.
    """
    rng = random.Random(f"{seed}:{tmdb_id}")
    original = rng.choices(tuple(LANGUAGES), weights=(8, 2, 2, 2, 1, 1))[0]
    texts = {code: _texts(rng, code, original) for code in LANGUAGES}
    shown = texts.get(language.partition("-")[0], texts["en"])
    country = LANGUAGES[original][0] if LANGUAGES[original][0] in COUNTRIES else "FR"
    votes = 0 if rng.random() < 0.04 else int(rng.paretovariate(0.7))
    cast, crew = _credits(rng, tmdb_id, seed)
    return {
        "adult": False,
        "backdrop_path": _image(rng),
        "belongs_to_collection": None,
        "budget": 0 if rng.random() < 0.4 else 1_000 * rng.randint(5, 250_000),
        "genres": [{"id": code, "name": GENRES[code]} for code in rng.sample(sorted(GENRES), rng.randint(0, 3))],
        "homepage": "",
        "id": tmdb_id,
        "imdb_id": None if rng.random() < 0.03 else f"tt{rng.randint(1, 29_999_999):07d}",
        "origin_country": [country],
        "original_language": original,
        "original_title": f"{texts[original]['title']}",
        "overview": shown["overview"],
        "popularity": round(rng.paretovariate(1.2), 3),
        "poster_path": None if rng.random() < 0.05 else _image(rng),
        "production_companies": [company(code, seed) for code in _pick(rng, N_COMPANIES, rng.randint(0, 4))],
        "production_countries": [{"iso_3166_1": country, "name": COUNTRIES[country]}],
        "release_date": "" if rng.random() < 0.03 else _day(rng),
        "revenue": 0 if rng.random() < 0.45 else rng.randint(1_000, 2_000_000_000),
        "runtime": 0 if rng.random() < 0.05 else rng.randint(40, 240),
        "spoken_languages": [
            {"english_name": LANGUAGES[code][2], "iso_639_1": code, "name": LANGUAGES[code][1]}
            for code in dict.fromkeys((original, rng.choice(tuple(LANGUAGES))))
        ],
        "status": "Released",
        "tagline": "",
        "title": shown["title"] if rng.random() >= 0.02 else "",
        "video": False,
        "vote_average": round(rng.uniform(1, 10), 3) if votes else 0.0,
        "vote_count": votes,
        "credits": {"cast": cast, "crew": crew},
        "keywords": {
            "keywords": [
                {"id": 100 + code, "name": f"keyword {code}"} for code in _pick(rng, N_KEYWORDS, rng.randint(0, 12))
            ]
        },
        "translations": {"translations": _translations(texts, original)},
    }


def movie_documents(n: int, *, first: int = 1, language: str = "en-US", seed: int = 0) -> Iterator[dict[str, Any]]:
    """Documents of the movies ``first`` to ``first + n - 1``."""
    for tmdb_id in range(first, first + n):
        yield movie_document(tmdb_id, language=language, seed=seed)


@lru_cache(maxsize=2 * N_PEOPLE)
def _person(person_id: int, seed: int) -> dict[str, Any]:
    rng = random.Random(f"person {seed}:{person_id}")
    name = f"{_name(rng)} {_name(rng)}"
    return {
        "adult": False,
        "gender": rng.choices((0, 1, 2, 3), weights=(3, 8, 10, 1))[0],
        "id": person_id,
        "known_for_department": rng.choice(("Acting", *JOBS)),
        "name": name,
        "original_name": name,
        "popularity": round(rng.paretovariate(1.5), 3),
        "profile_path": None if rng.random() < 0.4 else _image(rng),
    }


def company(company_id: int, seed: int = 0) -> dict[str, Any]:
    """A production company, the same in every movie of one seed; one in ten has no known country."""
    rng = random.Random(f"company {seed}:{company_id}")
    country = "" if rng.random() < 0.1 else rng.choice(tuple(COUNTRIES))
    return {"id": company_id, "logo_path": None, "name": f"{_name(rng)} Pictures", "origin_country": country}


def _credits(rng: random.Random, tmdb_id: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cast and crew; the first actor may direct too, and crew members may appear under two jobs."""
    people = _pick(rng, N_PEOPLE, rng.randint(50, 80))
    n_cast = rng.randint(20, 35)
    crew_ids = people[n_cast:] + (people[:1] if rng.random() < 0.2 else []) + people[-1:] * rng.randint(0, 1)
    cast = [
        {
            **_person(person_id, seed),
            "cast_id": 10 + place,
            "character": "" if rng.random() < 0.05 else f"{_name(rng)} {_name(rng)}",
            "credit_id": _credit_id(tmdb_id, place),
            "order": place,
        }
        for place, person_id in enumerate(people[:n_cast])
    ]
    crew = []
    for place, person_id in enumerate(crew_ids):
        department = "Directing" if place == 0 else rng.choice(tuple(JOBS))
        job = "Director" if place == 0 else rng.choice(JOBS[department])
        credit = {"credit_id": _credit_id(tmdb_id, n_cast + place), "department": department, "job": job}
        crew.append({**_person(person_id, seed), **credit})
    return cast, crew


def _credit_id(tmdb_id: int, place: int) -> str:
    """24 hexadecimal digits, each pair of arguments its own."""
    mixed = tmdb_id * 0x9E3779B97F4A7C15 % 2**64  # odd, so that two movies below 2^64 never meet
    return f"{mixed:016x}{place:08x}"


def _texts(rng: random.Random, code: str, original: str) -> dict[str, str]:
    words = _WORDS[code]
    title = " ".join(rng.choices(words, k=rng.randint(1, 4))).capitalize()
    missing = 0.04 if code == "en" else 0.35
    overview = " ".join(rng.choices(words, k=rng.randint(20, 60))).capitalize() + "."
    return {
        "title": title if code in ("en", original) or rng.random() < 0.6 else "",
        "overview": "" if rng.random() < missing else overview,
    }


def _translations(texts: dict[str, dict[str, str]], original: str) -> list[dict[str, Any]]:
    """One entry for each language with a text; the title of the original language stays empty, as on TMDb."""
    found = []
    for code, text in texts.items():
        if not text["title"] and not text["overview"]:
            continue
        country, name, english_name = LANGUAGES[code]
        title = "" if code == original else text["title"]
        data = {"homepage": "", "overview": text["overview"], "runtime": 0, "tagline": "", "title": title}
        names = {"name": name, "english_name": english_name}
        found.append({"iso_3166_1": country, "iso_639_1": code, **names, "data": data})
    return found


def _pick(rng: random.Random, n: int, k: int) -> list[int]:
    """k different ids from 1 to n, small ones more often."""
    found: dict[int, None] = {}
    while len(found) < k:
        found[1 + int(n * rng.random() ** 2)] = None
    return list(found)


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).capitalize()


def _image(rng: random.Random) -> str:
    return "/" + "".join(rng.choices(_LETTERS, k=27)) + ".jpg"


def _day(rng: random.Random) -> str:
    return (date(1920, 1, 1) + timedelta(days=rng.randint(0, 38_000))).isoformat()
