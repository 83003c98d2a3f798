"""HTTP connections that are closed when the head of a request does not come in time.

uvicorn limits the size of a head but not its time; a client that sends one byte now and then would hold a connection
for ever. Bodies are the guard's business.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11  # noqa: TID253
from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: TID253


def guarded_protocol(header_s: float) -> type[H11Protocol]:
    """uvicorn's protocol in which the head of each request has so many seconds."""

    class GuardedProtocol(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # Between requests uvicorn's own keep-alive limit holds.
            self._forget()

        def _watch(self) -> None:
            """Count down while a head is awaited; `IDLE` says that none has come whole."""
            if self.conn.their_state is h11.IDLE:
                if self._late is None:
                    self._late = self.loop.call_later(header_s, self._close)
            else:
                self._forget()

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close(self) -> None:
            if self.transport is not None and not self.transport.is_closing():
                self.transport.abort()

    return GuardedProtocol
