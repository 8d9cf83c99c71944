"""docs/own_data.md from its log to its recommendations, by the commands that stand on the page."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    PYTHONPATH=\. python (.+)$", PAGE, flags=re.MULTILINE)


def run(folder: Path, command: str, *more: str) -> str:
    """Run a command of the page in a folder; returns what it prints."""
    script, *arguments = shlex.split(command)
    resolved = [str(ROOT / part) if part.startswith("configs/") else part for part in arguments]
    ended = subprocess.run(
        [sys.executable, str(ROOT / script), *resolved, *more],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stderr}"
    return ended.stdout


def test_there_are_three_commands_between_the_log_and_the_list() -> None:
    section = PAGE[PAGE.index("## Three commands") : PAGE.index("## Then")]
    assert len(re.findall(r"^    PYTHONPATH", section, flags=re.MULTILINE)) == 3


def test_the_files_that_the_page_shows_are_those_of_the_example(tmp_path: Path) -> None:
    run(tmp_path, COMMANDS[0])
    for name in ("log.csv.gz", "products.csv"):
        lines = pd.read_csv(tmp_path / "shop" / name, dtype=str).head(2).to_csv(index=False).splitlines()
        assert "\n".join(f"    {line}" for line in lines) in PAGE


@pytest.mark.slow
def test_the_page_from_top_to_bottom(tmp_path: Path) -> None:
    printed = {command: run(tmp_path, command) for command in COMMANDS}
    recommend = next(command for command in COMMANDS if "recommend.py --user" in command)
    answer = json.loads(run(tmp_path, recommend, "--json"))
    log = pd.read_csv(tmp_path / "shop" / "log.csv.gz")
    products = pd.read_csv(tmp_path / "shop" / "products.csv").set_index("sku")["name"]
    offered = [item["movie_id"] for item in answer["recommendations"]]
    assert len(offered) == 5
    assert [item["title"] for item in answer["recommendations"]] == products[offered].tolist()
    seen = set(log.loc[log["customer_id"] == answer["user"], "sku"])
    assert set(answer["history"]) <= seen
    assert len(answer["history"]) > 5
    assert all(title in printed[recommend] for title in products[offered])
    learnt = json.loads((tmp_path / "shop" / "data" / "reports" / "pipeline.json").read_text())
    ndcg = {e["name"]: e["metrics"]["ndcg@10"]["mean"] for e in learnt["evaluations"]}
    assert ndcg["after ranking"] > 2 * ndcg["popularity"]  # the customers' tastes are in the log
