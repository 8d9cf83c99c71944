import resource
from pathlib import Path

import pytest

from data_collector import transfer
from data_collector.transfer import SourceError, discard, fetch, fetch_text
from reccore import DataError
from tests.data_collector.server import FileServer, Served, noise

BODY = noise(200_000)


def test_fetches_the_whole_file_over_several_dropped_connections(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, drops=[70_000, 50_000, 0, 30_000])
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    assert part.read_bytes() == BODY
    ranges = server.ranges_of("a.zip")
    assert ranges[0] is None
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 50_000
    assert server.sent < len(BODY) + 4 * 2 * transfer.CHUNK_BYTES  # what was there was not sent again


def test_keeps_trying_as_long_as_bytes_arrive(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, drops=[20_000] * 9)
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    assert part.read_bytes() == BODY
    assert len(server.requests) > transfer.FRUITLESS_ATTEMPTS + 1


def test_gives_up_when_no_more_bytes_arrive_and_keeps_the_others(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, drops=[70_000] + [0] * 50)
    with pytest.raises(SourceError, match="bytes are kept"):
        fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    assert len(server.requests) == 1 + transfer.FRUITLESS_ATTEMPTS
    assert BODY.startswith(part.read_bytes())
    assert part.stat().st_size > 50_000

    server.files["a.zip"].drops.clear()
    fetch(f"{server.url}/a.zip", part)
    assert part.read_bytes() == BODY


def test_starts_over_if_the_server_ignores_ranges(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, drops=[70_000], ranges=False)
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    assert part.read_bytes() == BODY
    assert len(server.requests) == 2
    assert server.requests[1][1] is not None


def test_gives_up_on_a_server_that_ignores_ranges_and_always_drops(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, drops=[70_000] * 50, ranges=False)
    with pytest.raises(SourceError):
        fetch(f"{server.url}/a.zip", tmp_path / "a.part")


@pytest.mark.parametrize("validators", [True, False])
def test_never_joins_two_versions_of_a_file(server: FileServer, tmp_path: Path, validators: bool) -> None:
    server.files["a.zip"] = Served(BODY, drops=[70_000] + [0] * 50, validators=validators)
    with pytest.raises(SourceError):
        fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    changed = noise(150_000, seed=9)
    server.files["a.zip"] = Served(changed, validators=validators)
    server.requests.clear()
    fetch(f"{server.url}/a.zip", part)
    assert part.read_bytes() == changed
    assert len(server.requests) == (1 if validators else 2)  # with If-Range the server sees the change itself


def test_a_part_of_another_address_is_discarded(server: FileServer, tmp_path: Path) -> None:
    other = noise(len(BODY), seed=9)
    server.files = {"a.zip": Served(BODY, validators=False), "b.zip": Served(other, validators=False)}
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    fetch(f"{server.url}/b.zip", part)
    assert part.read_bytes() == other


def test_bytes_of_unknown_origin_are_discarded(server: FileServer, tmp_path: Path) -> None:
    (part := tmp_path / "a.part").write_bytes(b"x" * 1000)
    server.files["a.zip"] = Served(BODY)
    fetch(f"{server.url}/a.zip", part)
    assert part.read_bytes() == BODY
    assert server.ranges_of("a.zip") == [None]


def test_a_complete_part_is_used(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY)
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    sent = server.sent
    fetch(f"{server.url}/a.zip", part)
    assert part.read_bytes() == BODY
    assert server.sent == sent
    discard(part)
    assert list(tmp_path.iterdir()) == []


def test_a_busy_server_is_retried_and_a_refusal_is_final(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY, statuses=[503, 429])
    fetch(f"{server.url}/a.zip", part := tmp_path / "a.part")
    assert part.read_bytes() == BODY
    server.requests.clear()
    with pytest.raises(SourceError, match="404 Not Found"):
        fetch(f"{server.url}/b.zip", tmp_path / "b.part")
    assert len(server.requests) == 1


def test_an_unreachable_server_is_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 60)  # a pause would be noticed
    with pytest.raises(SourceError, match="refused"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.part")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_part_and_the_next_run_resumes(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = Served(BODY)
    part = tmp_path / "a.part"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"100,000 of 200,000 bytes are kept.*make room"):
            fetch(f"{server.url}/a.zip", part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert part.read_bytes() == BODY[:100_000]
    fetch(f"{server.url}/a.zip", part)
    assert part.read_bytes() == BODY
    assert server.ranges_of("a.zip") == [None, "bytes=100000-"]


def test_small_texts(server: FileServer) -> None:
    server.files["a.md5"] = Served(b"d41d8cd98f00b204e9800998ecf8427e  a.zip\n", statuses=[503], drops=[5])
    assert fetch_text(f"{server.url}/a.md5") == "d41d8cd98f00b204e9800998ecf8427e  a.zip\n"
    assert fetch_text(f"{server.url}/none.md5") is None
