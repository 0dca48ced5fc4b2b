"""The live system on this machine, with a stamp wherever a message passes.

A real broker, the manager, a meter's board and a charger's board are processes of their own. Each
talks to the broker through a relay in this process that passes the bytes on and notes when which
message went by; the PZEM and the car's end of the cable are here too. One clock: `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.table import UnavailableError
from manager import broker
from manager.process import Child, ProcessError, wait_until_ended
from simulator.pzem_slave import LineThread, Pzem

SITE = "bench"
LIMIT_A = 40
METER = "Counter-1"
CHARGER = "Charger-1"
_MESSAGE = re.compile(rb'\{"v":1,"code":"0x(031|033)".*?,"mac":"[0-9a-f]{32}"\}')


@dataclass(frozen=True, slots=True)
class Passed:
    """A message that passed a relay: when, whose relay, towards the broker or not, and its
    fields.
    """

    at: float
    party: str
    out: bool
    message: dict[str, Any]


class Relays:
    """A TCP relay to the broker for each party, on a thread of its own."""

    def __init__(self, parties: tuple[str, ...], port: int) -> None:
        self.ports: dict[str, int] = {}
        self.passed: list[Passed] = []
        self._broker_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for party in parties:
            asyncio.run_coroutine_threadsafe(self._listen(party), self._loop).result(5)

    async def _listen(self, party: str) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                theirs = await asyncio.open_connection("127.0.0.1", self._broker_port)
                await asyncio.gather(
                    self._pass(party, True, reader, theirs[1]),
                    self._pass(party, False, theirs[0], writer),
                )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.ports[party] = server.sockets[0].getsockname()[1]

    async def _pass(
        self, party: str, out: bool, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        sink.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kept = b""
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                at = time.monotonic()
                kept += data
                for match in _MESSAGE.finditer(kept):
                    self.passed.append(Passed(at, party, out, json.loads(match[0])))
                    kept = kept[match.end() :] if match.end() <= len(kept) else b""
                kept = kept[-1024:]
        sink.close()

    def close(self) -> None:
        """No more passing."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)


class Cable:
    """The car's end: a car that draws at once what it is offered, and when the pilot changed."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 5
        while self._socket.connect_ex(str(path)) and time.monotonic() < deadline:
            time.sleep(0.01)  # the path is there a moment before somebody listens on it
        self.seen: dict[str, Any] = {}
        self.changes: list[tuple[float, int]] = []  # (when, A on the pilot)
        threading.Thread(target=self._read, daemon=True).start()
        self.put(get=True)

    def put(self, **inputs: Any) -> None:
        """Tell the board what the world does."""
        self._socket.sendall(json.dumps(inputs).encode() + b"\n")

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                at = time.monotonic()
                seen = json.loads(line)
                if "error" in seen:
                    continue
                if seen["offer_a"] != self.seen.get("offer_a"):
                    self.changes.append((at, int(seen["offer_a"])))
                    if seen["contactor"]:
                        self.put(car_ma=[int(seen["offer_a"]) * 1000, 0, 0])
                elif seen["contactor"] and not self.seen.get("contactor"):
                    self.put(car_ma=[int(seen["offer_a"]) * 1000, 0, 0])
                self.seen = seen

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class System:
    """Broker, manager, meter, charger; a context manager. UnavailableError says what did not
    start.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ievcc-bench-")
        self.folder = Path(self._folder.name)
        self.children: list[Child] = []
        self.polls: list[tuple[float, int]] = []  # (answer on the line, mA in it)
        self.pzem = Pzem(update_s=0)  # its own slowness is not what is measured here
        self.line = LineThread([self.pzem])

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        keys = {name: secrets.token_hex(16) for name in (METER, CHARGER)}
        try:
            self.broker = broker.start(self.folder / "broker")
        except broker.BrokerError as e:
            raise UnavailableError(str(e)) from e
        self.relays = Relays(("manager", METER, CHARGER), self.broker.port)
        self.line.__enter__()
        self.line.heard = self._heard
        self.pzem.set(voltage_dv=2300, current_ma=5_000, freq_dhz=500)
        site = (
            f'[site]\nname = "{SITE}"\nlimit_a = {LIMIT_A}\nworst_house_a = 20\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {self.relays.ports["manager"]}\n'
            f'[web]\nhost = "127.0.0.1"\nport = 0\n[store]\npath = "{self.folder / "store.db"}"\n'
        )
        for name, key in keys.items():
            site += f'[[device]]\nid = "{name}"\nkey = "{key}"\n'
        (self.folder / "site.toml").write_text(site)
        self._run("manager", "run", "--config", str(self.folder / "site.toml"))
        common = {
            "site": SITE,
            "wifi_ssid": "bench",
            "broker_host": "127.0.0.1",
            "repl_window_ms": 0,
        }
        meter = common | {"id": METER, "key": keys[METER], "broker_port": self.relays.ports[METER]}
        self._board("energy_meter", meter | {"role": "house"}, "--uart", self.line.path)
        self.wait("the meter to report", lambda: self._saw(METER, "current_ma"))
        charger = common | {
            "id": CHARGER, "key": keys[CHARGER], "broker_port": self.relays.ports[CHARGER],
            "counter": METER, "start_delay_s": 0, "change_ms": 0,
        }  # fmt: skip
        bench = self.folder / "charger.sock"
        self._board("charger", charger, "--bench", str(bench))
        self.wait("the charger's bench", bench.exists)
        self.cable = Cable(bench)
        self.wait("the charger to be ready", lambda: self.cable.seen.get("state") == "A1", 60)
        self.cable.put(ev="B")
        self.wait("an offer", lambda: self.cable.seen.get("offer_a", 0) >= 6, 60)
        self.cable.put(ev="C")
        self.wait("the contactor", lambda: bool(self.cable.seen.get("contactor")), 60)

    def _saw(self, party: str, name: str) -> bool:
        return any(p.party == party and name in p.message for p in self.relays.passed)

    def _run(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "manager", *arguments]
        self.children.append(Child(name, command, self.folder / f"{name}.log"))

    def _board(self, kind: str, config: dict[str, Any], *arguments: str) -> None:
        file = self.folder / f"{kind}.json"
        file.write_text(json.dumps(config))
        self._run(kind, "board", kind, "--config", str(file), *arguments)

    def wait(self, what: str, ready: Callable[[], bool], within_s: float = 30) -> None:
        """Until it is so. UnavailableError, with the tail of what ended, if it does not come."""
        deadline = time.monotonic() + within_s
        while not ready():
            ended = [child for child in self.children if child.status() is not None]
            if ended or time.monotonic() > deadline:
                told = "\n".join(child.words() for child in ended or self.children)
                raise UnavailableError(f"waited {within_s:g} s for {what}\n{told}")
            time.sleep(0.002)

    def _heard(self, exchange: Any) -> None:
        if exchange.right and len(exchange.registers) >= 3:
            at = time.monotonic()
            self.polls.append((at, exchange.registers[1] | exchange.registers[2] << 16))

    def _stop(self) -> None:
        if hasattr(self, "cable"):
            self.cable.close()
        with contextlib.suppress(ProcessError):
            wait_until_ended(self.children, 3)
        if hasattr(self, "relays"):
            self.relays.close()
        if self.line.path:
            self.line.__exit__(None, None, None)
        if hasattr(self, "broker"):
            self.broker.stop()
        self._folder.cleanup()
