"""Commands that a server of `lyra-worldgen serve` performs, as jobs of a session: the world's folder comes back here.

Which world of which server a folder stands for is written down beside it, in `FOLDER.remote.json`, before anything is
waited for. A client that goes away loses nothing by that: the server works on, and the same command given again takes
up the job that it is about, or fetches the world that is finished.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError, WorldgenError
from .commands import Branch, Command, Extend, Finish, Generate, Import, Undo, command_to_json
from .events import (
    EXIT_CANCELLED,
    ErrorEvent,
    ExitEvent,
    FrameEvent,
    LogEvent,
    ProgressEvent,
    ResultEvent,
    WorkerEvent,
)
from .service_client import ServerEvent, ServiceClient, ServiceRefused
from .service_words import chosen_settings, job_request

ENDED = ("finished", "failed", "cancelled")
WORK_SHARE = 0.9
"""Of the progress; the rest is the download."""
EXIT_FAILED = 4
PATIENCE_S = 300.0
"""How long a server may be away before a job gives up waiting for it [s]."""
RETRY_S = 1.0
NOTE_SUFFIX = ".remote.json"
MAX_NOTE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RemoteNote:
    """What a folder stands for."""

    server: str
    world: str = ""
    """Id of the world there."""
    job: str = ""
    """Id of the last job."""
    command: Mapping[str, Any] | None = None
    """What the job does, in the words of `command_to_json`."""
    before: str = ""
    """Id that the world's content had before the job; tells whether its step was taken."""


def note_path(folder: Path) -> Path:
    """Where the note of a world folder lies: beside it, because the folder itself may not exist yet."""
    return folder.with_name(folder.name + NOTE_SUFFIX)


def read_note(folder: Path) -> RemoteNote | None:
    """The note of a folder, or None if there is none that makes sense."""
    try:
        with open(note_path(folder), "rb") as file:
            data = json.loads(file.read(MAX_NOTE_BYTES))
        texts = {name: data[name] for name in ("server", "world", "job", "before")}
        command = data["command"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(command, dict | None):
        return None
    return RemoteNote(**texts, command=command)


def write_note(folder: Path, note: RemoteNote) -> None:
    """Replace the note of a folder; raises `OSError`."""
    path = note_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(json.dumps(vars(note), indent=1), encoding="utf-8")
    os.replace(aside, path)


class RemoteJob:
    """A command at work on a server; implements `worker.Job`. A thread of its own speaks to the server."""

    def __init__(
        self, client: ServiceClient, folder: Path, command: Command, *, patience_s: float = PATIENCE_S
    ) -> None:
        """Begin at once.

        Args:
            client: of the server; closed with the job.
            folder: where the world goes.
            command: what to do.
            patience_s: how long the server may be away before the job fails [s].

        Raises:
            InputError: a command that cannot be sent.
        """
        if isinstance(command, Branch):
            raise InputError("a world of a server is branched there; fetch it and branch it here")
        if isinstance(command, Import) and Path(command.source).is_dir():
            raise InputError(f"a server imports one file; a folder has to be imported here: {command.source}")
        self._client, self._folder, self._command, self._patience_s = client, Path(folder), command, patience_s
        self._events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self._cancel, self._closing = threading.Event(), threading.Event()
        self._job_id = ""
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"remote {self._folder.name}")
        self._thread.start()

    def poll(self) -> list[WorkerEvent]:
        """New events in order."""
        events: list[WorkerEvent] = []
        while not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    def cancel(self) -> None:
        """Ask the server to stop the job; what is finished there stays."""
        if not self._cancel.is_set():
            self._cancel.set()
            threading.Thread(target=self._ask_to_cancel, daemon=True).start()

    def close(self) -> None:
        """Stop listening. The server's job goes on: the same command finds it again."""
        self._closing.set()
        self._client.close()
        self._thread.join(2.0)

    def _ask_to_cancel(self) -> None:
        try:
            if job := self._job_id:
                self._client.post(f"/v1/jobs/{job}/cancel")
        except (OSError, WorldgenError):
            pass  # the thread that listens asks again

    def _keep_going(self) -> bool:
        return not self._cancel.is_set() and not self._closing.is_set()

    def _run(self) -> None:
        code = EXIT_FAILED
        try:
            code = self._perform()
        except InterruptedError:
            code = EXIT_CANCELLED
        except WorldgenError as error:
            self._say(ErrorEvent(message=str(error)))
            code = error.exit_code
        except (OSError, zipfile.BadZipFile) as error:
            self._say(ErrorEvent(message=f"{error or type(error).__name__}: {self._client.address}"))
        except Exception as error:  # a thread must not end without its last word
            self._say(ErrorEvent(message=f"{type(error).__name__}: {error}"))
        finally:
            self._client.close()
            self._say(ExitEvent(exit_code=EXIT_CANCELLED if self._closing.is_set() else code))

    def _say(self, event: WorkerEvent) -> None:
        self._events.put(event)

    def _perform(self) -> int:
        note = self._promised()
        self._job_id = note.job
        job = self._follow(note.job)
        if job["state"] == "failed":
            self._say(ErrorEvent(message=str(job["message"] or "the server gave no reason")))
            return EXIT_FAILED
        if job["state"] == "cancelled":
            return EXIT_CANCELLED
        return self._fetch(note)

    def _promised(self) -> RemoteNote:
        """The server's promise of a job: the one of the note if it is still about this command, or a new one."""
        note = read_note(self._folder)
        words = command_to_json(self._command)
        if note is not None and note.server == self._client.address and note.job:
            same = note.command == words
            try:
                job = self._patiently(lambda: self._client.get(f"/v1/jobs/{note.job}"))
                world = self._patiently(lambda: self._client.get(f"/v1/worlds/{note.world}"))
            except ServiceRefused as error:
                if error.status != 404:
                    raise
                job, world = None, None
            if job is not None and world is not None:
                return self._resumed(note, words, job, world, same)
        elif (
            note is not None
            and note.server != self._client.address
            and not isinstance(self._command, Generate | Import)
        ):
            raise InputError(f"this world lives on {note.server}: {self._folder}")
        if not isinstance(self._command, Generate | Import):
            raise InputError(f"the server has no such world; worlds that it did not make stay here: {self._folder}")
        return self._new_world(words)

    def _resumed(
        self, note: RemoteNote, words: Mapping[str, Any], job: Mapping[str, Any], world: Mapping[str, Any], same: bool
    ) -> RemoteNote:
        """What is left to do for a world that the server has."""
        making = isinstance(self._command, Generate | Import)
        finished = job["state"] == "finished"
        if same and (job["state"] not in ENDED or (finished and (making or not self._fetched(world)))):
            # Still at work, or finished while nobody looked: only the world has to be fetched.
            return note
        if making:
            if not same:
                return self._new_world(words)
            if not _content_id(world):  # it was stopped before there was anything
                self._client.delete(f"/v1/worlds/{note.world}")
                return self._new_world(words)
        # Exploring and undoing first change what the world is, in one step; given again they would go another one.
        taken = isinstance(self._command, Extend | Undo) and not finished and _content_id(world) != note.before
        if same and (making or taken):
            return self._new_job(note, Finish(until=getattr(self._command, "until", "")), words, note.before)
        return self._new_job(note, self._command, words, _content_id(world))

    def _fetched(self, world: Mapping[str, Any]) -> bool:
        """Whether the folder here holds what the server's world is."""
        from ..core.manifest import read_manifest

        try:
            return read_manifest(self._folder).id == _content_id(world)
        except InputError:
            return False

    def _new_world(self, words: Mapping[str, Any]) -> RemoteNote:
        command = self._command
        assert isinstance(command, Generate | Import)
        # A world that was begun with another command stays on the server until somebody removes it there.
        self._say(ProgressEvent(stage="upload", fraction=0.0))
        source = command.photo if isinstance(command, Generate) else command.source
        kind = "photo" if isinstance(command, Generate) else "scene"
        settings = chosen_settings(command)
        asked: dict[str, Any] = {
            kind: self._uploaded(source, kind),
            "name": _world_name(self._folder),
            "until": command.until,
        }
        generation = settings.get("generation", {})
        for setting, upload in (("path", "trajectory"), ("captions", "captions")):
            named = generation.get(setting, "")
            if named.lower().endswith((".npz", ".json")):
                asked[upload] = self._uploaded(Path(generation.pop(setting)), upload)
        asked["settings"] = {name: value for name, value in settings.items() if value != {}}
        answer = self._client.post("/v1/worlds" if isinstance(command, Generate) else "/v1/imports", asked)
        return self._noted(
            RemoteNote(
                server=self._client.address,
                world=str(answer["world"]["id"]),
                job=str(answer["job"]["id"]),
                command=words,
            )
        )

    def _new_job(self, note: RemoteNote, command: Command, words: Mapping[str, Any], before: str) -> RemoteNote:
        asked = job_request(command)
        for key, kind in (("path", "trajectory"), ("captions", "captions")):
            if str(asked.get(key, "")).lower().endswith((".npz", ".json")):
                asked[kind] = self._uploaded(Path(asked.pop(key)), kind)
        answer = self._client.post(f"/v1/worlds/{note.world}/jobs", asked)
        return self._noted(replace(note, job=str(answer["id"]), command=words, before=before))

    def _uploaded(self, file: Path, kind: str) -> str:
        return self._client.upload(file, kind, keep_going=self._keep_going)

    def _noted(self, note: RemoteNote) -> RemoteNote:
        write_note(self._folder, note)
        return note

    def _follow(self, job_id: str) -> Mapping[str, Any]:
        """Tell what happens to a job until it has ended; the job."""
        seen = ""
        while True:
            job = self._patiently(lambda: self._client.get(f"/v1/jobs/{job_id}"))
            if self._closing.is_set():
                raise InterruptedError("the client was closed")
            if job["state"] in ENDED:
                return job
            if self._cancel.is_set():
                self._patiently(lambda: self._client.post(f"/v1/jobs/{job_id}/cancel"))
            try:
                for event in self._client.events(f"/v1/jobs/{job_id}/events", seen):
                    seen = event.number or seen
                    self._tell(job_id, event)
            except ServiceRefused as error:
                if error.status != 429:
                    raise
                self._closing.wait(RETRY_S)
            except OSError as error:
                if self._closing.is_set():
                    raise InterruptedError("the client was closed") from error
                self._closing.wait(RETRY_S)

    def _tell(self, job_id: str, event: ServerEvent) -> None:
        if event.kind == "progress":
            fraction = min(max(float(event.data.get("fraction") or 0.0), 0.0), 1.0)
            eta_s = event.data.get("eta_s")
            self._say(
                ProgressEvent(
                    stage=str(event.data.get("stage", "")),
                    fraction=WORK_SHARE * fraction,
                    eta_s=float(eta_s) if isinstance(eta_s, int | float) else None,
                    note=str(event.data.get("note") or ""),
                )
            )
        elif event.kind == "frame":
            try:
                jpeg = self._client.picture(f"/v1/jobs/{job_id}/frame")
            except ServiceRefused:
                return  # gone already; a picture more or less
            self._say(FrameEvent(chunk=0, frame=int(event.data.get("number") or 0), jpeg=jpeg))
        else:
            self._say(LogEvent(text=" ".join(filter(None, (event.kind, str(event.data.get("text", "")))))))

    def _patiently(self, ask: Any) -> Any:
        """An answer, also from a server that is away for a while."""
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                return ask()
            except ServiceRefused:
                raise
            except OSError as error:
                if self._closing.is_set():
                    raise InterruptedError("the client was closed") from error
                if self._cancel.is_set() or time.monotonic() > give_up:
                    raise
                self._say(LogEvent(text=f"the server does not answer ({error}); trying again"))
                self._closing.wait(RETRY_S)

    def _fetch(self, note: RemoteNote) -> int:
        """Bring the world here, whole or not at all."""
        from ..core.world import load_world
        from ..core.world_writer import open_for_writing
        from .summary import world_values

        files = self._client.get(f"/v1/worlds/{note.world}/files")
        total = sum(int(file["bytes"]) for file in files)
        aside = self._folder.with_name(f".{self._folder.name}.download")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            archive = aside / "world.zip"

            def step(done: int) -> bool:
                share = min(1.0, done / max(total, 1))
                self._say(ProgressEvent(stage="download", fraction=WORK_SHARE + (1 - WORK_SHARE) * share))
                # The manifest and the zip's own heads come on top of the files.
                if done > total + (32 << 20):
                    raise ServiceRefused(200, "it sends more than it said")
                return self._keep_going()

            self._client.download(f"/v1/worlds/{note.world}/archive", archive, step=step)
            unpack_world(archive, aside / "world", most_bytes=total + (32 << 20))
            archive.unlink()
            world = load_world(aside / "world")
            world.check_files().raise_for_errors()
            with open_for_writing(self._folder) as writer:
                writer.copy(world, world.manifest.stages)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        values = world_values(load_world(self._folder))
        self._say(ResultEvent(folder=values["folder"], passed=values["passed"], values=values))
        return 0 if values["passed"] is not False else 1


def unpack_world(archive: Path, folder: Path, *, most_bytes: int) -> None:
    """Unpack a world's archive into a new folder.

    Raises:
        InputError: a name that leads out of the folder, a link, or more bytes than expected.
    """
    from ..core.manifest import MANIFEST_NAME, safe_name

    with zipfile.ZipFile(archive) as members:
        infos = members.infolist()
        if sum(info.file_size for info in infos) > most_bytes:
            raise InputError(f"the archive unpacks to more than {most_bytes} bytes: {archive}")
        for info in infos:
            name = info.filename if info.filename == MANIFEST_NAME else safe_name(info.filename, "the archive")
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise InputError(f"the archive holds a link, '{name}': {archive}")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with members.open(info) as source, open(target, "xb") as file:
                shutil.copyfileobj(source, file)


def _content_id(world: Mapping[str, Any]) -> str:
    summary = world.get("summary")
    return str(summary.get("id", "")) if isinstance(summary, Mapping) else ""


def _world_name(folder: Path) -> str:
    from .service_client import NAME_CHARACTERS

    return "".join(c if c in NAME_CHARACTERS else "_" for c in folder.name).lstrip(" ._()+-")[:80] or "world"
