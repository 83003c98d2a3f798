"""Many clients, and a server that is killed again and again: no job is lost, each ends once."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest
import requests

from fake_stages import content
from lyra.worldgen.core.config import load_config
from lyra.worldgen.session import Extend, Generate, Session
from service_client import ENDED, PATIENCE_S, Client, Server, picture, trajectory

pytestmark = pytest.mark.slow
QUEUE_S = 3600.0
"""How long a job of many may wait for its turn on a loaded machine."""
CLIENTS = 100
TINY = {"geometry": {"working_long_side_px": 192}, "generation": {"view_long_side_px": 64}}


def milestones(client: Client, job: str) -> list[str]:
    """Kinds of a job's kept events."""
    text = client.ask("GET", f"/v1/jobs/{job}/events").text
    blocks = [block for block in text.split("\n\n") if block.startswith("id: ")]
    return [block.splitlines()[1].removeprefix("event: ") for block in blocks]


def expect_ended_once(client: Client, jobs: list[str]) -> dict[str, int]:
    """Every job has one end and it is the last thing that happened to it; how they ended."""
    counts: dict[str, int] = {}
    for job in jobs:
        kinds = milestones(client, job)
        assert sum(kind in ENDED for kind in kinds) == 1 and kinds[-1] in ENDED, kinds
        counts[kinds[-1]] = counts.get(kinds[-1], 0) + 1
    return counts


class Books:
    """What a service has promised to many clients."""

    def __init__(self, shared: str) -> None:
        self.shared = shared
        self.jobs: list[str] = []
        self.forgotten = 0
        self._lock = threading.Lock()

    def add(self, jobs: list[str]) -> None:
        with self._lock:
            self.jobs += jobs

    def forget(self, jobs: list[str]) -> None:
        """A world was removed, and its jobs with it."""
        with self._lock:
            self.forgotten += 1
            for job in jobs:
                self.jobs.remove(job)

    def any_job(self, draw: random.Random) -> str:
        with self._lock:
            return draw.choice(self.jobs)


def visit(server: Server, photo: bytes, seed: int, books: Books, *, makes: float) -> None:
    """One client's mixed work: bring, make, follow, list, download, extend, cancel, forget.

    Args:
        server: the service.
        photo: what is brought.
        seed: decides what the client does.
        books: what was promised, of all clients.
        makes: share of clients that wait for a world of their own; the others take theirs back while it is queued.
    """
    draw = random.Random(seed)
    with server.client() as client:
        upload = client.photo(photo)
        world, job = client.new_world(upload, settings={"seed": seed, **TINY}, until="understand")
        mine = [job]
        patient = draw.random() < makes
        if not patient:
            assert client.ask("POST", f"/v1/jobs/{job}/cancel").status_code == 202
        elif draw.random() < 0.3:
            mine.append(client.new_job(world, "finish", until="understand"))
            if draw.random() < 0.5:
                client.ask("POST", f"/v1/jobs/{mine[-1]}/cancel")
        books.add(mine)
        followed = books.any_job(draw)
        kinds = milestones(client, followed) if draw.random() < 0.5 else []
        assert not kinds or kinds[0] == "queued"
        for path in ("/v1/worlds", f"/v1/jobs?world={world}", "/v1/health", "/v1/me", f"/v1/worlds/{world}"):
            assert client.ask("GET", path).status_code == 200
        assert client.upload(b"no photo").status_code == 415
        assert client.upload(trajectory(3), "trajectory", "walk").status_code == 201
        for number in mine:
            ended = client.wait(number, QUEUE_S)
            assert ended["state"] in ("finished", "cancelled"), ended
        # One's own files, or those of the world that everybody shares.
        files = client.files(world)
        source = world if files else books.shared
        for name, file in (files or client.files(source)).items():
            part = client.ask("GET", f"/v1/worlds/{source}/files/{file['id']}", headers={"Range": "bytes=0-99"})
            assert part.status_code == 206 and len(part.content) == min(100, file["bytes"]), name
        answer = client.ask("GET", f"/v1/worlds/{source}/archive")
        assert answer.status_code == 200 and zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
        assert client.ask("DELETE", f"/v1/uploads/{upload}").status_code == 204
        if draw.random() < 0.3:
            assert client.ask("DELETE", f"/v1/worlds/{world}").status_code == 204
            assert client.ask("GET", f"/v1/jobs/{job}").status_code == 404
            books.forget(mine)


@pytest.mark.parametrize(("real", "makes"), [(False, 0.7), (True, 0.15)], ids=["tiny-stages", "real-pipeline"])
def test_many_clients(tmp_path, photos, real, makes):
    """100 clients at once with mixed work: no job is lost, none fails, nobody is refused."""
    quota = {"worlds": 1000, "queued_jobs": 1000, "streams": 1000}
    server = Server(tmp_path / "data", real=real, workers=1 if real else 4, quota=quota).start()
    photo = (photos / "hall.png").read_bytes() if real else picture()
    with server.client() as client:
        shared, first = client.new_world(client.photo(photo), settings=TINY, until="understand")
        assert client.wait(first, QUEUE_S)["state"] == "finished"
    books = Books(shared)
    problems: list[str] = []

    def guarded(seed: int) -> None:
        try:
            visit(server, photo, seed, books, makes=makes)
        except BaseException as error:
            problems.append(f"{seed}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(1000 + k,)) for k in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with server.client() as client:
        counts = expect_ended_once(client, books.jobs)
        assert sum(counts.values()) == len(set(books.jobs)) == len(books.jobs) and "failed" not in counts
        assert counts["finished"] >= 0.5 * makes * CLIENTS and counts["cancelled"] >= 10
        everything = {job["id"] for job in client.ask("GET", "/v1/jobs?limit=500").json()}
        assert everything == {*books.jobs, first}
        assert len(client.ask("GET", "/v1/worlds").json()) == CLIENTS + 1 - books.forgotten
        assert client.ask("GET", "/v1/health").json()["queued_jobs"] == 0
    server.stop()


def workers_of(server: Server) -> list[psutil.Process]:
    """Worker processes of a server, also those whose server has died."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "work" in line and any(str(server.data) in part for part in line):
            found.append(process)
    return found


def test_killed_at_twenty_moments(tmp_path):
    """`kill -9` of server and workers at random moments: every promised job ends once, worlds are as if undisturbed."""
    draw = random.Random(20)
    quota = {"worlds": 1000, "queued_jobs": 1000}
    limits = {"crashes": 10}
    server = Server(tmp_path / "data", pause_s=0.05, workers=2, quota=quota, limits=limits).start()
    jobs: list[str] = []
    worlds: dict[str, int] = {}
    extended: dict[str, str] = {}
    stop = threading.Event()

    def keep_asking() -> None:
        """A client that goes on through every outage; what was promised to it is written down."""
        seed = 0
        upload = ""
        while not stop.is_set():
            try:
                with server.client() as client:
                    upload = upload or client.photo(picture(9))
                    if len(worlds) < 8:
                        seed += 1
                        world, job = client.new_world(upload, settings={"seed": seed})
                        worlds[world] = seed
                        jobs.append(job)
                    elif len(extended) < 8:
                        world = next(w for w in worlds if w not in extended)
                        # The server may have promised it and died before it could say so.
                        known = [j["id"] for j in client.ask("GET", f"/v1/jobs?world={world}").json()]
                        job = known[0] if len(known) > 1 else client.new_job(world, "extend", path="turn")
                        extended[world] = job
                        jobs.append(job)
            except (requests.RequestException, AssertionError):
                pass
            stop.wait(0.2)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    for _ in range(20):
        time.sleep(draw.uniform(0.2, 2.5))
        victims = workers_of(server)
        if draw.random() < 0.5 and victims:
            victim = draw.choice(victims)
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        else:
            server.kill()
            time.sleep(draw.uniform(0.0, 0.5))
            server.start()
    give_up = time.monotonic() + PATIENCE_S
    while len(extended) < 8 and time.monotonic() < give_up:
        time.sleep(0.1)
    stop.set()
    asking.join()
    with server.client() as client:
        everything = [job["id"] for job in client.ask("GET", "/v1/jobs?limit=500").json()]
        assert set(jobs) <= set(everything)
        for job in everything:
            assert client.wait(job)["state"] == "finished", client.job(job)
        counts = expect_ended_once(client, everything)
        assert counts == {"finished": len(everything)} and len(everything) >= 16
        interrupted = sum(milestones(client, job).count("interrupted") for job in everything)
        assert interrupted >= 5, "the kills hit nothing"
    assert {path.name for path in (server.data / "worlds").iterdir()} >= set(worlds)
    (tmp_path / "kitchen.png").write_bytes(picture(9))
    for world, seed in worlds.items():
        assert content(server.data / "worlds" / world) == undisturbed(tmp_path, seed), world
    server.stop()
    assert workers_of(server) == []


def undisturbed(folder: Path, seed: int) -> dict[str, bytes]:
    """The same world made in one go on this machine."""
    from fake_stages import fake_stages
    from lyra.worldgen.build import journey as build_journey
    from lyra.worldgen.build import run as build_run

    with pytest.MonkeyPatch.context() as patch:
        for module in (build_run, build_journey):
            patch.setattr(module, "default_stages", fake_stages)
        near = Session(folder / f"near{seed}")
        near.run(Generate(photo=folder / "kitchen.png", config=load_config(None, {"seed": seed})))
        near.run(Extend(path="turn"))
        return content(near.folder)
