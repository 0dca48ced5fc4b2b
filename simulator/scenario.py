"""Scenarios: a building, its chargers, its cars and what happens to them, as a TOML file a person
can read.

    title = "One charger at home"
    duration = "0:20:00"            # or seconds
    start = 2022-09-14T23:20:00     # local time on the chart; left out: counted from 0

    [site]                          # limit_a, policy, update_interval_s, phases: as in a site file
    limit_a = 30
    policy = "equal"

    [breaker]                       # kind = "mcb" (curve, rated_a), "icp", "linky" or "bands"
    [meter]                         # role "house" or "grid", poll_s, lag_s: age of a value read
    [network]                       # delay_ms = [least, most], loss and duplicate as shares
    [house]                         # steps = [{at, a}], or recording, from, scale, shift_days
    [solar]                         # what the sun gives: steps or recording, as for the house
    [garage]                        # bays, garages: chargers and cars of a recorded garage
    [[charger]]                     # name, max_a, phases, wiring, failsafe_a, ...
    [[car]]                         # charger, max_a, phases, wants_kwh, follow_s, taper, uses_a,
                                    # sleepy, obeys, ramp_a_s, events = [{at, do}]
    [[feeder]], [[window]]          # as in a site file
    [[event]]                       # at, do = "limit", "policy", "meter_silent", ...
    [[mark]]                        # at, label, text: a moment to point out on the chart

`load` reads one and refuses what cannot be meant with a `ScenarioError` that names the place and
says what to change. Times are seconds, or text: "0:05", "1:30:00", "2d 07:30".
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from manager.core.breaker import Breaker, BreakerError, named
from manager.core.site import POLICIES, SOURCES
from shared.protocol import is_device_name
from simulator.car import Car as EvCar
from simulator.car import CarError
from simulator.scenario_garage import visits

SHIPPED = Path(__file__).parent / "scenarios"
VOLTS = 230  # phase voltage of every simulated building

CAR_EVENTS = ("arrive", "start", "stop", "leave")
SITE_EVENTS = (
    "limit",
    "policy",
    "source",
    "meter_silent",
    "meter_back",
    "network_down",
    "network_up",
    "manager_down",
    "manager_up",
    "charger_down",
    "charger_up",
)


class ScenarioError(ValueError):
    """What cannot be simulated. `where` is the place in the file, such as car[2].max_a."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}" if where else why)
        self.where = where


@dataclass(frozen=True, slots=True)
class Meter:
    """The building's meter: polled every `poll_ms`, giving what was true `lag_ms` before."""

    name: str = "Counter-1"
    role: str = "grid"
    poll_ms: int = 200
    lag_ms: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """Every message takes a time within `delay_ms`, or is lost, or comes twice (shares of 0 to
    1).
    """

    delay_ms: tuple[int, int] = (2, 10)
    loss: float = 0.0
    duplicate: float = 0.0


@dataclass(frozen=True, slots=True)
class House:
    """What the building itself draws, in mA per phase: steps, or a recording (`name`, from
    `from_s` on, times `scale`).
    """

    steps: tuple[tuple[int, tuple[int, ...]], ...] = ((0, (0,)),)
    recording: str = ""
    from_s: int = 0
    shift_days: int = 0
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Charger:
    """One charger; `wiring` gives the building's phase (1 to 3) on each of its own."""

    name: str
    min_a: int = 6
    max_a: int = 32
    phases: int = 1
    wiring: tuple[int, ...] = (1,)
    failsafe_a: int = 0
    meter: bool = True
    priority: int = 0
    feeder: str = ""


@dataclass(frozen=True, slots=True)
class Car:
    """One visit or more of one car to one charger; `events` are (time in ms, what), in order of
    time.
    """

    charger: str
    name: str
    properties: Mapping[str, Any]  # of simulator.car.Car
    wants_wh: int | None
    departs_ms: int | None
    events: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class SiteEvent:
    """Something that happens to the site: `what` is one of `SITE_EVENTS`, `value` what it
    needs.
    """

    at_ms: int
    what: str
    value: int | str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment to point out on the chart."""

    at_ms: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario. `site` holds the [site] table as it will be given to the site file's own
    check.
    """

    name: str
    title: str
    seed: int
    duration_ms: int
    start: dt.datetime | None
    site: Mapping[str, Any]
    feeders: tuple[Mapping[str, Any], ...]
    windows: tuple[Mapping[str, Any], ...]
    limit_a: int
    phases: int
    policy: str
    breaker: Breaker
    meter: Meter
    network: Network
    house: House
    solar: House | None
    chargers: tuple[Charger, ...]
    cars: tuple[Car, ...]
    events: tuple[SiteEvent, ...]
    marks: tuple[Mark, ...]


_TIME = re.compile(r"(?:(\d+)d\s+)?(?:(\d+):)?(\d+):(\d\d(?:\.\d{1,3})?)")


def milliseconds(value: object, where: str) -> int:
    """A time in ms: seconds as a number, or "[D d ][H:]MM:SS"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= 366 * 86_400:
            raise ScenarioError(where, f"{value} is not a time within a year")
        return round(value * 1000)
    if isinstance(value, str):
        match = _TIME.fullmatch(value.strip())
        if match:
            days, hours, minutes, seconds = match.groups()
            whole = (int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)
            return whole * 60_000 + round(float(seconds) * 1000)
    raise ScenarioError(
        where, f'{value!r} is not a time: give seconds, "MM:SS", "H:MM:SS" or "2d 7:30:00"'
    )


class _Table:
    """One table of the file, read key by key; what was never asked for is refused at the end."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise ScenarioError(where, "must be a table")
        self.raw: dict[str, Any] = raw
        self.where = where
        self.seen: set[str] = set()

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(key)
        return self.raw.get(key, default)

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        value = self.get(key, default)
        if value is None:
            raise ScenarioError(self.at(key), "is missing")
        if type(value) is not int or not low <= value <= high:
            raise ScenarioError(
                self.at(key), f"{value!r} is not a whole number within {low}..{high}"
            )
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        value = self.get(key, default)
        if value is None:
            raise ScenarioError(self.at(key), "is missing")
        if type(value) not in (int, float) or not low <= value <= high:
            raise ScenarioError(self.at(key), f"{value!r} is not a number within {low}..{high}")
        return float(value)

    def text(self, key: str, default: str | None, among: Iterable[str] = ()) -> str:
        value = self.get(key, default)
        if value is None:
            raise ScenarioError(self.at(key), "is missing")
        if not isinstance(value, str):
            raise ScenarioError(self.at(key), f"{value!r} is not text")
        choices = tuple(among)
        if choices and value not in choices:
            raise ScenarioError(self.at(key), f"{value!r} is not one of {', '.join(choices)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if type(value) is not bool:
            raise ScenarioError(self.at(key), f"{value!r} is not true or false")
        return value

    def time(self, key: str, default: object = None) -> int:
        value = self.get(key, default)
        if value is None:
            raise ScenarioError(self.at(key), "is missing")
        return milliseconds(value, self.at(key))

    def table(self, key: str) -> _Table:
        return _Table(self.get(key, {}), self.at(key))

    def tables(self, key: str) -> list[_Table]:
        value = self.get(key, [])
        if not isinstance(value, list):
            raise ScenarioError(self.at(key), f"must be a list of tables: write [[{key}]]")
        return [_Table(one, f"{self.at(key)}[{n}]") for n, one in enumerate(value, 1)]

    def done(self) -> None:
        unknown = sorted(set(self.raw) - self.seen)
        if unknown:
            known = ", ".join(sorted(self.seen))
            raise ScenarioError(self.at(unknown[0]), f"is not known here (known: {known})")


def shipped() -> list[str]:
    """Names of the scenarios that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name: str | Path) -> Scenario:
    """The scenario in this file, or the shipped one of this name. ScenarioError says what is wrong
    with it.
    """
    path = Path(name)
    if path.suffix != ".toml" and str(name) in shipped():
        path = SHIPPED / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        names = ", ".join(shipped())
        raise ScenarioError(
            "", f"{name}: no such scenario (a TOML file, or one of {names})"
        ) from e
    return parse(text, path.stem, path.parent)


def parse(text: str, name: str, folder: Path = SHIPPED) -> Scenario:
    """The scenario in this text; recordings with a file name are looked for in `folder`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ScenarioError("", f"{name}: not TOML: {e}") from e
    top = _Table(raw, "")
    duration_ms = top.time("duration")
    if not duration_ms:
        raise ScenarioError("duration", "must be above 0")
    site = top.table("site")
    limit_a = site.whole("limit_a", None, 1, 1000)
    phases = site.whole("phases", 1, 1, 3)
    chargers = tuple(_charger(t, n, phases) for n, t in enumerate(top.tables("charger"), 1))
    start = top.get("start")
    if start is not None and (not isinstance(start, dt.datetime) or start.tzinfo is not None):
        raise ScenarioError("start", "must be a local date and time such as 2022-09-14T23:20:00")
    generated = _bays(top.table("garage"), start, phases, duration_ms)
    chargers += generated[0]
    names = [c.name for c in chargers]
    if not chargers:
        raise ScenarioError("charger", "a scenario needs at least one [[charger]] or a [garage]")
    for n, one in enumerate(names):
        if one in names[:n]:
            raise ScenarioError(f"charger[{n + 1}].name", f"{one} is there twice")
    by_name = {c.name: c for c in chargers}
    cars = (
        tuple(_car(t, n, by_name, duration_ms) for n, t in enumerate(top.tables("car"), 1))
        + generated[1]
    )
    _one_car_at_a_time(cars)
    scenario = Scenario(
        name=name,
        title=top.text("title", name),
        seed=top.whole("seed", 1, 0, 2**31 - 1),
        duration_ms=duration_ms,
        start=start,
        site=dict(site.raw),
        feeders=tuple(t.raw for t in top.tables("feeder")),
        windows=tuple(t.raw for t in top.tables("window")),
        limit_a=limit_a,
        phases=phases,
        policy=site.text("policy", "fair"),
        breaker=_breaker(top.table("breaker"), limit_a),
        meter=_meter(top.table("meter")),
        network=_network(top.table("network")),
        house=_house(top.table("house"), phases, folder),
        solar=_house(top.table("solar"), phases, folder) if "solar" in raw else None,
        chargers=chargers,
        cars=cars,
        events=tuple(
            sorted((_event(t, by_name) for t in top.tables("event")), key=lambda e: e.at_ms)
        ),
        marks=tuple(sorted((_mark(t) for t in top.tables("mark")), key=lambda m: m.at_ms)),
    )
    top.done()
    return scenario


def _breaker(table: _Table, limit_a: int) -> Breaker:
    try:
        return named(table.raw, limit_a)
    except BreakerError as e:
        raise ScenarioError(table.at(e.field), str(e).removeprefix(f"{e.field}: ")) from e


def _meter(table: _Table) -> Meter:
    name = table.text("name", "Counter-1")
    if not is_device_name(name):
        raise ScenarioError(
            table.at("name"),
            f"{name!r} is not a device name: letters, digits, - and _, at most 24",
        )
    made = Meter(
        name=name,
        role=table.text("role", "grid", ("house", "grid")),
        poll_ms=round(table.number("poll_s", 0.2, 0.1, 3600) * 1000),
        lag_ms=round(table.number("lag_s", 0, 0, 600) * 1000),
    )
    table.done()
    return made


def _network(table: _Table) -> Network:
    delay = table.get("delay_ms", [2, 10])
    ok = isinstance(delay, list) and len(delay) == 2 and all(type(v) is int for v in delay)
    if not ok or not 0 <= delay[0] <= delay[1] <= 600_000:
        raise ScenarioError(table.at("delay_ms"), f"{delay!r} is not [least, most] in ms")
    made = Network(
        (delay[0], delay[1]),
        table.number("loss", 0, 0, 0.99),
        table.number("duplicate", 0, 0, 0.99),
    )
    table.done()
    return made


def _currents(value: object, phases: int, where: str) -> tuple[int, ...]:
    values: list[Any] = value if isinstance(value, list) else [value]
    if len(values) not in (1, phases):
        raise ScenarioError(
            where, f"{value!r}: give one current, or one for each of the {phases} phases"
        )
    for v in values:
        if type(v) not in (int, float) or not 0 <= v <= 1000:
            raise ScenarioError(where, f"{v!r} is not a current within 0..1000 A")
    if len(values) < phases:
        values = values * phases
    return tuple(round(v * 1000) for v in values)


def _house(table: _Table, phases: int, folder: Path) -> House:
    steps = table.get("steps")
    recording = table.text("recording", "")
    if steps is not None and recording:
        raise ScenarioError(table.where, "has both steps and a recording: give one")
    from_s = table.time("from", 0) // 1000
    scale = table.number("scale", 1, 0, 1000)
    shift_days = table.whole("shift_days", 0, 0, 365)
    if recording:
        if recording.endswith((".csv", ".csv.gz", ".txt.gz")):
            recording = str(folder / recording)
        table.done()
        return House(((0, (0,) * phases),), recording, from_s, shift_days, scale)
    out: list[tuple[int, tuple[int, ...]]] = []
    for n, one in enumerate(steps if isinstance(steps, list) else [], 1):
        step = _Table(one, f"{table.at('steps')}[{n}]")
        at_ms = step.time("at")
        if out and at_ms <= out[-1][0]:
            raise ScenarioError(step.at("at"), "is not after the step before it")
        amps = _currents(step.get("a"), phases, step.at("a"))
        out.append((at_ms, tuple(round(v * scale) for v in amps)))
        step.done()
    if steps is not None and not out:
        raise ScenarioError(table.at("steps"), "must be a list such as [{at = 0, a = 3.2}]")
    if not out or out[0][0]:
        out.insert(0, (0, (0,) * phases))
    table.done()
    return House(tuple(out))


def _wiring(table: _Table, own: int, phases: int) -> tuple[int, ...]:
    wiring = table.get("wiring", list(range(1, own + 1)))
    ok = (
        isinstance(wiring, list)
        and len(wiring) == own
        and all(type(p) is int and 1 <= p <= phases for p in wiring)
    )
    if not ok or len(set(wiring)) != own:
        raise ScenarioError(
            table.at("wiring"),
            f"{wiring!r} must name {own} of the building's phases 1..{phases}, each once",
        )
    return tuple(wiring)


def _charger(table: _Table, n: int, phases: int) -> Charger:
    name = table.text("name", f"Charger-{n}")
    if not is_device_name(name):
        raise ScenarioError(
            table.at("name"),
            f"{name!r} is not a device name: letters, digits, - and _, at most 24",
        )
    own = table.whole("phases", 1, 1, 3)
    if own > phases:
        raise ScenarioError(
            table.at("phases"), f"{own} phases on a building with {phases}: set site.phases"
        )
    min_a = table.whole("min_a", 6, 6, 80)
    max_a = table.whole("max_a", 32, 6, 80)
    if min_a > max_a:
        raise ScenarioError(table.at("min_a"), f"{min_a} is above max_a = {max_a}")
    failsafe_a = table.whole("failsafe_a", 0, 0, 80)
    if failsafe_a and not min_a <= failsafe_a <= max_a:
        raise ScenarioError(
            table.at("failsafe_a"), f"{failsafe_a} is neither 0 nor within {min_a}..{max_a}"
        )
    made = Charger(
        name,
        min_a,
        max_a,
        own,
        _wiring(table, own, phases),
        failsafe_a,
        table.flag("meter", True),
        table.whole("priority", 0, 0, 9),
        table.text("feeder", ""),
    )
    table.done()
    return made


def _car(table: _Table, n: int, chargers: Mapping[str, Charger], duration_ms: int) -> Car:
    charger = table.text("charger", None)
    if charger not in chargers:
        raise ScenarioError(
            table.at("charger"), f"{charger!r} is none of the chargers ({', '.join(chargers)})"
        )
    raw = table.get("events", [{"at": 0, "do": "arrive"}])
    if not isinstance(raw, list) or not raw:
        raise ScenarioError(
            table.at("events"), 'must be a list such as [{at = "0:10", do = "arrive"}]'
        )
    events: list[tuple[int, str]] = []
    present = False
    for i, one in enumerate(raw, 1):
        event = _Table(one, f"{table.at('events')}[{i}]")
        at_ms = event.time("at")
        do = event.text("do", None, CAR_EVENTS)
        if events and at_ms < events[-1][0]:
            raise ScenarioError(event.at("at"), "is before the event above it")
        if at_ms > duration_ms:
            raise ScenarioError(event.at("at"), "is after the end of the scenario (duration)")
        if do == "arrive" if present else do != "arrive":
            state = "already there" if present else "not there"
            raise ScenarioError(event.at("do"), f"the car is {state}, it cannot {do}")
        present = do != "leave"
        events.append((at_ms, do))
        event.done()
    wants = table.get("wants_kwh")
    wants_wh = None if wants is None else round(table.number("wants_kwh", None, 0.1, 200) * 1000)
    properties: dict[str, Any] = {
        "max_a": table.whole("max_a", 32, 1, 80),
        "phases": table.whole("phases", 1, 1, 3),
        "wants_wh": wants_wh,
        "follow_ms": round(table.number("follow_s", 1.0, 0, 5) * 1000),
    }
    for key in ("taper", "ramp_a_s", "uses_a"):
        if table.get(key) is not None:
            properties[key] = table.number(key, None, 0, 1000)
    for key in ("sleepy", "obeys"):
        if table.get(key) is not None:
            properties[key] = table.flag(key, default=True)
    try:
        EvCar.named(properties)
    except CarError as e:
        raise ScenarioError(table.where, str(e)) from e
    made = Car(
        charger=charger,
        name=table.text("name", f"Car-{n}"),
        properties=properties,
        wants_wh=wants_wh,
        departs_ms=None if table.get("departs") is None else table.time("departs"),
        events=tuple(events),
    )
    table.done()
    return made


def _one_car_at_a_time(cars: Iterable[Car]) -> None:
    visits: dict[str, list[tuple[int, int, str]]] = {}
    for car in cars:
        for at_ms, do in car.events:
            if do == "arrive":
                leaves = [t for t, what in car.events if what == "leave" and t >= at_ms]
                visits.setdefault(car.charger, []).append(
                    (at_ms, leaves[0] if leaves else 2**62, car.name)
                )
    for charger, spans in visits.items():
        spans.sort()
        for (_, end, first), (begin, _, second) in pairwise(spans):
            if begin < end:
                raise ScenarioError(
                    "car", f"{first} and {second} stand at {charger} at the same time"
                )


def _event(table: _Table, chargers: Mapping[str, Charger]) -> SiteEvent:
    what = table.text("do", None, SITE_EVENTS)
    value: int | str | None = None
    if what == "limit":
        value = table.whole("limit_a", None, 0, 1000)
    elif what == "policy":
        value = table.text("policy", None, POLICIES)
    elif what == "source":
        value = table.text("source", None, SOURCES)
    elif what in ("charger_down", "charger_up"):
        value = table.text("charger", None, chargers)
    made = SiteEvent(table.time("at"), what, value)
    table.done()
    return made


def _mark(table: _Table) -> Mark:
    made = Mark(table.time("at"), table.text("label", None), table.text("text", ""))
    table.done()
    return made


def _bays(
    table: _Table, start: dt.datetime | None, phases: int, duration_ms: int
) -> tuple[tuple[Charger, ...], tuple[Car, ...]]:
    """[garage]: one bay for each user of a recorded garage. Nothing where there is no such
    table.
    """
    if not table.raw:
        return (), ()
    bays = table.whole("bays", None, 1, 60)
    garages = table.get("garages", [])
    if not isinstance(garages, list) or not all(isinstance(g, str) for g in garages):
        raise ScenarioError(table.at("garages"), 'must be a list of names such as ["Bl2"]')
    max_a = table.whole("max_a", 32, 6, 80)
    if start is None:
        raise ScenarioError("start", "is missing: a [garage] takes its cars from that date on")
    table.done()
    found = visits(garages, start, duration_ms // 1000, bays)
    if not found:
        raise ScenarioError(table.where, f"nobody charged there from {start} on")
    users = list(dict.fromkeys(visit.user for visit in found))
    chargers = [
        Charger(f"Bay-{n + 1}", max_a=max_a, wiring=(n % phases + 1,)) for n in range(bays)
    ]
    cars: list[Car] = []
    for n, user in enumerate(users):
        stays = [visit for visit in found if visit.user == user]
        # What the recording needs: a car that took more than 3.7 kW on average has a 32 A charger.
        hardest_w = max(v.energy_wh * 3600 / (v.leaves_s - v.arrives_s) for v in stays)
        car_a = 32 if hardest_w > 16 * VOLTS else 16
        cars += [
            Car(
                charger=f"Bay-{n + 1}",
                name=user,
                properties={"max_a": car_a, "wants_wh": stay.energy_wh, "follow_ms": 1000},
                wants_wh=stay.energy_wh,
                departs_ms=stay.leaves_s * 1000,
                events=((stay.arrives_s * 1000, "arrive"), (stay.leaves_s * 1000, "leave")),
            )
            for stay in stays
        ]
    return tuple(chargers), tuple(cars)
