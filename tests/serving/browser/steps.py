"""Steps of the browser tests: what a person does and sees on the page."""

from __future__ import annotations

from typing import Any

PAGE = "serving/page"


def settled(page: Any) -> Any:
    """The page once its list is up to date."""
    page.wait_for_selector("#films:not([aria-busy]) .film:not(.skeleton)")
    return page


def titles(page: Any) -> list[str]:
    """Titles of the list, in order."""
    return settled(page).locator("#films .film h2").all_inner_texts()


def changed(page: Any, before: list[str]) -> list[str]:
    """Titles of the list once they differ from those before."""
    page.wait_for_function(
        """before => {
          const list = document.querySelector("#films");
          const now = [...list.querySelectorAll(".film h2")].map((title) => title.innerText);
          return !list.hasAttribute("aria-busy") && JSON.stringify(now) !== JSON.stringify(before);
        }""",
        arg=before,
    )
    return titles(page)


def taste_search(page: Any) -> Any:
    return page.get_by_role("combobox", name="Rate a film")


def rate(page: Any, text: str, stars: int) -> str:
    """Search a film, choose the first suggestion by keyboard and rate it; returns its title."""
    taste_search(page).fill(text)
    option = page.locator(".taste [role=option] .option-title").first
    option.filter(has_text=text.split()[-1]).wait_for()
    title = option.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator(".pending .stars").wait_for()
    before = titles(page)
    page.keyboard.press(str(stars))
    changed(page, before)
    return title


def pick_user(page: Any, user: int) -> list[str]:
    """Show the list of a stored user; returns its titles."""
    page.get_by_role("button", name="A user's").click()
    page.get_by_role("combobox", name="Find a user").fill(str(user))
    page.get_by_role("option", name=f"User {user} ").first.click()
    page.locator("#headline", has_text=f"user {user}").wait_for()
    page.locator(".history .event").first.wait_for()
    return titles(page)


def history(page: Any) -> list[str]:
    """Titles of the history panel that are shown."""
    return page.locator(".history .event-title > span:first-child").all_inner_texts()
