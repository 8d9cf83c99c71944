"""From a URL to the store of live events that it names."""

from __future__ import annotations

from urllib.parse import urlsplit

from reccore import ConfigError
from serving.sqlite_store import SqliteStore
from serving.store import EventStore


def open_store(url: str) -> EventStore:
    """The store of a URL: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``redis://host:port/db``.

    Raises:
        ConfigError: another kind of URL, or the package of the store is missing.
        StoreError: the store cannot be opened.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        if path in ("", url):
            raise ConfigError(f"the store {url!r} names no file; write sqlite:///path/events.sqlite")
        return SqliteStore(path)
    if scheme in ("redis", "rediss", "unix"):
        from serving.redis_store import RedisStore

        return RedisStore.of_url(url)
    raise ConfigError(f"a store is sqlite:///path or redis://host:port/db, got one of the kind {scheme!r}")
