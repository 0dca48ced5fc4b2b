"""One building around running boards: its house, its cars, and the PZEMs that measure them.

    python -m simulator.building building.toml

Boards run as processes of their own (`ievcc board`). This one plays the house, drives each
charger's bench socket as the car plugged into it, and adds what the cars draw to what the main
meter's PZEMs report. It prints JSON lines: first {"ready": true, "uart": "/dev/pts/5"}, then the
truth, every `truth_s` seconds and on every change of a car or a step of the house:

    {"t_s": 12.3, "house_ma": [3200], "cars_ma": {"charger-1": [16000]}, "total_ma": [19200],
     "cars": {"charger-1": {"ev": "C", "offer_a": 16, "live": true, "taken_wh": 12}}}

and takes JSON lines on its standard input:

    {"house_a": 16.4} or {"house_a": [16.4, 3, 3]}; null: back to the steps or the recording
    {"plug": "charger-1", "car": {"max_a": 32, "phases": 1, "wants_wh": 8000}}
    {"unplug": "charger-1"}   {"stop": "charger-1"}   {"start": "charger-1"} (the driver's app)
    {"mains_dv": 2300}   {"meter": "off"} (its PZEMs are silent), "on"
    {"faults": {"crc": 0.1}} (rates by name, see simulator/pzem_slave.py)

The file (TOML or JSON):

    phases = 1
    meter = "grid"           # the main PZEMs see house and cars; "house": the house alone
    uart = "meter.tty"       # a link to make to the main meter's tty
    truth_s = 1
    step_response = true     # PZEMs as slow as real ones; false: latched once a second
    [house]
    recording = "uci"        # or tracebase, or a file; from_s, scale, speed; or
    steps = [[0, 3.2], [20, 16.4]]
    [[charger]]
    name = "charger-1"
    bench = "charger-1.sock"
    phases = [1]             # the building's phases it is wired to
    [[arrival]]
    charger = "charger-1"
    at_s = 5
    leaves_s = 600           # left out: stays
    car = { max_a = 32, wants_wh = 20000 }
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import signal
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.car import Car, CarError
from simulator.house import House
from simulator.pzem_slave import FAULTS, Line, Pzem
from simulator.scenario import ScenarioError

TICK_S = 0.1
_RETRY_S = 0.3
_DUTY_STEADY = 1000


class BuildingError(ValueError):
    """A building that cannot be: what is wrong and how to mend it."""


class Place:
    """One charger's place: its bench socket, and the car that stands there."""

    def __init__(self, name: str, bench: Path, phases: list[int]) -> None:
        self.name = name
        self.bench = bench
        self.phases = phases
        self.car: Car | None = None
        self.seen: dict[str, Any] = {}
        self.connected = False
        self._writer: asyncio.StreamWriter | None = None
        self._said: dict[str, Any] = {}

    async def live(self, changed: Callable[[], None]) -> None:
        """Keep a connection to the bench, for as long as there is one to be had."""
        while True:
            with contextlib.suppress(OSError, ValueError):
                reader, self._writer = await asyncio.open_unix_connection(str(self.bench))
                self.connected, self._said = True, {}
                self._writer.write(b'{"get": true}\n')
                while line := await reader.readline():
                    heard = json.loads(line)
                    if "pilot" in heard:
                        self.seen = heard
                        changed()
            self.connected, self.seen, self._writer = False, {}, None
            changed()
            await asyncio.sleep(_RETRY_S)

    def step(self, now_ms: int) -> None:
        """Let the car look at its pilot, and the bench at its car."""
        if self.car is not None:
            pilot = self.seen.get("pilot", {"duty_permille": 0, "high_mv": 0})
            self.car.step(
                now_ms,
                duty_permille=pilot["duty_permille"] if self.seen else 0,
                pilot_mv=pilot["high_mv"],
                live=bool(self.seen.get("mains_out")),
            )
        self._say(ev=self.car.letter if self.car else "A", car_ma=self._by_own_phase())

    def _by_own_phase(self) -> list[int]:
        """mA on the charger's own three phases."""
        drawn = [0, 0, 0]
        if self.car is not None:
            for k in range(min(self.car.phases, len(self.phases))):
                drawn[k] = self.car.ma
        return drawn

    def ma(self, phases: int) -> list[int]:
        """What the car draws on each phase of the building."""
        drawn = [0] * phases
        for own, building in zip(self._by_own_phase(), self.phases, strict=False):
            drawn[building - 1] += own
        return drawn

    def _say(self, **inputs: Any) -> None:
        new = {name: value for name, value in inputs.items() if self._said.get(name) != value}
        if new and self._writer is not None:
            self._writer.write(json.dumps(new).encode() + b"\n")
            self._said.update(new)

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()


class Building:
    """`config` is the file's content. `say` gets every line of truth as a dict."""

    def __init__(
        self, config: dict[str, Any], folder: Path, say: Callable[[dict[str, Any]], None]
    ) -> None:
        """BuildingError names what is wrong in the file."""
        config = dict(config)
        self.phases = _whole(config, "phases", 1, 1, 3)
        self.meter = str(config.pop("meter", "grid"))
        if self.meter not in {"grid", "house"}:
            raise BuildingError(f'meter: "grid" or "house", not {self.meter!r}')
        self.truth_s = float(config.pop("truth_s", 1.0))
        self._mains_dv = _whole(config, "mains_dv", 2300, 0, 4000)
        self._pf_pct = _whole(config, "pf_pct", 97, 1, 100)
        step = bool(config.pop("step_response", False))
        uart = config.pop("uart", None)
        self.pzems = [Pzem(1 + n, step_response=step) for n in range(self.phases)]
        self.line = Line(self.pzems, link=str(folder / uart) if uart else None)
        try:
            self.house = House(phases=self.phases, **config.pop("house", {}))
        except (ScenarioError, TypeError, ValueError) as e:
            raise BuildingError(f"house: {e}") from e
        self.places: dict[str, Place] = {}
        for entry in config.pop("charger", []):
            place = _place(entry, folder, self.phases)
            if place.name in self.places:
                raise BuildingError(f"charger: two are named {place.name}")
            self.places[place.name] = place
        self._timeline: list[tuple[float, dict[str, Any]]] = []
        for entry in config.pop("arrival", []):
            self._arrival(entry)
        self._timeline.sort(key=lambda moment: moment[0])
        if config:
            raise BuildingError(f"there is no such setting: {', '.join(sorted(config))}")
        self._say = say
        self._began = time.monotonic()
        self._told: list[Any] = []
        self._told_at = -1e9
        self._powered = True
        self._soon = False
        self._tasks: list[asyncio.Task[None]] = []

    def _arrival(self, entry: dict[str, Any]) -> None:
        entry = dict(entry)
        try:
            name, at_s = str(entry.pop("charger")), float(entry.pop("at_s"))
        except KeyError as e:
            raise BuildingError(f"arrival: {e.args[0]} is missing") from e
        car = entry.pop("car", {})
        leaves = entry.pop("leaves_s", None)
        if entry:
            raise BuildingError(f"arrival: there is no {', '.join(sorted(entry))}")
        order = {"plug": name, "car": car}
        self._check(order)
        self._timeline.append((at_s, order))
        if leaves is not None:
            if float(leaves) <= at_s:
                raise BuildingError(f"arrival: {name} leaves at {leaves} s, before it comes")
            self._timeline.append((float(leaves), {"unplug": name}))

    @property
    def t_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    # -- orders

    def _check(self, order: dict[str, Any]) -> None:
        for word in ("plug", "unplug", "stop", "start"):
            if word in order and str(order[word]) not in self.places:
                raise BuildingError(
                    f"{word}: no charger {order[word]!r}; there are {', '.join(self.places)}"
                )
        if "plug" in order:
            try:
                Car.named(order.get("car", {}))
            except (CarError, TypeError) as e:
                raise BuildingError(str(e)) from e
        faults = order.get("faults", {})
        if not isinstance(faults, dict) or not all(_is_share(rate) for rate in faults.values()):
            raise BuildingError(f"faults: names and rates from 0 to 1, not {faults!r}")
        wrong = set(faults) - set(FAULTS)
        if wrong:
            raise BuildingError(f"faults: no {', '.join(wrong)}; there are {', '.join(FAULTS)}")
        if "mains_dv" in order:
            _whole({"mains_dv": order["mains_dv"]}, "mains_dv", 0, 0, 4000)
        if order.get("meter", "on") not in ("on", "off"):
            raise BuildingError(f'meter: "on" or "off", not {order["meter"]!r}')
        unknown = set(order) - {
            "plug", "car", "unplug", "stop", "start", "house_a", "mains_dv", "meter", "faults",
        }  # fmt: skip
        if unknown:
            raise BuildingError(f"no such order: {', '.join(sorted(unknown))}")

    def order(self, order: dict[str, Any]) -> None:
        """One line of standard input. BuildingError says what cannot be; nothing changes then."""
        self._check(order)
        if "house_a" in order:
            try:
                self.house.set(order["house_a"])
            except (TypeError, ValueError) as e:
                raise BuildingError(f"house_a: {e}") from e
        if "plug" in order:
            self.places[order["plug"]].car = Car.named(order.get("car", {}))
        if "unplug" in order:
            self.places[order["unplug"]].car = None
        for word in ("stop", "start"):
            if word in order:
                car = self.places[order[word]].car
                if car is not None:
                    (car.stop if word == "stop" else car.start)()
        if "mains_dv" in order:
            self._mains_dv = int(order["mains_dv"])
        if "meter" in order:
            self._powered = order["meter"] == "on"
        if "faults" in order:
            self.line.fault_rates = dict(order["faults"])
        self.step()

    # -- time

    def step(self) -> None:
        """Everything as of now."""
        now_ms = int(self.t_s * 1000)
        while self._timeline and self._timeline[0][0] <= self.t_s:
            self.order(self._timeline.pop(0)[1])
        for place in self.places.values():
            place.step(now_ms)
        house = self.house.ma(self.t_s)
        cars = {name: place.ma(self.phases) for name, place in self.places.items()}
        total = [h + sum(ma[k] for ma in cars.values()) for k, h in enumerate(house)]
        for pzem, seen in zip(self.pzems, total if self.meter == "grid" else house, strict=True):
            pzem.powered = self._powered and self._mains_dv >= 800
            if (pzem.true.current_ma, pzem.true.voltage_dv) != (seen, self._mains_dv):
                pzem.set(voltage_dv=self._mains_dv, current_ma=seen, pf_pct=self._pf_pct)
        self._tell(house, cars, total)

    def _tell(self, house: list[int], cars: dict[str, list[int]], total: list[int]) -> None:
        states = {
            name: {
                "ev": place.car.letter if place.car else "A",
                "offer_a": place.seen.get("offer_a"),
                "live": bool(place.seen.get("mains_out")),
                "taken_wh": round(place.car.taken_wh) if place.car else 0,
            }
            for name, place in self.places.items()
        }
        # A ramp is told once a truth_s, everything else at once.
        key = [house, [(s["ev"], s["offer_a"], s["live"]) for s in states.values()]]
        if key == self._told and self.t_s - self._told_at < self.truth_s:
            return
        self._told, self._told_at = key, self.t_s
        self._say(
            {
                "t_s": round(self.t_s, 3),
                "house_ma": house,
                "cars_ma": cars,
                "total_ma": total,
                "cars": states,
            }
        )

    def _changed(self) -> None:
        """A bench said something: look at once, but once for all that came together."""
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._soon = False
        self.step()

    async def start(self) -> str:
        """Open the meter's line and connect to the benches; the path of the meter's tty."""
        path = self.line.open()
        self._began = time.monotonic()
        for place in self.places.values():
            self._tasks.append(asyncio.create_task(place.live(self._changed)))
        self._tasks.append(asyncio.create_task(self._run()))
        return path

    async def _run(self) -> None:
        while True:
            self.step()
            await asyncio.sleep(TICK_S)

    async def stop(self) -> None:
        """End: no task, socket or tty stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for place in self.places.values():
            place.close()
        self.line.close()


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _whole(config: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = config.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BuildingError(f"{name}: a whole number from {low} to {high}, not {value!r}")
    return value


def _place(entry: dict[str, Any], folder: Path, phases: int) -> Place:
    try:
        name, bench = str(entry["name"]), folder / str(entry["bench"])
    except KeyError as e:
        raise BuildingError(f"charger: {e.args[0]} is missing") from e
    wired = entry.get("phases", list(range(1, phases + 1)))
    if not wired or not set(wired) <= set(range(1, phases + 1)):
        raise BuildingError(f"charger {name}: phases {wired} of a building with {phases}")
    unknown = set(entry) - {"name", "bench", "phases"}
    if unknown:
        raise BuildingError(f"charger {name}: there is no {', '.join(sorted(unknown))}")
    return Place(name, bench, list(wired))


def read_file(path: Path) -> dict[str, Any]:
    """The file's content. BuildingError if it cannot be read."""
    try:
        text = path.read_text()
    except OSError as e:
        raise BuildingError(f"{path}: {e.strerror}") from e
    try:
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as e:
        raise BuildingError(f"{path}: {e}") from e
    if not isinstance(found, dict):
        raise BuildingError(f"{path}: not a table")
    return found


def _print(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def _serve(building: Building) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    waiting = asyncio.StreamReader()
    orders: asyncio.Task[None] | None = None
    # /dev/null and files cannot be waited for, and order nothing.
    if _can_be_waited_for(sys.stdin.fileno()):
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(waiting), sys.stdin)
        orders = asyncio.create_task(_take_orders(building, waiting))
    try:
        _print({"ready": True, "uart": await building.start()})
        await ended.wait()
    finally:
        if orders is not None:
            orders.cancel()
        await building.stop()


def _can_be_waited_for(fd: int) -> bool:
    with selectors.DefaultSelector() as probe:
        try:
            probe.register(fd, selectors.EVENT_READ)
        except (OSError, ValueError):
            return False
    return True


async def _take_orders(building: Building, reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        try:
            order = json.loads(line)
            if not isinstance(order, dict):
                raise BuildingError("an order is a JSON object")
            building.order(order)
        except ValueError as e:
            _print({"error": str(e)})


def main() -> int:
    """Run until SIGINT or SIGTERM. 0 ended, 2 wrong file."""
    if len(sys.argv) != 2:
        print("usage: python -m simulator.building FILE", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        building = Building(read_file(path), path.parent, _print)
    except BuildingError as e:
        print(f"building: {e}", file=sys.stderr)
        return 2
    # Whoever reads the truth may go first.
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_serve(building))
    return 0


if __name__ == "__main__":
    sys.exit(main())
