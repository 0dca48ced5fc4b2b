"""The local page and the HTTP API of a running manager, served by uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from importlib import resources, util
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from manager.refusal import Refusal
from manager.run import Manager
from manager.web import (
    admission,
    api,
    described,
    devices,
    energy,
    login,
    metrics,
    money,
    now,
    past,
    people,
    settings,
)
from manager.web.guard import Guard


class WebError(Refusal):
    """The page cannot be served; the words say why and what to do."""


def _uplot(name: str) -> bytes:
    # Found and not imported: the package would load all it needs to draw plots itself.
    spec = util.find_spec("youplot")
    if spec is None or not spec.submodule_search_locations:
        raise WebError(
            "the page needs the package youplot, which carries uPlot: pip install youplot"
        )
    return (Path(spec.submodule_search_locations[0]) / "vendor" / name).read_bytes()


_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def assets() -> dict[str, tuple[bytes, str]]:
    """Every file of the page: path -> content and media type. WebError if uPlot is missing."""
    files = {}
    for file in resources.files("manager").joinpath("web").joinpath("page").iterdir():
        kind = _KINDS.get(Path(file.name).suffix)
        if kind:
            path = "/" if file.name == "index.html" else f"/assets/{file.name}"
            files[path] = file.read_bytes(), kind
    files["/assets/uplot.js"] = _uplot("uplot.iife.min.js"), "text/javascript"
    files["/assets/uplot.css"] = _uplot("uplot.min.css"), "text/css"
    return files


def operations(manager: Manager, ending: asyncio.Event) -> list[api.Operation]:
    """Everything the API can be asked, module by module."""
    table = [
        *now.operations(manager, ending),
        *past.operations(manager),
        *devices.operations(manager),
        *people.operations(manager),
    ]
    if manager.site_books is not None:
        table += money.operations(manager, manager.site_books)
    if manager.config is not None:
        table += settings.operations(manager, manager.config)
    table += admission.operations(manager)
    if manager.energy is not None:
        table += energy.operations(manager.energy)
    if manager.metrics is not None:
        table += metrics.operations(manager.metrics)
    if manager.logins is not None:
        table += login.operations(manager.logins)
    return [*table, *described.operations(table)]


def app(manager: Manager, ending: asyncio.Event, shown_on: str = "127.0.0.1") -> Starlette:
    """The page of one running manager; its live streams end when `ending` is set.

    `shown_on`: the address it is bound to.
    """
    files = assets()
    middleware = [Middleware(GZipMiddleware, minimum_size=1000)]
    if manager.logins is not None:
        middleware.insert(
            0, Middleware(Guard, logins=manager.logins, shown_on=shown_on, scraper=manager.scraper)
        )

    async def asset(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind, headers=api.HEADERS)

    return Starlette(
        exception_handlers={Refusal: api.refused, HTTPException: api.not_so},
        routes=[
            *(Route(path, asset) for path in files),
            *api.routes(operations(manager, ending)),
        ],
        middleware=middleware,
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the manager ends the server, not the terminal


def listen(host: str, port: int) -> socket.socket:
    """A listening socket: the address is known before anything starts. WebError if taken."""
    try:
        return socket.create_server((host, port))
    except OSError as e:
        raise WebError(
            f"cannot serve the page on {host}:{port} ({e.strerror}): "
            "name another port as [web] port, 0 for any"
        ) from e


async def serve(
    manager: Manager,
    sock: socket.socket,
    ending: asyncio.Event,
    tls: tuple[Path, Path] | None = None,
) -> None:
    """Serve the page on this socket until `ending` is set, and let its streams end.

    `tls`: a certificate and its key. WebError if they cannot be used.
    """
    config = uvicorn.Config(
        app(manager, ending, sock.getsockname()[0]),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        server_header=False,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    try:
        config.load()
    except OSError as e:  # an SSLError is one
        raise WebError(f"the page's certificate cannot be used ({e}): see `ievcc doctor`") from e
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    server.should_exit = True
    await serving
