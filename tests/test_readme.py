"""What the README shows must work as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ranking.features import FEATURES, FeatureEncoder, item
from reccore import RunOptions
from tests.helpers import checkerboard
from tests.ranking.samples import board_setting

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_channel_of_the_readme_is_a_channel(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = next(block for block in blocks if "recall/genre.py" in block)
    scope: dict[str, object] = {"__name__": "recall.genre"}
    exec(compile(code, "README.md", "exec"), scope)
    channel_class = scope["Genre"]
    data = checkerboard()
    channel = channel_class({"min_count": 1}).fit(data, options=RunOptions(progress=False))  # type: ignore[operator]
    queries = data.interactions.queries()
    offered = channel.retrieve(queries, 5)
    offered.validate()
    assert (offered.counts > 0).any()
    np.testing.assert_array_equal(channel.score(queries, offered), offered.score)
    channel.save(tmp_path / "genre")
    again = channel_class.load(tmp_path / "genre").retrieve(queries, 5)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(again.item_idx, offered.item_idx)


def test_the_feature_of_the_readme_is_a_feature() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = next(block for block in blocks if "item.is_recent" in block)
    try:
        exec(compile(code, "README.md", "exec"), dict(vars(item)))  # as a part of ranking/features/item.py
        setting = board_setting()
        encoder = FeatureEncoder.fit(setting.samples, setting.items, setting.users, features=["item.is_recent"])
        recent = encoder.item_block.numbers[1:, 0].numpy() > 0
        np.testing.assert_array_equal(recent, setting.items.year >= 1995)  # type: ignore[operator]
    finally:
        FEATURES.pop("item.is_recent", None)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python ((?:scripts|examples)/\w+\.py)", README))))
def test_every_command_of_the_readme_exists(command: str) -> None:
    assert (ROOT / command).is_file()


def test_every_file_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
