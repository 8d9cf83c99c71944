"""The stores of live events, each against the real thing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reccore import ConfigError
from serving.errors import StoreError
from serving.sqlite_store import SqliteStore
from serving.store import EventStore, GuardedStore, LiveEvent
from serving.stores import open_store
from tests.serving.conftest import free_port

WRITERS, EACH = 4, 25


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of this test alone. Where REQUIRE_SERVICES is set, its absence is a failure."""
    server = shutil.which("redis-server")
    if server is None:
        message = "redis-server is not installed"
        pytest.fail(message) if os.environ.get("REQUIRE_SERVICES") else pytest.skip(message)
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        _wait_for(url)
        yield url
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            open_store(url).close()
            return
        except StoreError:
            time.sleep(0.05)
    raise TimeoutError(url)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.sqlite"
    found: str = request.getfixturevalue("redis_url")
    import redis

    redis.Redis.from_url(found).flushdb()
    return found


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    opened = open_store(url)
    yield opened
    opened.close()


def event(name: str, movie: int | str = 5, rating: float | None = 4.0) -> LiveEvent:
    return LiveEvent(name, movie, rating, 1_000)


def names(store: EventStore, user: int | str = 1) -> list[str]:
    return [one.event_id for one in store.events(user)]


def test_events_come_back_as_they_were_in_the_order_of_arrival(store: EventStore, url: str) -> None:
    given = [event("a"), event("b", "x-1", None), event("c", 9, 0.5), event("d")]
    for one in given:
        assert store.append(7, one, None).applied
    assert list(store.events(7)) == given
    assert list(store.events(8)) == []
    again = open_store(url)
    assert list(again.events(7)) == given
    again.close()


def test_the_same_key_of_a_user_is_applied_once(store: EventStore) -> None:
    assert store.append(1, event("a"), "key").applied
    repeated = store.append(1, event("b", 6, 2.0), "key")
    assert (repeated.applied, repeated.event) == (False, event("a"))
    assert store.append(2, event("c"), "key").applied
    assert store.append(1, event("d"), "other").applied
    assert (names(store, 1), names(store, 2)) == (["a", "d"], ["c"])


def test_undo_takes_one_event_back_and_may_be_repeated(store: EventStore) -> None:
    for name in ("a", "b"):
        store.append(1, event(name), name)
    assert store.undo("a")
    assert store.undo("a")
    assert names(store) == ["b"]
    assert not store.undo("z")
    repeated = store.append(1, event("c"), "a")  # the key of an undone event does not bring it back
    assert (repeated.event, repeated.applied, repeated.undone) == (event("a"), False, True)
    assert not store.append(1, event("d"), "b").undone
    assert names(store) == ["b"]


def test_the_number_and_the_text_are_the_same_user(store: EventStore) -> None:
    store.append(12, event("a"), None)
    assert names(store, "12") == ["a"]


@pytest.mark.parametrize("user", ["a|1", "b:c", "Ж", "x\0y", "'; DROP TABLE events;--"])
def test_any_text_is_a_user(store: EventStore, user: str) -> None:
    store.append(user, event("a"), user)
    store.append(user, event("b"), None)
    assert store.undo("a")
    assert names(store, user) == ["b"]


def _write(url: str, writer: int) -> None:
    opened = open_store(url)
    for number in range(EACH):
        assert opened.append(1, event(f"{writer}-{number}"), f"{writer}-{number}").applied
        opened.append(1, event(f"shared-{writer}-{number}"), f"shared-{number}")
    opened.close()


def test_writers_in_several_processes_lose_nothing(store: EventStore, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(url, writer)) for writer in range(WRITERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS
    found = names(store)
    own = {f"{writer}-{number}" for writer in range(WRITERS) for number in range(EACH)}
    assert own <= set(found)
    shared = [name.rpartition("-")[2] for name in found if name.startswith("shared")]
    assert sorted(shared, key=int) == [str(number) for number in range(EACH)]  # each key once, whoever was first
    assert len(found) == len(set(found)) == len(own) + EACH


def test_a_redis_that_has_gone_is_a_store_error(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(StoreError, match="cannot be reached") as found:
        open_store(f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert "secret" not in str(found.value)


def test_a_redis_with_a_password(redis_url: str) -> None:
    import redis

    admin = redis.Redis.from_url(redis_url)
    admin.config_set("requirepass", "secret")
    try:
        with pytest.raises(StoreError, match="refuses the password") as found:
            open_store(redis_url.replace("redis://", "redis://:wrong@"))
        assert "wrong" not in str(found.value)
        open_store(redis_url.replace("redis://", "redis://:secret@")).close()
    finally:
        redis.Redis.from_url(redis_url, password="secret").config_set("requirepass", "")


def test_a_redis_that_holds_other_things_is_a_store_error(redis_url: str) -> None:
    import redis

    opened = open_store(redis_url)
    redis.Redis.from_url(redis_url).set("movielens-rec:events:77", "text")
    with pytest.raises(StoreError, match="answers with an error"):
        opened.events(77)
    opened.close()


def test_every_commit_to_sqlite_is_synced(tmp_path: Path) -> None:
    connection = SqliteStore(tmp_path / "events.sqlite")._connection()
    pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]  # 2 = FULL


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/events.sqlite")


@pytest.mark.parametrize(
    ("url", "message"),
    [("mysql://x", "sqlite:///path or redis"), ("sqlite://x", "names no file"), ("sqlite:///", "names no file")],
)
def test_another_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(url)


class Failing:
    """A store that is down, and counts how often it is called."""

    name = "failing"

    def __init__(self) -> None:
        self.calls = 0

    def append(self, *args: object) -> None:
        self.calls += 1
        raise StoreError("down")

    undo = events = ping = append

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.append(1, event("a"), None),
        lambda store: store.undo("a"),
        lambda store: store.events(1),
    ],
)
def test_a_store_that_failed_is_left_alone_for_a_while(call: Callable[[EventStore], object]) -> None:
    store = Failing()
    guarded = GuardedStore(store, pause=60.0)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(StoreError):
            call(guarded)
    assert store.calls == 1
    eager = GuardedStore(store, pause=0.0)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(StoreError):
            call(eager)
    assert store.calls == 4
