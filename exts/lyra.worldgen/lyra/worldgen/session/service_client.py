"""A small HTTP client of `lyra-worldgen serve`, with the standard library only: Kit's Python has nothing else for sure.

Calls block; whoever must stay responsive calls from a thread and ends a blocked call with `close`.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from ..core.errors import InputError, WorldgenError

PIECE_BYTES = 1 << 18
MAX_ANSWER_BYTES = 64 * 2**20
"""Longest answer that is no file [bytes]."""
MAX_EVENT_BYTES = 1 << 20
TIMEOUT_S = 60.0
"""Without a byte for so long an answer counts as lost; event streams say something every 15 s [s]."""
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._()+-")
"""What the service takes in names."""


class ServiceRefused(WorldgenError):
    """The server answered, but not with what was asked for."""

    exit_code = 2

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the server refuses ({status}): {detail}")
        self.status = status


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """One server-sent event."""

    kind: str
    data: dict[str, Any]
    number: str
    """For `last_event`; empty if it cannot be asked for again."""


class ServiceClient:
    """One user of one server."""

    def __init__(self, address: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Nothing is sent yet.

        Args:
            address: such as `http://127.0.0.1:8765` or `https://worlds.example.com`.
            token: the user's.
            timeout_s: how long to wait for a byte [s].

        Raises:
            InputError: no address of a server, or one to which the token would travel unprotected.
        """
        parts = urlsplit(address.strip())
        try:
            port = parts.port
        except ValueError as error:
            raise InputError(f"'{address}' is no address of a server: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"'{address}' is no address of a server; expected something like http://127.0.0.1:8765")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InputError("the address of a server holds more than host, port and path; the token is given apart")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise InputError(f"'{address}' would carry the token in the clear; use https")
        if not token or not token.isascii() or not token.isprintable():
            raise InputError("the server needs a token; the one that lyra-worldgen serve printed")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._secure, self._host, self._base = parts.scheme == "https", parts.hostname, parts.path.rstrip("/")
        self._port, self._timeout_s = port, timeout_s
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._closed = False

    def close(self) -> None:
        """End all calls that are under way, with an `OSError` in their threads; later ones fail at once."""
        with self._lock:
            self._closed = True
            for connection in self._open:
                _cut(connection)

    def get(self, path: str, **query: str | int) -> Any:
        """JSON of an answer. This and all other calls raise `ServiceRefused`, or `OSError` if the server is away."""
        return self._json("GET", path, query=query)

    def post(self, path: str, value: Any = None) -> Any:
        """JSON of the answer to a JSON value."""
        body = None if value is None else json.dumps(value, allow_nan=False).encode()
        return self._json("POST", path, body=body, kind="application/json")

    def delete(self, path: str) -> None:
        self._json("DELETE", path)

    def picture(self, path: str) -> bytes:
        """An answer as it is."""
        with self._answer("GET", path) as answer:
            return _all_of(answer)

    def upload(self, file: Path, kind: str, *, keep_going: Callable[[], bool] = lambda: True) -> str:
        """Bring a file; its id. Stops with `InterruptedError` when `keep_going` says so."""
        name = "".join(c if c in NAME_CHARACTERS else "_" for c in file.name).lstrip(" ._()+-")[:80] or kind
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size

            def pieces() -> Iterator[bytes]:
                while piece := stream.read(PIECE_BYTES):
                    if not keep_going():
                        raise InterruptedError("the upload was stopped")
                    yield piece

            headers = {"Content-Length": str(size)}
            answer = self._json("POST", "/v1/uploads", query={"kind": kind, "name": name}, body=pieces(), more=headers)
        return str(answer["id"])

    def download(self, path: str, target: Path, *, step: Callable[[int], bool] = lambda done: True) -> None:
        """Write an answer to a file; `step` is told the bytes so far and may stop it with `InterruptedError`."""
        with self._answer("GET", path) as answer, open(target, "wb") as file:
            done = 0
            while piece := answer.read(PIECE_BYTES):
                done += len(piece)
                file.write(piece)
                if not step(done):
                    raise InterruptedError("the download was stopped")

    def events(self, path: str, last_event: str = "") -> Iterator[ServerEvent]:
        """Server-sent events until the server ends the stream."""
        headers = {"Last-Event-ID": last_event} if last_event else {}
        with self._answer("GET", path, more=headers) as answer:
            fields: dict[str, str] = {}
            while line := answer.readline(MAX_EVENT_BYTES):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if text:
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                if (event := _event(fields)) is not None:
                    yield event
                fields = {}

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        kind: str = "application/octet-stream",
        more: Mapping[str, str] | None = None,
    ) -> Any:
        headers = {**({"Content-Type": kind} if body is not None else {}), **(more or {})}
        with self._answer(method, path, query=query, body=body, more=headers) as answer:
            text = _all_of(answer)
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError) as error:
            raise ServiceRefused(answer.status, "its answer is no JSON; is this a server of lyra-worldgen?") from error

    def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: bytes | Iterator[bytes] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> _Answer:
        connection = self._connect()
        try:
            target = f"{self._base}{quote(path)}{'?' + urlencode(query) if query else ''}"
            try:
                connection.request(method, target, body=body, headers={**self._headers, **(more or {})})
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses an upload answers before it has come whole.
                pass
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise ServiceRefused(response.status, _detail(_all_of(response)))
            return _Answer(response, lambda: self._forget(connection))
        except BaseException as error:
            self._forget(connection)
            if isinstance(error, http.client.HTTPException):
                raise ConnectionError(f"the server's answer makes no sense ({type(error).__name__})") from error
            raise

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the client was closed")
            self._open.add(connection)
        return connection

    def _forget(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


class _Answer:
    """An answer that is being read; ends its connection."""

    def __init__(self, response: http.client.HTTPResponse, closed: Callable[[], None]) -> None:
        self._response, self._closed = response, closed
        self.status = response.status

    def read(self, count: int) -> bytes:
        try:
            return self._response.read(count)
        except http.client.HTTPException as error:
            raise ConnectionError("the server broke off") from error

    def readline(self, most: int) -> bytes:
        try:
            return self._response.readline(most)
        except http.client.HTTPException as error:
            raise ConnectionError("the server broke off") from error

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._response.close()
        self._closed()


def _all_of(answer: _Answer | http.client.HTTPResponse) -> bytes:
    data = bytearray()
    while piece := answer.read(PIECE_BYTES):
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            raise ConnectionError(f"the server's answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(data)


def _detail(text: bytes) -> str:
    """The server's words out of a refusal."""
    try:
        value = json.loads(text)
        return str(value["detail"])[:500]
    except (ValueError, RecursionError, KeyError, TypeError):
        return "no reason was given"


def _event(fields: Mapping[str, str]) -> ServerEvent | None:
    if "event" not in fields:
        return None
    try:
        data = json.loads(fields.get("data", ""))
    except (ValueError, RecursionError):
        return None
    number = fields.get("id", "")
    return ServerEvent(kind=fields["event"], data=data, number=number) if isinstance(data, dict) else None


def _cut(connection: http.client.HTTPConnection) -> None:
    """Wake a thread that waits for a byte."""
    if connection.sock is not None:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
