"""What stands before every route: a token, and limits of size and time. Nothing is looked at without a token."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException  # noqa: TID253

from .database import Database
from .limits import ServiceConfig

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
UPLOADS = "/v1/uploads"
SPILL_BYTES, SPILL_S = 256 * 2**10, 1.0
"""So much of a body without a token is read, for so long, before it is refused. A connection that is closed while the
client still sends is reset, and then the client never learns why."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: Any, *, database: Database, config: ServiceConfig, seen: Callable[[Scope, int, float], None]
    ) -> None:
        """
        Args:
            app: what is guarded.
            database: knows the tokens.
            config: limits.
            seen: told of each request with a token: its scope, the status of the answer, and the time until it [s].
        """
        self._app, self._database, self._config, self._seen = app, database, config, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        tokens = [value for name, value in headers if name == b"authorization"]
        token = re.fullmatch(rb"[Bb]earer ([!-~]{1,200})", tokens[0]) if len(tokens) == 1 else None
        user = None
        if token is not None:
            user = await asyncio.to_thread(self._database.user_of, token[1].decode("ascii"), self._config.quota)
        if user is None:
            self._seen({"method": "other"}, 401, 0.0)
            text = "a token is needed: send the header 'Authorization: Bearer TOKEN'"
            await _spill(receive)
            await _refuse(send, 401, text, ((b"www-authenticate", b'Bearer realm="lyra-worldgen"'),))
            return
        scope.setdefault("state", {})["user"] = user
        limits = self._config.limits
        limit = limits.json_bytes
        if scope["path"] == UPLOADS and scope["method"] == "POST":
            limit = max(limits.photo_bytes, limits.trajectory_bytes, limits.captions_bytes, limits.scene_bytes)
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
                await _refuse(send, 413, f"the request has {value[:20].decode()} bytes; at most {limit} are taken")
                return
        began = time.monotonic()

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._seen(scope, message["status"], time.monotonic() - began)
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        await self._app(scope, _limited(receive, limit, limits.request_s), dressed)


def _limited(receive: Receive, limit: int, seconds: float) -> Receive:
    """The body of a request, cut off where it becomes too large or takes too long."""
    size = 0
    done = False
    give_up = time.monotonic() + seconds

    async def limited() -> Message:
        nonlocal size, done
        if done:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, give_up - time.monotonic()))
        except TimeoutError as error:
            raise HTTPException(408, f"the request took longer than {seconds:g} s", {"connection": "close"}) from error
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if size > limit:
                raise HTTPException(413, f"the request has more than {limit} bytes", {"connection": "close"})
        else:
            done = True
        return message

    return limited


async def _spill(receive: Receive) -> None:
    """Let a small body pass by."""
    size, give_up = 0, time.monotonic() + SPILL_S
    while size < SPILL_BYTES:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, give_up - time.monotonic()))
        except TimeoutError:
            return
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


async def _refuse(send: Send, status: int, text: str, more: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """An answer without reading what else comes; the connection is closed."""
    body = json.dumps({"detail": text}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *HEADERS,
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
