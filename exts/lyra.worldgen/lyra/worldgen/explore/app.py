"""Starts the explorer: a viser server on this machine, a desk, and the panels and 3D view that join them."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.optional import require
from .desk import Desk
from .guard import admit_own_pages, limit_uploads, never_share
from .options import ExplorerOptions
from .page import served_from, write_page
from .panels import Panels
from .shelf import Shelf
from .stage import Stage

TITLE = "Lyra worlds"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Explorer:
    """A running explorer."""

    def __init__(
        self, shelf: Shelf, options: ExplorerOptions | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        """Start serving; the first world is opened.

        Args:
            shelf: worlds to explore.
            options: the defaults when None.
            host: address to listen on.
            port: 0 for any that is free.

        Raises:
            DependencyError: viser is missing.
            InputError: the address cannot be listened on.
        """
        viser = require("viser", extra="explore")
        port = _free_port(host, port)
        self._scratch = Path(tempfile.mkdtemp(prefix="lyra-explore-"))
        # viser tells where it listens; the command line says it in its own way.
        (self._scratch / "page").mkdir()
        page = write_page(self._scratch / "page")
        with contextlib.redirect_stdout(io.StringIO()), served_from(page):
            self._server: Any = viser.ViserServer(host=host, port=port, label=TITLE, verbose=False)
        never_share(self._server)
        limit_uploads(self._server)
        admit_own_pages(self._server, LOOPBACK if host in LOOPBACK else frozenset())
        self.desk = Desk(shelf, self._scratch, options or ExplorerOptions())
        self.panels = Panels(self._server, self.desk, lambda complain: Stage(self._server, complain))
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._server.get_port()}/"
        self.panels.begin()

    @property
    def server(self) -> Any:
        return self._server

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        self._server.sleep_forever()

    def close(self) -> None:
        """Stop serving, end a running worker, and remove what was on its way."""
        self.panels.close()
        self.desk.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _free_port(host: str, port: int) -> int:
    """The port itself if it can be listened on; viser would try others, or wait for ever.

    Raises:
        InputError: it cannot.
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port is {port}; expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
            return int(trial.getsockname()[1])
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --port, 0 for any that is free"
        ) from error
