"""``serve.py``: what it refuses before it listens, and how it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from reccore import ConfigError, Workspace
from scripts.demo import serve_command
from scripts.serve import announce, bound
from serving.settings import API_KEY, Settings
from tests.scripts.conftest import Command
from tests.scripts.test_help import REPOSITORY
from tests.serving.conftest import free_port, logged

__all__ = ["logged"]


def test_beyond_this_machine_it_needs_a_key_or_a_clear_word(
    command: Command, own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(API_KEY, raising=False)
    sentence = command("serve", "--data_dir", own.root, "--host", "0.0.0.0").sentence
    assert API_KEY in sentence
    assert "--open" in sentence
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        argv = ("--data_dir", own.root, "--host", "0.0.0.0", "--port", taken.getsockname()[1])
        assert "cannot listen" in command("serve", *argv, "--open").sentence
        monkeypatch.setenv(API_KEY, "secret")
        assert "cannot listen" in command("serve", *argv).sentence


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_beyond_this_machine_the_log_says_under_which_names_it_answers(host: str, logged: list[str]) -> None:
    announce(Settings(pipeline="p", store="s", host=host, allowed_hosts=("films.example",)))
    said = [line for line in logged if "--allowed_hosts" in line and "films.example" in line]
    assert len(said) == (host == "0.0.0.0")


def test_a_port_in_use_is_one_sentence(command: Command, own: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = command("serve", "--data_dir", own.root, "--port", port).sentence
    assert sentence == f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --port"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--store", "mysql://x"], "a store is sqlite:///path or redis://host:port/db"),
        (["--store", "redis://127.0.0.1:1/0"], "the Redis store of live events cannot be reached"),
        (["--workers", "2", "--store", "sqlite:///"], "names no file"),
        (["--port", "0"], "port: "),
        (["--threads", "3"], "threads: "),
    ],
)
def test_wrong_options_are_one_sentence(command: Command, own: Workspace, argv: list[str], message: str) -> None:
    assert message in command("serve", "--data_dir", own.root, "--port", free_port(), *argv).sentence


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_pipeline_is_one_sentence(command: Command, own: Workspace, workers: int) -> None:
    file = own.model("pipeline") / "items.npz"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-9])
    argv = ("--data_dir", own.root, "--port", free_port(), "--workers", workers)
    assert "is damaged: items.npz" in command("serve", *argv).sentence


@pytest.mark.slow
def test_several_workers_share_a_port_and_the_events(trained: Workspace, tmp_path: Path) -> None:
    port, headers = free_port(), {"x-api-key": "secret"}
    url, store = f"http://127.0.0.1:{port}", f"sqlite:///{tmp_path}/events.sqlite"
    argv = ["--data_dir", str(trained.root), "--port", str(port), "--workers", "2", "--store", store]
    process = subprocess.Popen(
        [sys.executable, "scripts/serve.py", *argv],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1", API_KEY: "secret"},
    )
    try:
        while True:
            assert process.poll() is None
            try:
                event = {"user_id": 4, "movie_id": 5, "rating": 4}
                assert httpx.post(f"{url}/v1/events", json=event, headers=headers, timeout=60).status_code == 201
                break
            except httpx.TransportError:
                time.sleep(0.1)
        for _ in range(20):  # each on a connection of its own, which either worker may take
            answer = httpx.get(f"{url}/v1/users/4/history", headers=headers, timeout=60)
            assert answer.json()["total"] == 1
        assert httpx.get(f"{url}/v1/info").status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def test_the_demo_ends_with_the_command() -> None:
    assert serve_command(Path("data")) == "make serve"
    assert serve_command(Path("/a b")) == "PYTHONPATH=. python scripts/serve.py --data_dir '/a b'"


def test_a_port_of_several_processes_is_in_use_too() -> None:
    with contextlib.closing(bound("127.0.0.1", 0, 1)[0]) as one:
        one.listen()
        port = one.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen"):
            bound("127.0.0.1", port, 2)
    several = bound("127.0.0.1", port, 3)
    try:
        assert {one.getsockname()[1] for one in several} == {port}
        for one in several:
            one.listen()
        for number in (1, 2):
            with pytest.raises(ConfigError, match="cannot listen"):
                bound("127.0.0.1", port, number)
    finally:
        for one in several:
            one.close()


def test_each_process_gets_its_part_of_the_connections() -> None:
    several = bound("127.0.0.1", free_port(), 2)
    for one in several:
        one.listen(128)
        one.setblocking(False)
    clients = [socket.create_connection(several[0].getsockname()) for _ in range(100)]
    taken = [0, 0]
    for place, one in enumerate(several):
        with contextlib.suppress(BlockingIOError):
            while True:
                one.accept()[0].close()
                taken[place] += 1
    for each in (*clients, *several):
        each.close()
    assert sum(taken) == 100
    assert min(taken) > 15  # of a fair coin, one in 10¹² times
