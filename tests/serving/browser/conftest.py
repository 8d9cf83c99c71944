"""The page in a real browser, against a real server on the small trained pipeline.

Without Chromium these tests are skipped; with REQUIRE_BROWSER=1 in the environment its absence is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from reccore import Workspace

ROOT = Path(__file__).resolve().parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
START_SECONDS = 180
USER = {"user_id": 43}
FIRST_REQUESTS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("/readyz", None),
    ("/v1/recommendations", USER | {"explain": True}),
    ("/v1/recommendations", {"history": []}),
    ("/v1/trade-offs", USER),
    ("/v1/explain", USER | {"movie_id": 5}),
)


@pytest.fixture(scope="session")
def executable() -> str:
    return find_browser()


def find_browser() -> str:
    """Chromium; skips without it, or fails where REQUIRE_BROWSER asks for it."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        reason = f"no Chromium on the PATH (looked for {', '.join(BROWSERS)}); install Debian's chromium"
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip)(reason)
    return str(found)


@pytest.fixture(scope="session")
def browser(executable: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=executable, args=FLAGS)
        yield found
        found.close()


@contextmanager
def serving(pipeline: Path, folder: Path) -> Iterator[str]:
    """Run ``scripts/serve.py`` in a process of its own; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "scripts/serve.py", "--pipeline", str(pipeline), "--port", str(port)]
    command += ["--store", f"sqlite:///{folder}/events.sqlite", "--rate_limit", "0", "--stage_limit", "0"]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for path, body in FIRST_REQUESTS:
            wait_for_answer(process, address + path, body, folder / "serve.log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_answer(process: subprocess.Popen[bytes], url: str, body: dict[str, Any] | None, log: Path) -> None:
    """Ask until the service answers: the first requests compile loops and take longer than it lets clients wait."""
    data = None if body is None else json.dumps(body).encode()
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"no answer from {url} within {START_SECONDS} s: {log.read_text()}")


@pytest.fixture(scope="session")
def address(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service, shared by all tests of the process; a test takes back the events that it adds."""
    with serving(trained.model("pipeline"), tmp_path_factory.mktemp("serving")) as found:
        yield found


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, address: str, tmp_path: Path) -> Iterator[Open]:
    """Open the page with the list shown; at the end of the test its console must be clean and all requests its own.

    Options are those of a browser context: ``viewport``, ``color_scheme``, ``locale``, ``reduced_motion``. ``before``
    gets the new page before it is loaded, and ``expects`` words of console errors that the test provokes.
    """
    contexts, problems = [], []

    def go(*, before: Callable[[Any], None] | None = None, expects: str | None = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)

        def on_console(message: Any) -> None:
            if message.type in ("error", "warning") and not (expects and expects in message.text):
                problems.append(f"{message.type}: {message.text}")

        def on_request(request: Any) -> None:
            if urlsplit(request.url).netloc not in (urlsplit(address).netloc, ""):
                problems.append(f"request to {request.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
        page.on("request", on_request)
        if before is not None:
            before(page)
        page.goto(address)
        return page

    yield go
    for number, context in enumerate(contexts):
        for page in context.pages:
            page.screenshot(path=tmp_path / f"page-{number}.png", full_page=True)
        context.close()
    assert not problems, problems
