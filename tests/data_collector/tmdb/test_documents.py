"""Single documents: generated ones have TMDb's format, and invalid ones are rejected with a reason."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from data_collector.tmdb import documents
from data_collector.tmdb.documents import InvalidDocumentError, parse_document
from data_collector.tmdb.shards import StoredDocument
from tests.data_collector.tmdb.documents import company, movie_document, movie_documents
from tests.data_collector.tmdb.stored import Document, broken, small, stored

DETAILS = {
    *("adult", "backdrop_path", "belongs_to_collection", "budget", "genres", "homepage", "id", "imdb_id"),
    *("origin_country", "original_language", "original_title", "overview", "popularity", "poster_path"),
    *("production_companies", "production_countries", "release_date", "revenue", "runtime", "spoken_languages"),
    *("status", "tagline", "title", "video", "vote_average", "vote_count", "credits", "keywords", "translations"),
}


def rejection(found: StoredDocument) -> InvalidDocumentError:
    with pytest.raises(InvalidDocumentError) as caught:
        parse_document(found)
    return caught.value


def place(path: str) -> tuple[Document, Any, str]:
    """A generated document without empty lists, the part of it that holds the field of a path, and the field.

    A path is such as ``credits.cast.0.id``.
    """
    lists = ("genres", "production_companies", "production_countries")
    full = next(d for d in movie_documents(100) if all(map(d.get, lists)) and d["keywords"]["keywords"])
    document = copy.deepcopy(full)
    *parents, last = path.split(".")
    part: Any = document
    for step in parents:
        part = part[int(step) if isinstance(part, list) else step]
    return document, part, last


def with_value(path: str, value: Any) -> Document:
    """A generated document with one value set."""
    document, part, last = place(path)
    part[int(last) if isinstance(part, list) else last] = value
    return document


def line(document: Document) -> StoredDocument:
    """The document as the one that was asked for."""
    body = json.dumps({"document": document}).encode()
    return broken(body, document["id"] if isinstance(document.get("id"), int) else 603)


def test_generated_documents_have_the_documented_fields() -> None:
    made = list(movie_documents(60, first=100))
    assert [document["id"] for document in made] == list(range(100, 160))
    assert all(set(document) == DETAILS for document in made)
    sizes = [len(json.dumps(document)) for document in made]
    assert 16_000 < sum(sizes) / len(sizes) < 26_000
    assert set(made[0]["credits"]["cast"][0]) ^ set(made[0]["credits"]["crew"][0]) == {
        *("cast_id", "character", "order", "department", "job")
    }
    for field in ("budget", "revenue"):
        assert 0 < sum(document[field] == 0 for document in made) < len(made)
    ids = [c["credit_id"] for d in made for part in ("cast", "crew") for c in d["credits"][part]]
    assert len(set(ids)) == len(ids)


def test_a_generated_document_is_a_function_of_its_arguments() -> None:
    first = movie_document(7)
    assert movie_document(7) == first
    assert movie_document(7, seed=1) != first
    chinese = movie_document(7, language="zh-CN")
    assert {name for name in DETAILS if chinese[name] != first[name]} <= {"title", "overview"}
    assert movie_document(8) != first


def test_people_and_companies_are_the_same_in_every_generated_movie() -> None:
    facts: dict[int, Document] = {}
    shared = 0
    for document in movie_documents(40):
        for credit in (*document["credits"]["cast"], *document["credits"]["crew"]):
            own = {"name": credit["name"], "gender": credit["gender"], "popularity": credit["popularity"]}
            shared += credit["id"] in facts
            assert facts.setdefault(credit["id"], own) == own
        assert all(firm == company(firm["id"]) for firm in document["production_companies"])
    assert shared > 100


def test_generated_documents_are_valid() -> None:
    for language in ("en-US", "zh-CN"):
        for document in movie_documents(20, language=language):
            movie = parse_document(stored(document))
            assert movie.title == document["title"]
            assert [credit.character for credit in movie.credits.cast] == [
                credit["character"] for credit in document["credits"]["cast"]
            ]
            assert [credit.job for credit in movie.credits.crew] == [c["job"] for c in document["credits"]["crew"]]


def test_unknown_fields_are_ignored() -> None:
    document = small(softness=3, credits={"cast": [], "crew": [], "ghosts": [{"id": "x"}]}, tags=[[["deep"]]])
    assert parse_document(stored(document)).title == "The Matrix"


@pytest.mark.parametrize(
    "path",
    [
        *("id", "title", "original_title", "genres", "credits", "keywords"),
        *("credits.cast", "credits.crew", "credits.cast.0.id", "credits.crew.3.credit_id", "keywords.keywords"),
        *(
            "genres.0.name",
            "production_companies.0.id",
            "translations.translations",
            "translations.translations.0.data",
        ),
    ],
)
def test_a_missing_required_field_rejects_the_document(path: str) -> None:
    document, part, field = place(path)
    del part[field]
    why = rejection(line(document))
    assert why.reason == documents.MISSING
    assert f"`{field}`" in why.detail


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("id", "603"), ("id", None), ("id", 6.5), ("id", True), ("title", 300), ("genres", {}), ("genres.0", 18)),
        *(("credits", []), ("credits.cast", None), ("credits.cast.0", "Keanu"), ("credits.cast.0.credit_id", 5)),
        *(("credits.cast.1.order", "1"), ("credits.crew.0.popularity", "high"), ("budget", "63000000")),
        *(("runtime", 136.5), ("vote_average", "8.2"), ("release_date", 1999), ("overview", ["a"])),
        *(("production_countries", None), ("keywords.keywords.0.name", False), ("translations", [])),
    ],
)
def test_a_value_of_another_type_rejects_the_document(path: str, value: Any) -> None:
    why = rejection(line(with_value(path, value)))
    assert why.reason == documents.WRONG_TYPE
    assert f"$.document.{path.partition('.')[0]}" in why.detail


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("id", -1), ("id", 2**63), ("credits.cast.0.id", -7), ("credits.crew.0.id", 10**40)),
        *(("production_companies.0.id", -1), ("budget", 2**63), ("revenue", -(2**63) - 1), ("runtime", 10**30)),
        *(("credits.cast.0.credit_id", ""), ("credits.cast.0.order", 2**64)),
    ],
)
def test_numbers_beyond_64_bits_and_invalid_keys_reject_the_document(path: str, value: Any) -> None:
    assert rejection(line(with_value(path, value))).reason == documents.OUT_OF_RANGE


def test_a_float_beyond_64_bits_rejects_the_document() -> None:
    body = json.dumps({"document": small(popularity=1.5)}).replace("1.5", "1e999").encode()
    assert rejection(broken(body)).reason == documents.OUT_OF_RANGE


GOOD = json.dumps({"document": small()}).encode()


@pytest.mark.parametrize(
    "body",
    [
        GOOD[:-9],
        GOOD + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        b"<html>502 Bad Gateway</html>",
        GOOD.replace(b"The Matrix", b"The \xff Matrix"),
        GOOD.replace(b"The Matrix", b"\\ud83d"),
        GOOD.replace(b"603", b"NaN"),
        b'{"document": {"x": ' + b"[" * 200_000,
        b'{"document": {"x": ' + b'{"y":' * 200_000,
    ],
)
def test_what_is_not_json_is_rejected(body: bytes) -> None:
    assert rejection(broken(body)).reason == documents.NOT_JSON


def test_other_faults() -> None:
    assert rejection(broken(b"[1]")).reason == documents.WRONG_TYPE
    assert rejection(broken(b'{"document": null}')).reason == documents.WRONG_TYPE
    assert rejection(broken(b'{"document": {"success": false, "status_code": 34}}')).reason == documents.MISSING
    assert rejection(broken(b"")).reason == documents.DAMAGED
    why = rejection(broken(json.dumps({"document": small(604)}).encode()))
    assert (why.reason, why.detail) == (documents.OTHER_MOVIE, "its id is 604, requested was 603")
    assert str(why) == "document of another movie: its id is 604, requested was 603"


def test_the_first_of_entries_with_equal_keys_is_kept() -> None:
    def person(person_id: int, credit_id: str, **more: Any) -> Document:
        return {"id": person_id, "credit_id": credit_id, **more}

    cast = [person(1, "a", character="Neo"), person(1, "b"), person(2, "a", character="Other")]
    crew = [person(1, "c", job="Director"), person(3, "b", job="Writer"), person(4, "c"), person(1, "d")]
    firms = [{"id": 9, "name": "first"}, {"id": 8}, {"id": 9, "name": "second"}]
    movie = parse_document(stored(small(credits={"cast": cast, "crew": crew}, production_companies=firms)))
    assert [(credit.id, credit.credit_id) for credit in movie.credits.cast] == [(1, "a"), (1, "b")]
    assert movie.credits.cast[0].character == "Neo"
    assert [(credit.id, credit.credit_id) for credit in movie.credits.crew] == [(1, "c"), (1, "d")]
    assert [(firm.id, firm.name) for firm in movie.production_companies] == [(9, "first"), (8, None)]
