import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from data_collector import wheel as module
from data_collector.datasets import DATASETS, ArchiveSource, WheelSource, find_dataset
from data_collector.transfer import SourceError
from data_collector.wheel import download_wheel
from reccore import ConfigError

MIRROR = DATASETS["ml-100k"].sources[1]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that replaces the package index, with a tiny wheel of the pinned name and version."""
    (folder := tmp_path / "shelf").mkdir()
    facts = "recbole-1.2.1.dist-info"
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as made:
        for name in ("ml-100k.inter", "ml-100k.item", "ml-100k.user", "ml-100k.kg"):
            made.writestr(f"recbole/dataset_example/ml-100k/{name}", f"content of {name}")
        made.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        made.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{facts}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_pip_fetches_the_pinned_wheel_by_its_own_configuration(shelf: Path, tmp_path: Path) -> None:
    content = (shelf / "recbole-1.2.1-py3-none-any.whl").read_bytes()
    (into := tmp_path / "into").mkdir()
    found = download_wheel(replace(MIRROR, sha256=hashlib.sha256(content).hexdigest()), into, show_progress=False)
    assert found.read_bytes() == content
    with pytest.raises(SourceError, match="pinned is 9c99482020"):
        download_wheel(MIRROR, into, show_progress=False)


def test_the_error_contains_the_message_of_pip(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"pip download failed, ERROR: .*recbole==9"):
        download_wheel(replace(MIRROR, requirement="recbole==9"), tmp_path, show_progress=False)


def test_a_python_without_pip_is_a_failing_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", "false")
    with pytest.raises(SourceError, match="exit code 1"):
        download_wheel(MIRROR, tmp_path, show_progress=False)


def test_every_data_set_starts_with_its_archive() -> None:
    names = ["ml-100k", "ml-1m", "ml-latest-small", "ml-10m", "ml-20m", "ml-25m", "ml-32m"]
    assert list(DATASETS) == names
    for name in names:
        first = find_dataset(name).sources[0]
        assert isinstance(first, ArchiveSource)
        assert first.file == f"{name}.zip"
    assert isinstance(MIRROR, WheelSource)
    with pytest.raises(ConfigError, match="'ml-5m'; choose one of ml-100k, ml-1m"):
        find_dataset("ml-5m")
