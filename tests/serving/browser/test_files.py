"""Files of the page: languages with the same words, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.serving.browser.conftest import find_browser

PAGE = Path(__file__).resolve().parents[3] / "serving" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
ENTRY = re.compile(r'^  (?:"([^"]+)"|([\w]+)):\s*(.*?)(?=^  "|^  \w+:|^};)', re.MULTILINE | re.DOTALL)


def words(language: str) -> dict[str, str]:
    """Key → the source of its words."""
    text = (PAGE / "i18n" / f"{language}.js").read_text(encoding="utf-8")
    return {quoted or bare: value for quoted, bare, value in ENTRY.findall(text)}


def test_both_languages_have_the_same_keys_in_the_same_order() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 150
    assert list(english) == list(chinese)


def test_both_languages_fill_in_the_same_values() -> None:
    english, chinese = words("en"), words("zh")
    for key in english:
        assert set(re.findall(r"\{(\w+)\}", english[key])) == set(re.findall(r"\{(\w+)\}", chinese[key])), key


def test_every_key_is_used_and_every_used_key_exists() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.parent.name != "i18n")
    keys = set(words("en"))
    used = set(re.findall(r"""\bt\(\s*"([\w.-]+)\"""", sources)) | set(
        re.findall(r'data-t(?:-label|-placeholder)?="([\w.-]+)"', sources)
    )
    assert used <= keys, used - keys
    prefixes = set(re.findall(r"t\(`([\w.]+\.)\$\{", sources)) | {"genre.", "component."}
    mentioned = set(re.findall(r'"([\w.-]+)"', sources))
    unused = {key for key in keys - used - mentioned if not key.startswith(tuple(prefixes))}
    assert not unused


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PAGE).as_posix())
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)


def test_every_module_and_style_that_is_named_exists() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    for name in re.findall(r'"/static/([^"]+)"', html):
        assert (PAGE / name).is_file(), name
    for path in PAGE.rglob("*.js"):
        for target in re.findall(r'from "(\.[^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file(), (path.name, target)


def test_a_missing_browser_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        find_browser()
    monkeypatch.setenv("REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="no Chromium"):
        find_browser()
