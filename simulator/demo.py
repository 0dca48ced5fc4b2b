"""`ievcc demo`: the main job, live and without hardware.

As processes of their own: an MQTT broker, the manager, one energy meter and three chargers (the
boards' own firmware), and the building around them: a recorded house, cars that come and go, and
the PZEM that measures both. The terminal shows a table, the page shows plots.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manager import broker, store
from manager.core.site import POLICIES
from manager.process import Child, wait_until_ended
from manager.refusal import Refusal
from manager.table import picture
from simulator.board import micropython

SITE = "demo"
LIMIT_A = 30
METER = "Counter-1"
CHARGERS = ("Charger-1", "Charger-2", "Charger-3")
# An afternoon of the tracebase house, 1 s: from an idle 0.7 A to an oven, a kettle and a dryer.
RECORDING = "tracebase"
FROM_S = 51_630
_MARK = "made-by-ievcc-demo"
_END_S = 1.5  # for all at once, before what is left is killed; Ctrl-C ends everything within 3 s
_CYCLE_S = 300.0

# Who comes when, in seconds of each cycle, and what stands there.
_CARS: tuple[tuple[float, float | None, str, dict[str, Any]], ...] = (
    (6, 250, "Charger-1", {"max_a": 32}),
    (20, 75, "Charger-2", {"max_a": 16}),
    (40, 270, "Charger-3", {"max_a": 32, "uses_a": 10}),
    (95, 260, "Charger-2", {"max_a": 32}),
)


class _EndedError(Exception):
    """Told to end."""


@dataclass
class Demo:
    """The running processes and what they said."""

    folder: Path
    policy: str
    speed: float
    broker_kind: str = ""
    children: list[Child] = field(default_factory=list)
    mqtt: broker.Broker | None = None
    url: str = ""
    truth: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    told: threading.Event = field(default_factory=threading.Event)  # to end
    began: float = field(default_factory=time.monotonic)
    _read_to: int = 0

    def start(self, say: Callable[[str], None]) -> None:
        """Start everything, the broker first; Refusal with a log's tail if something does not."""
        self.mqtt = broker.start(self.folder / "broker", kind=self.broker_kind)
        say(f"broker: {self.mqtt.name} at {self.mqtt.host}:{self.mqtt.port}")
        keys = {name: secrets.token_hex(16) for name in (METER, *CHARGERS)}
        self._building()
        self._manager(keys)
        say(f"page: {self.url}/")
        how = "MicroPython" if micropython() else "CPython (no MicroPython wheel here)"
        say(f"boards: 1 energy meter, {len(CHARGERS)} chargers, their own firmware on {how}")
        self._board("energy_meter", METER, keys, {"role": "grid"}, ["--uart", "meter.tty"])
        self._wait("the meter has registered", lambda: self.state()["meters"])
        for n, name in enumerate(CHARGERS):
            more = {"counter": METER, "start_delay_s": 0, "resume_s": 10}
            self._board("charger", name, keys, more, ["--bench", f"{name}.sock"])
            # One after the other: they are numbered as they are registered.
            self._wait(f"{name} has registered", partial(self._registered, n + 1))

    def _registered(self, chargers: int) -> bool:
        return len(self.state()["chargers"]) >= chargers

    def _child(self, name: str, *command: str) -> Child:
        # Short names from inside the folder: a Unix socket's path has at most 107 characters.
        child = Child(
            name, [sys.executable, *command], self.folder / f"{name}.log", cwd=self.folder
        )
        self.children.append(child)
        return child

    def _building(self) -> None:
        arrivals = []
        for cycle in range(288):  # a day
            for comes, leaves, charger, car in _CARS:
                at = cycle * _CYCLE_S
                arrival: dict[str, Any] = {"charger": charger, "at_s": at + comes, "car": car}
                if leaves is not None:
                    arrival["leaves_s"] = at + leaves
                arrivals.append(arrival)
        config = {
            "meter": "grid",
            "uart": "meter.tty",
            "step_response": True,
            "house": {"recording": RECORDING, "from_s": FROM_S, "speed": self.speed},
            "charger": [{"name": name, "bench": f"{name}.sock"} for name in CHARGERS],
            "arrival": arrivals,
        }
        (self.folder / "building.json").write_text(json.dumps(config))
        self._child("building", "-m", "simulator.building", "building.json")
        self._wait("the building is there", (self.folder / "meter.tty").exists)

    def _manager(self, keys: dict[str, str]) -> None:
        assert self.mqtt is not None
        port = 8080 if broker.is_free(8080) else broker.free_port()
        devices = "".join(f'\n[[device]]\nid = "{n}"\nkey = "{k}"\n' for n, k in keys.items())
        (self.folder / "site.toml").write_text(
            f'[site]\nname = "{SITE}"\nlimit_a = {LIMIT_A}\npolicy = "{self.policy}"\n'
            f"update_interval_s = 5\nworst_house_a = 24\n\n"
            f'[broker]\nhost = "{self.mqtt.host}"\nport = {self.mqtt.port}\n\n'
            f'[web]\nhost = "127.0.0.1"\nport = {port}\n{devices}'
        )
        self.url = f"http://127.0.0.1:{port}"
        self._child("manager", "-m", "manager", "run", "--config", "site.toml", "--verbose")
        self._wait("the manager is connected", lambda: self.state()["broker"]["connected"])

    def _board(
        self, kind: str, name: str, keys: dict[str, str], more: dict[str, Any], wires: list[str]
    ) -> None:
        assert self.mqtt is not None
        config = {
            "id": name,
            "site": SITE,
            "key": keys[name],
            "wifi_ssid": "bench",
            "broker_host": self.mqtt.host,
            "broker_port": self.mqtt.port,
            "repl_window_ms": 0,
            **more,
        }
        (self.folder / f"{name}.json").write_text(json.dumps(config))
        self._child(
            name, "-m", "manager", "board", kind, "--config", f"{name}.json",
            "--fs", f"{name}.flash", *wires,
        )  # fmt: skip

    def _wait(self, what: str, ask: Callable[[], Any], within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while True:
            self.check()
            with contextlib.suppress(OSError):
                if ask():
                    return
            if time.monotonic() > deadline:
                logs = "\n".join(f"  {c.name}:\n{c.tail(4)}" for c in self.children)
                raise Refusal(f"not within {within_s:.0f} s: {what}\n{logs}")
            self.told.wait(0.05)

    def check(self) -> None:
        """Refusal if a process has ended that should not have; _EndedError when told to end."""
        if self.told.is_set():
            raise _EndedError
        started = [self.mqtt.child] if self.mqtt else []
        for child in (*started, *self.children):
            if child.status() is not None:
                raise Refusal(f"the demo cannot go on: {child.words()}")

    def state(self) -> Any:
        """What the manager says. OSError if it does not, or ends while it speaks."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/state", timeout=1) as answer:  # noqa: S310
                return json.load(answer)
        except http.client.HTTPException as e:
            raise ConnectionError(f"half an answer: {e!r}") from e

    def read_truth(self) -> None:
        """What the building says, since the last time."""
        with (self.folder / "building.log").open("rb") as log:
            log.seek(self._read_to)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if "total_ma" in said:
                    self.truth = said
                    self.samples.append(said)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def end(self) -> None:
        """End every process."""
        wait_until_ended(self.children, _END_S)
        if self.mqtt is not None:
            self.mqtt.child.end(0.5)
        (self.folder / "meter.tty").unlink(missing_ok=True)

    def report(self) -> dict[str, Any]:
        """What happened, for --json."""
        self.read_truth()
        limit_ma = LIMIT_A * 1000
        over_s = 0.0
        pairs = zip(self.samples, self.samples[1:], strict=False)
        for one, after in pairs:
            if one["total_ma"][0] > limit_ma:
                over_s += after["t_s"] - one["t_s"]
        db = self.folder / "ievcc.db"
        decisions = store.read(
            db, "SELECT at_ms, charger, offer_a, lease, reason, words FROM decision ORDER BY id"
        )
        events = store.read(db, "SELECT at_ms, kind, device, words FROM event ORDER BY id")
        readings = dict(
            store.read(db, "SELECT device, count(DISTINCT seq) FROM reading GROUP BY device")
        )
        named = ("at_ms", "charger", "offer_a", "lease", "reason", "words")
        return {
            "seconds": round(self.seconds(), 1),
            "policy": self.policy,
            "limit_a": LIMIT_A,
            "house": {"recording": RECORDING, "from_s": FROM_S, "speed": self.speed},
            "broker": self.mqtt.name if self.mqtt else "",
            "boards_run_on": "micropython" if micropython() else "cpython",
            "readings": readings,
            "house_peak_a": max((s["house_ma"][0] for s in self.samples), default=0) / 1000,
            "total_peak_a": max((s["total_ma"][0] for s in self.samples), default=0) / 1000,
            "over_limit_s": round(over_s, 1),
            "delivered_wh": {
                name: max((s["cars"][name]["taken_wh"] for s in self.samples), default=0)
                for name in CHARGERS
            },
            "decisions": [dict(zip(named, row, strict=True)) for row in decisions],
            "events": [
                dict(zip(("at_ms", "kind", "device", "words"), row, strict=True)) for row in events
            ],
            "samples": self.samples,
        }

    def table(self) -> RenderableType:
        """The live table: what the manager thinks, and what is true."""
        parts: list[RenderableType] = []
        link = Text.assemble(("IEVCC demo  ", "bold"), f"{self.seconds():.0f} s  page ")
        link.append(f"{self.url}/", f"link {self.url}/ underline")
        link.append(f"  {self.mqtt.name if self.mqtt else ''}  Ctrl-C ends it", "dim")
        parts.append(link)
        with contextlib.suppress(OSError):
            parts.append(picture(self.state()))
        if self.truth:
            total = self.truth["total_ma"][0] / 1000
            truth = Table("in truth", "house A", *CHARGERS, "total A", box=None)
            truth.add_row(
                "",
                f"{self.truth['house_ma'][0] / 1000:.1f}",
                *(f"{self.truth['cars_ma'][n][0] / 1000:.1f}" for n in CHARGERS),
                Text(f"{total:.1f}", "red bold" if total > LIMIT_A else "bold"),
            )
            parts.append(truth)
        return Group(*parts)

    def line(self) -> str:
        """The same in one line, for where there is no terminal."""
        state = self.state()
        offers = "  ".join(
            f"{c['id']} {c['offer_a']} A ({c['reason']['words']})" for c in state["chargers"]
        )
        house = state["feeders"][0]["house_a"][0]
        return f"{self.seconds():4.0f} s  house {house:.1f} A  {offers}"


def _prepare(folder: Path) -> None:
    """A folder of our own, emptied. Refusal if it is somebody else's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise Refusal(f"{folder} is not empty and not of an earlier demo: give another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        (folder / _MARK).touch()
    except OSError as e:
        raise Refusal(f"cannot make {folder}: {e.strerror}; give another --folder") from e


def demo(
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="end after so many; left out: at Ctrl-C")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.1, max=3600, help="times faster the recorded house is played")
    ] = 1.0,
    headless: Annotated[bool, typer.Option("--headless", help="no table")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write what happened here at the end")
    ] = None,
    broker_kind: Annotated[
        str, typer.Option("--broker", help="mosquitto or iotcore; left out: the best there is")
    ] = "",
    policy: Annotated[str, typer.Option(help=f"how to share: {', '.join(POLICIES)}")] = "fair",
    folder: Annotated[
        Path, typer.Option(help="everything is kept in here: logs, flashes, store")
    ] = Path("demo-run"),
) -> None:
    """Show the main job, live: broker, manager, a meter and three chargers on a recorded house."""
    if policy not in POLICIES:
        raise typer.BadParameter(f"{policy!r} is not one of {', '.join(POLICIES)}")
    if broker_kind not in ("", *broker.KINDS):
        raise typer.BadParameter(f"{broker_kind!r} is not one of {', '.join(broker.KINDS)}")
    console = Console()
    _prepare(folder)
    running = Demo(folder.resolve(), policy, speed, broker_kind)

    # Told, not interrupted: an exception in the middle of starting a process would lose it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: running.told.set())
    live = console.is_terminal and not headless
    try:
        running.start(console.print)
        _watch(running, console, minutes, live=live)
    except _EndedError:
        pass
    finally:
        running.end()
    if json_file is not None:
        json_file.write_text(json.dumps(running.report(), indent=1) + "\n")
        console.print(f"what happened is in {json_file}")
    console.print(f"ended; logs, store and flashes are in {folder}")


def _watch(running: Demo, console: Console, minutes: float | None, *, live: bool) -> None:
    until = None if minutes is None else time.monotonic() + minutes * 60
    spoken = 0.0
    shown = Live(console=console, auto_refresh=False, transient=False)
    with shown if live else contextlib.nullcontext():
        while until is None or time.monotonic() < until:
            running.check()
            running.read_truth()
            if live:
                shown.update(running.table(), refresh=True)
            elif time.monotonic() - spoken >= 5:
                spoken = time.monotonic()
                console.print(running.line(), soft_wrap=True, highlight=False)
            running.told.wait(0.5)
