"""Keeps strangers out of a server that knows no passwords: other sites' pages, and uploads without end.

A page of any site may open a connection to a server on this machine. Browsers tell where the page comes from, so
connections whose page was not served here are closed before they see or say anything.
"""

from __future__ import annotations

import warnings
from typing import Any
from urllib.parse import urlsplit

from ..core.optional import require
from .uploads import MAX_UPLOAD_BYTES

REFUSED = 1008
"""Close code of a connection that breaks a rule."""


def is_own_page(origin: str | None, host: str | None, allowed_hosts: frozenset[str]) -> bool:
    """Whether a connection comes from the explorer's own page, or from a program that is no browser.

    Args:
        origin: what the browser says about the page; None of programs that are no browser.
        host: whom the connection is addressed to, `NAME:PORT`.
        allowed_hosts: names and addresses that this server is known by; anything if empty. A page that had its name
            pointed at this machine would otherwise be its own origin.
    """
    try:
        name = urlsplit(f"//{host or ''}").hostname
        page = urlsplit(origin or "").netloc
    except ValueError:
        return False
    if allowed_hosts and name not in allowed_hosts:
        return False
    return origin is None or page == host


def admit_own_pages(server: Any, allowed_hosts: frozenset[str]) -> None:
    """Close connections of other pages to a viser server as soon as they are made."""
    sockets = server._websock_server

    async def check(client: Any) -> None:
        connection = sockets._live_connections[client.client_id]
        headers = connection.request.headers
        if not is_own_page(headers.get("Origin"), headers.get("Host"), allowed_hosts):
            await connection.close(REFUSED, "not the explorer's own page")

    sockets.on_client_connect(check)


def never_share(server: Any) -> None:
    """Take away a client's power to publish the server through somebody else's relay."""
    messages = require("viser._messages", extra="explore")
    for kind in (messages.ShareUrlRequest, messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(kind)


def limit_uploads(server: Any, max_bytes: int = MAX_UPLOAD_BYTES) -> None:
    """Drop uploads that say, or turn out, to be larger; viser would hold them in memory."""
    messages = require("viser._messages", extra="explore")
    gui, sockets = server.gui, server._websock_server
    start, part = gui._handle_file_transfer_start, gui._handle_file_transfer_part

    def on_start(client_id: int, message: Any) -> None:
        parts = max_bytes // 2**16
        if not (0 <= message.size_bytes <= max_bytes and 0 <= message.part_count <= parts):
            most = f"at most {max_bytes >> 20} MiB are taken"
            if (client := server.get_clients().get(client_id)) is not None:
                client.add_notification("Too large", most, color="red", auto_close_seconds=10)
            return
        start(client_id, message)

    def on_part(client_id: int, message: Any) -> None:
        state = gui._current_file_upload_states.get(message.transfer_uuid)
        if state is not None and state["transferred_bytes"] + len(message.content) > state["total_bytes"]:
            gui._current_file_upload_states.pop(message.transfer_uuid, None)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of uploads whose bytes are not what they said; they are dropped
            part(client_id, message)

    for kind, handler in ((messages.FileTransferStartUpload, on_start), (messages.FileTransferPart, on_part)):
        sockets.unregister_handler(kind)
        sockets.register_handler(kind, handler)
