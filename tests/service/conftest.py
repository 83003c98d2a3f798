"""A running server with small limits, one for each file of tests."""

from __future__ import annotations

import pytest

from service_client import Server

LIMITS = {"photo_bytes": 200_000, "photo_px": 1_000_000, "json_bytes": 20_000, "request_s": 3.0, "header_s": 1.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("service") / "data", limits=LIMITS, quota={"queued_jobs": 50}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server):
    with server.client() as owner:
        yield owner
