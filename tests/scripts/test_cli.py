"""Sources of options, and how commands end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from reccore import ComponentConfig, ConfigError, DataError
from scripts._cli import (
    Invocation,
    Names,
    OneOf,
    ResumableRunSettings,
    TrainingSettings,
    parse_command,
    run,
)
from scripts._settings import deep_merge


class NoSettings(ComponentConfig):
    """A command without options of its own."""


class Shortcuts(ComponentConfig):
    """Flags of a component, each kind once."""

    epochs: int | None = Field(None, description="passes")
    encoder: Literal["mlp", "gru"] | None = Field(None, description="kind of encoder")
    metadata: Names | None = Field(None, description="names")
    adjacency: Path | None = Field(None, description="a file")
    use_gcn: bool = Field(False, description="a switch")
    hidden: int = 3


KEYS = {"encoder": "encoder.kind", "use_gcn": "item.graph={}"}


def parse(*argv: str, **options: Any) -> Invocation[Any]:
    return parse_command(list(argv), "test", options.pop("settings", NoSettings), rest=True, **options)


def rest(*argv: str) -> dict[str, Any]:
    return parse(*argv, shortcuts=Shortcuts, keys=KEYS).rest


def toml(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_flags_beat_set_beats_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "a = 'file'\nb = 'file'\nepochs = 1\n")
    found = rest("--epochs", "3", "--config", file, "--set", "a=set", "--set", "epochs=2")
    # Flags that are not given leave no trace: the component's own default applies.
    assert found == {"a": "set", "b": "file", "epochs": 3}


def test_shortcuts_that_the_command_line_gives_are_named(tmp_path: Path) -> None:
    file = ("--config", toml(tmp_path, "epochs = 1\n"), "--set", "encoder.kind=gru")
    assert parse(*file, shortcuts=Shortcuts, keys=KEYS).shortcuts == ()
    assert parse("--use_gcn", "--epochs", "2", *file, shortcuts=Shortcuts, keys=KEYS).shortcuts == ("epochs", "use_gcn")
    assert parse(*file).shortcuts == ()


def test_the_last_set_counts_and_tables_are_merged(tmp_path: Path) -> None:
    file = toml(tmp_path, "[merge]\nk0 = 60\nmethod = 'rrf'\n")
    sets = ("merge.k0=1", "merge.k0=2", "merge.weights.mf=0.5")
    assert rest("--config", file, *(f"--set={pair}" for pair in sets)) == {
        "merge": {"k0": 2, "method": "rrf", "weights": {"mf": 0.5}}
    }


def test_a_flag_sets_the_dotted_key_of_the_component() -> None:
    found = rest("--encoder", "gru", "--use_gcn", "--metadata", "cast, director", "--adjacency", "a/b", "--epochs", "2")
    assert found == {
        "encoder": {"kind": "gru"},
        "item": {"graph": {}},
        "metadata": ["cast", "director"],
        "adjacency": Path("a/b"),
        "epochs": 2,
    }


def test_another_kind_drops_the_options_of_the_kind_before(tmp_path: Path) -> None:
    file = toml(tmp_path, "[encoder]\nkind = 'mlp'\nwidth = 8\n[loss]\nkind = 'softmax'\nscale = 1\n")
    for choice in (("--encoder", "gru"), ("--set", "encoder.kind=gru")):
        found = rest("--config", file, "--set", "encoder.layers=2", "--set", "loss.scale=3", *choice)
        assert found == {"encoder": {"kind": "gru", "layers": 2}, "loss": {"kind": "softmax", "scale": 3}}
    same = rest("--config", file, "--set", "encoder.kind=mlp", "--set", "loss.scale=3")
    assert same == {"encoder": {"kind": "mlp", "width": 8}, "loss": {"kind": "softmax", "scale": 3}}


def test_merging_of_tables() -> None:
    base = {"a": {"x": 1, "y": {"kind": "p", "z": 1}}, "b": {"w": 1}, "c": 1}
    assert deep_merge(base, {"a": {"y": {"kind": "q"}}, "b": {"kind": "r"}, "c": {"v": 2}}) == {
        "a": {"x": 1, "y": {"kind": "q"}},
        "b": {"w": 1, "kind": "r"},
        "c": {"v": 2},
    }
    assert base == {"a": {"x": 1, "y": {"kind": "p", "z": 1}}, "b": {"w": 1}, "c": 1}


def test_flags_are_made_from_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    class Settings(ComponentConfig):
        model: Annotated[str, OneOf(["mf", "itemcf"])] = Field("mf", description="which channel")
        ks: tuple[int, ...] = Field((10, 50), description="list lengths")
        hidden: dict[str, int] = Field({})

    assert parse_command([], "test", Settings).settings == Settings()
    with pytest.raises(SystemExit):
        parse_command(["--help"], "what it does", Settings)
    shown = capsys.readouterr().out
    for part in ("what it does", "--model {mf,itemcf}", "which channel (default: mf)", "list lengths (default: 10,50)"):
        assert part in shown
    assert "--hidden" not in shown
    assert "(default: False)" not in shown
    with pytest.raises(ConfigError, match=r"svd: no such option.*Known options: model, ks, hidden"):
        parse_command(["--set", "svd=3"], "test", Settings)


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
    found = rest("--set", f"x={text}")["x"]
    assert found == value
    assert type(found) is type(value)


def test_null_in_a_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('half_life = "null"\nprotocol = "none"\n[pipeline]\nreranker = "null"\nfill = "mf"\n')
    found = rest("--config", str(file))
    assert found == {"half_life": None, "protocol": "none", "pipeline": {"reranker": None, "fill": "mf"}}


@pytest.mark.parametrize("pair", ["x", "=3"])
def test_set_needs_key_and_value(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set needs KEY=VALUE"):
        rest("--set", pair)


def test_set_below_a_plain_value() -> None:
    with pytest.raises(ConfigError, match="is not a table"):
        rest("--set", "a=1", "--set", "a.b=2")


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", None])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = str(tmp_path / "missing.toml") if text is None else toml(tmp_path, text)
    with pytest.raises(ConfigError, match=r"cannot read --config .*\.toml"):
        rest("--config", path)


def test_a_file_extends_another_beside_it(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "base.toml").write_text(
        "a = 1\nb = 1\nbounds = [1, 2]\n[merge]\nk0 = 60\nweights = {mf = 1.0, pop = 2.0}\n"
    )
    (tmp_path / "rows" / "middle.toml").write_text(
        'extends = "../base.toml"\nb = 2\nc = 2\n[merge]\nweights = {mf = 3.0}\n'
    )
    (tmp_path / "rows" / "row.toml").write_text('extends = "middle.toml"\nc = 3\nbounds = "null"\n')
    merged = {"k0": 60, "weights": {"mf": 3.0, "pop": 2.0}}
    found = rest("--config", str(tmp_path / "rows" / "row.toml"), "--set", "a=9")
    assert found == {"a": 9, "b": 2, "c": 3, "bounds": None, "merge": merged}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"run": 'extends = "none.toml"'}, r"run\.toml which extends .*none\.toml: .*No such file"),
        ({"run": 'extends = "b.toml"', "b": "a = "}, r"run\.toml which extends .*b\.toml: "),
        ({"run": "extends = 3"}, r"run\.toml: extends must be the path of a TOML file, got 3"),
        ({"run": 'extends = "."'}, r"run\.toml which extends .*: .*directory"),
        (
            {"run": 'extends = "run.toml"'},
            r"run\.toml which extends .*run\.toml: a circle; one",
        ),
        (
            {"run": 'extends = "b.toml"', "b": 'extends = "./run.toml"'},
            r"run\.toml which extends .*b\.toml which extends .*run\.toml: a circle; one",
        ),
    ],
)
def test_a_base_that_cannot_be_read(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"cannot read --config .*{message}"):
        rest("--config", str(tmp_path / "run.toml"))


def test_the_seed_follows_the_same_order(tmp_path: Path) -> None:
    file = toml(tmp_path, "seed = 4\nepochs = 2\n")
    found = parse("--config", file)
    assert (found.options.seed, found.rest) == (4, {"epochs": 2})
    assert parse("--config", file, "--set", "seed=5").options.seed == 5
    assert parse("--config", file, "--set", "seed=5", "--seed", "6").options.seed == 6
    assert parse().options.seed == 0
    for bad in ("-1", "1.5", "x", "true", "null", str(2**32)):
        with pytest.raises(ConfigError, match="seed: must be a whole number from 0 to 4294967295"):
            parse("--set", f"seed={bad}")


def test_common_options_and_no_abbreviations() -> None:
    assert parse().workspace.root == Path("data")
    assert parse("--data_dir", "x").workspace.root == Path("x")
    found = parse("--name", "mine", "--protocol", "none", settings=TrainingSettings).settings
    assert (found.name, found.protocol) == ("mine", "none")
    for argv in (["--name", "mine"], ["--see", "1"]):
        with pytest.raises(SystemExit):
            parse(*argv)


def test_options_of_a_resumable_training(tmp_path: Path) -> None:
    found = parse("--resume", "--set", "checkpoint_minutes=0.5", run=ResumableRunSettings).options
    assert (found.resume, found.checkpoint_minutes) == (True, 0.5)
    file = toml(tmp_path, "resume = true\ncheckpoint_minutes = 3\n")
    found = parse("--config", file, "--checkpoint_minutes", "2", run=ResumableRunSettings).options
    assert (found.resume, found.checkpoint_minutes) == (True, 2.0)
    assert not parse(run=ResumableRunSettings).options.resume
    wrong = ("resume=3", "resume=yes", "checkpoint_minutes=0", "checkpoint_minutes=nan", "checkpoint_minutes=true")
    for pair in wrong:
        with pytest.raises(ConfigError, match=f"{pair.partition('=')[0]}: "):
            parse("--set", pair, run=ResumableRunSettings)


def test_emit_prints_one_json_object_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"title": "Amélie", "at": Path("x")}
    parse("--json").emit(result, "for people")
    assert json.loads(capsys.readouterr().out) == {"title": "Amélie", "at": "x"}
    parse().emit(result, "for people")
    assert capsys.readouterr().out == "for people\n"
    with pytest.raises(ValueError):
        parse("--json").emit({"ndcg": float("nan")}, "")


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
def test_commands_in_a_message_get_the_given_data_root(
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


def test_a_bug_is_not_reported_as_a_user_error() -> None:
    def main(argv: list[str] | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main, [])
