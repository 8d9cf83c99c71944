"""Every malformed input and wrong use ends with its one sentence and exit code 2, and the docs explain the sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reccore import Workspace
from tests.scripts.conftest import Command
from tests.scripts.trouble_makers import Trouble
from tests.scripts.troubles import TROUBLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
ROW = re.compile(r"^\| `(.+?)` \| (.+) \|$", re.MULTILINE)
LEAST = 40


def explained() -> dict[str, str]:
    """Sentence → what the page says of it."""
    return dict(ROW.findall(PAGE.read_text(encoding="utf-8")))


def row_of(trouble: Trouble) -> str:
    """The sentence of the page that the trouble names, whole or by its beginning."""
    sentences = list(explained())
    if trouble.sentence in sentences:
        return trouble.sentence
    found = [sentence for sentence in sentences if sentence.startswith(trouble.sentence)]
    assert len(found) == 1, (trouble.sentence, found)
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.what.replace(" ", "-"))
def test_one_sentence_and_exit_code_2(command: Command, own: Workspace, trouble: Trouble) -> None:
    trouble.make(own)
    argv = [arg.replace("ROOT", str(own.root)) for arg in trouble.argv]
    sentence = command(trouble.command, "--data_dir", own.root, *argv).sentence
    pattern = ".*".join(map(re.escape, row_of(trouble).split("…")))
    assert re.fullmatch(f"error: {pattern}", sentence), sentence
    assert not re.search(r"\w+(Config|Settings|Error)\b|function-\w+\[", sentence)


def test_the_page_explains_every_sentence_and_no_other() -> None:
    assert set(explained()) == {row_of(trouble) for trouble in TROUBLES}
    assert all(len(why.split()) > 4 for why in explained().values())


def test_there_are_many_and_each_is_another() -> None:
    assert len({trouble.what for trouble in TROUBLES}) == len(TROUBLES) >= LEAST
