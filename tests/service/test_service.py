"""A real server on loopback with real worker processes over tiny stages: worlds, ranges, events, restarts."""

from __future__ import annotations

import io
import json
import os
import re
import threading
import time
import zipfile

import psutil
import pytest

from fake_stages import CHUNKS, content
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.core.config import load_config
from lyra.worldgen.service.server import OWNER
from lyra.worldgen.session import Extend, Generate, Session, Undo
from service_client import PATIENCE_S, Client, Server, picture, trajectory

pytestmark = pytest.mark.slow


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
