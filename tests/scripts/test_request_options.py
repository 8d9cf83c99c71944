"""Options of recommend and explain that say more than whose list it is; each one changes the list."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import ItemFilter, Pipeline
from pipeline.reasons import reasons
from reccore import Workspace
from tests.pipeline.conftest import pipeline
from tests.pipeline.small import movie_id, user_id
from tests.scripts.conftest import Command

__all__ = ["pipeline"]
USER = user_id(4)


def films(command: Command, trained: Workspace, *options: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = command(
        "recommend", "--data_dir", trained.root, "--user", USER, "--k", 6, "--json", *options
    ).json["recommendations"]
    return found


@pytest.mark.parametrize(
    ("options", "filters"),
    [
        (("--genres", "Drama,horror"), ItemFilter(genres=("Drama", "Horror"))),
        (("--not_genres", "Action"), ItemFilter(not_genres=("Action",))),
        (("--year_from", 1995), ItemFilter(year_from=1995)),
        (("--year_to", 1990), ItemFilter(year_to=1990)),
        (("--min_ratings", 12), ItemFilter(min_ratings=12)),
        (("--genres", "Comedy", "--year_from", 1985, "--set", "year_to=1999"), ItemFilter(("Comedy",), (), 1985, 1999)),
    ],
)
def test_filters(
    command: Command, trained: Workspace, pipeline: Pipeline, options: tuple[object, ...], filters: ItemFilter
) -> None:
    found = films(command, trained, *options)
    expected = pipeline.recommend(user=USER, k=6, filters=filters).items
    assert [film["movie_id"] for film in found] == [item.movie_id for item in expected]
    assert found != films(command, trained)
    assert len(found) == 6


def test_films_to_include_by_id_and_by_title(command: Command, trained: Workspace) -> None:
    plain = films(command, trained)
    found = films(command, trained, "--must_include", f"film 33,{movie_id(158)}")
    assert {movie_id(33), movie_id(158)} <= {film["movie_id"] for film in found}
    assert len(found) == len(plain)
    root = ("--data_dir", trained.root, "--user", USER, "--k", 6)
    text = command("recommend", *root, "--must_include", movie_id(158)).out
    assert "–     not chosen, and in the list because it must be" in text
    assert "not chosen" not in command("recommend", *root).out
    assert (
        "must_include has 2 films and the list only 1"
        in command("recommend", *root, "--must_include", "film 33,film 5", "--k", 1).sentence
    )
    why = command("explain", *root, "--movie", movie_id(158), "--must_include", movie_id(158)).out
    assert "Recommended: the request must include it, which gives it place 6 of the list" in why


def test_diversity(command: Command, trained: Workspace, pipeline: Pipeline) -> None:
    orders = {d: [film["movie_id"] for film in films(command, trained, "--diversity", d)] for d in (0, 1)}
    ranked = [item.movie_id for item in pipeline.recommend(user=USER, k=6, diversity=0.0).items]
    assert orders[0] == ranked != orders[1]
    text = command("recommend", "--data_dir", trained.root, "--user", USER, "--diversity", 0.9).out
    assert "0.1 × relevance − 0.9 × similarity" in text
    root = ("--data_dir", trained.root, "--user", USER)
    assert (
        "diversity: Input should be less than or equal to 1" in command("recommend", *root, "--diversity", 2).sentence
    )


def test_reasons(command: Command, trained: Workspace, pipeline: Pipeline) -> None:
    request, _ = pipeline.request(user=USER, k=6)
    expected = reasons(pipeline, request, pipeline.run_request(request)[0])
    found = films(command, trained, "--reasons")
    for film, of_film in zip(found, expected, strict=True):
        assert [reason["movie_id"] for reason in film["reasons"]] == [reason.movie_id for reason in of_film]
    assert "reasons" not in films(command, trained)[0]
    root = ("--data_dir", trained.root, "--user", USER)
    text = command("recommend", *root, "--k", 6, "--reasons").out
    first = next(of_film[0] for of_film in expected if of_film)
    assert f"because of {first.title} (+{first.lift:.2f})" in text
    lifted = next(film for film in found if film["reasons"])
    explained = command("explain", *root, "--movie", lifted["movie_id"], "--reasons")
    assert f"  {lifted['reasons'][0]['title']}" in explained.out.partition("Films of the history that lift it")[2]
    again = command("explain", *root, "--movie", lifted["movie_id"], "--reasons", "--json").json["reasons"]
    assert again[0]["movie_id"] == lifted["reasons"][0]["movie_id"]
    seen = pipeline.recommend(user=USER).history[0]
    assert "No film of the history lifts it" in command("explain", *root, "--movie", seen, "--reasons").out


def test_explain_knows_the_filter(command: Command, trained: Workspace) -> None:
    first = films(command, trained)[0]
    root = ("--data_dir", trained.root, "--user", USER, "--movie", first["movie_id"])
    text = command("explain", *root, "--year_from", first["year"] + 1).out
    assert f"Dropped by a filter: the filter of the request rejects it: it is of {first['year']}." in text
    split = command("explain", *root, "--split", "test", "--year_from", 1990)
    assert "which has no --year_from; leave out one of the two" in split.sentence


def test_one_channel_takes_filters_and_nothing_of_the_chain(command: Command, trained: Workspace) -> None:
    found = films(command, trained, "--channel", "mf", "--genres", "Horror")
    assert all("Horror" in film["genres"] for film in found)
    root = ("--data_dir", trained.root, "--user", USER, "--channel", "mf")
    for option in (("--must_include", 5), ("--diversity", 0.5), ("--reasons",)):
        sentence = command("recommend", *root, *option).sentence
        assert f"shows the list of one channel alone, where {option[0]} has no place" in sentence
    short = command("recommend", *root, "--genres", "Horror", "--k", 100).out
    assert "mf has a score for no more that the filter admits" in short


def test_a_list_that_the_filter_keeps_short_says_so(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root, "--user", USER)
    text = command("recommend", *root, "--genres", "Horror", "--year_to", 1985, "--k", 20).out
    assert "of 20 films: no channel has another film that the filter admits" in text
    assert "of 100 films: the pipeline keeps at most 25" in command("recommend", *root, "--k", 100).out
    wrong = command("recommend", *root, "--genres", "Horor").sentence
    assert "no film has the genre 'Horor'; known: Action, Comedy, Drama, Horror, Short" in wrong
