"""The key is read, sent with requests, and never shown."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data_collector.tmdb import workers
from data_collector.tmdb.crawl import CrawlConfig, CrawlReport, crawl
from data_collector.tmdb.key import VARIABLE, Key, read_key
from reccore import ConfigError, RecommenderError, RunOptions, Workspace
from tests.data_collector.tmdb.conftest import write_links
from tests.data_collector.tmdb.server import V3_KEY, V4_KEY, TmdbServer

ROOT = Path(__file__).resolve().parents[3]


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text(f"OTHER=1\n{VARIABLE}='{V4_KEY}'\n")
    assert read_key(file).headers == {"Authorization": f"Bearer {V4_KEY}"}
    assert read_key(file).parameters == {}
    monkeypatch.setenv(VARIABLE, f" {V3_KEY}\n")
    assert read_key(file).parameters == {"api_key": V3_KEY}
    assert read_key(file).headers == {}
    monkeypatch.setenv(VARIABLE, "")
    assert read_key(file).is_bearer


def test_the_example_file_has_no_key() -> None:
    with pytest.raises(ConfigError, match="is not set"):
        read_key(ROOT / ".env.example")


def test_without_a_key_the_error_explains_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        read_key(tmp_path / ".env")
    for part in (VARIABLE, "themoviedb.org/settings/api", ".env", "free account"):
        assert part in str(missing.value)


@pytest.mark.parametrize("value", ["abc def", "abc\r\nX-Header: 1", "schlüssel"])
def test_an_invalid_key_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Key(value)
    assert value not in str(refused.value)
    assert value[:3] not in str(refused.value)


@pytest.mark.parametrize("value", [V3_KEY, V4_KEY, "odd/key+with%signs&"])
def test_the_text_form_of_a_key_hides_it(value: str) -> None:
    key = Key(value)
    assert value not in f"{key} {key!r}"
    assert value not in key.redact(f"https://host/3/movie/1?language=en&api_key={value}&x=1 and {value}")
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_an_unknown_key_in_a_url_is_redacted_too() -> None:
    assert Key(V3_KEY).redact("/3/movie/1?api_key=somebody-elses&x=1") == "/3/movie/1?api_key=***&x=1"


@pytest.mark.parametrize("value", [V3_KEY, V4_KEY])
def test_both_kinds_of_key_are_accepted(tmdb: TmdbServer, space: Workspace, value: str) -> None:
    write_links(space, [1])
    config = CrawlConfig(base_url=tmdb.url)
    assert crawl(space, Key(value), config, RunOptions(progress=False)).documents == 1
    (seen,) = tmdb.seen
    assert (seen.headers.get("authorization") is not None) == (value == V4_KEY)


ENDINGS = {
    "no server": ([], "http://127.0.0.1:9/3"),
    "refused": (["401"], None),
    "elsewhere": ([f"redirect http://127.0.0.1:9/3/movie/1?api_key={V3_KEY}"], None),
    "given up": (["not json", "cut", "silent", "500", "other id", "text", "malformed header", "422"], None),
}


@pytest.mark.parametrize("value", [V3_KEY, V4_KEY])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_end_of_a_crawl_shows_or_stores_the_key(
    tmdb: TmdbServer,
    space: Workspace,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    ending: str,
) -> None:
    from loguru import logger

    monkeypatch.setattr(workers, "ATTEMPTS", 20)
    caplog.set_level(logging.DEBUG)
    logger.remove()
    logger.add(sys.stderr, level="TRACE", diagnose=True, backtrace=True)
    script, url = ENDINGS[ending]
    tmdb.scripts["/3/movie/1"] = list(script)
    write_links(space, [1, 2] if script else range(1, 60))
    shown = ""
    try:
        crawl(space, Key(value), CrawlConfig(base_url=url or tmdb.url, workers=2), RunOptions())
    except RecommenderError as error:
        seen: BaseException | None = error
        while seen is not None:  # a traceback prints these
            shown += repr(seen) + str(seen)
            seen = seen.__cause__ or seen.__context__
    printed = capfd.readouterr()
    logged = "".join(f"{record.getMessage()} {record.exc_info} {record.args}" for record in caplog.records)
    assert logged or url  # the library does log, and does so with the URL
    for text in (shown, printed.out, printed.err, logged, caplog.text):
        assert value not in text
    for path in space.root.rglob("*"):
        assert not path.is_file() or value.encode() not in path.read_bytes()


def test_the_image_server_receives_no_key(tmdb: TmdbServer, crawled: Callable[..., CrawlReport]) -> None:
    crawled(2, posters=True)
    images = [seen for seen in tmdb.seen if seen.path.startswith("/t/p/")]
    assert images
    assert not any("authorization" in seen.headers or "api_key" in str(seen) for seen in images)


def test_the_command_without_a_key_exits_with_2(space: Workspace, tmp_path: Path) -> None:
    write_links(space, [1])
    command = [sys.executable, ROOT / "scripts/data_collector/run_batch_crawl.py", "--data_dir", space.root]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {VARIABLE} is not set")
    assert not (space.raw / "tmdb").exists()
