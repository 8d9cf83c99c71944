"""Languages, light and dark, widths, keyboard, and accessibility by axe-core."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serving.browser.conftest import Open
from tests.serving.browser.steps import pick_user, settled, taste_search, titles

pytestmark = pytest.mark.slow


def test_the_language_can_be_switched_and_is_kept(open_page: Open) -> None:
    page = settled(open_page())
    shown = titles(page)
    page.get_by_role("button", name="中文").click()
    assert page.get_by_role("heading", level=1).inner_text() == "从一部你喜欢的电影开始"
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert titles(page) == shown
    assert "喜剧" in page.locator(".pills").inner_text()
    page.reload()
    settled(page)
    assert page.get_by_role("heading", level=1).inner_text() == "从一部你喜欢的电影开始"
    page.get_by_role("button", name="English").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Start with a film you love"


def test_a_chinese_browser_gets_chinese_and_explanations_too(open_page: Open) -> None:
    page = settled(open_page(locale="zh-CN"))
    page.locator("#where input").fill("Film 150")
    page.keyboard.press("Enter")
    page.locator(".verdict").wait_for()
    assert "。" in page.locator(".verdict-why").inner_text()


def background(page: Any) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_dark_follows_the_system_until_it_is_chosen(open_page: Open) -> None:
    light, dark = settled(open_page(color_scheme="light")), settled(open_page(color_scheme="dark"))
    assert background(light) != background(dark)
    switch = light.get_by_role("switch", name="Dark")
    assert switch.get_attribute("aria-checked") == "false"
    switch.click()
    assert background(light) == background(dark)
    assert switch.get_attribute("aria-checked") == "true"
    light.reload()
    assert background(settled(light)) == background(dark)


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_nothing_overflows(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    pick_user(page, 43)
    page.locator(".history .event .icon").first.click()
    page.locator(".moves.whatif").wait_for()
    page.locator("#films summary").first.click()
    page.locator(".tries button").first.click()
    page.locator(".verdict").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_axe_finds_no_violation(open_page: Open, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    settled(page)
    check(axe, page)
    pick_user(page, 43)
    page.locator(".history .event .icon").first.click()
    page.locator(".moves.whatif").wait_for()
    page.locator("#films summary").first.click()
    page.locator(".tries button").first.click()
    page.locator(".verdict").wait_for()
    page.locator(".filters").evaluate("details => { details.open = true; }")
    page.locator(".pill").first.click()
    settled(page)
    taste_search(page).fill("film")
    page.locator(".taste [role=option]").first.wait_for()
    check(axe, page)


def check(axe: Any, page: Any) -> None:
    page.wait_for_timeout(300)  # colours are judged after the fade of a list that is replaced
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_keyboard_alone_reaches_the_list_and_rates(open_page: Open) -> None:
    page = settled(open_page())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "list"
    search = taste_search(page)
    search.focus()
    page.locator(".taste [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    active = search.get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    assert search.get_attribute("aria-expanded") == "false"
    assert page.locator("#live").get_attribute("aria-live") == "polite"
    assert page.locator("#live").inner_text().startswith("List updated: ")
