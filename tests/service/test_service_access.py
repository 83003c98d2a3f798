"""A real server on loopback: tokens, quotas, uploads that are refused, and clients that misbehave."""

from __future__ import annotations

import http.client
import re
import socket
import time

import pytest

from service_client import PATIENCE_S, other_user, picture, trajectory


def test_no_route_without_a_token(server, client):
    """Every route and what is no route: 401, whatever the method; a body is not looked at."""
    paths = client.ask("GET", "/v1/openapi.json").json()["paths"]
    assert len(paths) > 12
    anybody = server.client("")
    for path in (*paths, "/", "/docs", "/nothing", "/v1/openapi.json"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            answer = anybody.ask(method, re.sub(r"\{.*?\}", "0" * 24, path))
            assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer"), (method, path)
    for value in ("", "Bearer", "Bearer x", "Basic b3duZXI6", f"bearer  {server.token}", f"Bearer {server.token} x"):
        answer = anybody.ask("GET", "/v1/me", headers={"Authorization": value})
        assert answer.status_code == 401, value
    anybody.session.close()


def test_a_refusal_reaches_clients_that_still_send(server):
    """A body that comes in pieces is let pass by: the connection is not reset before the client has read why."""
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    for _ in range(5):
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        connection.putrequest("POST", "/v1/worlds")
        connection.putheader("Content-Length", "40")
        connection.endheaders()
        for _ in range(4):
            time.sleep(0.05)
            connection.send(b"0123456789")
        answer = connection.getresponse()
        assert answer.status == 401 and b"token" in answer.read()
        connection.close()


@pytest.mark.slow
def test_a_user_sees_nothing_of_another(server, client):
    """Ids of somebody else's things are as good as ids of nothing, on every route that takes one."""
    photo = client.photo()
    scene = client.upload(picture(), "scene", "panorama").json()["id"]
    walk = client.upload(trajectory(), "trajectory", "walk").json()["id"]
    world, job = client.new_world(photo)
    client.wait(job)
    file = next(iter(client.files(world).values()))["id"]
    token = other_user(server, "stranger")
    with server.client(token) as stranger:
        for method, path in (
            ("GET", f"/v1/uploads/{photo}"),
            ("DELETE", f"/v1/uploads/{photo}"),
            ("GET", f"/v1/worlds/{world}"),
            ("DELETE", f"/v1/worlds/{world}"),
            ("GET", f"/v1/worlds/{world}/files"),
            ("GET", f"/v1/worlds/{world}/files/{file}"),
            ("GET", f"/v1/worlds/{world}/archive"),
            ("GET", f"/v1/jobs/{job}"),
            ("POST", f"/v1/jobs/{job}/cancel"),
            ("GET", f"/v1/jobs/{job}/events"),
            ("GET", f"/v1/jobs/{job}/frame"),
        ):
            real, nothing = (
                stranger.ask(method, path),
                stranger.ask(method, path.replace(world, "0" * 24).replace(job, "0" * 24).replace(photo, "0" * 24)),
            )
            assert real.status_code == nothing.status_code == 404, (method, path)
            assert real.json() == nothing.json()
        assert stranger.ask("POST", f"/v1/worlds/{world}/jobs", json={"command": "finish"}).status_code == 404
        assert stranger.ask("POST", "/v1/worlds", json={"photo": photo}).status_code == 404
        assert stranger.ask("POST", "/v1/imports", json={"scene": scene}).status_code == 404
        mine = stranger.photo()
        for kind, upload in (("trajectory", walk), ("captions", scene)):
            assert stranger.ask("POST", "/v1/worlds", json={"photo": mine, kind: upload}).status_code == 404
        assert stranger.ask("DELETE", f"/v1/uploads/{mine}").status_code == 204
        assert stranger.ask("GET", f"/v1/jobs?world={world}").json() == []
        for listing in ("uploads", "worlds", "jobs"):
            assert stranger.ask("GET", f"/v1/{listing}").json() == []
        assert stranger.ask("GET", "/v1/metrics").status_code == 403
        assert stranger.ask("GET", "/v1/me").json()["name"] == "stranger"
    assert client.job(job)["state"] == "finished" and world in [w["id"] for w in client.ask("GET", "/v1/worlds").json()]


def test_quotas_hold(server):
    """Worlds, waiting jobs, room and open streams."""
    token = other_user(server, "small", worlds=1, queued_jobs=2, storage_mib=1, streams=1)
    with server.client(token) as small:
        photo = small.photo(picture(3, (100, 100)))
        world, job = small.new_world(photo, until="explore")
        small.wait(job)
        full = small.ask("POST", "/v1/worlds", json={"photo": photo})
        assert full.status_code == 429 and full.headers["retry-after"]
        rest = [small.upload(picture(k, (230, 230))).status_code for k in range(9)]
        assert 429 in rest and rest[0] == 201
        used = small.ask("GET", "/v1/me").json()
        assert used["usage"]["storage_bytes"] <= 2**20 and used["quota"]["worlds"] == 1
        file = next(iter(small.files(world).values()))["id"]
        first = small.ask("GET", f"/v1/worlds/{world}/files/{file}", stream=True)
        codes = {small.ask("GET", f"/v1/worlds/{world}/files/{file}").status_code for _ in range(3)}
        assert first.status_code == 200 and first.content and codes <= {200, 429}
        assert small.ask("GET", f"/v1/worlds/{world}/files/{file}").status_code == 200


def test_uploads_over_the_wire(server, client):
    """Too large, declared or not, too slow, not what it says: refused, and nothing is kept."""
    before = sorted(path.name for path in (server.data / "uploads").iterdir())
    large = b"x" * (server.options["limits"]["photo_bytes"] + 1)
    assert client.upload(large).status_code == 413
    assert client.upload(iter([large[:1000], large])).status_code == 413  # pyright: ignore[reportArgumentType]
    assert client.upload(picture(4, (1100, 1000), "JPEG")[:190_000]).status_code == 415
    assert client.upload(b"GIF89a").status_code == 415
    assert client.upload(b"PK\x03\x04", "trajectory").status_code == 415
    assert client.upload(b"").status_code == 415
    for name in ("../../evil.png", "/etc/passwd", "a\0b", "", "x" * 200, "~", ".hidden", "a/b"):
        assert client.upload(picture(), name=name).status_code == 422, name
    assert client.ask(
        "POST", "/v1/worlds", data=b"[" * 15_000, headers={"Content-Type": "application/json"}
    ).status_code in (400, 422)
    assert client.ask(
        "POST", "/v1/worlds", data=b"1" * 15_000, headers={"Content-Type": "application/json"}
    ).status_code in (400, 422)
    assert client.ask("POST", "/v1/worlds", json={"photo": "0" * 30_000}).status_code == 413
    assert sorted(path.name for path in (server.data / "uploads").iterdir()) == before


@pytest.mark.slow
def test_slow_clients_are_left(server, client):
    """A head or a body that comes byte by byte does not hold a connection."""
    host, port = server.address.removeprefix("http://").split(":")

    def trickle(head: bytes) -> tuple[float, bytes]:
        began = time.monotonic()
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(head)
            answer = b""
            try:
                while time.monotonic() - began < PATIENCE_S:
                    connection.sendall(b"x")
                    connection.settimeout(0.3)
                    try:
                        piece = connection.recv(4096)
                    except TimeoutError:
                        continue
                    if not piece:
                        break
                    answer += piece
            except OSError:
                pass
            return time.monotonic() - began, answer

    seconds, answer = trickle(b"GET /v1/me HTTP/1.1\r\nX: ")
    assert seconds < 60 and answer == b""
    authorization = f"Authorization: Bearer {server.token}\r\n".encode()
    head = b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\n" + authorization + b"Content-Length: 100000\r\n\r\n"
    seconds, answer = trickle(head)
    assert seconds < 60 and answer.startswith(b"HTTP/1.1 408")
    assert client.ask("GET", "/v1/health").status_code == 200


def test_requests_that_are_no_http(server, client):
    """Junk on the socket harms nobody else."""
    host, port = server.address.removeprefix("http://").split(":")
    for junk in (
        b"\x16\x03\x01\x02\x00",
        b"\0" * 1000,
        b"GET /" + b"a" * 100_000,
        b"POST /v1/worlds HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(PATIENCE_S)
            try:
                while connection.recv(4096):
                    pass
            except OSError:
                pass
    assert client.ask("GET", "/v1/health").json()["status"] == "ok"
