"""What if a rating were another one: old places beside new ones, and back."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import changed, pick_user, rate, titles

pytestmark = pytest.mark.slow


def old_places(page: Any) -> list[int | None]:
    """What each card says about the place before: from 1, None for a new film; unmoved cards keep their own place."""
    places: list[int | None] = []
    for place, card in enumerate(page.locator("#films .film").all(), 1):
        mark = card.locator(".move")
        text = mark.inner_text() if mark.count() else f"was {place}"
        found = re.search(r"was (\d+)", text)
        places.append(int(found[1]) if found else None)
    return places


def check_marks(page: Any, before: list[str], now: list[str]) -> None:
    """Every card says where its film was in the list before, and films that left are listed."""
    assert old_places(page) == [before.index(title) + 1 if title in before else None for title in now]
    gone = page.locator(".departed-title").all_inner_texts()
    assert gone == [title.split(" (")[0] for title in before if title not in now]


def test_without_an_event_of_a_user_and_back(open_page: Open) -> None:
    page = open_page()
    real = pick_user(page, 43)
    page.locator(".history .event .icon").first.click()
    now = changed(page, real)
    check_marks(page, real, now)
    note = page.locator(".moves.whatif")
    removed = page.locator(".event.gone .event-title > span").first.inner_text()
    assert f"What if without {removed}:" in note.inner_text()
    counts = re.search(r"\d+ up, \d+ down, \d+ new, \d+ gone\.", note.inner_text())
    assert counts is not None
    assert page.locator("#live").inner_text().startswith(counts[0])  # screen readers hear it too
    page.get_by_role("button", name="Back to the real list").click()
    assert changed(page, now) == real
    assert page.locator(".move, .moves.whatif, .event.gone").count() == 0


def bodies_of_lists(page: Any) -> list[dict[str, Any]]:
    """The bodies of the requests for lists from now on."""
    found: list[dict[str, Any]] = []
    page.on("request", lambda asked: asked.url.endswith("/recommendations") and found.append(asked.post_data_json))
    return found


def test_a_removed_film_is_not_recommended(open_page: Open) -> None:
    """Films of the reference list alone can enter, leave or move."""
    page = open_page()
    real = pick_user(page, 43)
    bodies = bodies_of_lists(page)
    for _ in range(4):
        page.locator(".history .event:not(.gone) .icon").first.click()
        page.wait_for_function("() => !document.querySelector('#films').hasAttribute('aria-busy')")
    page.locator(".event.gone").nth(3).wait_for()
    removed = page.locator(".event.gone .event-title > span:first-child").all_inner_texts()
    assert not set(removed) & {title.split(" (")[0] for title in titles(page)}
    last = next(body for body in reversed(bodies) if "history" in body)
    assert len(last["exclude"]) == len(set(last["exclude"])) == 4
    assert not {event["movie_id"] for event in last["history"]} & set(last["exclude"])
    page.get_by_role("button", name="Back to the real list").click()
    page.locator(".moves.whatif").wait_for(state="detached")
    assert titles(page) == real
    assert bodies[-1].get("exclude", []) == []


def test_a_history_beyond_the_limit_is_compared_with_the_same_part_of_it(open_page: Open) -> None:
    films = list(range(100_001, 102_101))  # latest first; no film of the catalogue

    def answer(route: Any) -> None:
        offset = int(re.search(r"offset=(\d+)", route.request.url)[1])
        events = [
            {"movie_id": film, "title": f"Film {film}", "label": "", "year": None, "genres": []}
            | {"rating": 4, "time": 1_000_000_000 - film, "event_id": None}
            for film in films[offset : offset + 100]
        ]
        route.fulfill(json={"user_id": 43, "total": len(films), "events": events})

    page = open_page(before=lambda page: page.route("**/v1/users/43/history*", answer))
    bodies = bodies_of_lists(page)
    pick_user(page, 43)
    assert "history" not in bodies[-1]  # the real list is that of the whole history
    del bodies[:]
    page.locator(".history .event .icon").first.click()
    page.locator(".moves.whatif").wait_for()
    what_if, real = sorted(bodies, key=lambda body: len(body["history"]))
    assert [event["movie_id"] for event in real["history"]] == films[:2_000][::-1]
    assert what_if["history"] == real["history"][:-1]
    assert real["exclude"] == films[2_000:]
    assert sorted(what_if["exclude"]) == [films[0], *films[2_000:]]


def test_another_rating_is_a_what_if_that_can_be_restored(open_page: Open) -> None:
    page = open_page()
    real = pick_user(page, 43)
    stars = page.locator(".history .stars").first
    stars.press("Home" if float(stars.get_attribute("aria-valuenow")) > 2.5 else "End")
    stars.press("Enter")
    page.locator(".moves.whatif").wait_for()
    assert page.locator(".event.changed").count() == 1
    page.get_by_role("button", name=re.compile("Restore")).click()
    page.locator(".moves.whatif").wait_for(state="detached")
    assert titles(page) == real


def test_without_the_reason_of_a_card(open_page: Open) -> None:
    page = open_page()
    real = pick_user(page, 53)
    reason = page.locator("#films .reason").first
    film = reason.locator(".reason-title").inner_text()
    assert f"What if without {film}?" in reason.inner_text()
    reason.click()
    page.locator(".moves.whatif", has_text=film).wait_for()
    now = titles(page)
    check_marks(page, real, now)
    assert film not in page.locator("#films .reason-title").all_inner_texts()
    page.get_by_role("button", name="Back to the real list").click()
    page.locator(".moves.whatif").wait_for(state="detached")
    assert titles(page) == real


def test_reasons_name_films_of_the_history_with_their_ratings(open_page: Open) -> None:
    page = open_page()
    rated = {rate(page, "Film 12", 5): "5★", rate(page, "Film 16", 4): "4★"}
    page.locator("#films .reason").first.wait_for()
    for reason in page.locator("#films .reason").all():
        assert reason.locator(".why-rating").inner_text() == rated[reason.locator(".reason-title").inner_text()]


def test_films_that_moved_since_a_rating_say_so(open_page: Open) -> None:
    page = open_page()
    before = titles(page)
    rate(page, "Film 12", 5)
    check_marks(page, before, titles(page))
    assert "Since your last change" in page.locator(".moves").inner_text()


def test_settings_during_a_what_if_compare_with_the_real_list_of_the_same_settings(open_page: Open) -> None:
    page = open_page()
    real = pick_user(page, 43)
    pill = page.locator(".pill", has_text="Drama")
    pill.click()
    filtered = changed(page, real)
    pill.click()
    pill.click()
    assert changed(page, filtered) == real
    page.locator(".history .event .icon").first.click()
    what_if = changed(page, real)
    pill.click()
    check_marks(page, filtered, changed(page, what_if))
