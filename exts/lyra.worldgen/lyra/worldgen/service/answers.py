"""What all routes share: whose request it is, how things are found and refused, and how they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Request  # noqa: TID253

from ..core.errors import InputError
from ..core.world import World, load_world
from ..session.summary import world_values
from .database import Database, Row, User
from .limits import ServiceConfig
from .requests import ID, JobOut, Problem, WorldOut
from .supervisor import Supervisor, command_of

ThingId = Annotated[str, Path(pattern=ID, description="24 hexadecimal digits")]
_TEXTS = {
    400: "the request cannot be read",
    401: "no valid token",
    403: "only for administrators",
    404: "there is no such thing, or it is another user's",
    405: "the route knows no such method",
    408: "the request took too long",
    409: "not now: something else has to end first",
    413: "too large",
    415: "not what it is said to be",
    416: "no byte of the file is in the range",
    422: "the request makes no sense",
    429: "a quota is used up or the queue is full",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Answers of a route that are no success, for its description: those of every route, and `codes`."""
    every = (400, 401, 405, 408, 413, 422, *codes)
    return {code: {"model": Problem, "description": _TEXTS[code]} for code in sorted(every)}


def current_user(request: Request) -> User:
    """Whose request it is; the guard has found that out."""
    return request.state.user


Me = Annotated[User, Depends(current_user)]


class Streams:
    """How many long answers each user has open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}

    def enter(self, user: User) -> Callable[[], None]:
        """Count one more; returns what ends it. Raises `HTTPException` when there are too many."""
        with self._lock:
            if self._open.get(user.id, 0) >= user.quota.streams:
                raise HTTPException(
                    429, f"more than {user.quota.streams} uploads, downloads and streams are open", {"Retry-After": "5"}
                )
            self._open[user.id] = self._open.get(user.id, 0) + 1
        left = threading.Event()

        def leave() -> None:
            with self._lock:
                if not left.is_set():
                    left.set()
                    self._open[user.id] -= 1

        return leave


def found(row: Row | None) -> Row:
    """The row; raises `HTTPException` (404) if there is none."""
    if row is None:
        raise HTTPException(404, "there is no such thing")
    return row


def needed(database: Database, user: User, upload_id: str, kind: str) -> Row:
    """A user's upload of a kind; raises `HTTPException` (404)."""
    row = database.upload(user.id, upload_id)
    if row is None or row["kind"] != kind:
        raise HTTPException(404, f"there is no such {kind}; upload it first")
    return row


def promised(job: str | None) -> str:
    """The id of a job that was taken; raises `HTTPException` (429) if it was not."""
    if job is None:
        raise HTTPException(429, "too many worlds or waiting jobs; remove some or wait", {"Retry-After": "10"})
    return job


def expect_room(database: Database, user: User) -> None:
    """Raises `HTTPException` (429) when a user's storage is used up."""
    if database.usage(user.id)["storage_bytes"] >= user.quota.storage_mib * 2**20:
        raise HTTPException(429, f"no room is left; {user.quota.storage_mib} MiB are allowed, remove some worlds")


def check_settings(command: Row, config: ServiceConfig) -> None:
    """Refuse at once what cannot be; what only the world itself can tell is found by the job."""
    try:
        command_of({"command": command, "target": None, "world": ""}, config)
    except InputError as error:
        raise HTTPException(409, str(error)) from error


def busy(database: Database, user: User, world_id: str) -> bool:
    """Whether a job of the world has not ended."""
    return any(job["ended"] is None for job in database.jobs(user.id, world_id))


def readable(config: ServiceConfig, world_id: str) -> World | None:
    """The world in its folder, None before it has begun."""
    folder = config.worlds / world_id
    return load_world(folder) if (folder / "world.json").is_file() else None


def world_out(config: ServiceConfig, database: Database, row: Row, user: User) -> WorldOut:
    """A world as users are told it."""
    try:
        world = readable(config, row["id"])
        summary = None if world is None else {k: v for k, v in world_values(world).items() if k != "folder"}
    except InputError:
        summary = None
    return WorldOut.model_validate({**row, "busy": busy(database, user, row["id"]), "summary": summary})


def job_out(row: Row, supervisor: Supervisor) -> JobOut:
    """A job as users are told it."""
    live = supervisor.live(row["id"])
    finished = row["state"] == "finished"
    return JobOut.model_validate(
        {
            **row,
            "fraction": 1.0 if finished else live.fraction,
            "stage": live.stage,
            "note": live.note,
            "eta_s": live.eta_s,
            "passed": (row["result"] or {}).get("passed"),
            "run_s": row["spent_s"],
        }
    )
