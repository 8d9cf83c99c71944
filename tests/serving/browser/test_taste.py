"""A taste of one's own: search, rate, remove, undo; and a stored user's, with live events."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import changed, history, pick_user, rate, settled, taste_search, titles

pytestmark = pytest.mark.slow


def test_three_ratings_change_the_list(open_page: Open) -> None:
    page = open_page()
    first = titles(page)
    assert len(first) == 12
    assert page.get_by_role("heading", level=1).inner_text() == "Start with a film you love"
    rated = [rate(page, text, stars) for text, stars in (("Film 12", 5), ("Film 16", 4), ("Film 23", 2))]
    assert history(page) == rated[::-1]
    now = titles(page)
    assert now != first
    assert not {title.split(" (")[0] for title in now} & set(rated)  # what is rated is not offered
    assert page.get_by_role("heading", level=1).inner_text() == "12 films for your taste"


def test_search_tolerates_typos_and_completes_words(open_page: Open) -> None:
    page = settled(open_page())
    for text, expected in (("flim 15", "The Film 15"), ("fil", "The Film")):
        taste_search(page).fill(text)
        page.locator(".taste [role=option]").filter(has_text=expected).first.wait_for()


def test_removing_a_rating_can_be_undone(open_page: Open) -> None:
    page = open_page()
    popular = titles(page)
    film = rate(page, "Film 12", 5)
    with_film = titles(page)
    page.get_by_role("button", name=f"Remove {film}").click()
    assert changed(page, with_film) == popular
    assert history(page) == []
    page.get_by_role("button", name="Undo").click()
    assert changed(page, popular) == with_film
    assert history(page) == [film]


def test_starting_over_can_be_undone(open_page: Open) -> None:
    page = open_page()
    rated = [rate(page, text, 4) for text in ("Film 12", "Film 16")]
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("heading", level=1, name="Start with a film you love").wait_for()
    assert history(page) == []
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("heading", level=1, name="12 films for your taste").wait_for()
    assert history(page) == rated[::-1]


def test_a_changed_rating_changes_the_list(open_page: Open) -> None:
    page = open_page()
    rate(page, "Film 12", 5)
    film = rate(page, "Film 13", 5)
    liked = titles(page)
    stars = page.locator(".history").get_by_role("slider", name=f"Your rating of {film}")
    assert stars.get_attribute("aria-valuetext") == "5 of 5 stars"
    stars.press("Home")
    stars.press("Enter")
    assert changed(page, liked) != liked
    assert page.locator(".history .stars").first.get_attribute("aria-valuetext") == "1 of 5 stars"


def test_stars_of_a_card_rate_its_film_in_halves(open_page: Open) -> None:
    page = open_page()
    before = titles(page)
    stars = page.locator("#films .stars").first
    box = stars.bounding_box()
    stars.click(position={"x": box["width"] * 0.68, "y": box["height"] / 2})  # in the left half of the fourth star
    changed(page, before)
    assert history(page) == [before[0].split(" (")[0]]
    assert page.locator(".history .stars").get_attribute("aria-valuetext") == "3.5 of 5 stars"


def test_the_taste_outlives_a_reload(open_page: Open) -> None:
    page = open_page()
    film = rate(page, "Film 12", 5)
    with_film = titles(page)
    page.reload()
    assert titles(page) == with_film
    assert history(page) == [film]


def stored_events(address: str, user: int) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/v1/users/{user}/history?limit=100") as answer:
        events: list[dict[str, Any]] = json.load(answer)["events"]
        return events


def test_rating_as_a_user_is_a_live_event_until_undone(open_page: Open, address: str) -> None:
    page = open_page()
    first = pick_user(page, 13)
    before = stored_events(address, 13)
    page.locator("#films .stars").first.press("4")
    now = changed(page, first)
    assert first[0] not in now
    latest = stored_events(address, 13)[0]
    assert (f"{latest['title']} ({latest['year']})", latest["rating"]) == (first[0], 4)
    assert latest["event_id"] is not None
    page.get_by_role("button", name="Undo").click()
    assert changed(page, now) == first
    assert stored_events(address, 13) == before


def test_users_are_found_with_their_genres(open_page: Open) -> None:
    page = settled(open_page())
    page.get_by_role("button", name="A user's").click()
    page.get_by_role("combobox", name="Find a user").fill("59")
    option = page.get_by_role("option").first
    option.wait_for()
    assert option.locator(".option-title").inner_text() == "User 593"
    assert "20 events" in option.inner_text()
    assert "Short" in option.inner_text()
