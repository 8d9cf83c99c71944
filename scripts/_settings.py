"""Settings of a command from a TOML file, ``--set`` and flags; of two that give the same key, the later counts.

TOML has no null, so the text ``null`` stands for it in files and in ``--set``: ``--set half_life=null``. A TOML file
may extend another one and give only what differs: ``extends = "base.toml"``, a path relative to the file itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reccore.errors import ConfigError


def read_settings(config: Path | None, pairs: Iterable[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a TOML file, then ``--set`` pairs, then flags.

    Args:
        config: the TOML file, if any.
        pairs: ``KEY=VALUE``; a dotted key leads into tables.
        flags: dotted key → value; those that are None were not given. A key ``KEY=VALUE`` is a switch that sets VALUE.

    Raises:
        ConfigError: an unreadable TOML file, a pair without ``=``, or a key below a value that is not a table.
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        _assign_pair(overrides, pair)
    for key, value in flags.items():
        if value is not None and "=" in key:
            _assign_pair(overrides, key)
        elif value is not None:
            _assign(overrides, key, value)
    return deep_merge({} if config is None else read_toml(config), overrides)


def read_toml(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Settings of a TOML file, merged over those of the file it ``extends``.

    Args:
        path: the file.
        extended_by: the files that extend it, the first one first.

    Raises:
        ConfigError: a file that cannot be read, or that extends itself through others.
    """
    trail = (*extended_by, path)
    shown = " which extends ".join(map(str, trail))
    if path.resolve() in {earlier.resolve() for earlier in extended_by}:
        raise ConfigError(f"cannot read --config {shown}: a circle; one of these files must not extend another")
    try:
        settings: dict[str, Any] = _with_nulls(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read --config {shown}: {error}") from error
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if not isinstance(base, str) or not base:
        raise ConfigError(f"cannot read --config {shown}: extends must be the path of a TOML file, got {base!r}")
    return deep_merge(read_toml(path.parent / base, trail), settings)


def deep_merge(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``settings`` over ``base``, tables key by key.

    Where two tables both have a ``kind`` and the kinds differ, the second replaces the first, because the options of
    one kind mean nothing to another.
    """
    merged = {**base, **settings}
    for key in base.keys() & settings.keys():
        old, new = base[key], settings[key]
        if isinstance(old, dict) and isinstance(new, dict):
            replaced = "kind" in old and "kind" in new and old["kind"] != new["kind"]
            merged[key] = new if replaced else deep_merge(old, new)
    return merged


def _assign_pair(settings: dict[str, Any], pair: str) -> None:
    key, separator, value = pair.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set needs KEY=VALUE, got {pair!r}")
    _assign(settings, key, _parse_value(value))


def _assign(settings: dict[str, Any], key: str, value: Any) -> None:
    """Merge a value in under a dotted key, making the tables on the way."""
    *tables, last = key.split(".")
    for part in tables:
        settings = settings.setdefault(part, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"--set: {part} is not a table")
    settings.update(deep_merge(settings, {last: value}))


def _parse_value(text: str) -> Any:
    """A TOML value where the text is one, else the text itself; None for ``null``."""
    try:
        return _with_nulls(tomllib.loads(f"value = {text}")["value"])
    except tomllib.TOMLDecodeError:
        return _with_nulls(text)


def _with_nulls(value: Any) -> Any:
    """The value with None for every text ``null`` in it."""
    if isinstance(value, dict):
        return {key: _with_nulls(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_nulls(part) for part in value]
    return None if value == "null" else value
