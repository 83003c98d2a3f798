"""Routes of worlds: made of photos and scenes, listed, read file by file or as one archive, and forgotten."""

from __future__ import annotations

import shutil
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Path, Response  # noqa: TID253
from fastapi.responses import StreamingResponse  # noqa: TID253

from ..core.errors import InputError
from .answers import (
    Me,
    Streams,
    ThingId,
    busy,
    check_settings,
    expect_room,
    found,
    job_out,
    needed,
    problems,
    promised,
    readable,
    world_out,
)
from .database import Database, Row, User, new_id
from .downloads import archive_pieces, file_id, file_response
from .limits import ServiceConfig
from .requests import FileOut, NewImport, NewWorld, NewWorldOut, WorldOut, chosen
from .supervisor import Supervisor


def add_worlds(
    app: FastAPI, config: ServiceConfig, database: Database, supervisor: Supervisor, streams: Streams
) -> None:
    """Add the routes to an application."""

    def promised_world(user: User, name: str, command: Row, needed: tuple[str, ...]) -> NewWorldOut:
        expect_room(database, user)
        check_settings(command, config)
        world_id = new_id()
        job = promised(
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
            world=world_out(config, database, found(database.world(user.id, world_id)), user),
            job=job_out(found(database.job(user.id, job)), supervisor),
        )

    @app.post("/v1/worlds", status_code=202, responses=problems(404, 409, 429), tags=["worlds"])
    def new_world(user: Me, request: NewWorld) -> NewWorldOut:
        """Make a world of an uploaded photo; the job that was promised is in the answer."""
        photo = needed(database, user, request.photo, "photo")
        names = {}
        for kind in ("trajectory", "captions"):
            if (upload_id := getattr(request, kind)) is not None:
                names[f"{kind}_name"] = needed(database, user, upload_id, kind)["name"]
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

    @app.post("/v1/imports", status_code=202, responses=problems(404, 409, 429), tags=["worlds"])
    def new_import(user: Me, request: NewImport) -> NewWorldOut:
        """Make a world of an uploaded file of another program; the job that was promised is in the answer."""
        scene = needed(database, user, request.scene, "scene")
        command = {
            "command": "import",
            "scene": request.scene,
            "source_name": scene["name"],
            "settings": chosen(request.settings),
            "until": request.until,
        }
        return promised_world(user, request.name, command, (request.scene,))

    @app.get("/v1/worlds", responses=problems(), tags=["worlds"])
    def worlds(user: Me) -> list[WorldOut]:
        """All worlds."""
        return [world_out(config, database, row, user) for row in database.worlds(user.id)]

    @app.get("/v1/worlds/{world_id}", responses=problems(404), tags=["worlds"])
    def one_world(user: Me, world_id: ThingId) -> WorldOut:
        """One world."""
        return world_out(config, database, found(database.world(user.id, world_id)), user)

    @app.delete("/v1/worlds/{world_id}", status_code=204, responses=problems(404, 409), tags=["worlds"])
    def remove_world(user: Me, world_id: ThingId) -> None:
        """Forget a world with its files and jobs."""
        found(database.world(user.id, world_id))
        if not database.remove_world(user.id, world_id):
            raise HTTPException(409, "a job of the world has not ended; cancel it first")
        shutil.rmtree(config.worlds / world_id, ignore_errors=True)

    @app.get("/v1/worlds/{world_id}/files", responses=problems(404, 409), tags=["worlds"])
    def files(user: Me, world_id: ThingId) -> list[FileOut]:
        """What the world consists of by now."""
        found(database.world(user.id, world_id))
        world = readable(config, world_id)
        listed = world.manifest.files().items() if world is not None else ()
        return [FileOut(id=file_id(name), name=name, bytes=f.size, sha256=f.sha256) for name, f in listed]

    @app.get(
        "/v1/worlds/{world_id}/files/{file}",
        responses={
            **problems(404, 409, 416, 429),
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
        found(database.world(user.id, world_id))
        world = readable(config, world_id)
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
            **problems(404, 409, 429),
            200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        },
        response_class=StreamingResponse,
        tags=["worlds"],
    )
    def archive(user: Me, world_id: ThingId) -> Response:
        """The world's folder as one zip archive; not while a job works on it."""
        row = found(database.world(user.id, world_id))
        if busy(database, user, world_id):
            raise HTTPException(409, "a job works on the world; wait for it")
        world = readable(config, world_id)
        if world is None:
            raise HTTPException(409, "the world has no files yet")
        leave = streams.enter(user)
        headers = {"content-disposition": f'attachment; filename="{row["name"]}.zip"'}
        return StreamingResponse(archive_pieces(world, leave), media_type="application/zip", headers=headers)
