"""A real server on loopback with real worker processes over tiny stages: tokens, limits, ranges, events, restarts."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile

import psutil
import pytest
import requests

from fake_stages import CHUNKS, content
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.core.config import load_config
from lyra.worldgen.service.limits import ServiceConfig
from lyra.worldgen.service.server import OWNER, open_database
from lyra.worldgen.session import Extend, Generate, Session, Undo
from service_client import PATIENCE_S, Client, Server, picture, trajectory

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


def other_user(server: Server, name: str, **quota: float) -> str:
    """Another user's token, made beside the running server as an operator would."""
    database, _ = open_database(ServiceConfig(data=server.data))
    token = database.add_user(name, quota=quota)
    database.close()
    return token


def test_a_world_from_the_photo_to_the_archive(server, client, tmp_path, monkeypatch):
    """Upload, make, extend, undo, download: the same bytes as a session on this machine makes."""
    photo = client.photo(picture(1))
    world, made = client.new_world(photo, name="kitchen", settings={"seed": 7, "generation": {"path": "forward"}})
    assert client.wait(made)["passed"] is True
    for command, more in (("extend", {"path": "turn", "prompt": "a hall"}), ("undo", {"chunks": 2})):
        assert client.wait(client.new_job(world, command, **more))["state"] == "finished"
    archive = zipfile.ZipFile(io.BytesIO(client.ask("GET", f"/v1/worlds/{world}/archive").content))
    archive.extractall(tmp_path / "far")
    for module in (build_run, build_journey):
        monkeypatch.setattr(module, "default_stages", build_journey_stages)
    (tmp_path / "kitchen.png").write_bytes(picture(1))
    near = Session(tmp_path / "near")
    config = load_config(None, {"seed": 7, "generation.path": "forward"})
    near.run(Generate(photo=tmp_path / "kitchen.png", config=config))
    near.run(Extend(path="turn", prompt="a hall"))
    near.run(Undo(chunks=2))
    assert content(tmp_path / "far") == content(near.folder)
    assert client.ask("GET", f"/v1/worlds/{world}").json()["summary"]["finished"] is True
    listed = client.files(world)
    assert sorted(listed) == sorted(name for name in archive.namelist() if name != "world.json")


def build_journey_stages():
    from fake_stages import fake_stages

    return fake_stages()


def test_files_by_range(client):
    """Any part of a file, with the answers that RFC 9110 asks for."""
    world, made = client.new_world(client.photo(), until="reconstruct")
    client.wait(made)
    file = client.files(world)["mesh.glb"]
    path = f"/v1/worlds/{world}/files/{file['id']}"
    whole = client.ask("GET", path)
    assert whole.status_code == 200 and len(whole.content) == file["bytes"] == 2000
    assert whole.headers["etag"] == f'"{file["sha256"]}"' and whole.headers["accept-ranges"] == "bytes"
    for asked, (first, last) in {
        "0-0": (0, 0),
        "5-9": (5, 9),
        "1990-": (1990, 1999),
        "-7": (1993, 1999),
        "0-99999": (0, 1999),
    }.items():
        part = client.ask("GET", path, headers={"Range": f"bytes={asked}"})
        assert part.status_code == 206 and part.content == whole.content[first : last + 1]
        assert part.headers["content-range"] == f"bytes {first}-{last}/2000"
    assert client.ask("GET", path, headers={"Range": "bytes=2000-"}).status_code == 416
    for nonsense in ("bytes=9-5", "bytes=-", "lines=1-2", "bytes=1-2,4-5", "bytes=a-b"):
        assert client.ask("GET", path, headers={"Range": nonsense}).content == whole.content
    stale = client.ask("GET", path, headers={"Range": "bytes=0-1", "If-Range": '"old"'})
    assert stale.status_code == 200 and stale.content == whole.content
    assert client.ask("GET", f"/v1/worlds/{world}/files/{'0' * 16}").status_code == 404


def read_events(client: Client, job: str, **headers: str) -> list[tuple[str, dict, int | None]]:
    """All events of a stream until it ends."""
    answer = client.ask("GET", f"/v1/jobs/{job}/events", headers=headers)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None))
    return found


def test_events_of_a_job(server, client):
    """Milestones in order and from where a client left off, progress that never falls, one end."""
    _, made = client.new_world(client.photo())
    events = read_events(client, made)
    milestones = [(kind, number) for kind, _, number in events if number is not None]
    assert [kind for kind, _ in milestones][:2] == ["queued", "started"] and milestones[-1][0] == "finished"
    assert [number for _, number in milestones] == list(range(1, len(milestones) + 1))
    fractions = [data["fraction"] for kind, data, _ in events if kind == "progress"]
    assert fractions == sorted(fractions)
    assert [e[2] for e in read_events(client, made, **{"Last-Event-ID": "3"})] == list(range(4, len(milestones) + 1))


def test_the_settings_of_a_job_cannot_name_files(client):
    """Whatever leads to a file, a model or a download is no setting of the service."""
    photo = client.photo()
    for settings in (
        {"models": {"painter": "/etc"}},
        {"models": {"download": True}},
        {"generation": {"captions": "/etc/passwd"}},
        {"generation": {"path": "/etc/passwd.npz"}},
        {"generation": {"path": "../x.npz"}},
        {"generation": {"path": "walk.npz#0123"}},
        {"lyra2": {"caption_model": "/"}},
        {"geometry": {"backend": "x"}},
        {"reconstruction": {"texture_px": 100_000}},
        {"certificate": {"timeout_s": 1e9}},
        {"seed": -1},
        {"seed": "1"},
        {"unknown": 1},
    ):
        answer = client.ask("POST", "/v1/worlds", json={"photo": photo, "settings": settings})
        assert answer.status_code == 422, settings
    for more in ({"photo": "../../etc/passwd"}, {"photo": photo, "name": "../x"}, {"photo": photo, "until": "../x"}):
        assert client.ask("POST", "/v1/worlds", json=more).status_code == 422
    assert client.ask("POST", "/v1/worlds", json={"photo": "0" * 24}).status_code == 404


def test_a_job_that_fails_says_why_without_places(server, client):
    """The product's own words, without the folders of the service."""
    world, made = client.new_world(client.photo(), until="understand")
    client.wait(made)
    failed = client.wait(client.new_job(world, "undo"))
    assert failed["state"] == "failed" and "explored" in failed["message"]
    assert str(server.data) not in json.dumps(client.ask("GET", "/v1/jobs").json())
    assert client.wait(client.new_job(world, "extend", path="forward", until="explore"))["state"] == "finished"
    refused = client.ask(
        "POST", f"/v1/worlds/{world}/jobs", json={"command": "rescale", "factor": 2, "camera_height_m": 1}
    )
    assert refused.status_code == 409 and "rescale.factor" in refused.json()["detail"]


def test_trajectories_captions_and_branches(client):
    """Uploaded paths and texts are named by id; a branch is a world of its own."""
    world, made = client.new_world(client.photo(), until="understand")
    client.wait(made)
    path = client.upload(trajectory(), "trajectory", "walk").json()["id"]
    texts = client.upload(b'{"0": "a hall"}', "captions").json()["id"]
    job = client.wait(client.new_job(world, "extend", trajectory=path, captions=texts, until="explore"))
    assert job["state"] == "finished", job
    assert (
        client.ask("POST", f"/v1/worlds/{world}/jobs", json={"command": "extend", "trajectory": texts}).status_code
        == 404
    )
    branch = client.wait(client.new_job(world, "branch", name="second", chunks=1, until="explore"))
    assert branch["state"] == "finished"
    assert client.ask("GET", f"/v1/worlds/{branch['target']}").json()["name"] == "second"
    assert len([name for name in client.files(branch["target"]) if "chunk" in name]) < CHUNKS * 3


def test_cancelling(tmp_path):
    """A waiting job ends at once, a running one when its worker has stopped; the next one goes on from there."""
    slow = Server(tmp_path / "data", pause_s=0.3).start()
    with slow.client() as client:
        photo = client.photo()
        world, first = client.new_world(photo)
        _, second = client.new_world(photo)
        assert client.ask("POST", f"/v1/jobs/{second}/cancel").json()["state"] == "cancelled"
        while not client.files(world):
            time.sleep(0.05)
        assert client.ask("POST", f"/v1/jobs/{first}/cancel").status_code == 202
        assert client.wait(first)["state"] == "cancelled"
        assert client.ask("POST", f"/v1/jobs/{first}/cancel").json()["state"] == "cancelled"
        assert client.ask("GET", f"/v1/worlds/{world}").json()["summary"]["finished"] is False
        assert client.ask("DELETE", f"/v1/uploads/{photo}").status_code == 204
        assert client.wait(client.new_job(world, "finish"))["state"] == "finished"
        assert client.ask("DELETE", f"/v1/worlds/{world}").status_code == 204
        assert client.ask("GET", f"/v1/worlds/{world}").status_code == 404
        assert not (slow.data / "worlds" / world).exists()
    slow.stop()


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
    large = b"x" * (LIMITS["photo_bytes"] + 1)
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


def test_metrics_and_health(client):
    """Counts that an operator can watch; nobody's names or ids in them."""
    text = client.ask("GET", "/v1/metrics").text
    assert re.search(r'^lyra_jobs\{state="finished"\} [1-9]', text, re.MULTILINE)
    assert re.search(
        r'^lyra_requests_total\{method="GET",route="/v1/jobs/\{job_id\}",status="200"\}', text, re.MULTILINE
    )
    assert not re.search(r"[0-9a-f]{24}", text) and OWNER not in text
    health = client.ask("GET", "/v1/health").json()
    assert health["workers"] == 1 and health["status"] == "ok"


def test_a_run_that_takes_too_long_is_ended(tmp_path):
    """The worker is killed, the job has failed, the service goes on."""
    slow = Server(tmp_path / "data", pause_s=30.0, quota={"job_s": 2.0}).start()
    with slow.client() as client:
        _, job = client.new_world(client.photo())
        ended = client.wait(job)
        assert ended["state"] == "failed" and "longer than the 2 s" in ended["message"]
        assert client.ask("GET", "/v1/health").json()["busy_workers"] == 0
    slow.stop()


def test_stopping_and_starting_again(tmp_path):
    """SIGTERM puts running jobs back; the next server finishes them, and leaves no process behind."""
    server = Server(tmp_path / "data", pause_s=0.2).start()
    with server.client() as client:
        world, job = client.new_world(client.photo(), settings={"seed": 3})
        while client.job(job)["state"] == "queued":
            time.sleep(0.05)
    assert server.process is not None
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.stop()
    psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    (server.data / "worlds" / ("0" * 24)).mkdir(parents=True)
    (server.data / "uploads" / f"{'0' * 24}.img").touch()
    server.start()
    with server.client() as client:
        assert client.wait(job)["state"] == "finished"
        kinds = [kind for kind, _, number in read_events(client, job) if number is not None]
        assert kinds.count("interrupted") == 1 and kinds.count("finished") == 1 and kinds[-1] == "finished"
        assert [w["id"] for w in client.ask("GET", "/v1/worlds").json()] == [world]
    assert {path.name for path in (server.data / "worlds").iterdir()} == {world}
    assert len(list((server.data / "uploads").iterdir())) == 1
    server.stop()


def test_the_command(tmp_path):
    """`serve` says where it listens and shows the owner's token once; users are made beside it."""
    program = [sys.executable, "-m", "lyra.worldgen", "serve", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [*program, "--port", "0", "--json-lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None and serving.stderr is not None
        ready = json.loads(serving.stdout.readline())
        token = re.search(r"lw_[\w-]{43}", serving.stderr.readline())
        assert token and ready["address"].startswith("http://127.0.0.1:") and ready["workers"] >= 1
        ask = requests.Session()
        ask.trust_env = False
        said = ask.get(f"{ready['address']}/v1/me", headers={"Authorization": f"Bearer {token[0]}"}, timeout=PATIENCE_S)
        assert said.json()["name"] == "owner"
        made = subprocess.run(
            [*program, "--new-user", "anna", "--quota", "worlds=2", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        anna = json.loads(made.stdout)["token"]
        said = ask.get(f"{ready['address']}/v1/me", headers={"Authorization": f"Bearer {anna}"}, timeout=PATIENCE_S)
        assert said.json()["quota"]["worlds"] == 2
        second = subprocess.run([*program, "--port", "0"], capture_output=True, text=True, check=False)
        assert second.returncode == 2 and f"another server ({serving.pid} on " in second.stderr
        assert "lw_" not in second.stderr
        serving.terminate()
        serving.wait(PATIENCE_S)
        ask.close()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--host", "0.0.0.0"], "tokens must not travel in the clear"),
        (["--host", "192.168.1.5"], "--behind-proxy"),
        (["--tls-cert", "c.pem"], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "the TLS file does not exist"),
        (["--limit", "photo_byte=3"], "--limit has no 'photo_byte'; expected one of: photo_bytes"),
        (["--quota", "worlds=many"], "--quota worlds is 'many'"),
        (["--quota", "worlds=0"], "expected more than 0"),
        (["--workers", "0"], "--workers is 0"),
        (["--port", "99999"], "--port is 99999"),
        (["--config", "none.yaml"], "the configuration file does not exist"),
        (["--new-user", "../x"], "the user's name is"),
        (["--new-token", "nobody"], "there is no user 'nobody'"),
    ],
)
def test_flags_that_cannot_be(tmp_path, monkeypatch, capsys, flags, message):
    """One line, exit code 2."""
    from lyra.worldgen.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["serve", *flags]) == 2
    assert message in capsys.readouterr().err


def test_over_tls(tmp_path):
    """With a certificate the same server speaks TLS, and nothing else."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    program = [
        sys.executable,
        "-m",
        "lyra.worldgen",
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--port",
        "0",
        "--json-lines",
    ]
    program += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None and serving.stderr is not None
        address = json.loads(serving.stdout.readline())["address"]
        token = re.search(r"lw_[\w-]{43}", serving.stderr.readline())
        assert token and address.startswith("https://")
        with requests.Session() as ask:
            ask.trust_env = False
            ask.headers["Authorization"] = f"Bearer {token[0]}"
            assert ask.get(f"{address}/v1/me", verify=str(certificate), timeout=PATIENCE_S).json()["name"] == "owner"
            with pytest.raises(requests.ConnectionError):
                ask.get(f"{address.replace('https', 'http')}/v1/me", timeout=PATIENCE_S)
        serving.terminate()
        serving.wait(PATIENCE_S)


def test_many_clients_at_once(server, client):
    """Twenty users' worth of requests side by side: every promised job ends, and none is another's."""
    photo = client.photo()
    jobs: list[str] = []
    problems: list[str] = []

    def visit(seed: int) -> None:
        try:
            with server.client() as visitor:
                world, job = visitor.new_world(photo, settings={"seed": seed}, until="understand")
                jobs.append(job)
                assert visitor.wait(job)["state"] == "finished" and visitor.job(job)["world"] == world
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert problems == [] and len(set(jobs)) == 20
    assert os.getpid() not in [p.pid for p in psutil.Process(server.process.pid).children()]
