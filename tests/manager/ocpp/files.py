"""An HTTP server from which firmware is fetched, and where logs are left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files(ThreadingHTTPServer):
    """What may be fetched by its path, and what was left. `fails`: so many requests are answered with 503."""

    def __init__(self) -> None:
        self.here: dict[str, bytes] = {}
        self.left: dict[str, bytes] = {}
        self.asked: list[float] = []  # when, s since 1970
        self.fails = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def failing(self) -> bool:
        """Whether this request is to fail; counts it."""
        self.asked.append(time.time())
        self.fails -= 1
        return self.fails >= 0


class _Handler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        data = self.server.here.get(self.path)
        failing = self.server.failing()
        self.send_response(503 if failing else 404 if data is None else 200)
        self.end_headers()
        if not failing:
            self.wfile.write(data or b"")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        failing = self.server.failing()
        if not failing:
            self.server.left[self.path] = data
        self.send_response(503 if failing else 201)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def served() -> Iterator[Files]:
    """Such a server, running."""
    with Files() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
