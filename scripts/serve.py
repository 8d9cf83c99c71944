"""Serve a trained pipeline over HTTP, with live histories and a web page.

    PYTHONPATH=. python scripts/serve.py
    PYTHONPATH=. python scripts/serve.py --data_dir data --port 8000
    PYTHONPATH=. python scripts/serve.py --store redis://127.0.0.1:6379/0 --workers 2

The page is at http://127.0.0.1:8000/ and the description of all routes at /openapi.json (see docs/serving.md).

It listens on this machine alone. Another --host needs an API key in the environment variable SERVING_API_KEY, which
clients send in the header X-API-Key, or --open to go without. A new pipeline in the folder is loaded, checked and used
without a restart.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

if find_spec("reccore") is None:
    print("error: run it from the repository's root, as PYTHONPATH=. python scripts/serve.py", file=sys.stderr)
    sys.exit(2)

import gc
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger
from pydantic import Field

from reccore import ComponentConfig, ConfigError, Workspace
from scripts._cli import Names, parse_command, run

if TYPE_CHECKING:
    from serving.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVENTS = "serving/events.sqlite"
UVICORN: dict[str, Any] = {
    "server_header": False,
    "proxy_headers": False,  # a client could name another one in X-Forwarded-For to pass the rate limit
    "access_log": False,
    "log_level": "warning",
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": 5,
}


class ServeSettings(ComponentConfig):
    """Options of the command."""

    pipeline: Path | None = Field(default=None, description="folder of the pipeline (default: models/pipeline)")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    store: str | None = Field(
        default=None,
        description="of live events: sqlite:///PATH or redis://HOST:PORT/DB (default: serving/events.sqlite of the "
        "data root)",
    )
    workers: int = Field(default=1, ge=1, le=64, description="number of processes")
    threads: int = Field(default=1, ge=1, le=2, description="threads of the pipeline in each process")
    rate_limit: float = Field(default=100.0, ge=0, description="requests per second and client; 0: no limit")
    stage_limit: float = Field(
        default=0.25,
        ge=0,
        description="seconds after which a component of the pipeline is skipped in a request; 0: none is",
    )
    allowed_hosts: Names = Field(default=(), description="names in the Host header to answer to, besides loopback's")
    posters: Path | None = Field(
        default=None, description="folder of posters named MOVIE_ID.jpg (default: those that the crawler has fetched)"
    )
    open: bool = Field(default=False, strict=True, description="listen beyond this machine without an API key")


def main(argv: list[str] | None = None) -> None:
    gc.disable()  # until the model is loaded: searches for garbage among all that is imported take half a second
    command = parse_command(argv, __doc__, ServeSettings)
    job, space = command.settings, command.workspace
    from serving.settings import API_KEY, Settings, api_key

    if job.host not in LOOPBACK and api_key() is None and not job.open:
        raise ConfigError(
            f"--host {job.host} can be reached from other machines: set a key in the environment variable {API_KEY}, "
            "or give --open to serve anyone"
        )
    if job.posters is not None and not job.posters.is_dir():
        raise ConfigError(f"--posters {job.posters} is no folder")
    settings = Settings(
        pipeline=str(pipeline_folder(job, space)),
        store=job.store or f"sqlite:///{space.root / EVENTS}",
        posters=None if job.posters is None else str(job.posters),
        data_root=str(space.root),
        host=job.host,
        port=job.port,
        allowed_hosts=job.allowed_hosts,
        threads=job.threads,
        stage_seconds=job.stage_limit,
        rate=job.rate_limit,
        burst=max(1, int(2 * job.rate_limit)),
    )
    sockets = bound(job.host, job.port, job.workers)
    logger.info("loading {}", settings.pipeline)
    if job.workers == 1:
        serve_here(settings, sockets)
    else:
        serve_in_processes(settings, sockets)


def bound(host: str, port: int, number: int) -> list[socket.socket]:
    """Sockets of one address, one for each process.

    From a socket that all processes share, one that happens to wake first takes most of the connections. Of sockets of
    their own the kernel gives each its part.

    Raises:
        ConfigError: the address is in use or is none of this machine.
    """
    if number == 1:
        return [_bound(host, port, shared=False)]
    _bound(host, port, shared=False).close()  # another service, whose port can be shared too, would not be noticed
    return [_bound(host, port, shared=True) for _ in range(number)]


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    return listening


def serve_here(settings: Settings, sockets: list[socket.socket]) -> None:
    """Serve in this process until it is stopped; errors of loading are those of ``load_model``."""
    import uvicorn

    from serving.app import create_app
    from serving.service import Service
    from serving.settings import api_key

    service = Service(settings)
    service.start()
    announce(settings)
    uvicorn.Server(uvicorn.Config(create_app(service, key=api_key()), **UVICORN)).run(sockets)


def serve_in_processes(settings: Settings, sockets: list[socket.socket]) -> None:
    """Serve in a process for each socket; they share the store, and the memory of the model that is loaded here once.

    Errors of loading are those of ``load_model``.
    """
    import uvicorn

    from serving.app import create_app
    from serving.processes import Processes
    from serving.service import Service
    from serving.settings import api_key

    service = Service(settings)
    service.use(service.load())
    service.store.close()  # every process opens connections of its own

    def serve(place: int) -> None:
        service.index_titles()
        uvicorn.Server(uvicorn.Config(create_app(service, key=api_key()), **UVICORN)).run([sockets[place]])

    announce(settings)
    Processes(serve, len(sockets)).run()


def announce(settings: Settings) -> None:
    """Log where the page is, and beyond this machine also under which host names."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logger.info("the page is at http://{}:{}/, Ctrl-C ends the service", host, settings.port)
    if settings.host not in LOOPBACK:
        names = ", ".join((host, *settings.allowed_hosts))
        logger.info(
            "it answers under the host names {} and loopback's alone; give others that clients use, also addresses, as "
            "--allowed_hosts",
            names,
        )


def pipeline_folder(job: ServeSettings, space: Workspace) -> Path:
    """The folder of the pipeline.

    Raises:
        NotReadyError: there is no pipeline; names the command.
    """
    from pipeline.builder import PIPELINE
    from reccore.bundle import MANIFEST
    from reccore.workspace import require

    folder = job.pipeline or space.model(PIPELINE)
    require(folder / MANIFEST, "a pipeline to serve", "demo.py")
    return folder


if __name__ == "__main__":
    run(main)
