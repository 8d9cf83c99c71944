"""Search, films, similar films, users, and the model's facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from reccore import IdMap, ItemTable, Workspace
from serving.catalogue import ids_with_prefix
from serving.posters import TMDB_NOTICE, Posters
from serving.search import FilmSearch
from tests.pipeline.small import CLUSTERS, N_MOVIES, N_RATINGS, N_USERS, movie_id, user_id
from tests.serving.conftest import Start, error_of, service_of

FILMS = [
    ("Star Wars", 1977, 583),
    ("Empire Strikes Back, The", 1980, 368),
    ("Star Trek: First Contact", 1996, 365),
    ("Titanic", 1997, 350),
    ("Chambermaid on the Titanic, The", 1998, 5),
    ("Matrix, The", 1999, 300),
    ("Matrix Reloaded, The", 2003, 200),
    ("City of Lost Children, The (Cité des enfants perdus, La)", 1995, 90),
    ("Léon: The Professional", 1994, 120),
    ("Toy Story", 1995, 452),
    ("Toy Story 2", 1999, 290),
    ("12 Angry Men", 1957, 125),
    ("Schindler's List", 1993, 298),
    ("千と千尋の神隠し", 2001, 77),
    ("", 0, 9),
]


@pytest.fixture(scope="module")
def search() -> FilmSearch:
    items = ItemTable(
        n_items=len(FILMS),
        title=np.array([film[0] for film in FILMS], dtype=object),
        year=np.array([film[1] for film in FILMS], dtype=np.int64),
    )
    return FilmSearch(items, np.argsort([-film[2] for film in FILMS]))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tita", ["Titanic", "Chambermaid on the Titanic, The"]),
        ("TITANIC", ["Titanic", "Chambermaid on the Titanic, The"]),
        ("titnaic", ["Titanic", "Chambermaid on the Titanic, The"]),
        ("star", ["Star Wars", "Star Trek: First Contact"]),
        ("star t", ["Star Trek: First Contact"]),
        ("star wras", ["Star Wars"]),
        ("trek star", ["Star Trek: First Contact"]),
        ("the matrix", ["Matrix, The", "Matrix Reloaded, The"]),
        ("Matrix, The", ["Matrix, The", "Matrix Reloaded, The"]),
        ("matrx", ["Matrix, The", "Matrix Reloaded, The"]),
        ("matrix 2003", ["Matrix Reloaded, The"]),
        ("The Matrix (1999)", ["Matrix, The"]),
        ("1995", ["Toy Story", "City of Lost Children, The (Cité des enfants perdus, La)"]),
        ("leon", ["Léon: The Professional"]),
        ("enfants perdus", ["City of Lost Children, The (Cité des enfants perdus, La)"]),
        ("toystory", ["Toy Story", "Toy Story 2"]),
        ("toy story", ["Toy Story", "Toy Story 2"]),
        ("toy story 2", ["Toy Story 2"]),
        ("schindlers", ["Schindler's List"]),
        ("shindler", ["Schindler's List"]),
        ("empier strikes", ["Empire Strikes Back, The"]),
        ("12 ang", ["12 Angry Men"]),
        ("千と", ["千と千尋の神隠し"]),
        ("xylophone", []),
        ("a" * 5_000, []),
        ("zz " * 500, []),
    ],
)
def test_films_are_found_as_people_type(search: FilmSearch, query: str, expected: list[str]) -> None:
    assert [FILMS[item][0] for item in search.find(query, 10).tolist()] == expected


@pytest.mark.parametrize("query", ["", "  ", "?!", "()"])
def test_an_empty_query_finds_the_most_rated(search: FilmSearch, query: str) -> None:
    assert [FILMS[item][0] for item in search.find(query, 3).tolist()] == ["Star Wars", "Toy Story", FILMS[1][0]]


def test_a_catalogue_without_titles_finds_nothing() -> None:
    empty = FilmSearch(ItemTable(n_items=3), np.arange(3))
    assert len(empty.find("star", 5)) == 0
    assert len(empty.find("", 5)) == 3


def test_search_over_http(client: TestClient) -> None:
    found = client.get("/v1/movies", params={"query": "the film 12", "limit": 5}).json()["movies"]
    assert found[0]["movie_id"] == movie_id(12)
    assert found[0]["title"] == "The Film 12"
    assert found[0]["label"] == "The Film 12 (1992)"
    assert len(found) == 5
    most = client.get("/v1/movies").json()["movies"]
    counts = [film["ratings"] for film in most]
    assert counts == sorted(counts, reverse=True)
    error_of(client.get("/v1/movies", params={"query": "x" * 201}), 422, "invalid_request")
    assert error_of(client.get("/v1/movies?limit=0"), 422, "invalid_request").keys() == {"limit"}


def test_facts_of_one_film(client: TestClient) -> None:
    film = client.get(f"/v1/movies/{movie_id(3)}").json()
    assert (film["genres"], film["year"], film["poster"]) == ([CLUSTERS[3], "Short"], 1983, None)
    assert film["ratings"] > 0
    assert 1 <= film["mean_rating"] <= 5
    error_of(client.get("/v1/movies/1"), 404, "not_found")
    assert error_of(client.get("/v1/movies/abc"), 422, "invalid_request").keys() == {"movie_id"}
    error_of(client.get(f"/v1/movies/{2**63}"), 422, "invalid_request")


def test_similar_films(client: TestClient) -> None:
    path = f"/v1/movies/{movie_id(3)}/similar"
    found = client.get(path, params={"k": 4}).json()
    assert (found["channel"], found["movie_id"], len(found["movies"])) == ("itemcf", movie_id(3), 4)
    scores = [film["score"] for film in found["movies"]]
    assert scores == sorted(scores, reverse=True)
    assert movie_id(3) not in [film["movie_id"] for film in found["movies"]]
    assert client.get(path, params={"channel": "two_tower"}).json()["channel"] == "two_tower"
    assert error_of(client.get(path, params={"channel": "popularity"}), 422, "invalid_request").keys() == {"channel"}
    error_of(client.get("/v1/movies/1/similar"), 404, "not_found")


def test_users_are_found_by_the_beginning_of_their_id(client: TestClient) -> None:
    found = client.get("/v1/users", params={"query": "1", "limit": 100}).json()["users"]
    wanted = [user_id(u) for u in range(N_USERS) if str(user_id(u)).startswith("1")]
    assert [user["user_id"] for user in found] == wanted
    assert found[0]["events"] == N_RATINGS
    assert "Short" in found[0]["genres"]
    assert len(found[0]["genres"]) == 3
    first = client.get("/v1/users", params={"limit": 2}).json()["users"]
    assert [user["user_id"] for user in first] == [user_id(0), user_id(1)]
    assert client.get("/v1/users", params={"query": "x"}).json()["users"] == []


NUMBERS = IdMap(np.array([-5, 0, 1, 7, 10, 12, 19, 70, 100, 123, 1999, 2**62], dtype=np.int64))
GROWN = IdMap(np.array([7, 70, 12, 1])).grown(np.array([100, 10]))
TEXTS = IdMap(np.array(["a", "ab", "abc", "b", "Ж"], dtype=object))


@pytest.mark.parametrize(
    ("ids", "prefix", "expected"),
    [
        (NUMBERS, "1", [1, 10, 12, 19, 100, 123, 1999]),
        (NUMBERS, "12", [12, 123]),
        (NUMBERS, "7", [7, 70]),
        (NUMBERS, "0", [0]),
        (NUMBERS, "-5", [-5]),
        (NUMBERS, "4", [2**62]),
        (NUMBERS, "9223372036854775807", []),
        (NUMBERS, "01", []),
        (NUMBERS, "x", []),
        (GROWN, "1", [1, 10, 12, 100]),
        (TEXTS, "a", ["a", "ab", "abc"]),
        (TEXTS, "abcd", []),
        (TEXTS, "Ж", ["Ж"]),
    ],
)
def test_ids_with_a_prefix(ids: IdMap, prefix: str, expected: list[int | str]) -> None:
    assert ids.decode(ids_with_prefix(ids, prefix, 20)).tolist() == expected
    assert ids.decode(ids_with_prefix(ids, prefix, 1)).tolist() == expected[:1]


def test_the_facts_of_the_model(client: TestClient) -> None:
    info = client.get("/v1/info").json()
    assert info["model_version"] == service_of(client).model.version
    assert (info["movies"], info["users"]) == (N_MOVIES, N_USERS)
    assert info["channels"] == ["popularity", "itemcf", "mf", "two_tower"]
    assert info["similarity_channels"] == ["itemcf", "mf", "two_tower"]
    assert (info["ranker"], info["reranker"]) == ("deepfm", "mmr")
    assert info["genres"] == sorted([*CLUSTERS, "Short"])
    assert info["years"] == [1980, 2009]
    assert (info["rating_scale"], info["rating_step"]) == ([1.0, 5.0], 0.5)
    assert (info["has_diversity"], info["default_diversity"]) == (True, 0.3)


def test_posters_are_served_where_they_are(start: Start, trained: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "posters"
    folder.mkdir()
    (folder / f"{movie_id(3)}.jpg").write_bytes(b"\xff\xd8image")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    client = start(posters=str(folder))
    poster = client.get(f"/v1/movies/{movie_id(3)}").json()["poster"]
    assert poster == f"/posters/{movie_id(3)}.jpg"
    answer = client.get(poster)
    assert (answer.content, answer.headers["content-type"]) == (b"\xff\xd8image", "image/jpeg")
    assert client.get(f"/v1/movies/{movie_id(4)}").json()["poster"] is None
    assert client.get("/v1/info").json()["posters"] == 1
    for name in (movie_id(4), "..%2Fsecret", "../secret", "%2e%2e/secret"):
        error_of(client.get(f"/posters/{name}.jpg"), 404, "not_found")


def test_posters_of_the_crawler_are_found_by_the_links(start: Start, own: Workspace) -> None:
    folder = own.raw / "tmdb" / "posters" / "w342"
    folder.mkdir(parents=True)
    (folder / "abc.jpg").write_bytes(b"\xff\xd8image")
    (own.processed / "tmdb").mkdir()
    links = {"movieId": [movie_id(3), movie_id(4), movie_id(5)], "tmdbId": [11, 12, None]}
    movies = {"tmdbId": [11, 12], "posterPath": ["/abc.jpg", None]}
    pq.write_table(pa.table(links), own.processed / "links.parquet")
    pq.write_table(pa.table(movies), own.processed / "tmdb" / "movies.parquet")
    client = start(data_root=str(own.root))
    found = [client.get(f"/v1/movies/{movie_id(m)}").json()["poster"] for m in (3, 4, 5)]
    assert found == [f"/posters/{movie_id(3)}.jpg", None, None]
    assert client.get(found[0]).content == b"\xff\xd8image"
    assert client.get("/v1/info").json()["notice"] == TMDB_NOTICE


def test_without_posters_there_is_no_notice(start: Start, trained: Workspace) -> None:
    info = start(data_root=str(trained.root)).get("/v1/info").json()
    assert (info["notice"], info["posters"]) == (None, 0)


def test_ids_of_text_name_no_files(tmp_path: Path) -> None:
    (tmp_path / "5.jpg").write_bytes(b"image")
    posters = Posters.named_by_id(tmp_path)
    assert posters.of(5) == tmp_path / "5.jpg"
    assert posters.of("5") is None


@pytest.mark.parametrize(
    "name", ["../app.py", "..%2fapp.py", "%2e%2e/settings.py", "index.html/", ".hidden", "x.exe", "nothing.js", ""]
)
def test_only_files_of_the_page_are_served(client: TestClient, name: str) -> None:
    error_of(client.get(f"/static/{name}"), 404, "not_found")


def test_the_page_is_served(client: TestClient) -> None:
    for path in ("/", "/static/index.html"):
        answer = client.get(path)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")
