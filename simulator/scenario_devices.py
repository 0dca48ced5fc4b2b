"""The devices of a scenario: a meter with its poll and its lag, and chargers made of the
firmware's own parts.

A charger here is the firmware's state machine, pilot arithmetic, lease and registration, its car
on the one side and the wire on the other; messages are really encoded, signed, checked and
decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from firmware.charger import pilot
from firmware.charger.evse import Evse, Inputs, Settings
from firmware.charger.lease import LeaseHolder
from firmware.common.registration import Registration
from shared import protocol
from simulator.car import FOLLOW_LIMIT_MS, Car
from simulator.scenario import VOLTS, Charger, Meter
from simulator.scenario_clock import Clock, Wire

WINDOW_MS = 20  # one window of the pilot: the firmware's step
_DENSE_MS = 1_500  # so long after a change every window is stepped: all debouncing is over by then
_CAR_MS = 100  # while a car may still be following
_LAZY_MS = 1_000
_STILL_MS = 200_000  # longer than any timer of the state machine runs without something changing
_STATUS_MS = 10_000
_MEASURE_MS = 1_000
_THRESHOLD_MA = 200
_ROUNDED_MA = 30
_PILOT_MV = {"A": 12_000, "B": 9_000, "C": 6_000}

Deliver = Callable[[str, bytes], None]


class Circuit:
    """A measuring circuit as slow as a PZEM-004T: it shows a step not before 1.0 s, wholly after
    2.65 s.

    What it shows is the mean of what there was between these two ages.
    """

    EARLIEST_MS = 1_000
    LATEST_MS = 2_650

    def __init__(self, phases: int) -> None:
        self._changes: deque[tuple[int, tuple[int, ...]]] = deque([(0, (0,) * phases)])

    def put(self, at_ms: int, amps: tuple[int, ...]) -> None:
        """So much flows from `at_ms` on, mA on each phase."""
        changes = self._changes
        if changes[-1][1] == amps:
            return
        while len(changes) > 1 and changes[1][0] <= at_ms - self.LATEST_MS:
            changes.popleft()
        changes.append((at_ms, amps))

    def shows(self, now_ms: int) -> tuple[int, ...]:
        """What it shows now."""
        changes = self._changes
        end_ms = now_ms - self.EARLIEST_MS
        while len(changes) > 1 and changes[1][0] <= now_ms - self.LATEST_MS:
            changes.popleft()
        if len(changes) == 1:
            return changes[0][1]
        begin_ms = now_ms - self.LATEST_MS
        sums = [0] * len(changes[0][1])
        for n, (at_ms, amps) in enumerate(changes):
            until_ms = changes[n + 1][0] if n + 1 < len(changes) else end_ms
            share = min(until_ms, end_ms) - max(at_ms, begin_ms)
            if share > 0:
                for p, ma in enumerate(amps):
                    sums[p] += ma * share
        return tuple(round(total / (end_ms - begin_ms)) for total in sums)


class Device:
    """What meter and charger have in common: a name, keys, a link that may be down,
    registration.
    """

    def __init__(self, name: str, root: str, clock: Clock, wire: Wire, key: bytes) -> None:
        self.name = name
        self.root = root
        self.clock = clock
        self.wire = wire
        self.key = key
        self.to_manager: Deliver = lambda _topic, _data: None
        self.boot = 0
        self.session = 0  # of the link; 0: not connected
        self.registration = Registration()
        self.sender = protocol.Sender(key, 0)
        self.receiver = protocol.Receiver(key)
        self.rejected = 0
        self.started_ms = 0

    def start(self) -> None:
        """Power on: a boot number higher than all before."""
        self.boot += 1
        self.session = 1
        self.registration = Registration()
        self.sender = protocol.Sender(self.key, self.boot)
        self.receiver = protocol.Receiver(self.key, self.receiver.last, self.boot)
        self.rejected = 0
        self.started_ms = self.clock.now_ms

    def publish(self, message: dict[str, Any], topic: str = "") -> int:
        """Seal and send on "<name>/up", or on another topic below the root; gives its number."""
        topic = f"{self.root}/{topic or self.name + '/up'}"
        data = self.sender.seal(topic, message)
        self.wire.send(f"{self.name}>", topic, data, self.to_manager)
        return self.sender.seq

    def heard(self, topic: str, data: bytes) -> None:
        """Something came on "<name>/down"."""
        if not self.session:
            return
        try:
            message = self.receiver.open(topic, data)
        except protocol.ProtocolError:
            self.rejected += 1
            return
        if message["code"] == protocol.REPLY:
            self.registration.reply(message)
        else:
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        """A message that is not an answer to the registration."""

    @property
    def uptime_s(self) -> int:
        """Since power-on."""
        return (self.clock.now_ms - self.started_ms) // 1000


class MeterBox(Device):
    """The building's meter: asks its circuit every `poll_ms`, says what changed, and all of it
    every second or poll.
    """

    def __init__(
        self,
        spec: Meter,
        phases: int,
        root: str,
        clock: Clock,
        wire: Wire,
        key: bytes,
        circuit: Circuit,
    ) -> None:
        super().__init__(spec.name, root, clock, wire, key)
        self.spec = spec
        self.phases = phases
        self.silent = False
        self._circuit = circuit
        self._told: tuple[int, ...] = ()
        self._told_ms = -1_000_000
        self._status_ms = -1_000_000
        self._energy_mwh = [0.0] * phases

    def start(self) -> None:
        super().start()
        self._status_ms = -1_000_000
        self.clock.at(self.clock.now_ms, self._poll)

    def _poll(self) -> None:
        now_ms = self.clock.now_ms
        self.clock.at(now_ms + self.spec.poll_ms, self._poll)
        if self.silent:
            return
        if self.registration.due(self.session, now_ms):
            message = {
                "code": protocol.NEW_COUNTER, "id": self.name, "model": "PZEM-004T-v3",
                "firmware": "simulated", "phases": self.phases, "role": self.spec.role,
            }  # fmt: skip
            self.registration.sent(self.publish(message, protocol.HELLO), now_ms)
        if not self.registration.accepted:
            return
        if now_ms - self._status_ms >= _STATUS_MS:
            self._status_ms = now_ms
            self.publish({
                "code": protocol.COUNTER_STATUS, "state": "ok", "faults": [],
                "rejected": self.rejected, "uptime_s": self.uptime_s,
            })  # fmt: skip
        amps = self._circuit.shows(now_ms)
        for p, ma in enumerate(amps):
            self._energy_mwh[p] += max(0, ma) * VOLTS * self.spec.poll_ms / 3_600_000
        if self.spec.lag_ms:
            # A slow circuit or a gateway in between: what is read now is sent when it is old.
            self.clock.at(now_ms + self.spec.lag_ms, lambda: self._tell(amps, self.spec.lag_ms))
        else:
            self._tell(amps, 0)

    def _tell(self, amps: tuple[int, ...], age_ms: int) -> None:
        now_ms = self.clock.now_ms
        if self.silent:
            return
        changed = not self._told or any(
            abs(new - old) >= _THRESHOLD_MA for new, old in zip(amps, self._told, strict=True)
        )
        if not changed and now_ms - self._told_ms < 1000:
            return
        self._told, self._told_ms = amps, now_ms
        self.publish({
            "code": protocol.COUNTER_LOAD,
            "current_ma": [abs(ma) for ma in amps],
            "voltage_dv": [VOLTS * 10] * self.phases,
            "power_w": [ma * VOLTS // 1000 for ma in amps],
            "energy_wh": [int(mwh / 1000) for mwh in self._energy_mwh],
            "pf_pct": [100] * self.phases,
            "freq_mhz": 50_000,
            "age_ms": min(600_000, age_ms),
        })  # fmt: skip


class ChargerBox(Device):
    """A charger: state machine, lease and pilot of the firmware, its own meter, and the car in
    front of it.

    `drew` is called with the mA on each of the charger's phases when they change, `offered` with
    the amperes on the pilot, `switched` when the contactor moves.
    """

    def __init__(
        self, spec: Charger, counter: str, root: str, clock: Clock, wire: Wire, key: bytes
    ) -> None:
        super().__init__(spec.name, root, clock, wire, key)
        self.spec = spec
        self.counter = counter
        self.car: Car | None = None
        self.powered = False  # the board has mains
        self.drew: Callable[[tuple[int, ...]], None] = lambda _amps: None
        self.offered: Callable[[int, str], None] = lambda _amps, _why: None
        self.switched: Callable[[bool], None] = lambda _closed: None
        self.latches: dict[str, int] = {}
        self._session_mas = 0.0
        self._next_ms = -1
        self._wire_amps: tuple[int, ...] = (0,) * spec.phases
        self._circuit = Circuit(spec.phases)

    def start(self) -> None:
        super().start()
        now_ms = self.clock.now_ms
        settings = Settings()
        settings.max_a = self.spec.max_a
        self.powered = True
        self.evse = Evse(settings, self.latches, now_ms)
        self.inputs = Inputs()
        self.lease = LeaseHolder(self.boot, self.spec.failsafe_a)
        self._skipped_ms = 0  # time the state machine stood still
        self._stepped_ms = now_ms
        self._changed_ms = now_ms
        self._seen: tuple[Any, ...] = ()
        self._shown: tuple[Any, ...] = ()
        self._status_ms = -1_000_000
        self._measured_ms = -1_000_000
        self._load_ms = -1_000_000
        self._own: tuple[int, ...] = (0,) * self.spec.phases
        self._told_own = self._own
        self._energy_mas = 0.0
        self._energy_at = now_ms
        self._wake(now_ms)

    def stop(self) -> None:
        """The mains are gone: the contactor drops, the pilot is dead, the link is lost."""
        self.powered = False
        self.session = 0
        self.evse.out.contactor = False
        self.offered(0, "no mains")
        self.switched(False)
        if self.car:
            self.car.step(self.clock.now_ms, duty_permille=0, pilot_mv=0, live=False)
        self._draw()

    def touch(self) -> None:
        """Something changed outside (a car came, went, changed its mind): look at once."""
        self._changed_ms = self.clock.now_ms
        if self.powered:
            self._wake(self.clock.now_ms)

    def _wake(self, at_ms: int) -> None:
        if self._next_ms < 0 or at_ms < self._next_ms or self._next_ms < self.clock.now_ms:
            self._next_ms = at_ms
            self.clock.at(at_ms, lambda: self._awake(at_ms))

    def _awake(self, at_ms: int) -> None:
        if at_ms != self._next_ms or not self.powered:
            return
        self._next_ms = -1
        self._step()

    def take(self, message: dict[str, Any]) -> None:
        if message["code"] == protocol.AVAILABLE_LOAD:
            if self.lease.offer(message, self.clock.now_ms):
                self._status_ms = -1_000_000  # a lease is confirmed at once
                self._wake(self.clock.now_ms)
            else:
                self.rejected += 1

    # -- One round

    def _step(self) -> None:
        now_ms = self.clock.now_ms
        letter = "A"
        if self.car:
            self._see_car(now_ms)
            letter = self.car.letter
        limit_a = self.lease.limit_a(now_ms)
        seen = (letter, limit_a)
        if seen != self._seen:
            self._seen = seen
            self._changed_ms = now_ms
        still = now_ms - self._changed_ms > _STILL_MS and not self.evse.test.running
        if not still:
            self._machine(now_ms, letter, limit_a)
        if self.car:
            self._see_car(now_ms)
        self._draw()
        # Its own meter is the safety lane's too: it is read whether anybody listens or not.
        if self.spec.meter and now_ms - self._measured_ms >= _MEASURE_MS:
            self._measure(now_ms)
        self._talk(now_ms)
        since_ms = now_ms - self._changed_ms
        if since_ms < _DENSE_MS or self.evse.test.running:
            at_ms = now_ms + WINDOW_MS
        else:
            at_ms = now_ms + (_CAR_MS if since_ms < FOLLOW_LIMIT_MS + _DENSE_MS else _LAZY_MS)
        if still:
            at_ms = min(self._status_ms + _STATUS_MS, now_ms + _STATUS_MS)
            if self._load_due():
                at_ms = min(at_ms, self._measured_ms + _MEASURE_MS)
        if self.car:
            at_ms = min(at_ms, self._full_ms(now_ms))
        left_ms = self.lease.left_ms(now_ms)
        if left_ms:
            at_ms = min(at_ms, now_ms + left_ms)
        self._wake(max(at_ms, now_ms + 1))

    def _see_car(self, now_ms: int) -> None:
        if self.car:
            out = self.evse.out
            volts = _PILOT_MV[self.car.letter]
            if out.duty == pilot.STEADY_LOW:
                volts = -12_000
            self.car.step(now_ms, duty_permille=out.duty, pilot_mv=volts, live=out.contactor)

    def _full_ms(self, now_ms: int) -> int:
        """When the car will have all it wants, if it goes on as now."""
        car = self.car
        if car is None or car.wants_wh is None or not car.ma or not car.wants:
            return now_ms + _STATUS_MS
        left_wh = car.wants_wh - car.taken_wh
        return now_ms + int(left_wh * 3_600_000_000 / (car.ma * car.phases * VOLTS)) + 1

    def _machine(self, now_ms: int, letter: str, limit_a: int) -> None:
        i, out = self.inputs, self.evse.out
        gap_ms = now_ms - self._stepped_ms
        if gap_ms > 2 * _LAZY_MS - WINDOW_MS:
            # Nothing had changed for longer than any of its timers, so its clock stood still.
            self._skipped_ms += gap_ms - WINDOW_MS
        self._stepped_ms = now_ms
        volts = _PILOT_MV[letter]
        line = out.duty
        i.letter = "" if line == pilot.STEADY_LOW else pilot.letter_of(volts)
        i.high_mv = -12_000 if line == pilot.STEADY_LOW else volts
        i.low_mv = volts if line == pilot.STEADY_HIGH else -12_000
        i.diode = letter != "A" and line not in (pilot.STEADY_HIGH, pilot.STEADY_LOW)
        i.rcm = out.rcm_test
        i.pe = True
        i.mains = out.contactor
        i.currents_ma = list(self._own) if self.spec.meter else []
        i.voltages_dv = [VOLTS * 10] * self.spec.phases
        i.freq_mhz = 50_000
        i.limit_a = limit_a
        closed = out.contactor
        self.evse.step(i, now_ms - self._skipped_ms)
        shown = (out.state, out.offer_a, out.contactor, tuple(out.faults), out.duty, out.why)
        if shown != self._shown:
            self._shown = shown
            self._changed_ms = now_ms
            self.offered(
                out.offer_a,
                self.lease.reason if out.offer_a or out.why == "no_current" else out.why,
            )
        if out.contactor != closed:
            self.switched(out.contactor)
        self.latches = out.latches

    def _draw(self) -> None:
        amps = (0,) * self.spec.phases
        if self.car:
            used = min(self.car.phases, self.spec.phases)
            ma = self.car.ma
            if ma % 1000 <= _ROUNDED_MA:
                ma -= ma % 1000  # the board's PWM is finer than the per mille the car is told here
            amps = (ma,) * used + (0,) * (self.spec.phases - used)
        if amps != self._wire_amps:
            now_ms = self.clock.now_ms
            self._wire_amps = amps
            self._circuit.put(now_ms, amps)
            self._changed_ms = now_ms
            self.drew(amps)

    def _load_due(self) -> bool:
        return self.spec.meter and (any(self._own) or any(self._wire_amps))

    # -- Talking

    def _talk(self, now_ms: int) -> None:
        if not self.session:
            return
        if self.registration.due(self.session, now_ms):
            out, spec = self.evse.out, self.spec
            message = {
                "code": protocol.NEW_CHARGER, "id": self.name, "counter": self.counter,
                "model": "simulated", "firmware": "simulated", "min_a": spec.min_a,
                "max_a": spec.max_a, "phases": spec.phases, "wiring": list(spec.wiring),
                "failsafe_a": spec.failsafe_a, "meter": int(spec.meter),
            }  # fmt: skip
            seq = self.publish(message, f"{self.counter}/new")
            self.registration.sent(seq, now_ms)
            self.lease.sent(seq, now_ms)
        if not self.registration.accepted:
            return
        out = self.evse.out
        told = (out.state, out.offer_a, out.contactor, tuple(out.faults), self.lease.number)
        if told != self._told_status or now_ms - self._status_ms >= _STATUS_MS:
            self._told_status, self._status_ms = told, now_ms
            seq = self.publish({
                "code": protocol.CHARGER_STATUS, "state": out.state, "offer_a": out.offer_a,
                "lease": self.lease.number, "lease_ms": self.lease.left_ms(now_ms),
                "contactor": int(out.contactor), "mode": "managed", "faults": list(out.faults)[:6],
                "rejected": self.rejected, "uptime_s": self.uptime_s, "cap_a": out.cap_a,
            })  # fmt: skip
            self.lease.sent(seq, now_ms)
        if self.spec.meter and self._measured_ms == now_ms:
            self._tell_load(now_ms)

    _told_status: tuple[Any, ...] = ()

    def _measure(self, now_ms: int) -> None:
        self._measured_ms = now_ms
        self._energy_mas += sum(self._own) * (now_ms - self._energy_at) / 1000
        self._energy_at = now_ms
        self._own = self._circuit.shows(now_ms)

    def _tell_load(self, now_ms: int) -> None:
        changed = any(
            abs(new - old) >= _THRESHOLD_MA
            for new, old in zip(self._own, self._told_own, strict=True)
        )
        if not changed and now_ms - self._load_ms < (
            _MEASURE_MS if any(self._own) else _STATUS_MS
        ):
            return
        self._told_own, self._load_ms = self._own, now_ms
        phases = self.spec.phases
        wh = int(self._energy_mas * VOLTS / 3_600_000)
        seq = self.publish({
            "code": protocol.CHARGER_LOAD,
            "current_ma": list(self._own),
            "voltage_dv": [VOLTS * 10] * phases,
            "power_w": [ma * VOLTS // 1000 for ma in self._own],
            "energy_wh": [wh // phases] * phases,
            "pf_pct": [100] * phases,
            "freq_mhz": 50_000,
            "age_ms": 0,
            "session_wh": int(self.car.taken_wh) if self.car else 0,
        })  # fmt: skip
        self.lease.sent(seq, now_ms)
