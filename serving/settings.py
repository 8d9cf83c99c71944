"""Settings of the service: what ``scripts/serve.py`` makes of its options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

API_KEY = "SERVING_API_KEY"
"""Environment variable of the API key; it is in no file and no log."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the service runs.

    Attributes:
        pipeline: folder of the pipeline, which is watched for new ones.
        store: ``sqlite:///path`` or ``redis://host:port/db``.
        posters: folder of poster images named by movie id; None = those that the crawler has fetched.
        data_root: of the crawler's images; None = no images of it.
        host: address to bind.
        port: to bind.
        allowed_hosts: names that a request may carry in its Host header, besides the loopback names.
        threads: of the pipeline, 1 or 2.
        most_together: lists that are computed as one batch where so many wait; 1 = each is alone.
        max_waiting: requests that may wait for a thread before further ones are refused.
        max_body: bytes of a request's body.
        body_seconds: within which a body must have arrived.
        rate: requests per second and client in the long run; 0 = no limit.
        burst: requests of one client at once.
        watch_seconds: between two looks at the pipeline's folder.
        stage_seconds: that one component of the pipeline may take in one request before it is skipped; 0 = any time.
        answer_seconds: within which every request is answered, if only that it took too long.
        store_pause: seconds without a call to a store that has failed.
    """

    pipeline: str
    store: str
    posters: str | None = None
    data_root: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    threads: int = 1
    most_together: int = 8
    max_waiting: int = 64
    max_body: int = 256 * 1024
    body_seconds: float = 10.0
    rate: float = 100.0
    burst: int = 200
    watch_seconds: float = 2.0
    stage_seconds: float = 0.25
    answer_seconds: float = 15.0
    store_pause: float = 1.0

    @property
    def folder(self) -> Path:
        return Path(self.pipeline)


def api_key(environment: Mapping[str, str] = os.environ) -> str | None:
    """The API key that clients must send; None if the variable is not set or empty."""
    return environment.get(API_KEY, "").strip() or None
