"""Live events in Redis: for several machines, or several processes that share nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import msgspec
from loguru import logger

from reccore import ConfigError, RawId
from serving.errors import StoreError
from serving.store import LiveEvent, Stored, user_key

PREFIX = "movielens-rec:"
TIMEOUT_SECONDS = 0.5
_APPEND = """
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return {1, ARGV[2], 0} end
if ARGV[3] ~= '' then
    local known = redis.call('HGET', KEYS[3], ARGV[3])
    if known then
        local place = redis.call('HGET', KEYS[2], cjson.decode(known)['event_id'])
        return {0, known, 1 - redis.call('HEXISTS', KEYS[1], string.match(place, '|(%d+)$'))}
    end
    redis.call('HSET', KEYS[3], ARGV[3], ARGV[2])
end
redis.call('HSET', KEYS[1], redis.call('INCR', KEYS[4]), ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4] .. '|' .. redis.call('GET', KEYS[4]))
return {1, ARGV[2], 0}
"""
_UNDO = """
local place = redis.call('HGET', KEYS[1], ARGV[1])
if not place then return 0 end
local sequence = string.match(place, '|(%d+)$')
redis.call('HDEL', ARGV[2] .. string.sub(place, 1, -#sequence - 2), sequence)
return 1
"""


class RedisStore:
    """A hash of events for every user, by a running number. Lua scripts make each change whole or not at all.

    A call whose answer was lost is sent once more, which changes nothing if it had arrived.

    How much of what was acknowledged survives a crash of the server is a setting of the server (``appendfsync``).

    Args:
        client: of redis-py.
    """

    name = "redis"

    def __init__(self, client: Any) -> None:
        self._client = client
        self._append, self._undo = client.register_script(_APPEND), client.register_script(_UNDO)

    @classmethod
    def of_url(cls, url: str) -> Self:
        """The store at a URL such as ``redis://127.0.0.1:6379/0``.

        Raises:
            ConfigError: the package redis is missing, or the URL is none of its.
            StoreError: the server cannot be reached.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ConfigError("a store at redis:// needs the package redis: pip install 'redis>=5'") from error
        options = {
            "socket_timeout": TIMEOUT_SECONDS,
            "socket_connect_timeout": TIMEOUT_SECONDS,
            "retry": Retry(NoBackoff(), 1),
        }
        try:
            store = cls(redis.Redis.from_url(url, **options))
        except ValueError as error:
            raise ConfigError(f"the URL of the store cannot be read: {error}") from error
        store.ping()
        return store

    def append(self, user: RawId, event: LiveEvent, key: str | None) -> Stored:
        name = user_key(user)
        keys = [self._events(name), f"{PREFIX}places", f"{PREFIX}keys:{name}", f"{PREFIX}sequence"]
        values = [event.event_id, msgspec.json.encode(event), key or "", name]
        with _failures():
            applied, stored, undone = self._append(keys=keys, args=values)
        return Stored(msgspec.json.decode(stored, type=LiveEvent), bool(applied), bool(undone))

    def undo(self, event_id: str) -> bool:
        with _failures():
            return bool(self._undo(keys=[f"{PREFIX}places"], args=[event_id, f"{PREFIX}events:"]))

    def events(self, user: RawId) -> list[LiveEvent]:
        with _failures():
            found = self._client.hgetall(self._events(user_key(user)))
        in_order = sorted(found.items(), key=lambda one: int(one[0]))
        return [msgspec.json.decode(event, type=LiveEvent) for _, event in in_order]

    def ping(self) -> None:
        with _failures():
            self._client.ping()

    def close(self) -> None:
        self._client.close()

    def _events(self, name: str) -> str:
        return f"{PREFIX}events:{name}"


@contextmanager
def _failures() -> Iterator[None]:
    """Errors of Redis as ``StoreError``, whose message does not have the URL and so no password."""
    from redis import exceptions

    try:
        yield
    except exceptions.AuthenticationError as error:
        raise StoreError("the Redis store of live events refuses the password of its URL") from error
    except exceptions.TimeoutError as error:
        raise StoreError("the Redis store of live events does not answer in time") from error
    except (exceptions.ConnectionError, OSError) as error:
        raise StoreError("the Redis store of live events cannot be reached; is its server running?") from error
    except exceptions.RedisError as error:
        logger.exception("the Redis store of live events answers with an error")
        raise StoreError("the Redis store of live events answers with an error, which is in the log") from error
