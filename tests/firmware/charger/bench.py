"""A charger whole: its firmware on a simulated board, the bench around it, a broker, and the
little of a manager that it
takes to be believed."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manager import broker as brokers
from manager.process import Child
from shared import protocol
from tests.firmware.energy_meter.rig import KEY, Manager

SETTINGS: dict[str, Any] = {
    "id": "Charger-1",
    "site": "home",
    "key": KEY,
    "counter": "Counter-1",
    "wifi_ssid": "bench",
    "wifi_password": "not a real one",
    "broker_host": "127.0.0.1",
    "repl_window_ms": 0,
    "start_delay_s": 0,
}


class ChargerManager(Manager):
    """Registers the charger and gives it leases."""

    def __init__(self, port: int) -> None:
        self.arrived = 0.0  # when the newest message to the charger left the broker
        super().__init__(port, device="Charger-1")
        self.number = 0

    def _heard(self, client: Any, userdata: Any, got: Any) -> None:
        if got.topic.endswith("/down"):
            # The broker hands it to the charger and to us at the same moment.
            self.arrived = time.monotonic()
        before = len(self.messages)
        super()._heard(client, userdata, got)
        for _, message in self.messages[before:]:
            if message["code"] == protocol.NEW_CHARGER and self.answers:
                self.reply(protocol.OK, "Charger registered: Charger-1")

    def lease(self, limit_a: int, ttl_ms: int = 15_000, **changes: Any) -> int:
        """Give it so much, answering the newest message; the lease's number."""
        self.number += 1
        self.say({"code": protocol.AVAILABLE_LOAD, "limit_a": limit_a, "ttl_ms": ttl_ms, "lease": self.number,
                  "reason": "fair", **changes})  # fmt: skip
        return self.number

    def confirms(self, number: int) -> None:
        """Wait until the charger says that it acts on this lease."""
        until(lambda: self.status["lease"] == number)

    def more(self, code: int, than: int, seconds: float = 60) -> None:
        """Wait for more messages of a kind than there were."""
        until(lambda: len(self.of(code)) > than, seconds)

    @property
    def status(self) -> dict[str, Any]:
        """The newest status."""
        got = self.of(protocol.CHARGER_STATUS)
        return got[-1] if got else {}


class Bench:
    """The bench socket of a running board: `put` inputs, `line` is its newest word, `lines` all of them."""

    def __init__(
        self, folder: Path, name: str = "charger", speed: int = 1, **settings: Any
    ) -> None:
        self.folder = folder
        config = folder / f"{name}.json"
        config.write_text(json.dumps({**SETTINGS, **settings}))
        self.path = folder / f"{name}.sock"
        self.flash = folder / f"{name}.flash"
        command = [sys.executable, "-m", "manager", "board", "charger", "--console"]
        command += ["--config", str(config), "--bench", str(self.path), "--fs", str(self.flash)]
        command += ["--speed", str(speed)]
        self.child = Child(name, command, folder / f"{name}.log")
        self._socket = socket.socket(socket.AF_UNIX)
        until(self._connected, 15, lambda: "the bench socket is not there: " + self.log())
        self.lines: list[dict[str, Any]] = []
        self.beside: list[int] = []  # other processes that what is measured passes through
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.put(get=True)

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self.path))
        except OSError:  # not yet there, or not yet listening
            return False
        return True

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                with self._changed:
                    self.lines.append(json.loads(line))
                    self._changed.notify_all()

    def put(self, **inputs: Any) -> None:
        """Change the world."""
        self._socket.sendall(json.dumps(inputs).encode() + b"\n")

    @property
    def line(self) -> dict[str, Any]:
        """What the bench said last."""
        return self.lines[-1] if self.lines else {}

    def wait(
        self, what: Callable[[dict[str, Any]], Any], seconds: float = 20, since: int | None = None
    ) -> dict[str, Any]:
        """The first line, from number `since` on (default: the newest one there is), of which `what` is true."""
        at = max(0, len(self.lines) - 1) if since is None else since
        ends = time.monotonic() + seconds
        with self._changed:
            while True:
                while at < len(self.lines):
                    if "error" in self.lines[at]:
                        raise AssertionError(self.lines[at])
                    if what(self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = ends - time.monotonic()
                if left <= 0:
                    raise AssertionError((self.line, self.log()[-2000:]))
                self._changed.wait(left)

    def offers(self, amps: int, seconds: float = 20) -> None:
        """Wait until the pilot says so much."""
        self.wait(lambda got: got["offer_a"] == amps, seconds)

    def log(self) -> str:
        """What the board printed."""
        file = self.folder / f"{self.path.stem}.log"
        return file.read_text() if file.exists() else ""

    def waiting(self) -> dict[str, int]:
        """How long each thread of the board's processes, of the broker and of this one has waited for a processor
        since it began, ns."""
        found: dict[str, int] = {}
        todo = [self.child.pid, *self.beside]
        while todo:
            for task in Path(f"/proc/{todo.pop()}/task").glob("*"):
                with contextlib.suppress(OSError):
                    found[task.name] = int((task / "schedstat").read_text().split()[1])
                    todo += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def waited_ms(self, since: dict[str, int]) -> float:
        """How long they have waited since then, together."""
        return sum(ns - since.get(task, 0) for task, ns in self.waiting().items()) / 1e6

    def pace(self, speed: int) -> None:
        """From now on the board's clock runs so many times as fast as the world's."""
        at = max(0, len(self.lines) - 1)
        self.put(speed=speed)
        self.wait(lambda got: got["speed"] == speed, since=at)

    def now_ms(self) -> int:
        """What the board's clock says."""
        at = len(self.lines)
        self.put(get=True)
        return int(self.wait(lambda got: "t_ms" in got, since=at)["t_ms"])

    def restart(
        self, without: tuple[str, ...] = (), settings: dict[str, Any] | None = None, **inputs: Any
    ) -> None:
        """Cut the power, change world and flash, and wait until the charger is there again.

        `without`: files that are gone from the flash then; `settings`: those it has then.
        """
        at = len(self.lines)
        self.put(power=False, **inputs)
        self.wait(lambda got: not got["running"], since=at)
        for name in without:
            (self.flash / name).unlink(missing_ok=True)
        if settings is not None:
            (self.flash / "config.json").write_text(json.dumps(settings))
        at = len(self.lines)
        self.put(power=True)
        self.wait(lambda got: got["running"] and got["state"] == "A1", since=at)

    def charge(self) -> None:
        """Plug in, be ready, and have power."""
        self.put(ev="B")
        self.wait(lambda got: got["state"] == "B2")
        self.put(ev="C")
        self.wait(lambda got: got["contactor"] and got["mains_out"])

    def stop(self) -> None:
        self._socket.close()
        self.child.end()


class Relay:
    """Between the charger and its broker: what it forwards it can cut, and refuse."""

    def __init__(self, to: int) -> None:
        """`to`: the broker's port."""
        self._to = to
        self._pairs: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()

    def _take(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                board, _ = listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._to))
                self._pairs += (board, broker)
                for one, other in ((board, broker), (broker, board)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End every connection."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def refuse(self) -> None:
        """End every connection, and take none until `listen`."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def listen(self) -> None:
        """Take connections again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()


class NameServer:
    """The network's: whatever is asked for is on this computer."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self.asked = 0
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, who = self._socket.recvfrom(512)
                if not who:  # closed
                    return
                self.asked += 1
                header = data[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
                answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x7f\x00\x00\x01"
                self._socket.sendto(header + data[12:] + answer, who)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def until(
    what: Callable[[], Any], seconds: float = 15, words: Callable[[], Any] = lambda: ""
) -> Any:
    """Wait for something to become true, and give it."""
    ends = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < ends, words()
        time.sleep(0.01)


@contextlib.contextmanager
def charger(
    folder: Path, speed: int = 1, **settings: Any
) -> Iterator[tuple[Bench, ChargerManager]]:
    """A charger that runs, registered at a manager; everything ends with the block."""
    with contextlib.ExitStack() as ends:
        broker = brokers.start(folder / "broker", kind="mosquitto")
        ends.callback(broker.stop)
        manager = ChargerManager(broker.port)
        ends.callback(manager.close)
        bench = Bench(folder, speed=speed, broker_port=broker.port, **settings)
        ends.callback(bench.stop)
        bench.beside = [broker.child.pid, os.getpid()]
        until(
            lambda: manager.status,
            30,
            lambda: (manager.messages, manager.bad, bench.log()[-3000:]),
        )
        yield bench, manager
