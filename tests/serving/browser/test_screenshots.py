"""The script that takes the README's pictures, and the pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def test_it_takes_a_light_and_a_dark_picture(address: str, executable: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    command = [sys.executable, "docs/screenshots.py", "--address", address, "--user", "13", "--to", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    brightness = {}
    for name in ("page", "page_dark"):
        with image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (1440, 1530)
            brightness[name] = picture.convert("L").getpixel((5, 700))
    assert brightness["page"] > 200 > 60 > brightness["page_dark"]


def test_the_page_is_the_first_picture_of_the_readme_and_small() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures[0] == "docs/page.png"
    for name in ("page.png", "page_dark.png"):
        assert (ROOT / "docs" / name).stat().st_size < 600_000
