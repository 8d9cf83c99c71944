"""A newcomer's hour: the commands of the README's section "Step by step", in order, in a fresh copy of the repository.

An engineer's hour, from a shop's own log to its recommendations, is tests/examples/test_own_data_page.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## Step by step") :].partition("\n(")[0]
COMMANDS = re.findall(r"^    (PYTHONPATH=\. python .+)$", SECTION, flags=re.MULTILINE)


def copy_of_the_repository(to: Path) -> Path:
    """The files that git tracks, as a clone has them."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)
    return to


def run(folder: Path, command: str) -> str:
    """Run a line of the README as a shell does; returns what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    ended = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    assert "Traceback" not in ended.stderr, f"{command}\n{ended.stderr}"
    assert ended.stdout.strip(), f"{command} prints nothing"
    return ended.stdout


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git to know the files of the repository")
def test_the_commands_of_the_readme_from_top_to_bottom(tmp_path: Path) -> None:
    copy = copy_of_the_repository(tmp_path)
    printed = {command: run(copy, command) for command in COMMANDS}
    recommend = next(command for command in COMMANDS if "recommend.py --user" in command)
    first = json.loads(run(copy, f"{recommend} --json"))["recommendations"]
    assert len(first) == 10
    assert all(film["title"][:40] in printed[recommend] for film in first)
    learnt = json.loads((copy / "data" / "reports" / "pipeline.json").read_text())
    ndcg = {e["name"]: e["metrics"]["ndcg@10"]["mean"] for e in learnt["evaluations"]}
    assert ndcg["after ranking"] > ndcg["two_tower"] > ndcg["popularity"]
    assert not [path for path in copy.rglob("*.tmp") if "data" in path.parts]
