import json
from pathlib import Path

import pytest

from reccore import Workspace
from scripts import _cli
from scripts.download_data import main
from tests.data_collector.server import FileServer, Served, ml_1m_files, zip_of


def test_prints_one_json_object(server: FileServer, space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    server.files = {"ml-1m.zip": Served(zip_of(ml_1m_files(1_000)))}
    main(["--dataset", "ml-1m", "--base_url", server.url, "--data_dir", str(space.root), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["dataset"] == "ml-1m"
    assert Path(result["path"]) == space.raw / "ml-1m"
    assert result["files"] == ["README", "movies.dat", "ratings.dat", "users.dat"]
    assert result["bytes"] == 1_000 + 3_000 + 2_000 + 5
    assert result["source"].endswith("ml-1m.zip")
    assert result["verified_by"]


def test_says_when_it_is_already_there(
    server: FileServer, space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files = {"ml-1m.zip": Served(zip_of(ml_1m_files(1_000)))}
    (config := tmp_path / "c.toml").write_text(f'dataset = "ml-1m"\nbase_url = "{server.url}"\n')
    command = ["--config", str(config), "--data_dir", str(space.root)]
    main(command)
    assert "ml-1m is in" in capsys.readouterr().out
    main(command)
    assert "ml-1m is already in" in capsys.readouterr().out
    assert len(server.ranges_of("ml-1m.zip")) == 1
    main([*command, "--set", "force=true"])
    assert len(server.ranges_of("ml-1m.zip")) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dataset", "ml-5m"], "unknown data set 'ml-5m'; choose one of ml-100k"),
        ([], "--dataset is needed, one of ml-100k"),
        (["--dataset", "ml-1m", "--set", "forze=true"], "forze"),
        (["--dataset", "ml-1m", "--base_url", "http://127.0.0.1:9"], "To go on by hand"),
    ],
)
def test_user_errors_are_one_sentence_and_exit_code_2(
    space: Workspace, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _cli.run(main, [*options, "--data_dir", str(space.root)])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert not list(space.root.rglob("*.*"))
