"""Sessions whose commands a server performs: real servers on loopback with tiny stages, and servers that misbehave."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import zipfile
from pathlib import Path

import pytest

from fake_stages import content, fake_stages
from lyra.worldgen.build import journey as build_journey
from lyra.worldgen.build import run as build_run
from lyra.worldgen.core.config import load_config
from lyra.worldgen.core.errors import InputError
from lyra.worldgen.session import (
    Branch,
    DoneEvent,
    Extend,
    Finish,
    FrameEvent,
    Generate,
    Outcome,
    ProgressEvent,
    Session,
    Undo,
)
from lyra.worldgen.session.remote import RemoteJob, note_path, read_note, unpack_world
from lyra.worldgen.session.service_client import ServiceClient, ServiceRefused
from service_client import PATIENCE_S, Server, picture, trajectory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("service") / "data", pause_s=0.02, quota={"queued_jobs": 50}).start()
    yield running
    running.stop()


@pytest.fixture
def slow_server(tmp_path):
    """One whose jobs last longer than a word to cancel takes, on the fastest machine too."""
    running = Server(tmp_path / "data", pause_s=0.3).start()
    yield running
    running.stop()


@pytest.fixture
def photo(tmp_path, monkeypatch) -> Path:
    for module in (build_run, build_journey):
        monkeypatch.setattr(module, "default_stages", fake_stages)
    path = tmp_path / "kitchen.png"
    path.write_bytes(picture(3))
    return path


def far_session(server: Server, folder: Path, *, patience_s: float = PATIENCE_S) -> Session:
    def launch(command):
        client = ServiceClient(server.address, server.token)
        return RemoteJob(client, folder, command, patience_s=patience_s)

    return Session(folder, launch=launch)


def ended(session: Session) -> DoneEvent:
    done = session.wait(PATIENCE_S)
    assert done is not None
    return done


def no_threads() -> bool:
    """No thread of a remote job is left, after a moment."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        if not any(thread.name.startswith("remote ") for thread in threading.enumerate()):
            return True
        time.sleep(0.02)
    return False


def test_the_bytes_are_those_of_a_session_here(server, photo, tmp_path):
    """Seed, extend along a trajectory, undo, finish: the folder that comes back is the one made on this machine."""
    (tmp_path / "walk.npz").write_bytes(trajectory())
    walk = str(tmp_path / "walk.npz")
    far, near = far_session(server, tmp_path / "far"), Session(tmp_path / "near")
    events: list[object] = []
    far.subscribe(events.append)
    config = load_config(None, {"seed": 7, "generation.prompt": "a hall"})
    commands = [
        Generate(photo=photo, config=config, until="understand"),
        Extend(path=walk, seed=2),
        Undo(chunks=1, until="explore"),
        Finish(),
    ]
    for command in commands:
        far.start(command)
        done = ended(far)
        assert done.outcome is Outcome.FINISHED, done
        assert done.folder == str((tmp_path / "far").resolve())
        near.run(command)
        assert content(tmp_path / "far") == content(tmp_path / "near")
    assert done.passed is True
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert {"upload", "download"} <= {event.stage for event in progress}
    assert all(0 <= event.fraction <= 1 for event in progress)
    assert any(isinstance(event, FrameEvent) and event.jpeg.startswith(b"\xff\xd8") for event in events)
    far.close()
    assert no_threads() and not list(tmp_path.glob(".*"))


def test_a_client_that_goes_away_finds_its_job_again(server, photo, tmp_path):
    """Closed in the middle, another session with the same command takes up the same job; nothing is made twice."""
    with server.client() as client:
        worlds_before = len(client.ask("GET", "/v1/worlds").json())
        command = Generate(photo=photo, config=load_config(None, {"seed": 11}))
        first = far_session(server, tmp_path / "world")
        first.start(command)
        give_up = time.monotonic() + PATIENCE_S
        while read_note(tmp_path / "world") is None and time.monotonic() < give_up:
            time.sleep(0.01)
        first.close()
        assert no_threads() and not (tmp_path / "world").exists()
        note = read_note(tmp_path / "world")
        assert note is not None and client.wait(note.job)["state"] == "finished"
        second = far_session(server, tmp_path / "world")
        second.start(command)
        assert ended(second).outcome is Outcome.FINISHED
        assert read_note(tmp_path / "world") == note
        assert len(client.ask("GET", "/v1/worlds").json()) == worlds_before + 1
        second.close()


@pytest.mark.parametrize("make", [lambda photo: Generate(photo=photo), lambda photo: Extend(path="turn")])
def test_cancelled_and_resumed(slow_server, photo, tmp_path, make):
    """A cancelled job ends on the server, too; resumed it leads to the bytes of an undisturbed one, no step twice."""
    server = slow_server
    far, near = far_session(server, tmp_path / "far"), Session(tmp_path / "near")
    command = make(photo)
    if isinstance(command, Extend):
        for session in (far, near):
            session.start(Generate(photo=photo)) if session is far else session.run(Generate(photo=photo))
        assert ended(far).outcome is Outcome.FINISHED
    seen: list[str] = []
    far.subscribe(lambda event: seen.append(event.stage) if isinstance(event, ProgressEvent) else None)
    far.start(command)
    give_up = time.monotonic() + PATIENCE_S
    while "explore" not in seen and time.monotonic() < give_up:
        far.poll()
        time.sleep(0.005)
    far.cancel()
    assert ended(far).outcome is Outcome.CANCELLED
    note = read_note(tmp_path / "far")
    assert note is not None
    with server.client() as client:
        assert client.job(note.job)["state"] == "cancelled"
    assert far.resume() and ended(far).outcome is Outcome.FINISHED
    near.run(command)
    assert content(tmp_path / "far") == content(tmp_path / "near")
    far.close()


def test_stopped_before_anything_was_made(photo, tmp_path):
    """A world whose job was cancelled in the queue is made anew; the server keeps no empty one."""
    server = Server(tmp_path / "data", pause_s=0.3).start()
    with server.client() as client:
        _, other = client.new_world(client.photo())
        far = far_session(server, tmp_path / "far")
        far.start(Generate(photo=photo))
        give_up = time.monotonic() + PATIENCE_S
        while read_note(tmp_path / "far") is None and time.monotonic() < give_up:
            time.sleep(0.01)
        far.cancel()
        assert ended(far).outcome is Outcome.CANCELLED
        client.ask("POST", f"/v1/jobs/{other}/cancel")
        assert far.resume() and ended(far).outcome is Outcome.FINISHED
        assert len(client.ask("GET", "/v1/worlds").json()) == 2
    far.close()
    server.stop()


def test_a_server_that_is_away_for_a_while(photo, tmp_path):
    """Killed and started again in the middle of a job: the client waits and gets its world."""
    server = Server(tmp_path / "data", pause_s=0.05).start()
    far = far_session(server, tmp_path / "far")
    far.start(Generate(photo=photo))
    give_up = time.monotonic() + PATIENCE_S
    while far.state.stage in ("", "upload") and time.monotonic() < give_up:
        far.poll()
        time.sleep(0.01)
    server.kill()
    time.sleep(1.0)
    server.start()
    assert ended(far).outcome is Outcome.FINISHED
    far.close()
    server.stop()


def test_a_server_that_stays_away(photo, tmp_path):
    """The job fails with words, the note stays; nothing hangs when it is closed."""
    server = Server(tmp_path / "data").start()
    far = far_session(server, tmp_path / "far", patience_s=0.5)
    server.stop()
    far.start(Generate(photo=photo))
    done = ended(far)
    assert done.outcome is Outcome.FAILED and server.address in done.message
    far.close()
    assert no_threads()


def test_what_the_server_refuses_is_told(server, photo, tmp_path):
    """Unknown worlds, settings that users may not choose, bad photos, wrong tokens."""
    far = far_session(server, tmp_path / "world")
    far.start(Extend(path="turn"))
    assert "no such world" in ended(far).message
    far.start(Generate(photo=photo, config=load_config(None, {"models.download": True})))
    assert "(422)" in ended(far).message
    (tmp_path / "text.png").write_bytes(b"no picture")
    far.start(Generate(photo=tmp_path / "text.png"))
    assert "(415)" in ended(far).message
    with pytest.raises(InputError, match="branched"):
        far.start(Branch(out=tmp_path / "other"))
    far.close()
    stranger = Session(
        tmp_path / "world", launch=lambda c: RemoteJob(ServiceClient(server.address, "lw_no"), tmp_path / "world", c)
    )
    stranger.start(Generate(photo=photo))
    assert "(401)" in ended(stranger).message
    stranger.close()
    assert not note_path(tmp_path / "world").exists()


@pytest.mark.parametrize(
    ("address", "token", "words"),
    [
        ("worlds.example.com", "t", "no address"),
        ("ftp://127.0.0.1", "t", "no address"),
        ("http://127.0.0.1:x", "t", "no address"),
        ("http://worlds.example.com", "t", "in the clear"),
        ("https://me:secret@worlds.example.com", "t", "apart"),
        ("http://127.0.0.1:8765", "", "token"),
        ("http://127.0.0.1:8765", "a\r\nX: b", "token"),
    ],
)
def test_addresses_that_cannot_be(address, token, words):
    """Refused before anything is sent; the message holds no secret."""
    with pytest.raises(InputError, match=words) as caught:
        ServiceClient(address, token)
    assert "secret" not in str(caught.value)


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers every request with the same bytes."""

    answer = b""

    def do_GET(self) -> None:
        self.wfile.write(self.answer)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def liar(answer: bytes):
    handler = type("OneLiar", (Liar,), {"answer": answer})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as lying:
        thread = threading.Thread(target=lying.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{lying.server_address[1]}"
        lying.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{no",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n" + b"[" * 200_001,
    ],
)
def test_answers_that_make_no_sense(answer):
    """Each is an error of two kinds: the server refuses, or it is away. Redirects are not followed with the token."""
    with liar(answer) as address:
        client = ServiceClient(address, "lw_token", timeout_s=20.0)
        with pytest.raises((ServiceRefused, OSError)):
            client.get("/v1/me")
        client.close()
        with pytest.raises(OSError, match="closed"):
            client.get("/v1/me")


def test_closing_ends_a_call_that_waits():
    """A server that says nothing holds nobody up."""
    ready, hold = threading.Event(), threading.Event()

    class Silent(Liar):
        def do_GET(self) -> None:
            ready.set()
            hold.wait(PATIENCE_S)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as silent:
        threading.Thread(target=silent.serve_forever, daemon=True).start()
        client = ServiceClient(f"http://127.0.0.1:{silent.server_address[1]}", "lw_token")
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                client.get("/v1/me")
            except OSError as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert ready.wait(PATIENCE_S)
        client.close()
        asking.join(PATIENCE_S)
        assert not asking.is_alive() and len(failed) == 1
        hold.set()
        silent.shutdown()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "c:\\evil"])
def test_archives_that_lead_elsewhere(tmp_path, name):
    """No member leaves the folder, none is a link, and no archive is larger inside than was said."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError):
        unpack_world(tmp_path / "a.zip", tmp_path / "out", most_bytes=100)
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        unpack_world(tmp_path / "b.zip", tmp_path / "out2", most_bytes=100)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mesh.glb", b"\0" * 10_000_000)
    with pytest.raises(InputError, match="unpacks"):
        unpack_world(tmp_path / "c.zip", tmp_path / "out3", most_bytes=100)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.zip", "b.zip", "c.zip"]


def test_notes_that_make_no_sense_are_none(tmp_path):
    """A damaged note is as good as no note."""
    folder = tmp_path / "world"
    assert read_note(folder) is None
    for text in ("", "[]", "{}", '{"server": 1, "world": "", "job": "", "before": "", "command": {}}', "[" * 100_000):
        note_path(folder).write_text(text)
        assert read_note(folder) is None
    note = {"server": "http://a", "world": "w", "job": "j", "before": "", "command": None}
    note_path(folder).write_text(json.dumps(note))
    assert read_note(folder) is not None
