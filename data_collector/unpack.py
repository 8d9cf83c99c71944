"""Unpack an untrusted zip archive into a folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from reccore.bundle import recover_bundle, replace_folder
from reccore.errors import DataError
from reccore.progress import progress

_COPY_BYTES = 1 << 20
# Everything that the zip module raises on a damaged file; BadZipFile includes a wrong CRC.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)


class BadArchiveError(Exception):
    """The archive is damaged, unsafe, or lacks files. The message is a clause without a full stop."""


def missing_files(folder: Path, files: tuple[str, ...]) -> list[str]:
    """The names in ``files`` that do not exist or are empty."""
    return [name for name in files if not (folder / name).is_file() or (folder / name).stat().st_size == 0]


def recover_folder(folder: Path) -> None:
    """Clean up after a killed run: restore a folder that was being replaced, and remove temporary folders."""
    recover_bundle(folder)
    for leftover in folder.parent.glob(f".{folder.name}[.-]*.tmp"):
        shutil.rmtree(leftover)


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder, which replaces ``folder`` when the block ends without an error.

    Raises:
        DataError: a disk error. The old folder is unchanged.
    """
    try:
        with replace_folder(folder) as temporary:
            yield temporary
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}; make room and run again") from error


def unpack(
    archive: Path, into: Path, files: tuple[str, ...], *, folder: str | None = None, show_progress: bool = True
) -> None:
    """Unpack the folder of ``archive`` that contains ``files``, with everything in and below it.

    Reading each member to its end checks its CRC.

    Args:
        archive: zip file.
        into: existing, empty folder.
        files: names that must exist in one folder of the archive.
        folder: unpack only ``files``, from this folder of the archive; default: find the folder by its files.
        show_progress: show a bar.

    Raises:
        BadArchiveError: the archive is not a zip file, is damaged or encrypted, has members that point outside or
            are links, or lacks one of ``files``.
        OSError: a disk error.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = _wanted(_safe_members(opened), files, folder)
            size = sum(member.file_size for member in wanted.values())
            if (free := shutil.disk_usage(into).free) < size:
                raise DataError(f"{archive.name} needs {size:,} bytes unpacked but {into.parent} has {free:,} free")
            with progress(f"unpacking {archive.name.strip('.')}", size, unit="B", enabled=show_progress) as advance:
                for path, member in wanted.items():
                    target = into / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with opened.open(member) as source, target.open("xb") as sink:
                        while piece := source.read(_COPY_BYTES):
                            sink.write(piece)
                            advance(len(piece))
    except _DAMAGE as error:
        raise BadArchiveError(f"{archive.name.strip('.')} is damaged or not a zip archive ({error})") from error
    if missing := missing_files(into, files):
        raise BadArchiveError(f"{archive.name.strip('.')} holds an empty {', '.join(missing)}")


def _safe_members(opened: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Regular files by path. One unsafe member rejects the archive: no MovieLens release has any."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in opened.infolist():
        name, path = member.filename, PurePosixPath(member.filename)
        if "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts:
            raise BadArchiveError(f"the archive has a member that points outside its folder, {name!r}")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadArchiveError(f"the archive has a member that is a link or a device, {name!r}")
        if member.is_dir():
            continue
        if path in members:
            raise BadArchiveError(f"the archive has two members named {name!r}")
        members[path] = member
    return members


def _wanted(
    members: dict[PurePosixPath, zipfile.ZipInfo], files: tuple[str, ...], folder: str | None
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Members to unpack, by target path; if several folders match, the topmost one is used."""
    roots = [path.parent for path in members if path.name == files[0] and folder in (None, str(path.parent))]
    complete = [root for root in roots if all(root / name in members for name in files)]
    if not complete:
        raise BadArchiveError(f"the archive has no folder with {', '.join(files)}")
    root = min(complete, key=lambda candidate: len(candidate.parts))
    if folder is not None:
        return {PurePosixPath(name): members[root / name] for name in files}
    return {path.relative_to(root): member for path, member in members.items() if path.is_relative_to(root)}
