"""The service as an application: its routes, what it says about itself, and how errors are told.

Each route finds the user's own things by id, asks the database, and answers in a schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response  # noqa: TID253
from fastapi.exceptions import RequestValidationError  # noqa: TID253
from fastapi.openapi.utils import get_openapi  # noqa: TID253
from fastapi.responses import JSONResponse  # noqa: TID253

from ..core.errors import WorldgenError
from ..core.version import __version__
from .answers import Me, Streams, problems
from .database import Database
from .guard import Guard
from .limits import ServiceConfig
from .metrics import Metrics
from .requests import HealthOut, MeOut
from .routes_jobs import add_jobs
from .routes_uploads import add_uploads
from .routes_worlds import add_worlds
from .supervisor import Supervisor

DESCRIPTION = """\
Worlds of photos, made by a machine with a GPU for users with tokens. Upload a photo, make a world of it, follow the
job's events, download the files. Every route needs `Authorization: Bearer TOKEN`; nobody sees what another user has.
"""


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
    add_uploads(app, config, database, metrics, streams)
    add_worlds(app, config, database, supervisor, streams)
    add_jobs(app, config, database, supervisor, streams)

    @app.get("/v1/me", responses=problems(), tags=["user"])
    def me(user: Me) -> MeOut:
        """Who the token belongs to, what is allowed, and how much of it is used."""
        return MeOut.model_validate(
            {"name": user.name, "admin": user.admin, "quota": vars(user.quota), "usage": database.usage(user.id)}
        )

    @app.get("/v1/health", responses=problems(), tags=["operation"])
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
        responses={**problems(403), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
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
