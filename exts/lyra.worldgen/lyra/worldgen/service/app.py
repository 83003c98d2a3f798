"""The routes of the service. Each finds the user's own things by id, asks the database, and answers in a schema."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response  # noqa: TID253
from fastapi.exceptions import RequestValidationError  # noqa: TID253
from fastapi.openapi.utils import get_openapi  # noqa: TID253
from fastapi.responses import JSONResponse, StreamingResponse  # noqa: TID253

from .. import __version__
from ..core.errors import InputError, WorldgenError
from ..core.files import sync_file
from ..core.world import World, load_world
from ..session.summary import world_values
from .database import Database, Row, User, new_id
from .downloads import archive_pieces, file_id, file_response
from .guard import UPLOADS, Guard
from .limits import ServiceConfig
from .metrics import Metrics
from .requests import (
    ID,
    FileOut,
    HealthOut,
    JobOut,
    MeOut,
    NewImport,
    NewJob,
    NewWorld,
    NewWorldOut,
    Problem,
    UploadOut,
    WorldOut,
    chosen,
)
from .supervisor import Supervisor, command_of, upload_path
from .uploads import NAME, SUFFIXES, Refused, check_upload, honest_name, limit_bytes

DESCRIPTION = """\
Worlds of photos, made by a machine with a GPU for users with tokens. Upload a photo, make a world of it, follow the
job's events, download the files. Every route needs `Authorization: Bearer TOKEN`; nobody sees what another user has.
"""
STREAM_POLL_S = 0.2
ThingId = Annotated[str, Path(pattern=ID, description="24 hexadecimal digits")]
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["event", "data"],
}
"""One server-sent event, in OpenAPI."""
UploadKind = Literal["photo", "trajectory", "captions", "scene"]
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


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
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


def create_app(config: ServiceConfig, database: Database, supervisor: Supervisor) -> FastAPI:
    """The service as an ASGI application; its workers run while it does."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(supervisor.start)
        try:
            yield
        finally:
            await asyncio.to_thread(supervisor.stop)

    app = FastAPI(
        title="Lyra worlds",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        redirect_slashes=False,
    )
    metrics = Metrics(database, supervisor)
    streams = Streams()
    _add_errors(app)
    _add_uploads(app, config, database, metrics, streams)
    _add_worlds(app, config, database, supervisor, streams)
    _add_jobs(app, config, database, supervisor, streams)

    @app.get("/v1/me", responses=_problems(), tags=["user"])
    def me(user: Me) -> MeOut:
        """Who the token belongs to, what is allowed, and how much of it is used."""
        return MeOut.model_validate(
            {"name": user.name, "admin": user.admin, "quota": vars(user.quota), "usage": database.usage(user.id)}
        )

    @app.get("/v1/health", responses=_problems(), tags=["operation"])
    def health(user: Me) -> HealthOut:
        """Whether the service works; it answers only if the database does."""
        return HealthOut(
            status="ok",
            version=__version__,
            workers=len(config.devices),
            busy_workers=supervisor.busy_workers,
            queued_jobs=database.counts().get("queued", 0),
        )

    @app.get(
        "/v1/metrics",
        responses={**_problems(403), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=Response,
        tags=["operation"],
    )
    def prometheus(user: Me) -> Response:
        """Numbers for Prometheus; administrators only."""
        if not user.admin:
            raise HTTPException(403, "only an administrator's token reads the metrics")
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi
    app.add_middleware(Guard, database=database, config=config, seen=metrics.seen)  # pyright: ignore[reportArgumentType]
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{where}: {first['msg']}"[:500]}, 422)

    @app.exception_handler(405)
    async def not_allowed(request: Request, error: HTTPException) -> JSONResponse:
        # Each method is a route of its own and knows of no other.
        allowed = {
            method.upper()
            for path, methods in app.openapi()["paths"].items()
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)), request.scope["path"])
            for method in methods
        }
        return JSONResponse({"detail": "the route knows no such method"}, 405, {"Allow": ", ".join(sorted(allowed))})

    @app.exception_handler(WorldgenError)
    async def refused(request: Request, error: WorldgenError) -> JSONResponse:
        # A world that a worker changes this moment; nothing else raises these here.
        return JSONResponse({"detail": "the world cannot be read now; try again"}, 409, {"Retry-After": "1"})


def _add_uploads(app: FastAPI, config: ServiceConfig, database: Database, metrics: Metrics, streams: Streams) -> None:
    binary = {"schema": {"type": "string", "format": "binary", "minLength": 1}}

    @app.post(
        UPLOADS,
        status_code=201,
        responses=_problems(415, 429),
        tags=["uploads"],
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": binary}}},
    )
    async def upload(
        request: Request,
        user: Me,
        kind: Annotated[
            UploadKind,
            Query(
                description="a JPEG, PNG or WebP photo; a camera path (.npz); captions (JSON); "
                "splats (.ply, .spz), a mesh (.glb, .ply) or a panorama"
            ),
        ] = "photo",
        name: Annotated[str, Query(pattern=NAME, description="what the file is called in its world")] = "photo",
    ) -> UploadOut:
        """Bring a file: the body is the file itself. It is checked before it is kept."""
        upload_id = new_id()
        limit = limit_bytes(kind, config.limits)
        path = upload_path(config, upload_id, SUFFIXES[kind])
        leave = streams.enter(user)
        try:
            used = await asyncio.to_thread(database.usage, user.id)
            room = user.quota.storage_mib * 2**20 - used["storage_bytes"]
            size, digest = 0, hashlib.sha256()
            # Not known to the database yet: what a killed server leaves here is removed by the next one.
            with open(path, "xb") as file:
                async for piece in request.stream():
                    size += len(piece)
                    if size > limit:
                        raise HTTPException(413, f"the {kind} has more than {limit} bytes", {"connection": "close"})
                    if size > room:
                        text = f"no room is left; {user.quota.storage_mib} MiB are allowed"
                        raise HTTPException(429, text, {"connection": "close"})
                    digest.update(piece)
                    file.write(piece)
            facts = await asyncio.to_thread(check_upload, kind, path, config.limits)
            kept = {
                "id": upload_id,
                "kind": kind,
                "name": honest_name(name, facts["format"]),
                "bytes": size,
                "sha256": digest.hexdigest(),
                "facts": facts,
            }

            def keep() -> None:
                sync_file(path)
                database.add_upload(user.id, kept)

            await asyncio.to_thread(keep)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, Refused):
                metrics.refused.labels(kind).inc()
                raise HTTPException(415, str(error)) from error
            raise
        finally:
            leave()
        return UploadOut.model_validate({**kept, "created": time.time()})

    @app.get(UPLOADS, responses=_problems(), tags=["uploads"])
    def uploads(user: Me) -> list[UploadOut]:
        """What was brought."""
        return [UploadOut.model_validate(row) for row in database.uploads(user.id)]

    @app.get(UPLOADS + "/{upload_id}", responses=_problems(404), tags=["uploads"])
    def one_upload(user: Me, upload_id: ThingId) -> UploadOut:
        """One upload."""
        return UploadOut.model_validate(_found(database.upload(user.id, upload_id)))

    @app.delete(UPLOADS + "/{upload_id}", status_code=204, responses=_problems(404, 409), tags=["uploads"])
    def remove_upload(user: Me, upload_id: ThingId) -> None:
        """Forget an upload; worlds made of it keep their own copy."""
        row = _found(database.upload(user.id, upload_id))
        if not database.remove_upload(user.id, upload_id):
            raise HTTPException(409, "a job still needs the upload; wait for it or cancel it")
        upload_path(config, upload_id, SUFFIXES[row["kind"]]).unlink(missing_ok=True)


def _add_worlds(
    app: FastAPI, config: ServiceConfig, database: Database, supervisor: Supervisor, streams: Streams
) -> None:
    def promised_world(user: User, name: str, command: Row, needed: tuple[str, ...]) -> NewWorldOut:
        _expect_room(database, user)
        _check_settings(command, config)
        world_id = new_id()
        job = _promised(
            database.add_job(
                user,
                command,
                world=world_id,
                new_world=name,
                uploads=needed,
                max_queued=config.limits.queued_jobs,
            )
        )
        supervisor.wake()
        return NewWorldOut(
            world=_world_out(config, database, _found(database.world(user.id, world_id)), user),
            job=_job_out(_found(database.job(user.id, job)), supervisor),
        )

    @app.post("/v1/worlds", status_code=202, responses=_problems(404, 409, 429), tags=["worlds"])
    def new_world(user: Me, request: NewWorld) -> NewWorldOut:
        """Make a world of an uploaded photo; the job that was promised is in the answer."""
        photo = _needed(database, user, request.photo, "photo")
        names = {}
        for kind in ("trajectory", "captions"):
            if (upload_id := getattr(request, kind)) is not None:
                names[f"{kind}_name"] = _needed(database, user, upload_id, kind)["name"]
        command = {
            "command": "generate",
            "photo": request.photo,
            "photo_name": photo["name"],
            "trajectory": request.trajectory,
            "captions": request.captions,
            **names,
            "settings": chosen(request.settings),
            "until": request.until,
        }
        return promised_world(
            user, request.name, command, tuple(filter(None, (request.photo, request.trajectory, request.captions)))
        )

    @app.post("/v1/imports", status_code=202, responses=_problems(404, 409, 429), tags=["worlds"])
    def new_import(user: Me, request: NewImport) -> NewWorldOut:
        """Make a world of an uploaded file of another program; the job that was promised is in the answer."""
        scene = _needed(database, user, request.scene, "scene")
        command = {
            "command": "import",
            "scene": request.scene,
            "source_name": scene["name"],
            "settings": chosen(request.settings),
            "until": request.until,
        }
        return promised_world(user, request.name, command, (request.scene,))

    @app.get("/v1/worlds", responses=_problems(), tags=["worlds"])
    def worlds(user: Me) -> list[WorldOut]:
        """All worlds."""
        return [_world_out(config, database, row, user) for row in database.worlds(user.id)]

    @app.get("/v1/worlds/{world_id}", responses=_problems(404), tags=["worlds"])
    def one_world(user: Me, world_id: ThingId) -> WorldOut:
        """One world."""
        return _world_out(config, database, _found(database.world(user.id, world_id)), user)

    @app.delete("/v1/worlds/{world_id}", status_code=204, responses=_problems(404, 409), tags=["worlds"])
    def remove_world(user: Me, world_id: ThingId) -> None:
        """Forget a world with its files and jobs."""
        _found(database.world(user.id, world_id))
        if not database.remove_world(user.id, world_id):
            raise HTTPException(409, "a job of the world has not ended; cancel it first")
        shutil.rmtree(config.worlds / world_id, ignore_errors=True)

    @app.get("/v1/worlds/{world_id}/files", responses=_problems(404, 409), tags=["worlds"])
    def files(user: Me, world_id: ThingId) -> list[FileOut]:
        """What the world consists of by now."""
        _found(database.world(user.id, world_id))
        world = _readable(config, world_id)
        listed = world.manifest.files().items() if world is not None else ()
        return [FileOut(id=file_id(name), name=name, bytes=f.size, sha256=f.sha256) for name, f in listed]

    @app.get(
        "/v1/worlds/{world_id}/files/{file}",
        responses={
            **_problems(404, 409, 416, 429),
            200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
            206: {
                "description": "the range that was asked for",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
        },
        response_class=StreamingResponse,
        tags=["worlds"],
    )
    def one_file(
        user: Me,
        world_id: ThingId,
        file: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")],
        range_header: Annotated[str, Header(alias="range", max_length=100)] = "",
        if_range: Annotated[str, Header(max_length=100)] = "",
    ) -> Response:
        """A file, or with a `Range` header a part of it."""
        _found(database.world(user.id, world_id))
        world = _readable(config, world_id)
        names = {} if world is None else {file_id(name): name for name in world.manifest.files()}
        if world is None or file not in names:
            raise HTTPException(404, "the world has no such file")
        name = names[file]
        leave = streams.enter(user)
        try:
            return file_response(
                world.path(name),
                etag=world.manifest.files()[name].sha256,
                name=name,
                range_header=range_header,
                if_range=if_range,
                closed=leave,
            )
        except (OSError, InputError) as error:
            leave()
            raise HTTPException(409, "the file is being replaced; try again") from error

    @app.get(
        "/v1/worlds/{world_id}/archive",
        responses={
            **_problems(404, 409, 429),
            200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        },
        response_class=StreamingResponse,
        tags=["worlds"],
    )
    def archive(user: Me, world_id: ThingId) -> Response:
        """The world's folder as one zip archive; not while a job works on it."""
        row = _found(database.world(user.id, world_id))
        if _busy(database, user, world_id):
            raise HTTPException(409, "a job works on the world; wait for it")
        world = _readable(config, world_id)
        if world is None:
            raise HTTPException(409, "the world has no files yet")
        leave = streams.enter(user)
        headers = {"content-disposition": f'attachment; filename="{row["name"]}.zip"'}
        return StreamingResponse(archive_pieces(world, leave), media_type="application/zip", headers=headers)


def _add_jobs(
    app: FastAPI, config: ServiceConfig, database: Database, supervisor: Supervisor, streams: Streams
) -> None:
    @app.post("/v1/worlds/{world_id}/jobs", status_code=202, responses=_problems(404, 409, 429), tags=["jobs"])
    def new_job(user: Me, world_id: ThingId, request: NewJob) -> JobOut:
        """Have something done to a world, after what it already waits for."""
        _found(database.world(user.id, world_id))
        command = request.model_dump(exclude_none=True)
        uploads = []
        for kind in ("trajectory", "captions"):
            if kind in command:
                command[f"{kind}_name"] = _needed(database, user, command[kind], kind)["name"]
                uploads.append(command[kind])
        branch = command["command"] == "branch"
        if branch:
            _expect_room(database, user)
        else:
            _check_settings(command, config)
        job = _promised(
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
        return _job_out(_found(database.job(user.id, job)), supervisor)

    @app.get("/v1/jobs", responses=_problems(), tags=["jobs"])
    def jobs(
        user: Me,
        world: Annotated[str, Query(pattern=rf"^$|{ID}", description="only of this world")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> list[JobOut]:
        """The latest jobs, newest first."""
        return [_job_out(row, supervisor) for row in database.jobs(user.id, world or None, limit)]

    @app.get("/v1/jobs/{job_id}", responses=_problems(404), tags=["jobs"])
    def one_job(user: Me, job_id: ThingId) -> JobOut:
        """Where a job stands."""
        return _job_out(_found(database.job(user.id, job_id)), supervisor)

    @app.post("/v1/jobs/{job_id}/cancel", status_code=202, responses=_problems(404), tags=["jobs"])
    def cancel(user: Me, job_id: ThingId) -> JobOut:
        """Stop a job; what is finished of the world stays. Nothing happens to a job that has ended."""
        _found(database.job(user.id, job_id))
        database.ask_to_cancel(user.id, job_id)
        supervisor.wake()
        return _job_out(_found(database.job(user.id, job_id)), supervisor)

    @app.get(
        "/v1/jobs/{job_id}/frame",
        responses={
            **_problems(404),
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        },
        response_class=Response,
        tags=["jobs"],
    )
    def frame(user: Me, job_id: ThingId) -> Response:
        """The latest frame that a running job has painted."""
        _found(database.job(user.id, job_id))
        picture = supervisor.live(job_id).frame
        if picture is None:
            raise HTTPException(404, "the job has no frame to show now")
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @app.get(
        "/v1/jobs/{job_id}/events",
        responses={**_problems(404, 429), 200: {"content": {"text/event-stream": {"schema": _EVENT}}}},
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
        _found(database.job(user.id, job_id))
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


def _found(row: Row | None) -> Row:
    if row is None:
        raise HTTPException(404, "there is no such thing")
    return row


def _needed(database: Database, user: User, upload_id: str, kind: str) -> Row:
    row = database.upload(user.id, upload_id)
    if row is None or row["kind"] != kind:
        raise HTTPException(404, f"there is no such {kind}; upload it first")
    return row


def _promised(job: str | None) -> str:
    if job is None:
        raise HTTPException(429, "too many worlds or waiting jobs; remove some or wait", {"Retry-After": "10"})
    return job


def _expect_room(database: Database, user: User) -> None:
    if database.usage(user.id)["storage_bytes"] >= user.quota.storage_mib * 2**20:
        raise HTTPException(429, f"no room is left; {user.quota.storage_mib} MiB are allowed, remove some worlds")


def _check_settings(command: Row, config: ServiceConfig) -> None:
    """Refuse at once what cannot be; what only the world itself can tell is found by the job."""
    try:
        command_of({"command": command, "target": None, "world": ""}, config)
    except InputError as error:
        raise HTTPException(409, str(error)) from error


def _busy(database: Database, user: User, world_id: str) -> bool:
    return any(job["ended"] is None for job in database.jobs(user.id, world_id))


def _readable(config: ServiceConfig, world_id: str) -> World | None:
    """The world in its folder, None before it has begun."""
    folder = config.worlds / world_id
    return load_world(folder) if (folder / "world.json").is_file() else None


def _world_out(config: ServiceConfig, database: Database, row: Row, user: User) -> WorldOut:
    try:
        world = _readable(config, row["id"])
        summary = None if world is None else {k: v for k, v in world_values(world).items() if k != "folder"}
    except InputError:
        summary = None
    return WorldOut.model_validate({**row, "busy": _busy(database, user, row["id"]), "summary": summary})


def _job_out(row: Row, supervisor: Supervisor) -> JobOut:
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
