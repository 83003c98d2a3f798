"""Starts the server: where it listens, who may come, and how long a silent connection lives."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, InputError
from ..core.optional import require
from .database import Database
from .limits import ServiceConfig

DATABASE_NAME = "service.sqlite3"
OWNER = "owner"


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where and how."""

    host: str = "127.0.0.1"
    port: int = 8765
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    """Somebody else ends TLS in front of this server."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listening(listening: Listening) -> None:
    """Refuse to send tokens in the clear; raises `ConfigError`."""
    if (listening.tls_certificate is None) != (listening.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together; give both or none")
    for path in (listening.tls_certificate, listening.tls_key):
        if path is not None and not path.is_file():
            raise ConfigError(f"the TLS file does not exist: {path}")
    if not (is_loopback(listening.host) or listening.tls_certificate or listening.behind_proxy):
        raise ConfigError(
            f"--host {listening.host} can be reached from other machines, where tokens must not travel in the clear; "
            "give --tls-cert and --tls-key, or --behind-proxy if a proxy in front ends TLS"
        )
    if not 0 <= listening.port < 65536:
        raise ConfigError(f"--port is {listening.port}; expected 0 to 65535")


def find_devices(workers: int | None) -> tuple[str, ...]:
    """Devices of the workers: one for each GPU that may be seen, or one CPU; in turn if a number is given."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = tuple(filter(None, (part.strip() for part in visible.split(","))))
    else:
        devices = _installed_gpus()
    if workers is None:
        return devices or ("",)
    if workers < 1:
        raise ConfigError(f"--workers is {workers}; expected at least 1")
    return tuple(devices[i % len(devices)] if devices else "" for i in range(workers))


def _installed_gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU ")))


def open_database(config: ServiceConfig) -> tuple[Database, str | None]:
    """The service's database, and the owner's token if it was made just now; raises `InputError`."""
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(config.data / DATABASE_NAME)
    except OSError as error:
        raise InputError(f"the data folder cannot be used ({error.strerror}): {config.data}") from error
    token = None if database.users() else database.add_user(OWNER, admin=True)
    return database, token


def serve(config: ServiceConfig, database: Database, listening: Listening, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        config: the service.
        database: opened.
        listening: where.
        ready: called with the address once requests are taken.

    Raises:
        ConfigError: it would listen where tokens travel in the clear.
        DependencyError: the extra `serve` is not installed.
        InputError: the address is in use, or another server works on the data folder.
    """
    check_listening(listening)
    uvicorn = require("uvicorn", extra="serve")
    require("fastapi", extra="serve")
    require("prometheus_client", extra="serve", package="prometheus-client")
    from ..core.world_writer import LOCK_NAME, held
    from .app import create_app
    from .protocol import guarded_protocol
    from .supervisor import Supervisor

    with held(
        config.data / LOCK_NAME, f"another server{{owner}} works on the data folder; stop it first: {config.data}"
    ):
        supervisor = Supervisor(database, config)
        app = create_app(config, database, supervisor)
        settings = uvicorn.Config(
            app,
            http=guarded_protocol(config.limits.header_s),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=config.limits.connections,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=32768,
            ssl_certfile=listening.tls_certificate,
            ssl_keyfile=listening.tls_key,
        )
        with _bound(listening) as bound:
            scheme = "https" if listening.tls_certificate else "http"
            host = f"[{listening.host}]" if ":" in listening.host else listening.host
            address = f"{scheme}://{host}:{bound.getsockname()[1]}"
            asyncio.run(_run(uvicorn.Server(settings), bound, lambda: ready(address)))


async def _run(server: Any, bound: socket.socket, ready: Callable[[], None]) -> None:
    async def tell() -> None:
        while not server.started:
            await asyncio.sleep(0.02)
        ready()

    telling = asyncio.create_task(tell())
    try:
        await server.serve(sockets=[bound])
    finally:
        telling.cancel()


def _bound(listening: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listening.host, listening.port))
    except OSError as error:
        bound.close()
        raise InputError(
            f"cannot listen on {listening.host} port {listening.port} ({error.strerror}); choose another --port"
        ) from error
    return bound
