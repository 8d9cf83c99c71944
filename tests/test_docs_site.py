"""The documentation as a site: every page and link is there, and nothing is loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_readme_is_home_and_every_document_a_page(site: Path) -> None:
    assert "A complete multi-stage recommender" in (site / "index.html").read_text(encoding="utf-8")
    for name in [*PAGES, "notebooks"]:
        assert (site / f"{name}.html").is_file(), name


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=[\"']?https?:", text), page.name
        assert not re.findall(r"<link[^>]+rel=[\"']?(?:stylesheet|preconnect|preload)[^>]+https?:", text), page.name
        assert 'class="mermaid"' not in text  # would load a script
    for style in site.rglob("*.css"):
        assert "@import" not in style.read_text(encoding="utf-8")


def test_every_diagram_is_drawn_as_it_is_written() -> None:
    """python docs/diagrams.py draws those of changed sources again."""
    folder = ROOT / "docs"
    spec = spec_from_file_location("diagrams", folder / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    diagrams = module_from_spec(spec)
    spec.loader.exec_module(diagrams)
    wanted = {diagrams.file_name(source) for source in diagrams.all_sources()}
    assert wanted
    assert {path.name for path in (folder / diagrams.FOLDER).iterdir()} == wanted


@pytest.mark.slow
def test_diagrams_are_shown_as_pictures(site: Path) -> None:
    for page in ("index", "architecture", "serving", "tmdb"):
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert re.search(r"<img[^>]+src=[\"']?diagrams/[0-9a-f]{12}\.svg", text), page
        assert "flowchart LR" not in text


@pytest.mark.slow
def test_every_picture_of_a_page_is_there(site: Path) -> None:
    pictures = 0
    for page in site.glob("*.html"):
        for source in re.findall(r"<img[^>]+src=[\"']?([^\"' >]+)", page.read_text(encoding="utf-8")):
            if not source.startswith("data:"):
                pictures += 1
                assert (site / source).is_file(), f"{page.name}: {source}"
    assert pictures > 2


@pytest.mark.slow
def test_links_between_readme_and_docs_hold(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="recall.html"' in home
    assert 'href="data.html#ties"' in home
    assert "LICENSE</a>" not in home
    assert 'href="index.html#add-a-channel"' in (site / "architecture.html").read_text(encoding="utf-8")
