"""Pictures of the page for the README, taken in Chromium from a running service (make serve).

    python docs/screenshots.py
    python docs/screenshots.py --address http://127.0.0.1:8000 --user 1 --to docs

It writes page.png and page_dark.png: the list of one user with its reasons, in light and in dark. Posters of the
service are left out in favour of drawn ones, since pictures of TMDb may not be passed on.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1440, "height": 1530}
COLOURS = 256


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="http://127.0.0.1:8000", help="of the running service")
    parser.add_argument("--user", default="7", help="whose list is shown")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="folder of the pictures")
    options = parser.parse_args(argv)
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for scheme, name in (("light", "page.png"), ("dark", "page_dark.png")):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme, locale="en-US", reduced_motion="reduce")
            show_user(page, options.address, options.user)
            (options.to / name).write_bytes(with_few_colours(page.screenshot()))
            print(options.to / name)
        browser.close()


def chromium() -> str:
    """The browser's program; ends with an error if there is none."""
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        sys.exit(f"error: no Chromium on the PATH (looked for {', '.join(BROWSERS)}); install one")
    return executable


def show_user(page: Any, address: str, user: str) -> None:
    """Open the page and show the list of a user, with the trade-off drawn."""
    page.route("**/posters/*", lambda route: route.abort())
    page.goto(address)
    page.locator("#films .film:not(.skeleton)").first.wait_for()
    page.get_by_role("button", name="A user's").click()
    page.get_by_role("combobox", name="Find a user").fill(user)
    page.get_by_role("option", name=f"User {user} ", exact=False).first.click()
    page.locator("#headline", has_text=f"user {user}").wait_for()
    page.locator("#films .reason").first.wait_for()
    page.locator("#variety-curve .here").wait_for()
    for _ in range(3):  # wanted, not wanted, any: the same list again, timed while the browser has nothing to draw
        page.wait_for_timeout(1_000)
        page.locator(".pill").first.click()
        page.locator("#films:not([aria-busy])").wait_for()
    page.wait_for_timeout(1_000)
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)


def with_few_colours(png: bytes) -> bytes:
    """The picture with a palette, which takes a third of the bytes and looks the same: the page is flat colours."""
    from PIL import Image

    written = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


if __name__ == "__main__":
    main()
