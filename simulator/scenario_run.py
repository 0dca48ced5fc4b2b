"""Runs a scenario: the manager's own core and the chargers' own parts on a simulated clock and
network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from manager.core.commands import Note, Send
from manager.core.decide import decide
from manager.core.events import Announced, Configured, Event, Offline, Online, Report, Tick, Wished
from manager.core.site import MAIN, NO_MINUTE, Feeder, Site, Wants
from shared import protocol
from simulator.car import Car
from simulator.scenario import Car as CarSpec
from simulator.scenario import Scenario, SiteEvent
from simulator.scenario_clock import Clock, Wire
from simulator.scenario_devices import ChargerBox, Circuit, Device, MeterBox
from simulator.scenario_house import draws
from simulator.scenario_record import Record
from simulator.scenario_site import kept, restored, site_of

ROOT = "ievcc/simulated"
_WILL_MS = 15_000  # one and a half keep-alives: then the broker says that a device is gone
_TICK_MS = 1_000
SUN_METER = "Counter-sun"


def run(
    scenario: Scenario, speed: float = 0, progress: Callable[[int], None] | None = None
) -> Record:
    """The whole scenario; `speed` simulated seconds a second, 0: as fast as it goes."""
    return Building(scenario).run(speed, progress)


def _key(name: str) -> bytes:
    return hashlib.sha256(b"simulated " + name.encode()).digest()


class ManagerBox:
    """The manager's shell, in little: opens what comes, lets the core decide, seals what goes."""

    def __init__(self, building: Building, site: Site) -> None:
        self.building = building
        self.clock = building.clock
        self.first = site
        self.site = site
        self.disk = kept(site)
        self.up = True
        self.boot = 0
        self.senders: dict[str, protocol.Sender] = {}
        self.receivers: dict[str, protocol.Receiver] = {}
        self.waiting: list[tuple[str, bytes]] = []  # kept by the broker while the manager is away
        self.receive = self._receive

    def start(self) -> None:
        """Start, or start again with what the disk holds."""
        self.boot += 1
        self.up = True
        self.senders = {
            name: protocol.Sender(_key(name), self.boot) for name in self.building.devices
        }
        last = {name: r.last for name, r in self.receivers.items()}
        self.receivers = {
            name: protocol.Receiver(_key(name), last.get(name, (0, 0)))
            for name in self.building.devices
        }
        waiting, self.waiting = self.waiting, []
        for topic, data in waiting:
            self._receive(topic, data)

    def _receive(self, topic: str, data: bytes) -> None:
        if not self.up:
            self.waiting.append((topic, data))
            return
        rest = topic.removeprefix(ROOT + "/")
        try:
            if rest.endswith("/up"):
                device = rest[:-3]
                self.happens(Report(device, self.receivers[device].open(topic, data)))
            else:
                device = str(protocol.decode(data).get("id", ""))
                self.happens(Announced(rest, self.receivers[device].open(topic, data)))
        except protocol.ProtocolError as e:
            self.building.record.told(self.clock.now_ms, "manager", "refused", topic, str(e))

    def happens(self, event: Event) -> None:
        """Let the core decide and do what it says."""
        if not self.up:
            return
        now_ms = self.clock.now_ms
        self.site, commands = decide(self.site, event, now_ms)
        if isinstance(event, Announced):
            self.disk = kept(self.site)
        for command in commands:
            if isinstance(command, Note):
                self.building.record.told(
                    now_ms, command.device or "manager", command.kind, "", command.words
                )
            elif isinstance(command, Send):
                if command.keep_first:
                    self.disk = kept(self.site)
                self._send(command.device, dict(command.message))

    def _send(self, device: str, message: dict[str, Any]) -> None:
        topic = f"{ROOT}/{device}/down"
        data = self.senders[device].seal(topic, message)
        box = self.building.devices[device]
        self.building.wire.send(f">{device}", topic, data, box.heard)

    def tick(self) -> None:
        """Time passes."""
        self.clock.at(self.clock.now_ms + _TICK_MS, self.tick)
        self.happens(Tick(minute=self.building.minute()))


class Building:
    """One run: clock, wire, devices, cars, manager, record."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.clock = Clock()
        self.wire = Wire(self.clock, scenario.network, scenario.seed)
        self.record = Record(scenario)
        self.house_ma: tuple[int, ...] = (0,) * scenario.phases
        self.sun_ma: tuple[int, ...] = (0,) * scenario.phases
        self.sun_circuit = Circuit(scenario.phases)
        self.cars_ma: dict[str, tuple[int, ...]] = {}
        self.circuit = Circuit(scenario.phases)
        self.meter = MeterBox(
            scenario.meter, scenario.phases, ROOT, self.clock, self.wire,
            _key(scenario.meter.name), self.circuit,
        )  # fmt: skip
        self.chargers = {
            c.name: ChargerBox(c, scenario.meter.name, ROOT, self.clock, self.wire, _key(c.name))
            for c in scenario.chargers
        }
        self.meters = [self.meter]
        if scenario.solar and scenario.meter.role == "house":
            # A meter on the main cable sees the sun as well; this one does not.
            spec = replace(scenario.meter, name=SUN_METER, role="solar")
            self.meters.append(
                MeterBox(spec, scenario.phases, ROOT, self.clock, self.wire, _key(SUN_METER),
                         self.sun_circuit)
            )  # fmt: skip
        self.devices: dict[str, Device] = {m.name: m for m in self.meters}
        self.devices.update(self.chargers)
        self.manager = ManagerBox(self, site_of(scenario))
        for name, box in self.chargers.items():
            self._listen(name, box)
        for device in self.devices.values():
            device.to_manager = self.manager.receive

    def run(self, speed: float, progress: Callable[[int], None] | None) -> Record:
        """From 0 to the scenario's end."""
        clock, scenario = self.clock, self.scenario
        self._plays(draws(scenario, scenario.house), self._house_draws)
        if scenario.solar:
            self._plays(draws(scenario, scenario.solar), self._sun_gives)
        self.manager.start()
        clock.at(0, self.manager.tick)
        for meter in self.meters:
            meter.start()
        # One after the other, as they were installed: the order of registration is the scenario's.
        for n, box in enumerate(self.chargers.values(), 1):
            clock.at(200 * n, box.start)
        for spec in scenario.cars:
            for at_ms, do in spec.events:
                clock.at(at_ms, lambda spec=spec, do=do: self._drive(spec, do))  # type: ignore[misc]
        for event in scenario.events:
            clock.at(event.at_ms, lambda event=event: self._happens(event))  # type: ignore[misc]
        clock.run(scenario.duration_ms, speed, progress)
        self.record.finish(scenario.duration_ms)
        self.record.messages = self.wire.messages
        self.record.message_bytes = self.wire.bytes
        self.record.lost = self.wire.lost
        return self.record

    # -- The world

    def minute(self) -> int:
        """Minute of the local week, where the scenario says when it begins."""
        start = self.scenario.start
        if start is None:
            return NO_MINUTE
        minutes = start.weekday() * 1440 + start.hour * 60 + start.minute
        return (minutes + self.clock.now_ms // 60_000) % 10_080

    def _plays(
        self,
        steps: Iterator[tuple[int, tuple[int, ...]]],
        happens: Callable[[tuple[int, ...]], None],
    ) -> None:
        step = next(steps, None)
        if step is None:
            return
        at_ms, amps = step

        def change() -> None:
            happens(amps)
            self._flows()
            self._plays(steps, happens)

        self.clock.at(at_ms, change)

    def _house_draws(self, amps: tuple[int, ...]) -> None:
        self.house_ma = amps
        self.record.house_draws(self.clock.now_ms, amps)

    def _sun_gives(self, amps: tuple[int, ...]) -> None:
        self.sun_ma = amps
        self.record.sun_gives(self.clock.now_ms, amps)

    def _flows(self) -> None:
        """What flows through the meter has changed."""
        amps = self.house_ma
        if self.scenario.meter.role == "grid":
            cars = self.cars_ma.values()
            amps = tuple(
                ma + sum(c[p] for c in cars) - self.sun_ma[p] for p, ma in enumerate(amps)
            )
        self.circuit.put(self.clock.now_ms, amps)
        self.sun_circuit.put(self.clock.now_ms, self.sun_ma)

    def _listen(self, name: str, box: ChargerBox) -> None:
        wiring = box.spec.wiring

        def drew(amps: tuple[int, ...]) -> None:
            spread = [0] * self.scenario.phases
            for phase, ma in zip(wiring, amps, strict=True):
                spread[phase - 1] = ma
            self.cars_ma[name] = tuple(spread)
            self._flows()
            self.record.car_draws(self.clock.now_ms, name, tuple(spread))
            self._wanting(name)

        def offered(amps: int, why: str) -> None:
            self.record.offers(self.clock.now_ms, name, amps, why)
            self._wanting(name)

        def switched(closed: bool) -> None:
            self.record.closed(self.clock.now_ms, name, closed)

        box.drew, box.offered, box.switched = drew, offered, switched

    def _wanting(self, name: str) -> None:
        car = self.chargers[name].car
        self.record.wants(self.clock.now_ms, name, car is not None and car.wants)

    def _drive(self, spec: CarSpec, do: str) -> None:
        name = spec.charger
        box = self.chargers[name]
        self.record.told(self.clock.now_ms, spec.name, do, name)
        if do == "arrive":
            box.car = Car.named(dict(spec.properties))
            bay = self.record.bays[name]
            bay.visits += 1
            bay.wanted_wh += spec.wants_wh or 0
            if spec.wants_wh or spec.departs_ms:
                self.manager.happens(Wished(name, Wants(spec.wants_wh, spec.departs_ms)))
        elif do == "leave":
            box.car = None
            if spec.wants_wh or spec.departs_ms:
                self.manager.happens(Wished(name, None))
        elif box.car is not None and do == "start":
            box.car.start()
        elif box.car is not None:
            box.car.stop()
        self._wanting(name)
        box.touch()

    def _happens(self, event: SiteEvent) -> None:
        self.record.told(self.clock.now_ms, "scenario", event.what, event.value or "")
        manager, what = self.manager, event.what
        if what == "limit":
            limit_a = int(event.value or 0)
            feeder = Feeder(MAIN, (limit_a * 1000,) * self.scenario.phases)
            self.record.limited(self.clock.now_ms, limit_a)
            manager.happens(Configured(feeders={MAIN: feeder}))
        elif what in ("policy", "source"):
            change: dict[str, Any] = {what: event.value}
            settings = replace(manager.site.settings, **change)
            manager.happens(Configured(settings=settings))
        elif what in ("meter_silent", "meter_back"):
            self.meter.silent = what == "meter_silent"
        elif what == "manager_down":
            manager.up = False
        elif what == "manager_up":
            manager.site = restored(manager.disk, self.clock.now_ms)
            manager.start()
        elif what == "network_down":
            self.wire.up = False
            for name, device in self.devices.items():
                device.session = 0
                self.clock.at(self.clock.now_ms + _WILL_MS, lambda n=name: self._will(n))  # type: ignore[misc]
        elif what == "network_up":
            self.wire.up = True
            for device in self.devices.values():
                self._joins(device)
        elif what == "charger_down":
            box = self.chargers[str(event.value)]
            box.stop()
            self.clock.at(self.clock.now_ms + _WILL_MS, lambda: self._will(box.name))
        elif what == "charger_up":
            self.chargers[str(event.value)].start()

    def _will(self, name: str) -> None:
        """The broker has not heard of a device for too long and publishes its last will."""
        if not self.devices[name].session:
            self.manager.happens(Offline(name))

    def _joins(self, device: Device) -> None:
        self._sessions += 1
        device.session = self._sessions
        self.manager.happens(Online(device.name))

    _sessions = 1
