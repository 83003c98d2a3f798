"""Routes of jobs: what is done to a world, where it stands, what happens to it as it happens, and stopping it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Query, Response  # noqa: TID253
from fastapi.responses import StreamingResponse  # noqa: TID253

from .answers import Me, Streams, ThingId, check_settings, expect_room, found, job_out, needed, problems, promised
from .database import Database, Row, User, new_id
from .limits import ServiceConfig
from .requests import ID, JobOut, NewJob
from .supervisor import Supervisor

STREAM_POLL_S = 0.2
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["event", "data"],
}
"""One server-sent event, in OpenAPI."""


def add_jobs(app: FastAPI, config: ServiceConfig, database: Database, supervisor: Supervisor, streams: Streams) -> None:
    """Add the routes to an application."""

    @app.post("/v1/worlds/{world_id}/jobs", status_code=202, responses=problems(404, 409, 429), tags=["jobs"])
    def new_job(user: Me, world_id: ThingId, request: NewJob) -> JobOut:
        """Have something done to a world, after what it already waits for."""
        found(database.world(user.id, world_id))
        command = request.model_dump(exclude_none=True)
        uploads = []
        for kind in ("trajectory", "captions"):
            if kind in command:
                command[f"{kind}_name"] = needed(database, user, command[kind], kind)["name"]
                uploads.append(command[kind])
        branch = command["command"] == "branch"
        if branch:
            expect_room(database, user)
        else:
            check_settings(command, config)
        job = promised(
            database.add_job(
                user,
                command,
                world=world_id,
                new_world=command.get("name") if branch else None,
                target=new_id() if branch else None,
                uploads=tuple(uploads),
                max_queued=config.limits.queued_jobs,
            )
        )
        supervisor.wake()
        return job_out(found(database.job(user.id, job)), supervisor)

    @app.get("/v1/jobs", responses=problems(), tags=["jobs"])
    def jobs(
        user: Me,
        world: Annotated[str, Query(pattern=rf"^$|{ID}", description="only of this world")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> list[JobOut]:
        """The latest jobs, newest first."""
        return [job_out(row, supervisor) for row in database.jobs(user.id, world or None, limit)]

    @app.get("/v1/jobs/{job_id}", responses=problems(404), tags=["jobs"])
    def one_job(user: Me, job_id: ThingId) -> JobOut:
        """Where a job stands."""
        return job_out(found(database.job(user.id, job_id)), supervisor)

    @app.post("/v1/jobs/{job_id}/cancel", status_code=202, responses=problems(404), tags=["jobs"])
    def cancel(user: Me, job_id: ThingId) -> JobOut:
        """Stop a job; what is finished of the world stays. Nothing happens to a job that has ended."""
        found(database.job(user.id, job_id))
        database.ask_to_cancel(user.id, job_id)
        supervisor.wake()
        return job_out(found(database.job(user.id, job_id)), supervisor)

    @app.get(
        "/v1/jobs/{job_id}/frame",
        responses={
            **problems(404),
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        },
        response_class=Response,
        tags=["jobs"],
    )
    def frame(user: Me, job_id: ThingId) -> Response:
        """The latest frame that a running job has painted."""
        found(database.job(user.id, job_id))
        picture = supervisor.live(job_id).frame
        if picture is None:
            raise HTTPException(404, "the job has no frame to show now")
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @app.get(
        "/v1/jobs/{job_id}/events",
        responses={**problems(404, 429), 200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
        response_class=StreamingResponse,
        tags=["jobs"],
    )
    def events(
        user: Me,
        job_id: ThingId,
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,9}$")] = "",
    ) -> Response:
        """What happens to a job, as server-sent events: its milestones from the first or behind `Last-Event-ID`, then
        `progress` and `frame` as they come. The stream ends when the job has ended."""
        found(database.job(user.id, job_id))
        leave = streams.enter(user)
        stream = _job_events(database, supervisor, user, job_id, int(last_event_id or 0), config.limits.stream_s, leave)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _job_events(
    database: Database,
    supervisor: Supervisor,
    user: User,
    job_id: str,
    seen: int,
    stream_s: float,
    leave: Callable[[], None],
) -> AsyncIterator[str]:
    give_up = time.monotonic() + stream_s
    changes, frames, spoke = 0, 0, time.monotonic()
    try:
        while True:
            # The state is read before the milestones, so that the last one is never missed.
            job = await asyncio.to_thread(database.job, user.id, job_id)
            for event in await asyncio.to_thread(database.events, job_id, seen):
                seen = event["seq"]
                spoke = time.monotonic()
                yield _sse(event["kind"], {"text": event["text"], "at": event["at"]}, seen)
            live = supervisor.live(job_id)
            if live.changes != changes and live.stage:
                changes = live.changes
                spoke = time.monotonic()
                yield _sse(
                    "progress",
                    {"fraction": live.fraction, "stage": live.stage, "note": live.note, "eta_s": live.eta_s},
                )
                if live.frame_number != frames:
                    frames = live.frame_number
                    yield _sse("frame", {"number": frames, "url": f"/v1/jobs/{job_id}/frame"})
            if job is None or job["ended"] is not None or time.monotonic() > give_up:
                return
            if time.monotonic() - spoke > 15.0:
                spoke = time.monotonic()
                yield ": still here\n\n"
            await asyncio.sleep(STREAM_POLL_S)
    finally:
        leave()


def _sse(kind: str, data: Row, number: int | None = None) -> str:
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"
