"""A piece of the bench: one manager process with a thousand chargers and a hundred meters, each of
which says something every second, on a real mosquitto.

The manager is `ievcc run`, signed and with its store, page and all. The devices are light: each has
its own connection and its own numbering, signs what it says and answers a lease as a charger does;
all of them live in one other process. Every meter sits on a feeder of its own with its chargers,
and what is measured there steps up now and then, so that its chargers have to be cut: the time from
that reading to each of the lower leases is what is timed.

    python -m bench scale --small       20 chargers, a few seconds
    python -m bench.scale --minutes 30  memory over half an hour
    python -m bench.scale --pi3         20 chargers, the manager as slow as on a Raspberry Pi 3
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import select
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.slower import slower
from bench.table import Row, UnavailableError, percentile, summed_up
from manager import broker
from manager.process import Child, ProcessError, wait_until_ended
from shared import protocol

TITLE = "one manager, many devices, a message a second each"
SITE = "scale"
ROOT = f"ievcc/{SITE}/"
CUT_EVERY_S = 60.0  # a step up on each feeder, as often, at random
LOW, HIGH = 0.05, 0.55  # of the feeder's limit: what the house draws there
# One core of a Raspberry Pi 3 against one here, an AMD EPYC of 2023: docs/manager.md says where from.
PI3 = 20.0


@dataclass
class Device:
    """One board: its connection, its numbering, and for a charger the lease it goes by."""

    name: str
    key: bytes
    client: paho.Client
    sender: protocol.Sender
    feeder: int
    charger: bool
    limit_a: int = 0
    lease: int = 0
    phase: float = 0.0  # of the second it speaks in
    energy_mwh: int = 0
    registered: bool = False
    high: bool = False  # a meter: which of the two currents it shows
    step_at: float = 0.0


@dataclass
class Cut:
    """A reading that wants its feeder's chargers cut, and which of them have not been yet."""

    at: float
    waits: set[str]


@dataclass
class Measured:
    """What came of it; times in ms, CPU in cores, memory in MB."""

    delays: list[float] = field(default_factory=list)
    missed: int = 0  # chargers that got no lower lease while the house drew more
    cpu: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)  # (s since the start, MB)
    said: int = 0
    seconds: float = 0.0
    leases: int = 0
    taken: int = 0  # messages, as the manager counts them
    refused: dict[str, int] = field(default_factory=dict)
    registered_s: float = 0.0


class Crowd:
    """All the devices, one selector for their sockets."""

    def __init__(self, folder: Path, chargers: int, meters: int) -> None:
        self.by_name: dict[str, Device] = {}
        self.cuts: dict[int, Cut] = {}
        self.measured = Measured()
        self.folder = folder
        self._poll = select.epoll()
        self._by_fd: dict[int, Device] = {}
        per = -(-chargers // meters)
        names = [(f"M-{n}", n, False) for n in range(meters)]
        names += [(f"C-{n}", n // per, True) for n in range(chargers)]
        for name, feeder, charger in names:
            key = secrets.token_bytes(16)
            client = paho.Client(CallbackAPIVersion.VERSION2, name)
            client.max_inflight_messages_set(100)
            device = Device(name, key, client, protocol.Sender(key, 1), feeder, charger)
            device.phase = random.random()
            self.by_name[name] = device
            client.on_message = self._heard(device)
        self.meters = [d for d in self.by_name.values() if not d.charger]
        self.chargers = [d for d in self.by_name.values() if d.charger]
        self.under: dict[int, set[str]] = {}
        for d in self.chargers:
            self.under.setdefault(d.feeder, set()).add(d.name)

    def site_file(self, broker_port: int, web_port: int) -> str:
        """The building: everything hangs under a main feeder wide enough never to be the limit."""
        self.web_port = web_port
        lines = [
            f'[site]\nname = "{SITE}"\nlimit_a = 6300\nphases = 3\nworst_house_a = 0',
            f"max_counters = {len(self.meters)}\nmax_chargers = {len(self.chargers)}",
            f'[broker]\nhost = "127.0.0.1"\nport = {broker_port}',
            f'[web]\nhost = "127.0.0.1"\nport = {web_port}',
            "[store]\n",
        ]
        self.limit_a = 20 * -(-max(len(names) for names in self.under.values()) // 3)
        lines += [
            f'[[feeder]]\nname = "F-{meter.feeder}"\nlimit_a = {self.limit_a}\n'
            f'parent = "main"\nworst_house_a = {self.limit_a}'
            for meter in self.meters
        ]
        lines += [
            f'[[device]]\nid = "{device.name}"\nkey = "{device.key.hex()}"\n'
            f'feeder = "F-{device.feeder}"'
            for device in self.by_name.values()
        ]
        return "\n".join(lines) + "\n"

    def connect(self, port: int) -> None:
        """Every device onto the broker, with its own connection."""
        for device in self.by_name.values():
            device.client.will_set(f"{ROOT}{device.name}/state", b"offline", 1, retain=True)
            device.client.connect("127.0.0.1", port, 60)
            sock = device.client.socket()
            assert isinstance(sock, socket.socket)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._by_fd[sock.fileno()] = device
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self.turn(0.2)
        for device in self.by_name.values():
            device.client.subscribe(f"{ROOT}{device.name}/down", 1)
            device.client.publish(f"{ROOT}{device.name}/state", b"online", 1, retain=True)
        self.turn(0.5)

    def turn(self, for_s: float) -> None:
        """Read and write for so long."""
        ends = time.monotonic() + for_s
        while True:
            left = ends - time.monotonic()
            for fd, _ in self._poll.poll(max(0.0, left)):
                client = self._by_fd[fd].client
                client.loop_read()
                if client.want_write():  # paho writes at once but for what a callback says
                    client.loop_write()
            if left <= 0:
                return

    def say(self, device: Device, topic: str, message: dict[str, Any]) -> None:
        """One message, signed."""
        topic = ROOT + topic
        device.client.publish(topic, device.sender.seal(topic, message), 1)
        self.measured.said += 1

    def announce(self, device: Device) -> None:
        """Present it: a counter on `hello/new`, a charger on its counter's topic."""
        about = {"id": device.name, "model": "light", "firmware": "1"}
        if device.charger:
            counter = f"M-{device.feeder}"
            wiring = [int(device.name[2:]) % 3 + 1]
            message = {"code": protocol.NEW_CHARGER, **about, "counter": counter, "min_a": 6,
                       "max_a": 32, "phases": 1, "wiring": wiring, "failsafe_a": 0}  # fmt: skip
            self.say(device, f"{counter}/new", message)
        else:
            message = {"code": protocol.NEW_COUNTER, **about, "phases": 3, "role": "house"}
            self.say(device, protocol.HELLO, message)

    def status(self, device: Device) -> None:
        """The charger tells how it is, and so confirms its lease."""
        self.say(device, f"{device.name}/up", {
            "code": protocol.CHARGER_STATUS, "state": "C2", "offer_a": device.limit_a,
            "lease": device.lease, "lease_ms": 15_000 if device.lease else 0,
            "contactor": int(device.limit_a > 0), "mode": "managed", "faults": [],
            "rejected": 0, "uptime_s": 1,
        })  # fmt: skip

    def load(self, device: Device, ma: int) -> None:
        """A second's reading."""
        watts = ma * 230 // 1000
        device.energy_mwh += watts * 1000 // 3600
        code, n = (protocol.CHARGER_LOAD, 1) if device.charger else (protocol.COUNTER_LOAD, 3)
        self.say(device, f"{device.name}/up", {
            "code": code, "current_ma": [ma] * n, "voltage_dv": [2300] * n,
            "power_w": [watts] * n, "energy_wh": [device.energy_mwh // 1000] * n, "age_ms": 0,
        })  # fmt: skip

    def speak(self, device: Device, now: float) -> None:
        """What a device has to say this second."""
        if device.charger:
            self.load(device, device.limit_a * 1000)
            return
        if now >= device.step_at:
            device.high = not device.high
            device.step_at = now + CUT_EVERY_S / 2 * random.uniform(0.8, 1.2)
            self.overdue(device.feeder, now)
            if device.high:
                self.cuts[device.feeder] = Cut(time.monotonic(), self._too_much(device.feeder))
        part = HIGH if device.high else LOW
        self.load(device, round(self.limit_a * 1000 * part))

    def _too_much(self, feeder: int) -> set[str]:
        """Chargers that have more than their share of what the house leaves when it draws more."""
        left_a = round(self.limit_a * (1 - HIGH))
        found: set[str] = set()
        for phase in range(3):
            here = [n for n in self.under[feeder] if int(n[2:]) % 3 == phase]
            limits = {n: self.by_name[n].limit_a for n in here}
            if sum(limits.values()) > left_a:
                found |= {n for n, a in limits.items() if a > left_a // len(here)}
        return found

    def overdue(self, feeder: int, now: float) -> None:
        """The house draws less again: who still waits was missed, and counts as late by so long."""
        cut = self.cuts.pop(feeder, None)
        if cut is not None:
            self.measured.missed += len(cut.waits)
            self.measured.delays += [(now - cut.at) * 1000] * len(cut.waits)

    def _heard(self, device: Device) -> Callable[..., None]:
        def heard(_c: paho.Client, _u: object, raw: paho.MQTTMessage) -> None:
            at = time.monotonic()
            message = protocol.decode(raw.payload)
            code = message["code"]
            if code == protocol.REPLY:
                device.registered = device.registered or message["result"] == protocol.OK
            elif code == protocol.AVAILABLE_LOAD and message["lease"] > device.lease:
                self.measured.leases += 1
                lower = message["limit_a"] < device.limit_a
                device.limit_a, device.lease = message["limit_a"], message["lease"]
                cut = self.cuts.get(device.feeder)
                if lower and cut is not None and device.name in cut.waits:
                    cut.waits.discard(device.name)
                    self.measured.delays.append((at - cut.at) * 1000)
                self.status(device)

        return heard

    def register(self, within_s: float) -> None:
        """All announce themselves; UnavailableError if some are not taken in time."""
        deadline = time.monotonic() + within_s
        for group in (self.meters, self.chargers):
            while waiting := [d for d in group if not d.registered]:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{len(waiting)} devices were not registered")
                for device in waiting:
                    self.announce(device)
                    self.turn(0)
                self.turn(2.0)
        for device in self.chargers:
            self.status(device)
            self.turn(0)

    def run(self, seconds: float, sample: Callable[[float], None]) -> None:
        """Everybody once a second, spread over it; `sample` is asked every second."""
        everybody = sorted(self.by_name.values(), key=lambda d: d.phase)
        begin = time.monotonic()
        for device in self.meters:
            device.high = False
            device.step_at = begin + 3 + random.uniform(0, CUT_EVERY_S / 2)
        second = 0
        while second < seconds:
            for device in everybody:
                wait = begin + second + device.phase - time.monotonic()
                self.turn(wait if wait > 0.001 else 0)
                self.speak(device, time.monotonic())
            second += 1
            sample(time.monotonic() - begin)
            if second % 20 == 0:
                for device in everybody:
                    device.client.loop_misc()

    def close(self) -> None:
        """Leave without a word."""
        for device in self.by_name.values():
            sock = device.client.socket()
            if sock is not None:
                sock.close()
        self._poll.close()


class Process:
    """CPU and memory of another process, from /proc."""

    def __init__(self, pid: int) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._status = Path(f"/proc/{pid}/status")
        self._was = time.monotonic(), self.cpu_s()

    def cpu_s(self) -> float:
        """Seconds of processor it has used, all threads."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cores(self) -> float:
        """What it used of a core since it was last asked."""
        was, before = self._was
        now = time.monotonic(), self.cpu_s()
        self._was = now
        return (now[1] - before) / (now[0] - was)

    def memory_mb(self) -> float:
        """Resident."""
        for line in self._status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


@contextlib.contextmanager
def _running(folder: Path, crowd: Crowd, wrap: list[str], times: float) -> Iterator[Child]:
    own = broker.start(folder / "broker", kind="mosquitto")
    port = broker.free_port()
    config = folder / "site.toml"
    config.write_text(crowd.site_file(own.port, port))
    command = [*(wrap or [sys.executable]), "-m", "manager", "run", "--config", str(config)]
    child = Child("manager", command, folder / "manager.log")
    with contextlib.ExitStack() as ends:
        ends.callback(own.stop)
        ends.callback(_stopped, child, crowd)
        if times > 1:
            ends.enter_context(slower(child.pid, times))
        deadline = time.monotonic() + 120
        while not _connected(port):
            if child.status() is not None or time.monotonic() > deadline:
                raise UnavailableError(child.words())
            time.sleep(0.1)
        crowd.connect(own.port)
        yield child


def _stopped(child: Child, crowd: Crowd) -> None:
    crowd.close()
    with contextlib.suppress(ProcessError):
        wait_until_ended([child], 10)


def _connected(port: int) -> bool:
    try:
        return bool(_state(port)["broker"]["connected"])
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _state(port: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state", timeout=5) as answer:
        return json.load(answer)


def run(
    chargers: int,
    meters: int,
    seconds: float,
    wrap: list[str] | None = None,
    every_s: int = 5,
    times: float = 1,
) -> Measured:
    """The whole of it once, the manager so many `times` slower; UnavailableError if it does not
    come up.
    """
    if broker.mosquitto() is None:
        raise UnavailableError("mosquitto is not installed: apt install mosquitto")
    with tempfile.TemporaryDirectory(prefix="ievcc-scale-") as name:
        folder = Path(name)
        crowd = Crowd(folder, chargers, meters)
        with _running(folder, crowd, wrap or [], times) as child:
            process = Process(child.pid)
            begin = time.monotonic()
            crowd.register(60 + chargers * 0.1)
            registered_s = time.monotonic() - begin
            crowd.run(10, lambda _: None)  # the first leases, and the first rises
            crowd.measured = Measured(registered_s=registered_s)
            before = _state(crowd.web_port)
            process.cores()

            def sample(at: float) -> None:
                if int(at) % every_s == 0:
                    crowd.measured.cpu.append(process.cores() * times)
                    crowd.measured.memory.append((at, process.memory_mb()))

            begin = time.monotonic()
            crowd.run(seconds, sample)
            crowd.measured.seconds = time.monotonic() - begin
            crowd.turn(1.0)
            for feeder in list(crowd.cuts):
                crowd.overdue(feeder, time.monotonic())
            after = _state(crowd.web_port)
            crowd.measured.taken = after["taken"] - before["taken"]
            crowd.measured.refused = after["refused"]
            return crowd.measured


def growth_mb_per_hour(memory: list[tuple[float, float]]) -> float:
    """By least squares over the second half: what it takes at the start is not growth."""
    late = memory[len(memory) // 2 :]
    if len(late) < 3:
        return 0.0
    mean_t = sum(t for t, _ in late) / len(late)
    mean_m = sum(m for _, m in late) / len(late)
    spread = sum((t - mean_t) ** 2 for t, _ in late)
    return 3600 * sum((t - mean_t) * (m - mean_m) for t, m in late) / spread if spread else 0.0


def rows_of(who: str, m: Measured) -> list[Row]:
    """What was measured, as the bench prints it."""
    rows = [
        Row(f"{who}: messages the manager took", m.taken / m.seconds, None, "/s",
            f"of {m.said / m.seconds:.0f}; {m.leases / m.seconds:.0f} leases/s from it;"
            f" all registered in {m.registered_s:.1f} s; refused: {m.refused or 'none'}"),
        Row(f"{who}: CPU of the manager", sum(m.cpu) / len(m.cpu), percentile(m.cpu, 99),
            "cores", f"mean and 99 % of {m.seconds:.0f} s"),
        Row(f"{who}: memory", m.memory[-1][1], None, "MB",
            f"{growth_mb_per_hour(m.memory):+.1f} MB/h over the second half"),
    ]  # fmt: skip
    if m.delays:
        note = f"{len(m.delays)} cuts, {m.missed} missed"
        rows.append(summed_up(f"{who}: reading to lease", m.delays, "ms", note))
    return rows


def measure(small: bool) -> list[Row]:
    """The building of 20 on its own, also as slow as a Raspberry Pi 3; the thousand for two minutes."""
    if small:
        return rows_of("20 chargers, 2 meters", run(20, 2, 45, every_s=2))
    rows = rows_of("20 chargers, 2 meters", run(20, 2, 120))
    rows += rows_of("the same as slow as a Pi 3", run(20, 2, 120, times=PI3))
    return rows + rows_of("1,000 chargers, 100 meters", run(1000, 100, 120))


def main() -> None:
    """`python -m bench.scale`: one size for so long, with a line a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chargers", type=int, default=1000)
    parser.add_argument("--meters", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument(
        "--pi3", action="store_true", help="20 chargers, a manager as slow as there"
    )
    parser.add_argument("--profile", type=Path, help="of the manager, for pstats")
    asked = parser.parse_args()
    if not (asked.chargers >= asked.meters >= 1 and asked.minutes >= 0.2):
        parser.error("at least a meter, a charger for each, and a fifth of a minute")
    wrap = None
    if asked.profile:
        wrap = [sys.executable, "-m", "cProfile", "-o", str(asked.profile)]
    chargers, meters = (20, 2) if asked.pi3 else (asked.chargers, asked.meters)
    m = run(chargers, meters, asked.minutes * 60, wrap, times=PI3 if asked.pi3 else 1)
    for row in rows_of(f"{chargers} chargers, {meters} meters", m):
        print(row.what, f"{row.median:.3g}", row.p99 and f"{row.p99:.4g}", row.unit, row.note)
    for at, mb in m.memory[:: max(1, len(m.memory) // 30)]:
        print(f"{at:6.0f} s {mb:7.1f} MB")


if __name__ == "__main__":
    main()
