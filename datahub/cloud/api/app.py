"""The cloud's API: people and their tokens, what their sites measured, what managers work from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from datahub.cloud.api import managers, measurements, money, people, rights
from datahub.cloud.api.access import Doors, Settings
from datahub.cloud.portal import pages as portal
from datahub.cloud.portal import rights as portal_rights


class Refused(BaseModel):
    """Why not, in words."""

    detail: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refused, "description": "well-formed, and makes no sense"},
    401: {"model": Refused, "description": "who asks is not known"},
    403: {"model": Refused, "description": "not theirs, or a scope is missing"},
    404: {"model": Refused, "description": "not there, or not to be seen"},
    409: {"model": Refused, "description": "there is one already"},
    429: {"model": Refused, "description": "too often; Retry-After says when"},
}


def _not_storable(_request: Request, error: Exception) -> JSONResponse:
    # A text with a zero byte, a year beyond the database's: well-formed, and nothing there.
    return JSONResponse({"detail": str(error).partition("\n")[0]}, 400)


def make_app(settings: Settings) -> FastAPI:
    """The whole application, API and portal. `settings.dsn` must name the role `ievcc_api`."""
    doors = Doors(settings)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        doors.pool.open()
        yield
        doors.pool.close()

    app = FastAPI(
        title="IEVCC cloud",
        version="1",
        description="Tenants, administrators, grid operators, and the managers of buildings.",
        lifespan=life,
    )
    app.state.doors = doors
    for part in (people, rights, money, measurements, managers):
        app.include_router(part.router, prefix="/api/v1", responses=_REFUSALS)
    portal.mount(app)
    app.include_router(portal_rights.router)
    app.add_exception_handler(psycopg.DataError, _not_storable)

    @app.get("/health", include_in_schema=False)
    def health() -> dict[str, bool]:
        with doors.nobody() as db:
            db.execute("SELECT 1")
        return {"ok": True}

    return app
