"""The local page and its JSON: state now, the last hour, and both live as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from importlib import resources, util
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from manager.refusal import Refusal
from manager.run import Manager
from manager.view import state

LIVE_S = 0.5  # the shortest time between two events of the live stream; the longest is twice that

_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


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


def assets() -> dict[str, tuple[bytes, str]]:
    """Every file of the page: path -> content and media type. WebError if uPlot is missing."""
    here = resources.files("manager").joinpath("web")
    return {
        "/": (here.joinpath("index.html").read_bytes(), "text/html"),
        "/assets/page.js": (here.joinpath("page.js").read_bytes(), "text/javascript"),
        "/assets/page.css": (here.joinpath("page.css").read_bytes(), "text/css"),
        "/assets/icon.svg": (here.joinpath("icon.svg").read_bytes(), "image/svg+xml"),
        "/assets/uplot.js": (_uplot("uplot.iife.min.js"), "text/javascript"),
        "/assets/uplot.css": (_uplot("uplot.min.css"), "text/css"),
    }


def app(manager: Manager, ending: asyncio.Event) -> Starlette:
    """The page of one running manager; its live streams end when `ending` is set."""
    files = assets()

    async def asset(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind, headers=_HEADERS)

    async def now(_: Request) -> Response:
        return JSONResponse(state(manager), headers=_HEADERS)

    async def history(_: Request) -> Response:
        return JSONResponse({"points": list(manager.history.points)}, headers=_HEADERS)

    async def live(_: Request) -> Response:
        return StreamingResponse(
            _events(manager, ending), media_type="text/event-stream", headers=_HEADERS
        )

    async def limit(request: Request) -> Response:
        body = await _body(request)
        return _said(manager.limit_by_hand(str(body.get("charger", "")), body.get("limit_a")))

    async def priority(request: Request) -> Response:
        body = await _body(request)
        return _said(manager.set_priority(str(body.get("charger", "")), body.get("priority")))

    async def update(request: Request) -> Response:
        body = await _body(request)
        device = str(body.get("device", ""))
        if "bundle" not in body:
            return _said(manager.updates.said(device) or f"no update was offered to {device}")
        try:
            bundle = base64.b64decode(str(body["bundle"]), validate=True)
        except ValueError as e:
            raise Refusal("the bundle is not base64") from e
        return _said(manager.offer_update(device, bundle, str(body.get("version", ""))))

    return Starlette(
        exception_handlers={Refusal: _refused},
        routes=[
            *(Route(path, asset) for path in files),
            Route("/api/state", now),
            Route("/api/history", history),
            Route("/api/live", live),
            Route("/api/limit", limit, methods=["POST"]),
            Route("/api/priority", priority, methods=["POST"]),
            Route("/api/update", update, methods=["POST"]),
        ],
        middleware=[Middleware(GZipMiddleware, minimum_size=1000)],
    )


async def _body(request: Request) -> dict[str, Any]:
    # A form of another site's page can be sent here by the user's own browser, JSON cannot.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refusal("send application/json")
    try:
        body = json.loads(await request.body())
    except ValueError as e:
        raise Refusal("that is not JSON") from e
    if not isinstance(body, dict):
        raise Refusal("send a JSON object")
    return body


def _said(words: str) -> Response:
    return JSONResponse({"words": words}, headers=_HEADERS)


async def _refused(_: Request, e: Exception) -> Response:
    return JSONResponse({"words": str(e)}, status_code=400, headers=_HEADERS)


async def _events(manager: Manager, ending: asyncio.Event) -> AsyncIterator[str]:
    while not ending.is_set():
        points = manager.history.points
        point = points[-1] if points else None
        yield f"data: {json.dumps({'state': state(manager), 'point': point})}\n\n"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), LIVE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(manager.news(), LIVE_S)


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


async def serve(manager: Manager, sock: socket.socket, ending: asyncio.Event) -> None:
    """Serve the page on this socket until `ending` is set, and let its streams end."""
    config = uvicorn.Config(
        app(manager, ending),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    server.should_exit = True
    await serving
