"""Files that were cut short: text in the middle of a line, compressed files, archives."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dataprep.events import read_event_file
from dataprep.preprocess import preprocess_own
from dataprep.readers.own import EventFile
from reccore import DataError
from tests.dataprep.miniatures import CSV, ML_1M, ML_100K, QUIET, rows, run

EVENTS = b"userId,itemId,timestamp\n" + b"".join(b"%d,%d,1600000000\n" % (row, row) for row in range(500))


@pytest.mark.parametrize(
    ("files", "name"), [(ML_100K, "u.data"), (ML_1M, "ratings.dat"), (ML_1M, "users.dat"), (CSV, "ratings.csv")]
)
def test_a_release_cut_in_a_line_is_refused(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    whole = files[name]
    cut = whole[: whole.rstrip().rindex(b"\n") + 3]
    message = f"{name} ends in the middle of line {cut.count(10) + 1}, so it has been cut short; download"
    with pytest.raises(DataError, match=message):
        run(tmp_path, {**files, name: cut}, share=0.9)
    assert not (tmp_path / "processed").exists()


@pytest.mark.parametrize("cut", [2, 5])
def test_own_events_cut_in_a_line_are_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(EVENTS[: EVENTS.rstrip().rindex(b"\n") + 1 + cut])
    with pytest.raises(DataError, match="ends in the middle of line 501"):
        preprocess_own(EventFile(path), None, None, tmp_path / "out", options=QUIET)
    with pytest.raises(DataError, match="ends in the middle of line 501"):
        read_event_file(EventFile(path))


def test_a_valid_last_row_without_a_line_end_is_kept_with_a_warning(tmp_path: Path, log: list[str]) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(EVENTS.rstrip())
    preprocess_own(EventFile(path), None, None, tmp_path / "out", options=QUIET)
    assert len(rows(tmp_path / "out" / "ratings.parquet")) == 500
    assert log == ["e.csv: the last line has no line end; if the file was cut short, that row is wrong\n"]


@pytest.mark.parametrize("length", [0.5, 0.99])
def test_a_compressed_file_cut_short_is_refused(tmp_path: Path, length: float) -> None:
    packed = gzip.compress(EVENTS)
    path = tmp_path / "e.csv.gz"
    path.write_bytes(packed[: int(len(packed) * length)])
    with pytest.raises(DataError, match=r"e\.csv\.gz is damaged or cut short"):
        preprocess_own(EventFile(path), None, None, tmp_path / "out", options=QUIET)


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(EVENTS))
    packed[-6] ^= 0xFF  # the check sum
    path = tmp_path / "e.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"e\.csv\.gz is damaged or cut short"):
        preprocess_own(EventFile(path), None, None, tmp_path / "out", options=QUIET)


def test_an_archive_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "e.zip"
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DataError, match=r"e\.zip is a zip archive; unpack it"):
        preprocess_own(EventFile(path), None, None, tmp_path / "out", options=QUIET)
