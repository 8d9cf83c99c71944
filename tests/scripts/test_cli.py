"""Where options come from, and how commands end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from reccore import ConfigError, DataError
from scripts._cli import build_parser, emit, read_settings, run, run_options, workspace


def parse(*argv: str, training: bool = False) -> argparse.Namespace:
    return build_parser("test", training=training).parse_args(list(argv))


def toml(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_beat_set_beats_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "a = 'file'\nb = 'file'\nc = 'file'\n")
    args = parse("--config", file, "--set", "a=set", "--set", "b=set")
    # d is in none of them: the component's own default applies.
    assert read_settings(args, {"a": "flag", "b": None, "d": None}) == {"a": "flag", "b": "set", "c": "file"}


def test_the_last_set_counts_and_tables_are_merged(tmp_path: Path) -> None:
    file = toml(tmp_path, "[merge]\nk0 = 60\nmethod = 'rrf'\n")
    args = parse("--config", file, "--set", "merge.k0=1", "--set", "merge.k0=2", "--set", "merge.weights.mf=0.5")
    assert read_settings(args, {}) == {"merge": {"k0": 2, "method": "rrf", "weights": {"mf": 0.5}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-5", 1e-5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("'3'", "3"),
        ("two_tower", "two_tower"),
        ("a=b", "a=b"),
        ("null", None),
        ("none", "none"),
        ("[1, 'null']", [1, None]),
        ("", ""),
    ],
)
def test_values_of_set(text: str, value: Any) -> None:
    found = read_settings(parse("--set", f"x={text}"), {})["x"]
    assert found == value
    assert type(found) is type(value)


def test_null_in_a_file_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('half_life = "null"\nprotocol = "none"\n[pipeline]\nreranker = "null"\nfill = "mf"\n')
    found = read_settings(parse("--config", str(file)), {})
    assert found == {"half_life": None, "protocol": "none", "pipeline": {"reranker": None, "fill": "mf"}}


@pytest.mark.parametrize("pair", ["x", "=3"])
def test_set_needs_key_and_value(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set needs KEY=VALUE"):
        read_settings(parse("--set", pair), {})


def test_set_below_a_plain_value() -> None:
    with pytest.raises(ConfigError, match="is not a table"):
        read_settings(parse("--set", "a=1", "--set", "a.b=2"), {})


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", None])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = str(tmp_path / "missing.toml") if text is None else toml(tmp_path, text)
    with pytest.raises(ConfigError, match=r"cannot read --config .*\.toml"):
        read_settings(parse("--config", path), {})


def test_a_file_extends_another_beside_it(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "base.toml").write_text(
        "a = 1\nb = 1\nbounds = [1, 2]\n[merge]\nk0 = 60\nweights = {mf = 1.0, pop = 2.0}\n"
    )
    (tmp_path / "rows" / "middle.toml").write_text(
        'extends = "../base.toml"\nb = 2\nc = 2\n[merge]\nweights = {mf = 3.0}\n'
    )
    (tmp_path / "rows" / "row.toml").write_text('extends = "middle.toml"\nc = 3\nbounds = "null"\n')
    args = parse("--config", str(tmp_path / "rows" / "row.toml"), "--set", "a=9")
    merged = {"k0": 60, "weights": {"mf": 3.0, "pop": 2.0}}
    assert read_settings(args, {}) == {"a": 9, "b": 2, "c": 3, "bounds": None, "merge": merged}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"run": 'extends = "none.toml"'}, r"run\.toml which extends .*none\.toml: .*No such file"),
        ({"run": 'extends = "b.toml"', "b": "a = "}, r"run\.toml which extends .*b\.toml: "),
        ({"run": "extends = 3"}, r"run\.toml: extends must be the path of a TOML file, got 3"),
        ({"run": 'extends = "."'}, r"run\.toml which extends .*: .*directory"),
        ({"run": 'extends = "run.toml"'}, r"run\.toml which extends .*run\.toml: they go in a circle"),
        (
            {"run": 'extends = "b.toml"', "b": 'extends = "./run.toml"'},
            r"run\.toml which extends .*b\.toml which extends .*run\.toml: they go in a circle",
        ),
    ],
)
def test_a_base_that_cannot_be_read(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"cannot read --config .*{message}"):
        read_settings(parse("--config", str(tmp_path / "run.toml")), {})


def test_the_seed_follows_the_same_order(tmp_path: Path) -> None:
    file = toml(tmp_path, "seed = 4\nepochs = 2\n")
    args = parse("--config", file)
    settings = read_settings(args, {})
    assert run_options(args, settings).seed == 4
    assert settings == {"epochs": 2}
    args = parse("--config", file, "--set", "seed=5")
    assert run_options(args, read_settings(args, {})).seed == 5
    args = parse("--config", file, "--set", "seed=5", "--seed", "6")
    assert run_options(args, read_settings(args, {})).seed == 6
    assert run_options(parse()).seed == 0
    for bad in ("-1", "1.5", "x"):
        args = parse("--set", f"seed={bad}")
        with pytest.raises(ConfigError, match="seed must be a whole number"):
            run_options(args, read_settings(args, {}))


def test_common_options_and_no_abbreviations() -> None:
    assert workspace(parse()).root == Path("data")
    assert workspace(parse("--data_dir", "x")).root == Path("x")
    args = parse("--name", "mine", "--protocol", "none", training=True)
    assert (args.name, args.protocol) == ("mine", "none")
    for argv in (["--name", "mine"], ["--see", "1"]):
        with pytest.raises(SystemExit):
            parse(*argv)


def test_emit_prints_one_json_object_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"title": "Amélie", "at": Path("x")}
    emit(parse("--json"), result, "for people")
    assert json.loads(capsys.readouterr().out) == {"title": "Amélie", "at": "x"}
    emit(parse(), result, "for people")
    assert capsys.readouterr().out == "for people\n"
    with pytest.raises(ValueError):
        emit(parse("--json"), {"ndcg": float("nan")}, "")


@pytest.mark.parametrize(("error", "code"), [(DataError("no such file"), 2), (KeyboardInterrupt(), 130)])
def test_errors_end_with_one_sentence_and_a_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: list[str] | None) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(main, [])
    assert ended.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ("error: no such file\n" if code == 2 else "interrupted\n")


@pytest.mark.parametrize(
    ("argv", "given"),
    [
        ([], ""),
        (["--seed", "3"], ""),
        (["--seed", "3", "--data_dir", "my/data"], " --data_dir my/data"),
        (["--data_dir=my data", "--other"], " --data_dir 'my data'"),
    ],
)
def test_commands_in_a_sentence_are_for_the_root_that_was_given(
    argv: list[str], given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train = "PYTHONPATH=. python scripts/train_recall.py"
    crawl = "PYTHONPATH=. python scripts/data_collector/run.py"

    def main(argv: list[str] | None) -> None:
        raise DataError(f"nothing there; run first: {train} --model mf or {crawl}, or {train} --data_dir there")

    with pytest.raises(SystemExit):
        run(main, argv)
    expected = f"{train}{given} --model mf or {crawl}{given}, or {train} --data_dir there"
    assert capsys.readouterr().err == f"error: nothing there; run first: {expected}\n"


def test_a_bug_is_not_dressed_up_as_a_user_error() -> None:
    def main(argv: list[str] | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main, [])
