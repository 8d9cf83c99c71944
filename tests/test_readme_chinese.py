"""README.zh-CN.md says what README.md says: the same sections, commands, code, figures, names and links."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
LANGUAGES = {"README.md", "README.zh-CN.md"}
"""The links from one to the other."""


def without_code(text: str) -> str:
    """The prose, tables and headings."""
    return re.sub(r"^    \S.*$", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)


def headings(text: str) -> list[int]:
    """Level of every heading, in order."""
    return [len(found) for found in re.findall(r"^(#+) ", without_code(text), flags=re.MULTILINE)]


def commands(text: str) -> list[str]:
    """Indented lines: what a reader types."""
    return re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)


def code(text: str) -> list[str]:
    """Blocks of Python."""
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def figures(text: str) -> Counter[str]:
    """Numbers of the prose and the tables."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)", "", without_code(text))
    return Counter(re.findall(r"(?<![\w.])[+−-]?(?:\d[\d,]*)?\.?\d+%?", prose))


def names(text: str) -> set[str]:
    """Code within the prose."""
    return set(re.findall(r"`([^`\n]+)`", without_code(text)))


def links(text: str) -> Counter[str]:
    """Targets of links and pictures."""
    found = Counter(re.findall(r"\]\(([^)\s]+)\)", without_code(text)))
    return Counter({target: n for target, n in found.items() if target not in LANGUAGES})


@pytest.mark.parametrize("part", [headings, commands, code, figures, names, links])
def test_both_pages_have_the_same(part) -> None:  # type: ignore[no-untyped-def]
    of_english, of_chinese = part(ENGLISH), part(CHINESE)
    assert of_english, "nothing is compared"
    assert of_chinese == of_english


def test_each_page_links_to_the_other() -> None:
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE


def test_a_difference_is_noticed() -> None:
    changed = re.sub(r"\d\.\d{4}", "9.9999", CHINESE, count=1).replace("    make demo", "    make demos")
    changed = changed.replace("`explain.py`", "它")
    assert figures(changed) != figures(ENGLISH)
    assert commands(changed) != commands(ENGLISH)
    assert names(changed) != names(ENGLISH)
