"""Errors, degraded answers, slow answers and hostile titles."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import changed, pick_user, settled, taste_search, titles

pytestmark = pytest.mark.slow

LISTS = "**/v1/recommendations"


def altered(route: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Answer with the service's own answer, changed."""
    answer = route.fetch()
    body = answer.json()
    change(body)
    route.fulfill(response=answer, body=json.dumps(body))


def test_an_error_is_shown_in_words_and_can_be_retried(open_page: Open) -> None:
    error = {"error": {"code": "internal", "message": "the ranker failed", "fields": []}, "trace_id": "abc123"}
    page = settled(open_page(expects="status of 500"))
    shown = titles(page)
    page.route(LISTS, lambda route: route.fulfill(status=500, json=error))
    page.locator(".pill").first.click()
    alert = page.get_by_role("alert")
    assert "Something failed in the service. the ranker failed" in alert.inner_text()
    assert "Trace abc123" in alert.inner_text()
    page.unroute(LISTS)
    page.get_by_role("button", name="Try again").click()
    changed(page, shown)
    assert page.get_by_role("alert").count() == 0


def test_a_service_that_is_gone_is_said_in_words(open_page: Open) -> None:
    page = settled(open_page(expects="ERR_FAILED"))
    page.route("**/v1/**", lambda route: route.abort())
    page.locator(".pill").first.click()
    page.get_by_text("The service cannot be reached.").wait_for()


@pytest.mark.parametrize(
    ("locale", "words"),
    [("en-US", "The service did not accept this request."), ("zh-CN", "服务没有接受这个请求")],
)
def test_a_refused_request_names_its_fields_once_and_is_not_tried_again(
    open_page: Open, locale: str, words: str
) -> None:
    message = "no film has the genre 'Opera'"
    error = {"code": "invalid_request", "message": f"filters.genres: {message}"}
    error |= {"fields": [{"field": "filters.genres", "message": message}]}
    page = settled(open_page(expects="status of 422", locale=locale))
    page.route(LISTS, lambda route: route.fulfill(status=422, json={"error": error, "trace_id": "abc123"}))
    page.locator(".pill").first.click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    text = alert.inner_text()
    assert words in text
    assert text.count(message) == text.count("filters.genres") == 1
    assert "abc123" not in text
    assert alert.get_by_role("button").count() == 0
    page.unroute(LISTS)
    page.locator(".pill").first.click()
    alert.wait_for(state="detached")


def test_a_degraded_answer_says_what_is_missing(open_page: Open) -> None:
    def degrade(body: dict[str, Any]) -> None:
        body["degraded"] = True
        body["trace"]["stages"][3]["error"] = "took longer than 50 ms"

    page = settled(open_page(before=lambda page: page.route(LISTS, lambda route: altered(route, degrade))))
    assert "This list was made without Two-tower" in page.locator("#notices").inner_text()
    assert "took longer than 50 ms" in page.locator("#funnel").inner_text()


def test_films_that_the_catalogue_does_not_have_are_said(open_page: Open) -> None:
    taste = json.dumps([{"movie_id": 999_999, "title": "Lost", "rating": 4}, {"movie_id": 5, "title": "Known"}])
    page = open_page(before=lambda page: page.add_init_script(f"localStorage.setItem('taste', {json.dumps(taste)})"))
    settled(page)
    assert "1 film of this history is not in the catalogue" in page.locator("#notices").inner_text()


def test_ratings_of_a_clock_that_was_set_wrong_do_not_lock_the_page(open_page: Open) -> None:
    taste = json.dumps([{"movie_id": 5, "title": "Known", "rating": 4, "time": int(time.time()) + 10**8}])
    page = open_page(before=lambda page: page.add_init_script(f"localStorage.setItem('taste', {json.dumps(taste)})"))
    settled(page)
    assert page.get_by_role("alert").count() == 0


def test_titles_are_text_and_never_markup(open_page: Open) -> None:
    hostile = '<img src=x onerror="window.stolen = 1"><b>bold</b>'

    def rename(body: dict[str, Any]) -> None:
        for film in body.get("items", body.get("movies", [])):
            film["title"] = film["label"] = hostile

    def before(page: Any) -> None:
        page.route(LISTS, lambda route: altered(route, rename))
        page.route("**/v1/movies*", lambda route: altered(route, rename))

    page = settled(open_page(before=before))
    taste_search(page).fill("film")
    page.locator(".taste [role=option]", has_text="<b>bold</b>").first.wait_for()
    page.keyboard.press("Enter")
    page.locator(".pending .stars").press("5")
    page.locator(".history", has_text="<b>bold</b>").wait_for()
    assert page.locator("#films h2").first.inner_text().startswith(hostile)
    assert page.locator("#films b, #films img, .taste b, .taste img, .toasts b").count() == 0
    assert page.evaluate("window.stolen") is None


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(open_page: Open) -> None:
    page = settled(open_page())
    held: list[Any] = []
    page.route(LISTS, lambda route: route.continue_() if held else held.append(route))
    first = titles(page)
    page.locator(".pill", has_text="Comedy").click()  # its answer is held back
    page.wait_for_function("() => document.querySelector('#films').hasAttribute('aria-busy')")
    page.locator(".pill", has_text="Comedy").click()  # not Comedy: answered at once
    newer = changed(page, first)
    held[0].abort()
    page.wait_for_timeout(300)
    assert titles(page) == newer
    assert page.get_by_role("alert").count() == 0


def test_placeholders_keep_the_place_while_a_list_is_loaded(open_page: Open) -> None:
    waiting: list[Any] = []
    page = open_page(
        before=lambda page: page.route(LISTS, lambda route: waiting.append(route)), reduced_motion="reduce"
    )
    page.locator("#films .skeleton").first.wait_for()
    page.wait_for_function("() => document.querySelectorAll('.pill').length > 0")
    place = page.locator("#films .skeleton .frame").first.bounding_box()
    for route in waiting:
        route.continue_()
    settled(page)
    assert page.locator("#films .frame").first.bounding_box() == place


def test_a_key_is_asked_for_and_sent(open_page: Open) -> None:
    refused = {"error": {"code": "unauthorised", "message": "a key is needed", "fields": []}, "trace_id": "1"}
    keys: list[str | None] = []

    def guard(route: Any) -> None:
        keys.append(route.request.headers.get("x-api-key"))
        route.continue_() if keys[-1] == "open sesame" else route.fulfill(status=401, json=refused)

    page = open_page(before=lambda page: page.route("**/v1/**", guard), expects="status of 401")
    page.get_by_label("API key").fill("open sesame")
    page.get_by_role("button", name="Use this key").click()
    settled(page)
    assert keys[0] is None
    assert keys[-1] == "open sesame"


def test_a_poster_that_fails_to_load_is_drawn(open_page: Open) -> None:
    def with_posters(body: dict[str, Any]) -> None:
        for film in body["items"]:
            film["poster"] = f"/posters/{film['movie_id']}.jpg"

    page = open_page(
        before=lambda page: page.route(LISTS, lambda route: altered(route, with_posters)), expects="status of 404"
    )
    settled(page)
    page.locator("#films .film:first-child svg.poster").wait_for()


def test_the_foot_says_who_drew_the_posters(open_page: Open) -> None:
    notice = "Pictures come from elsewhere."

    def with_pictures(body: dict[str, Any]) -> None:
        body |= {"posters": 7, "notice": notice}

    foot = settled(open_page()).locator("#colophon").inner_text()
    assert "Posters drawn by this page." in foot
    page = open_page(before=lambda page: page.route("**/v1/info", lambda route: altered(route, with_pictures)))
    foot = settled(page).locator("#colophon").inner_text()
    assert "Posters drawn by this page." not in foot
    assert "Films without a picture have posters drawn by this page." in foot
    assert notice in foot


def test_events_that_fail_leave_the_history_alone(open_page: Open) -> None:
    error = {"error": {"code": "not_ready", "message": "the store is away", "fields": []}, "trace_id": "1"}
    page = open_page(expects="status of 503")
    pick_user(page, 43)
    page.route("**/v1/events", lambda route: route.fulfill(status=503, json=error))
    before = page.locator(".history").inner_text()
    page.locator("#films .stars").first.press("4")
    assert "the store is away" in page.get_by_role("alert").inner_text()
    assert page.locator(".history").inner_text() == before


def test_data_without_ratings_offer_seen_in_place_of_stars(open_page: Open) -> None:
    def without(body: dict[str, Any]) -> None:
        body["rating_scale"] = body["rating_step"] = None

    page = settled(open_page(before=lambda page: page.route("**/v1/info", lambda route: altered(route, without))))
    before = titles(page)
    page.locator("#films .film").first.get_by_role("button", name="I have seen").click()
    now = changed(page, before)
    assert before[0] not in now


def test_data_without_genres_and_years_have_no_filters_for_them(open_page: Open) -> None:
    def bare_info(body: dict[str, Any]) -> None:
        body |= {"genres": [], "years": None}

    def bare_films(body: dict[str, Any]) -> None:
        for film in body.get("items", body.get("movies", [])):
            film |= {"genres": [], "year": None, "title": str(film["movie_id"]), "label": str(film["movie_id"])}

    def before(page: Any) -> None:
        page.route("**/v1/info", lambda route: altered(route, bare_info))
        for path in (LISTS, "**/v1/movies*"):
            page.route(path, lambda route: altered(route, bare_films))

    page = settled(open_page(before=before))
    assert page.locator(".genre-filter, input[type=number], .year").count() == 0
    assert page.get_by_role("combobox", name="Known to").count() == 1
    assert page.locator("#films svg.poster text").count() == 12  # the title alone, without a year
