"""Hooks of mkdocs: README.md as home, links that hold on the site, and the executed notebooks.

Pages are written for the repository, so a link leads from README.md into docs/ and from there back. On the site all
pages lie in one folder, and files of the repository that are no pages are named without a link.
"""

from __future__ import annotations

import re
from pathlib import Path

from diagrams import DOCS, FENCE, FOLDER, file_name  # of this folder
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = DOCS.parent
EXECUTED = ROOT / "build" / "notebooks"
"""Where ``make notebooks`` writes the executed notebooks."""
LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!https?:|#)([^)\s]+)\)")
PICTURE = re.compile(r"(!\[[^\]\n]*\]\()docs/")
CHINESE = "README.zh-CN.md"
HOW_TO_RUN = """# Notebooks

The notebooks of `notebooks/` are kept in git without outputs. These are executed copies, on
MovieLens-100K as `make demo` leaves it:
"""
NOT_YET = "None has been executed here: `make notebooks` runs them and `make docs` shows them."


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page in both languages, the list of notebooks, and the notebooks themselves."""
    for page, name in (("index.md", "README.md"), (CHINESE, CHINESE)):
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    notebooks = sorted(EXECUTED.glob("*.html"))
    lines = [f"- [{title_of(path)}](notebooks/{path.name})" for path in notebooks]
    listed = "\n".join([HOW_TO_RUN, *(lines or [NOT_YET])])
    files.append(File.generated(config, "notebooks.md", content=listed + "\n"))
    for path in notebooks:
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links and pictures between README.md and docs/, and show the pictures of diagrams."""
    return FENCE.sub(picture_of, PICTURE.sub(r"\1", LINK.sub(site_link, markdown)))


def picture_of(diagram: re.Match[str]) -> str:
    """The picture of a Mermaid diagram, which opens in full size; its source where it has not been drawn."""
    name = file_name(diagram.group(1))
    if not (DOCS / FOLDER / name).is_file():
        return f"```text\n{diagram.group(1)}```"
    return f"[![Diagram]({FOLDER}/{name})]({FOLDER}/{name})"


def site_link(link: re.Match[str]) -> str:
    """A Markdown link as it holds on the site; the text alone for a file that is no page."""
    text, target = link.groups()
    path, hash_sign, anchor = target.partition("#")
    page = "index.md" if path.endswith("README.md") else path.removeprefix("docs/")
    is_page = page.endswith((".md", ".html")) and "/" not in page.removeprefix("notebooks/")
    return f"[{text}]({page}{hash_sign}{anchor})" if is_page else text


def title_of(executed: Path) -> str:
    """The first heading of an executed notebook."""
    found = re.search(r"<h1[^>]*>(.*?)<", executed.read_text(encoding="utf-8"), re.DOTALL)
    return found.group(1).strip() if found else executed.stem
