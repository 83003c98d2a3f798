"""Routes of uploads: files come in, are checked, listed and forgotten."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Request  # noqa: TID253

from ..core.files import sync_file
from .answers import Me, Streams, ThingId, found, problems
from .database import Database, new_id
from .guard import UPLOADS
from .limits import ServiceConfig
from .metrics import Metrics
from .requests import UploadOut
from .supervisor import upload_path
from .uploads import NAME, SUFFIXES, Refused, check_upload, honest_name, limit_bytes

UploadKind = Literal["photo", "trajectory", "captions", "scene"]


def add_uploads(app: FastAPI, config: ServiceConfig, database: Database, metrics: Metrics, streams: Streams) -> None:
    """Add the routes to an application."""
    binary = {"schema": {"type": "string", "format": "binary", "minLength": 1}}

    @app.post(
        UPLOADS,
        status_code=201,
        responses=problems(415, 429),
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

    @app.get(UPLOADS, responses=problems(), tags=["uploads"])
    def uploads(user: Me) -> list[UploadOut]:
        """What was brought."""
        return [UploadOut.model_validate(row) for row in database.uploads(user.id)]

    @app.get(UPLOADS + "/{upload_id}", responses=problems(404), tags=["uploads"])
    def one_upload(user: Me, upload_id: ThingId) -> UploadOut:
        """One upload."""
        return UploadOut.model_validate(found(database.upload(user.id, upload_id)))

    @app.delete(UPLOADS + "/{upload_id}", status_code=204, responses=problems(404, 409), tags=["uploads"])
    def remove_upload(user: Me, upload_id: ThingId) -> None:
        """Forget an upload; worlds made of it keep their own copy."""
        row = found(database.upload(user.id, upload_id))
        if not database.remove_upload(user.id, upload_id):
            raise HTTPException(409, "a job still needs the upload; wait for it or cancel it")
        upload_path(config, upload_id, SUFFIXES[row["kind"]]).unlink(missing_ok=True)
