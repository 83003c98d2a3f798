"""A headless Chromium for tests of pages, and a server that counts what it hands out."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

DESKTOP = {"viewport": {"width": 1280, "height": 720}}
SMALL = {"viewport": {"width": 480, "height": 270}}
"""Quick to draw, for what does not depend on the size."""
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1, "is_mobile": True, "has_touch": True}
TIMEOUT_MS = 240_000
"""Everything is drawn by the CPU, which other tests use at the same time."""
_QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--disable-quic", "--no-sandbox")  # fmt: skip
_DRIVERS = (("--use-gl=angle", "--use-angle=gl-egl", "--ignore-gpu-blocklist"),
            ("--use-angle=swiftshader", "--enable-unsafe-swiftshader"))  # fmt: skip
"""Mesa's llvmpipe draws many small things several times as fast as SwiftShader, which every Chromium brings."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        before = source.tell()
        super().copyfile(source, outputfile)
        with self.server.lock:  # type: ignore[attr-defined]
            self.server.served_bytes += source.tell() - before  # type: ignore[attr-defined]


class SiteServer(http.server.ThreadingHTTPServer):
    """Serves one folder on loopback."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.lock = threading.Lock()
        self.served_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def serving(folder: Path) -> Iterator[SiteServer]:
    with SiteServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser with WebGL 2; skips the test that needs it, naming what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs the program chromium (on Debian: apt-get install chromium)")
    environment = {**os.environ, "LIBGL_ALWAYS_SOFTWARE": "1"}
    with playwright.sync_playwright() as driver:
        for flags in _DRIVERS:
            browser = driver.chromium.launch(executable_path=program, args=[*_QUIET, *flags], env=environment)
            page = browser.new_page()
            if page.evaluate("Boolean(document.createElement('canvas').getContext('webgl2'))"):
                page.close()
                yield browser
                browser.close()
                return
            browser.close()
    pytest.fail("this Chromium has no WebGL 2, not even drawn by the CPU")


@dataclass(kw_only=True)
class Watched:
    """A page and what it did that it should not have done."""

    page: Any
    origin: str
    problems: list[str] = field(default_factory=list)
    """Console errors and warnings, exceptions, failed requests, requests to other origins."""

    def __post_init__(self) -> None:
        def on_console(message: Any) -> None:
            # Only drivers that draw on the CPU say this, when a picture is read back.
            if message.type in ("error", "warning") and "GPU stall due to ReadPixels" not in message.text:
                self.problems.append(f"{message.type}: {message.text}")

        def on_request(request: Any) -> None:
            if not request.url.startswith((self.origin, "blob:", "data:")):
                self.problems.append(f"request to {request.url}")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", on_request)
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        self.page.on("response", lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)

    def call(self, expression: str, argument: Any = None) -> Any:
        """The value of a JavaScript function or expression."""
        return self.page.evaluate(expression, argument)


@contextmanager
def opened(browser: Any, url: str, device: dict[str, Any], *, script: str = "") -> Iterator[Watched]:
    """A page in a fresh profile; `script` runs before anything of the page."""
    context = browser.new_context(**device)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        page = context.new_page()
        if script:
            page.add_init_script(script)
        watched = Watched(page=page, origin=url)
        page.goto(url)
        yield watched
    finally:
        context.close()


def decode_png(data_url: str) -> np.ndarray:
    """[H, W, 3] uint8 of a data URL."""
    import base64

    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(data_url.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))
