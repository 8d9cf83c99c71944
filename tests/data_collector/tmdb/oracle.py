"""An independent implementation of the tables: rows as dicts, then pandas. Slow, without shared code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from data_collector.tmdb.shards import StoredDocument

GENDERS = {1: "female", 2: "male", 3: "non-binary"}


def pandas_tables(documents: Sequence[StoredDocument]) -> dict[str, pd.DataFrame]:
    """Tables of valid documents with different fetch times."""
    oldest_first = sorted(documents, key=lambda stored: stored.fetched)
    movies: dict[int, dict[str, Any]] = {}
    credits: dict[int, list[dict[str, Any]]] = {}
    companies: dict[int, list[dict[str, Any]]] = {}
    people: dict[int, dict[str, Any]] = {}
    for stored in oldest_first:
        document = json.loads(stored.body)["document"]
        key = document["id"]
        movies[key] = _movie_record(document, stored)
        credits[key] = []
        for part in ("cast", "crew"):
            for credit in document["credits"][part]:
                credits[key].append(_credit(key, part, credit))
                people[credit["id"]] = _person(credit)
        companies[key] = [
            {
                "tmdbId": key,
                "companyId": firm["id"],
                "name": firm["name"] or None,
                "originCountry": firm["origin_country"] or None,
                "position": place,
            }
            for place, firm in enumerate(document["production_companies"])
        ]
    movie_people = pd.DataFrame([row for key in sorted(movies) for row in credits[key]])
    credited = set(movie_people["personId"])
    return {
        "movies": pd.DataFrame([movies[key] for key in sorted(movies)]),
        "people": pd.DataFrame([people[key] for key in sorted(credited)]),
        "movie_people": movie_people,
        "movie_companies": pd.DataFrame([row for key in sorted(movies) for row in companies[key]]),
    }


def _movie_record(document: dict[str, Any], stored: StoredDocument) -> dict[str, Any]:
    def told(field: str, language: str) -> str:
        entries = document["translations"]["translations"]
        return next((entry["data"][field] for entry in entries if entry["iso_639_1"] == language), "")

    original = document["original_language"]
    return {
        "tmdbId": document["id"],
        "imdbId": document["imdb_id"],
        "title": document["title"] or told("title", "en") or document["original_title"],
        "originalTitle": document["original_title"],
        "originalLanguage": original,
        "overview": document["overview"] or told("overview", "en") or told("overview", original) or None,
        "releaseDate": pd.Timestamp(document["release_date"]).date() if document["release_date"] else None,
        "runtime": document["runtime"] or None,
        "budget": document["budget"] or None,
        "revenue": document["revenue"] or None,
        "voteAverage": document["vote_average"] if document["vote_count"] else None,
        "voteCount": document["vote_count"],
        "popularity": document["popularity"],
        "genres": [genre["name"] for genre in document["genres"]],
        "keywords": [keyword["name"] for keyword in document["keywords"]["keywords"]],
        "countries": [country["iso_3166_1"] for country in document["production_countries"]],
        "spokenLanguages": [spoken["iso_639_1"] for spoken in document["spoken_languages"]],
        "posterPath": document["poster_path"],
        "language": stored.language,
        "fetched": pd.Timestamp(round(stored.fetched * 1_000), unit="ms", tz="UTC"),
    }


def _credit(key: int, part: str, credit: dict[str, Any]) -> dict[str, Any]:
    cast = part == "cast"
    return {
        "creditId": credit["credit_id"],
        "tmdbId": key,
        "personId": credit["id"],
        "department": "Acting" if cast else credit["department"],
        "job": None if cast else credit["job"],
        "character": (credit["character"] or None) if cast else None,
        "billing": credit["order"] if cast else None,
    }


def _person(credit: dict[str, Any]) -> dict[str, Any]:
    return {
        "personId": credit["id"],
        "name": credit["name"],
        "gender": GENDERS.get(credit["gender"]),
        "knownForDepartment": credit["known_for_department"],
        "popularity": credit["popularity"],
        "profilePath": credit["profile_path"],
    }
