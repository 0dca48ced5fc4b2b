"""Emoncms: posts to a server that behaves as its input API says, from a meter that never waits."""

import asyncio
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.energy_meter.rig import meter

pytestmark = [pytest.mark.board, pytest.mark.broker]
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


class Emoncms(ThreadingHTTPServer):
    """The part of emoncms that takes inputs: "ok", or words with status 200 either way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Input)
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0
        self.mood = ""  # "error": a 500; "hang": no answer; "full": words with status 200
        self.times: list[float] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/emoncms"


class Input(BaseHTTPRequestHandler):
    """POST /emoncms/input/post."""

    server: Emoncms

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(size).decode())
        self.server.asked += 1
        self.server.times.append(time.monotonic())
        if self.server.mood == "hang":
            time.sleep(12)
            return
        if self.server.mood == "error":
            self.answer(500, "broken")
        elif self.path != "/emoncms/input/post":
            self.answer(404, "Not found")
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, "Invalid API key")
        elif self.server.mood == "full" or "node" not in form or "fulljson" not in form:
            self.answer(200, "Format error, json value is not numeric")
        else:
            values = json.loads(form["fulljson"][0])
            assert all(isinstance(v, int | float) for v in values.values())
            self.server.taken.append((form["node"][0], values))
            self.answer(200, "ok")

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Quietly."""


@pytest.fixture
def emoncms(micropython: str, mosquitto: str) -> Iterator[Emoncms]:
    """A server that runs."""
    with Emoncms() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_readings_are_posted(tmp_path: Path, emoncms: Emoncms) -> None:
    async def run() -> None:
        settings: dict[str, Any] = {"emon_address": emoncms.address, "emon_key": KEY, "emon_s": 5}
        async with meter(tmp_path, **settings) as rig:
            await rig.until(lambda: len(emoncms.taken) >= 2, 20)
            node, values = emoncms.taken[0]
            assert node == "energymeter"
            assert values["current1"] == 3.0
            assert values["voltage1"] == 230.0
            assert values["power1"] == 690
            assert 4.5 <= emoncms.times[1] - emoncms.times[0] <= 6.5

    asyncio.run(run())


@pytest.mark.parametrize("mood", ["error", "full", "hang"])
def test_a_server_in_trouble_is_tried_less_often_and_delays_nothing(
    tmp_path: Path, emoncms: Emoncms, mood: str
) -> None:
    async def run() -> None:
        emoncms.mood = mood
        settings: dict[str, Any] = {"emon_address": emoncms.address, "emon_key": KEY, "emon_s": 5}
        async with meter(tmp_path, **settings) as rig:
            await rig.until(lambda: emoncms.asked)
            polls, began = len(rig.line.log), time.monotonic()
            await asyncio.sleep(8)
            assert (len(rig.line.log) - polls) / (time.monotonic() - began) >= 5
            assert emoncms.asked == 1  # after a failure it waits 10 s
            assert emoncms.taken == []
            assert not rig.board.resets

    asyncio.run(run())


def test_a_wrong_key_or_no_server_harms_nothing(tmp_path: Path, emoncms: Emoncms) -> None:
    async def run(address: str, folder: str) -> None:
        settings: dict[str, Any] = {"emon_address": address, "emon_key": "wrong", "emon_s": 5}
        async with meter(tmp_path / folder, **settings) as rig:
            await rig.until(lambda: rig.loads)
            count = len(rig.loads)
            await asyncio.sleep(3)
            assert len(rig.loads) >= count + 2
            assert not rig.board.resets

    asyncio.run(run(emoncms.address, "key"))
    assert emoncms.asked == 1
    assert emoncms.taken == []
    asyncio.run(run("http://127.0.0.1:9/emoncms", "nobody"))
    asyncio.run(run("http://no.such.name.invalid/", "name"))
    asyncio.run(run("https://emoncms.org", "https"))
