"""Draw the Mermaid diagrams of README.md and docs/*.md for the site, which loads no script.

    npm pack mermaid@11 && tar xzf mermaid-11.*.tgz
    python docs/diagrams.py --mermaid package/dist/mermaid.min.js

It writes docs/diagrams/<hash of the source>.svg in Chromium for each diagram that has none, and removes pictures of
diagrams that are gone. A changed diagram has another hash, so it has to be drawn again; until then the site shows its
source, and a test says so.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
FOLDER = "diagrams"
FENCE = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = {
    "startOnLoad": False,
    "theme": "neutral",
    "fontFamily": "sans-serif",
    "htmlLabels": False,  # a picture in a page may not hold HTML
    "flowchart": {"htmlLabels": False},
}
DRAW = """async ([options, source]) => {
    mermaid.initialize(options);
    const {svg} = await mermaid.render("diagram", source);
    const picture = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const [, , width, height] = picture.getAttribute("viewBox").split(" ");
    picture.setAttribute("width", width);
    picture.setAttribute("height", height);
    picture.setAttribute("style", "background-color: white");
    return new XMLSerializer().serializeToString(picture);
}"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mermaid", type=Path, required=True, help="mermaid.min.js of the npm package mermaid")
    options = parser.parse_args(argv)
    from screenshots import chromium  # of this folder

    executable = chromium()
    if not options.mermaid.is_file():
        sys.exit(f"error: {options.mermaid} is not there; npm pack mermaid fetches it")
    from playwright.sync_api import sync_playwright

    sources = {file_name(source): source for source in all_sources()}
    folder = DOCS / FOLDER
    folder.mkdir(exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=options.mermaid)
        for name, source in sources.items():
            if (folder / name).exists():
                continue
            (folder / name).write_text(page.evaluate(DRAW, [OPTIONS, source]) + "\n", encoding="utf-8")
            print(folder / name)
        browser.close()
    for old in folder.glob("*.svg"):
        if old.name not in sources:
            old.unlink()


def all_sources() -> Iterator[str]:
    """The diagrams of all pages."""
    for page in [*DOCS.parent.glob("README*.md"), *sorted(DOCS.glob("*.md"))]:
        yield from FENCE.findall(page.read_text(encoding="utf-8"))


def file_name(source: str) -> str:
    """Name of the picture of a diagram."""
    return f"{hashlib.sha256(source.encode()).hexdigest()[:12]}.svg"


if __name__ == "__main__":
    main()
