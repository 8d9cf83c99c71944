"""The list: variety, filters, the way of a film, the funnel, posters, more films."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipeline import small
from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import changed, pick_user, rate, settled, titles

pytestmark = pytest.mark.slow


def test_the_slider_moves_the_list_and_shows_what_it_costs(open_page: Open) -> None:
    page = open_page()
    first = pick_user(page, 23)
    page.locator("#variety-curve svg circle.here").wait_for()
    curve = page.get_by_role("img", name="Genre diversity against relevance kept")
    cost, label = page.locator("#variety-cost").inner_text(), curve.get_attribute("aria-label")
    slider = page.get_by_role("slider", name="Variety")
    slider.press("End")
    varied = changed(page, first)
    assert page.locator("#variety-cost").inner_text() != cost
    assert curve.get_attribute("aria-label") != label
    assert curve.locator("circle.setting").count() == 11
    assert slider.get_attribute("aria-valuetext") == "1 of 1"
    page.get_by_role("button", name="As configured").click()
    assert changed(page, varied) == first


def genres(page: Any) -> list[str]:
    return settled(page).locator("#films .film .genres").all_inner_texts()


def test_genre_filters_admit_and_exclude(open_page: Open) -> None:
    page = open_page()
    before = titles(page)
    pill = page.locator(".pill", has_text="Comedy")
    pill.click()
    wanted = changed(page, before)
    assert {"Comedy" in shown for shown in genres(page)} == {True}
    assert pill.get_attribute("aria-label") == "Comedy: wanted"
    pill.click()
    unwanted = changed(page, wanted)
    assert {"Comedy" in shown for shown in genres(page)} == {False}
    page.get_by_role("button", name="Clear filters").click()
    assert changed(page, unwanted) == before


def test_years_narrow_the_list(open_page: Open) -> None:
    page = open_page()
    before = titles(page)
    page.get_by_role("spinbutton", name="From year").fill("1995")
    page.get_by_role("spinbutton", name="To year").fill("1999")
    page.get_by_role("spinbutton", name="To year").press("Tab")
    now = changed(page, before)
    page.wait_for_function("() => [...document.querySelectorAll('.year')].every((y) => y.innerText < ' (2000)')")
    assert all(1995 <= int(title[-5:-1]) <= 1999 for title in titles(page)), now


def test_years_are_put_in_order_and_into_the_catalogue_s(open_page: Open) -> None:
    page = settled(open_page())
    fields = [page.get_by_role("spinbutton", name=name) for name in ("From year", "To year")]

    def given(at: int, year: str) -> list[str]:
        before = titles(page)
        fields[at].fill(year)
        fields[at].press("Tab")
        changed(page, before)
        return [field.input_value() for field in fields]

    assert given(0, "1995") == ["1995", ""]
    assert given(1, "1990") == ["1990", "1995"]
    assert all(1990 <= int(title[-5:-1]) <= 1995 for title in titles(page))
    assert given(0, "-5") == ["1980", "1995"]
    assert given(1, "20000") == ["1980", "2009"]
    assert page.get_by_role("alert").count() == 0


def test_no_film_left_is_said_in_words(open_page: Open) -> None:
    page = settled(open_page())
    page.get_by_role("spinbutton", name="From year").fill("2009")
    page.get_by_role("spinbutton", name="From year").press("Tab")
    for _ in range(2):
        page.locator(".pill", has_text="Short").click()
    page.locator(".empty", has_text="No film passes these filters.").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "Nothing fits"


def test_a_card_shows_the_way_of_its_film(open_page: Open) -> None:
    page = open_page()
    pick_user(page, 33)
    card = page.locator("#films .film").first
    summary = card.locator("summary")
    label = summary.get_attribute("aria-label")
    assert "channels, ranked" in label
    assert "shown 1." in label
    summary.click()
    rows = card.locator(".way tbody tr th").all_inner_texts()
    assert rows == ["Popularity", "ItemCF", "Matrix factors", "Two-tower", "After the merge"]
    offered = card.locator(".way .on").count()
    assert offered > 0


def test_the_funnel_counts_what_the_stages_pass_on(open_page: Open) -> None:
    page = open_page()
    pick_user(page, 33)
    text = page.locator("#funnel").inner_text()
    assert f"{small.N_MOVIES} films" in text
    assert f"{small.PIPELINE['candidates']} films" in text
    assert "ms in the pipeline" in text
    merged = page.locator(".funnel-row", has_text="Merge").locator(".funnel-count").inner_text()
    assert merged == f"{small.PIPELINE['candidates']} films"


def test_more_films_on_demand(open_page: Open) -> None:
    page = open_page()
    before = titles(page)
    page.get_by_role("button", name="Show more films").click()
    assert changed(page, before)[:12] == before
    assert len(titles(page)) == 24


def poster_of(page: Any, title: str) -> str:
    card = page.locator("#films .film", has=page.get_by_role("heading", name=title, exact=True))
    shapes: str = card.locator(".poster").evaluate("poster => poster.innerHTML.replace(/poster-\\d+/g, '')")
    return shapes


def test_a_film_has_the_same_poster_everywhere_and_others_have_others(open_page: Open) -> None:
    page, other = settled(open_page()), settled(open_page(locale="zh-CN", color_scheme="dark"))
    shown = titles(page)
    posters = [poster_of(page, title) for title in shown]
    assert posters == [poster_of(other, title) for title in shown]
    assert len(set(posters)) == len(shown)


def test_cards_of_films_that_stay_glide_unless_motion_is_reduced(open_page: Open) -> None:
    for motion, moving in (("no-preference", True), ("reduce", False)):
        page = settled(open_page(reduced_motion=motion))
        page.evaluate(
            """() => {
              window.glides = 0;
              const animate = Element.prototype.animate;
              Element.prototype.animate = function (...given) {
                window.glides += 1;
                return animate.apply(this, given);
              };
            }"""
        )
        rate(page, "Film 12", 5)
        assert (page.evaluate("window.glides") > 0) is moving, motion
