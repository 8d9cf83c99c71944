"""notebooks/execute.py: the order, the interpreter, the data root, and the output of a failing cell."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.execute import FOLDER, main
from pipeline.train_channel import train_channel
from reccore import RunOptions, Workspace
from scripts._cli import run
from tests.notebooks.roots import bare_root


def write(path: Path, *cells: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in cells]), path)
    return path


def train_channels(space: Workspace) -> None:
    """Small channels, as the notebook of ranking finds them trained."""
    settings = {
        "popularity": {},
        "itemcf": {},
        "mf": {"embedding_size": 4, "epochs": 2},
        "two_tower": {"embedding_size": 4, "batch_size": 64, "epochs": 1},
    }
    for name, options in settings.items():
        train_channel(space, name, options, options=RunOptions(progress=False))


def stored(folder: Path) -> dict[str, bytes]:
    """Files under a folder and what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepared_folder(folder: Path) -> str:
    """A data root with an empty folder of prepared data."""
    (folder / "data" / "processed" / "two_tower").mkdir(parents=True)
    return str(folder / "data")


def test_runs_with_this_interpreter_and_does_not_change_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared_folder(tmp_path)
    good = write(
        tmp_path / "good.ipynb",
        f"import os, sys\nassert sys.executable == {sys.executable!r}",
        f"assert os.environ['MOVIELENS_REC_DATA'] == {data!r}\nassert os.getcwd() == {str(tmp_path)!r}\nprint('seen')",
    )
    before = good.read_bytes()
    main(["--data_dir", data, str(good)])
    name, seconds, unit = capsys.readouterr().out.split()
    assert (name, unit) == ("good.ipynb", "s")
    assert float(seconds) > 0
    assert good.read_bytes() == before


def test_a_failing_cell_is_shown_and_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = write(tmp_path / "bad.ipynb", "answer = 42", "answer / 0  # the culprit", "never = 1")
    later = write(tmp_path / "later.ipynb", "1")
    with pytest.raises(SystemExit) as ended:
        run(main, ["--data_dir", prepared_folder(tmp_path), str(bad), str(later)])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("bad.ipynb failed after")
    assert "later" not in captured.out
    assert "answer / 0  # the culprit" in captured.err
    assert "ZeroDivisionError: division by zero" in captured.err
    assert "\x1b" not in captured.err


@pytest.mark.parametrize(("argv", "named"), [((), "prepare_two_tower_data.py"), (("none.ipynb",), "none.ipynb")])
def test_nothing_to_run_on_is_one_sentence(
    argv: tuple[str, ...], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepared_folder(tmp_path) if argv else str(tmp_path / "empty")
    with pytest.raises(SystemExit) as ended:
        run(main, ["--data_dir", data, *argv])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


def test_the_notebooks_run_on_data_without_ratings_times_titles_and_genres(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = bare_root(tmp_path)
    train_channels(space)
    models = stored(space.models)
    capsys.readouterr()
    monkeypatch.setenv("MOVIELENS_REC_EPOCHS", "1")
    monkeypatch.setenv("MOVIELENS_REC_MAX_EVENTS", "500")  # thins the users too
    main(["--data_dir", str(space.root)])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        "01_explore_data.ipynb",
        "02_recall_comparison.ipynb",
        "03_ranking_and_funnel.ipynb",
        "04_rerank.ipynb",
    ]
    figures = {path.name for path in (space.reports / "notebooks").iterdir()}
    assert {"long_tail.png", "activity.png", "bands.png", "ndcg.png", "hit_rate.png", "map_genres.png"} <= figures
    assert {"leak.png", "ranking_ndcg.png", "funnel.png", "oracle.png", "slices.png"} <= figures
    assert {"rerank_taken.png", "rerank_curves.png"} <= figures
    assert not {"genres.png", "durations.png", "map_years.png"} & figures
    assert stored(space.models) == models, "a notebook changed trained models"


def test_the_notebook_of_ranking_names_the_command_that_trains_a_missing_channel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = bare_root(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(main, ["--data_dir", str(space.root), str(FOLDER / "03_ranking_and_funnel.ipynb")])
    assert ended.value.code == 1
    assert "scripts/train_recall.py --model popularity" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("nbconvert") is None, reason="nbconvert is not installed")
def test_an_executed_copy_has_the_outputs_and_loads_nothing(tmp_path: Path) -> None:
    data = prepared_folder(tmp_path)
    drawn = "import base64\nfrom IPython.display import Image\nImage(base64.b64decode('iVBORw0KGgo='), format='png')"
    path = write(tmp_path / "shown.ipynb", "print('seven ' * 2)", drawn)
    before = path.read_bytes()
    main(["--data_dir", data, "--html", str(tmp_path / "html"), str(path)])
    page = (tmp_path / "html" / "shown.html").read_text(encoding="utf-8")
    assert "seven seven" in page
    assert "data:image/png;base64,iVBORw0KGgo=" in page
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?!data:)[^\"]*\"", page) == []
    assert "cdnjs" not in page
    assert path.read_bytes() == before
