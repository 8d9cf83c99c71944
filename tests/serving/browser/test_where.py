"""Where did my film go?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import changed, pick_user, settled, titles

pytestmark = pytest.mark.slow


def ask(page: Any, text: str) -> Any:
    """Follow the first suggestion for a text; returns the answer's element."""
    page.get_by_role("combobox", name="Film to follow").fill(text)
    page.keyboard.press("Enter")
    answer = page.locator("#where-answer:not([aria-busy]) .verdict", has=page.get_by_role("heading", name=text))
    answer.wait_for()
    return answer


def test_a_film_of_the_list_passed_every_stage(open_page: Open) -> None:
    page = open_page()
    first = pick_user(page, 43)[0]
    answer = ask(page, first.split(" (")[0])
    assert answer.locator(".kicker").inner_text() == "In the list"
    assert answer.locator(".stop.dropped").count() == 0
    assert answer.locator(".stop").last.inner_text().endswith("Place 1")


def test_a_dropped_film_shows_the_stage_that_dropped_it_and_by_how_much(open_page: Open) -> None:
    page = open_page()
    shown = pick_user(page, 43)
    page.get_by_role("button", name="Show more films").wait_for()
    answer = None
    for number in range(150, 20, -7):
        if not any(title.startswith(f"The Film {number} ") for title in shown):
            answer = ask(page, f"The Film {number}")
            if answer.locator(".kicker").inner_text() in ("Cut by the merge", "Ranked too low"):
                break
    dropped = answer.locator(".stop.dropped")
    assert dropped.count() == 1
    assert "dropped here" in dropped.inner_text()
    assert "short" in dropped.inner_text()
    assert answer.locator(".verdict-why").inner_text() != ""
    assert answer.locator(".helps li").count() > 0
    assert answer.locator(".channel-ranks li").count() == 4
    assert answer.locator(".stop.dropped ~ .stop.passed").count() == 0


def test_a_seen_film_was_dropped_by_the_history(open_page: Open) -> None:
    page = open_page()
    pick_user(page, 43)
    film = page.locator(".history .event-title > span:first-child").first.inner_text()
    answer = ask(page, film)
    assert answer.locator(".kicker").inner_text() == "Already seen"
    assert answer.locator(".stop.dropped strong").inner_text() == "History"


def test_a_film_that_a_what_if_removes_is_left_out_by_the_request(open_page: Open) -> None:
    page = open_page()
    pick_user(page, 43)
    film = page.locator(".history .event-title > span:first-child").first.inner_text()
    page.locator(".history .event .icon").first.click()
    page.locator(".moves.whatif").wait_for()
    answer = ask(page, film)
    assert answer.locator(".kicker").inner_text() == "Left out by the request"
    assert answer.locator(".stop.dropped strong").inner_text() == "Request"
    assert answer.locator(".verdict-why").inner_text() == "The request excludes it"


@pytest.mark.parametrize(
    ("locale", "label", "stop", "why"),
    [
        ("en-US", "Dropped by a filter", "Request", "It has none of the genres Horror"),
        ("zh-CN", "被过滤器去掉", "请求", "它不属于恐怖中的任何一类"),
    ],
)
def test_a_film_that_the_filter_rejects_was_dropped_by_the_request(
    open_page: Open, locale: str, label: str, stop: str, why: str
) -> None:
    page = settled(open_page(locale=locale))
    before = titles(page)
    page.locator(".pill").nth(3).click()
    changed(page, before)
    page.locator("#where input").fill("The Film 1 ")
    page.keyboard.press("Enter")
    answer = page.locator("#where-answer:not([aria-busy]) .verdict")
    answer.wait_for()
    assert answer.locator(".kicker").inner_text() == label
    dropped = answer.locator(".stop.dropped")
    assert dropped.locator("strong").all_inner_texts() == [stop]
    assert answer.locator(".stop").first.get_attribute("class") == "stop dropped"
    assert answer.locator(".stop.passed").count() == 0
    assert why.lower() in answer.locator(".verdict-why").inner_text().lower()


def test_films_that_left_the_list_lead_to_the_answer(open_page: Open) -> None:
    page = open_page()
    pick_user(page, 43)
    page.locator(".history .event .icon").first.click()
    gone = page.locator(".departed button").first
    film = gone.locator(".departed-title").inner_text()
    gone.click()
    page.locator(".verdict", has_text=film).wait_for()
    assert page.locator(".verdict .kicker").inner_text() != "In the list"


def test_a_film_is_followed_at_the_setting_of_the_slider(open_page: Open) -> None:
    page = open_page()
    ranked = pick_user(page, 23)
    page.get_by_role("slider", name="Variety").press("End")
    varied = changed(page, ranked)
    film = next(title for title in ranked if title not in varied)
    answer = ask(page, film.split(" (")[0])
    assert answer.locator(".kicker").inner_text() == "Moved out by the reranker"
    page.get_by_role("button", name="As configured").click()
    page.locator(".verdict .kicker", has_text="In the list").wait_for()


def test_the_answer_follows_the_list(open_page: Open) -> None:
    page = settled(open_page())
    film = titles(page)[0]
    answer = ask(page, film.split(" (")[0])
    assert answer.locator(".kicker").inner_text() == "In the list"
    page.locator("#films .stars").first.press("5")
    page.locator(".verdict .kicker", has_text="Already seen").wait_for()
