"""The meter's work: ask each PZEM in turn, say what changed, say how the meter is. Never waits for
anything."""

import gc

from firmware.common import update_start
from firmware.common.modbus import GENERAL, ModbusError
from firmware.common.pzem import Pzem, jump
from firmware.common.registration import Registration
from firmware.common.ticks import ticks_add, ticks_diff
from firmware.energy_meter.energy import EnergyTotal
from firmware.energy_meter.settings import FIRMWARE
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_LOST_MS = (
    5000  # a PZEM that has not answered for so long is reported, and nothing of its old values is
)
_STATUS_MS = 10_000
_TRIAL_S = 300  # new firmware that has not reached the manager by then has had one of its tries


class Phase:
    """What is known of one phase."""

    def __init__(self, pzem: Pzem, number: int) -> None:
        self.pzem = pzem
        self.total = EnergyTotal("energy%d" % number)
        self.reading: "Any" = None
        self.suspect = ""
        self.energy_wh = 0  # counted over the device's own resets
        self.lost = False
        self.fresh = False  # read since the last publication
        self.asked: int | None = None
        self.told_ma = 0
        self.told_dw = 0
        self.told_dv = 0


class Reader:
    """Asks each PZEM in turn. `errors` counts answers that were wrong or did not come, and
    `last_error` says which was the last."""

    def __init__(self, config: "Any", bus: "Any", now_ms: int) -> None:
        self.bus = bus
        count = config["phases"]
        self.phases = [
            Phase(Pzem(bus, n + 1 if count > 1 else GENERAL), n + 1) for n in range(count)
        ]
        self.errors = 0
        self.last_error = ""
        self._poll_ms = config["poll_ms"]
        self._started = now_ms
        self._turn = 0
        self._asking: "Phase | None" = None

    def poll(self, now_ms: int) -> bool:
        """Ask or listen; True when a phase has just been read."""
        phase = self._asking
        if phase is None:
            phase = self.phases[self._turn]
            due = phase.asked is None or ticks_diff(now_ms, phase.asked) >= self._poll_ms
            if due and self.bus.quiet(now_ms):
                phase.asked = now_ms
                if phase.pzem.ask(now_ms):
                    self._asking = phase
                else:
                    self._turn = (self._turn + 1) % len(self.phases)
            return False
        try:
            reading = phase.pzem.answer(now_ms)
            if reading is None:
                if not self.bus.waiting:
                    self._asking = None  # it has told its address
                return False
        except ModbusError as e:
            reading = None
            self.errors += 1
            self.last_error = e.what
        self._asking = None
        self._turn = (self._turn + 1) % len(self.phases)
        old = phase.reading
        if reading is not None:
            passed = ticks_diff(reading.asked, old.asked) if old is not None else 0
            phase.suspect = jump(old, reading, passed) if old is not None else ""
            phase.reading = reading
            phase.fresh = True
            phase.lost = False
            phase.energy_wh = phase.total.count(reading.energy_wh)
            return True
        since = old.asked if old is not None else self._started
        if ticks_diff(now_ms, since) > _LOST_MS:
            phase.lost = True
            phase.reading = None
            if len(self.phases) == 1:
                phase.pzem.address = GENERAL  # another one may have been put in its place
        return False


class Meter:
    """Polls, publishes, answers the manager. `link` as firmware.common.link.Link, `network` as
    firmware.common.wifi.Wifi; `restart` starts the board anew."""

    def __init__(
        self,
        config: "Any",
        reader: Reader,
        link: "Any",
        network: "Any",
        restart: "Any",
        now_ms: int,
    ) -> None:
        self.config = config
        self.reader = reader
        self.phases = reader.phases
        self.link = link
        self.network = network
        self.registration = Registration()
        self.state = "starting"
        self.update: "Any" = None
        self._on_trial = update_start.plan() is not None
        self._restart = restart
        self._second = now_ms
        self.uptime_s = 0
        # Asked for at every round; the rest is looked up when needed.
        self._threshold_ma = config["threshold_ma"]
        self._period_s = config["busy_s"]
        self._load_at: int | None = None
        self._status_at: int | None = None
        self._told: "tuple[str, list[str]]" = ("", [])
        self._session = 0

    def step(self, now_ms: int) -> None:
        """One round; call it at least every few milliseconds."""
        while ticks_diff(now_ms, self._second) >= 1000:
            self._second = ticks_add(self._second, 1000)
            self.uptime_s += 1
        if self.reader.poll(now_ms):
            self._publish_load(now_ms)
        self._announce(now_ms)
        self._publish_status(now_ms)
        got = self.link.take()
        while got is not None:
            self._heard(got[1], now_ms)
            got = self.link.take()
        if self.update is not None:
            self.update.step(now_ms)
        if self._on_trial and self.uptime_s > _TRIAL_S:
            self._restart()

    # -- measuring

    def _changed(self) -> bool:
        limit_ma = self._threshold_ma
        for p in self.phases:
            r = p.reading
            # The same threshold seen in power at 230 V; and 5 V of the mains itself.
            if (
                abs(r.current_ma - p.told_ma) >= limit_ma
                or abs(r.power_dw - p.told_dw) * 100 >= limit_ma * 230
                or abs(r.voltage_dv - p.told_dv) >= 50
                or p.suspect
            ):
                return True
        return False

    def _publish_load(self, now_ms: int) -> None:
        """To the manager that has taken this meter in; where none answers, to the chargers that
        listen to <counter>/up and decide for themselves."""
        phases = self.phases
        if not (self.registration.accepted or self.registration.alone(now_ms)):
            return
        for p in phases:
            # Every phase must have been read anew: an old value never travels with a new one
            # twice.
            if p.reading is None or not p.fresh:
                return
        if (
            self._load_at is not None
            and ticks_diff(now_ms, self._load_at) < self._period_s * 1000
            and not self._changed()
        ):
            return
        message = self.load(now_ms)
        if message is not None and self.link.publish(message):
            self._load_at = now_ms
            for p in phases:
                r = p.reading
                p.fresh = False
                p.told_ma, p.told_dw, p.told_dv = r.current_ma, r.power_dw, r.voltage_dv

    def load(self, now_ms: int) -> "dict[str, Any] | None":
        """What is measured now, as the message for it; None while a phase has no reading."""
        read = [p.reading for p in self.phases]
        if None in read:
            return None
        message = {
            "code": protocol.COUNTER_LOAD,
            "current_ma": [r.current_ma for r in read],
            "voltage_dv": [r.voltage_dv for r in read],
            "power_w": [(r.power_dw + 5) // 10 for r in read],
            "energy_wh": [p.energy_wh for p in self.phases],
            "pf_pct": [r.pf_pct for r in read],
            "freq_mhz": read[0].freq_dhz * 100,
            "age_ms": min(600_000, max([ticks_diff(now_ms, r.asked) for r in read])),
        }
        if any(p.suspect for p in self.phases):
            message["suspect"] = 1
        return message

    # -- talking

    def faults(self) -> "list[str]":
        """The names of what is wrong now, for status and display."""
        return ["pzem_%d" % (i + 1) for i in range(len(self.phases)) if self.phases[i].lost]

    def _announce(self, now_ms: int) -> None:
        if not self.registration.due(self.link.session if self.link.connected else 0, now_ms):
            return
        if self.link.session != self._session:
            self._session = self.link.session
            self._status_at = None
            # A manager may have started anew with the broker: until it says no car charges, one
            # may.
            self._period_s = self.config["busy_s"]
        message = {
            "code": protocol.NEW_COUNTER,
            "id": self.config["id"],
            "model": "PZEM-004T-v3",
            "firmware": FIRMWARE,
            "phases": len(self.phases),
            "role": self.config["role"],
        }
        self.registration.sent(self.link.publish(message, protocol.HELLO), now_ms)

    def _publish_status(self, now_ms: int) -> None:
        faults = self.faults()
        if len(faults) == len(self.phases):
            self.state = "silent"
        elif all(p.reading is not None for p in self.phases):
            self.state = "ok"
        elif not faults and self.state != "silent":
            self.state = "starting"
        new = (self.state, faults)
        if (
            new == self._told
            and self._status_at is not None
            and ticks_diff(now_ms, self._status_at) < _STATUS_MS
        ) or not self.registration.accepted:
            return
        message = {
            "code": protocol.COUNTER_STATUS,
            "state": self.state,
            "faults": faults,
            "rejected": self.link.rejected,
            "uptime_s": self.uptime_s,
            "errors": self.reader.errors,
        }
        if hasattr(gc, "mem_free"):
            gc.collect()
            message["free"] = gc.mem_free()
        rssi = self.network.rssi()
        if rssi is not None:
            message["rssi"] = rssi
        if self.link.publish(message):
            self._told = new
            self._status_at = now_ms

    def _heard(self, message: "dict[str, Any]", now_ms: int) -> None:
        code = message["code"]
        if code == protocol.REPLY:
            was = self.registration.accepted
            self.registration.reply(message)
            if self.registration.accepted and not was:
                self._settle()
        elif code == protocol.COMMAND:
            if message["command"] == "reset":
                self._restart()
            elif message["command"] == "start":
                self._period_s = self.config["busy_s"]
            elif message["command"] == "stop":
                self._period_s = self.config["calm_s"]
        elif code in (protocol.UPDATE_OFFER, protocol.UPDATE_CHUNK):
            if self.update is None:
                gc.collect()
                try:
                    # Loaded when first needed: an ESP8266 has no room for what it hardly ever uses.
                    from firmware.common.update import Update
                except MemoryError:
                    self._update_status(message["update"], "failed", "no room")
                    return
                self.update = Update(self.link)
            self.update.heard(message, now_ms)
            if self.update.restart:
                self._restart()
        elif code == protocol.DEL_COUNTER:
            self.registration.dismissed(now_ms)
        elif code in (protocol.CONFIG_GET, protocol.CONFIG_SET):
            self._setting(message)

    def _settle(self) -> None:
        """Say how an update ended: reaching the manager is what shows that it works."""
        self._on_trial = False
        ended = update_start.settle()
        if ended is not None:
            self._update_status(ended[0], ended[1])

    def _update_status(self, number: int, state: str, words: str = "") -> None:
        message = {"code": protocol.UPDATE_STATUS, "update": number, "state": state, "offset": 0}
        if words:
            message["words"] = words
        self.link.publish(message)

    def _setting(self, message: "dict[str, Any]") -> None:
        import json

        from firmware.common.config import ConfigError

        name = message["name"]
        answer = {"code": protocol.CONFIG_VALUE, "name": name, "result": "ok"}
        try:
            if message["code"] == protocol.CONFIG_SET:
                self.config.change({name: json.loads(message["value"])})
            answer["value"] = json.dumps(self.config.shown(name))
        except ConfigError as e:
            answer["result"] = "unknown" if e.what == "unknown" else "refused"
        except (ValueError, OSError):
            answer["result"] = "refused"
        self.link.publish(answer)
