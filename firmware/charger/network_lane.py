"""The network lane: announces the charger, takes leases, says what happens. It may block as long as it likes."""

import gc
import json
import sys

from firmware.charger import house_rule
from firmware.charger.attendant import Attendant
from firmware.charger.clock import Clock
from firmware.charger.exchange import Exchange, Orders, Report
from firmware.charger.lease import LeaseHolder
from firmware.charger.schedule import ScheduleError, is_open, minute_of_week, parse
from firmware.charger.settings import FIRMWARE, wiring
from firmware.common import update_start
from firmware.common.registration import Registration
from firmware.common.ticks import ticks_ms
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

STATUS_MS = 10_000
LOAD_MS = 1_000
IDLE_LOAD_MS = 10_000
ROUND_MS = 20
IDENTIFY_MS = 30_000
FOREVER = -1
AT_ONCE = (
    "schedule",
    "list_key",
)  # settings that count without a restart, beside those read at every round


class NetworkLane:
    """`run` until the end; `step` is one round of it. `link` as firmware.common.link.Link."""

    def __init__(self, config: "Any", boot: int, link: "Any", network: "Any", exchange: Exchange, orders: Orders,
                 model: str, reset: str, start: int, restart: "Any") -> None:  # fmt: skip
        """`restart` starts the board anew."""
        self._config = config
        self._link = link
        self._network = network
        self._exchange = exchange
        self._orders = orders
        self._model = model
        self._reset = reset
        self._clock = Clock(start)
        self._report = Report()
        self._registration = Registration()
        self.lease = LeaseHolder(boot, config["failsafe_a"])
        self._session = 0
        self._told_state = ""
        self._told_offer = -1
        self._told_contactor = False
        self._told_lease = -1
        self._told_faults: "list[str]" = []
        self._known_faults: "list[str]" = []
        self._status_at = 0
        self._load_at = 0
        self._told_loads = 0
        self._printed: "tuple[Any, ...]" = ()
        self._restart = restart
        self._restarting = False
        self.attendant = Attendant(config, self._say)
        self.update: "Any" = None
        self._taps = 0
        self._wiring = wiring(config)
        self._house: "list[int]" = []
        self._house_at = -house_rule.GOOD_MS
        self._utc_s = 0
        self._utc_at = 0
        self._offset_min = 0
        self._spans: "list[tuple[int, int]]" = []
        self._schedule_wrong = False
        try:
            self._spans = parse(config["schedule"])
        except ScheduleError as e:
            self._schedule_wrong = True
            print(e)

    def run(self) -> None:
        """For ever. Whatever goes wrong in here is this lane's own affair."""
        while True:
            try:
                self.step()
            except Exception as e:  # noqa: BLE001 - the lease runs out by itself; the lane must come back
                sys.print_exception(e)
                gc.collect()
            self._link.wait(ROUND_MS)

    def step(self) -> None:
        """One round."""
        ticks = ticks_ms()
        now = self._clock.now_ms()
        if self._network.step(ticks):
            self._link.service()
        got = self._link.take()
        while got is not None:
            if got[0]:
                self._house_heard(got[1], self._clock.now_ms())
            else:
                self._heard(got[1], self._clock.now_ms())
            got = self._link.take()
        self._exchange.read(self._report)
        if self._registration.due(self._link.session if self._link.connected else 0, ticks):
            self._announce(ticks)
        self._print()
        online = self._registration.accepted and self._link.connected
        r = self._report
        try:
            if r.taps != self._taps:
                self._taps = r.taps
                self.attendant.tapped(r.card, r.card_text, now)
            known = r.contactor or r.why not in {"self_test", ""}
            self.attendant.step(r, known, online, now)
        except OSError as e:
            # The flash takes no more: sessions go on in memory, and what is allowed stays so.
            sys.print_exception(e)
        self._order(now)
        if online:
            self._tell(now)
        if self.update is not None:
            self.update.step(ticks)
            if self.update.restart and not r.contactor:
                self._restarting = True  # a car is not stopped for it
        if self._restarting and not r.contactor and self._orders.stop:
            self._restart()

    # -- out

    def _print(self) -> None:
        """A line on the console for whoever holds the cable, when something changed."""
        r = self._report
        now = (r.state, r.offer_a, r.contactor, r.why, r.faults)
        if now != self._printed:
            self._printed = now
            line = {
                "state": r.state,
                "offer_a": r.offer_a,
                "contactor": r.contactor,
                "why": r.why,
                "faults": r.faults,
                "pilot_mv": [r.high_mv, r.low_mv],
            }
            print(json.dumps(line))

    def _say(self, message: "dict[str, Any]", topic: str = "") -> int:
        """Publish, and remember when: a lease counts from the message it answers."""
        began = self._clock.now_ms()
        seq: int = self._link.publish(message, topic)
        if seq:
            self.lease.sent(seq, began)
        return seq

    def _announce(self, ticks: int) -> None:
        config = self._config
        if self._link.session != self._session:
            self._session = self._link.session
            self._status_at = 0
        message = {
            "code": protocol.NEW_CHARGER,
            "id": config["id"],
            "counter": config["counter"],
            "model": self._model,
            "firmware": FIRMWARE,
            "min_a": config["min_a"],
            "max_a": config["max_a"],
            "phases": config["phases"],
            "wiring": wiring(config),
            "failsafe_a": config["failsafe_a"],
            "meter": config["own_meter"],
            "reset": self._reset,
        }
        self._registration.sent(self._say(message, config["counter"] + "/new"), ticks)

    def _tell(self, now: int) -> None:
        r = self._report
        if (
            not self._status_at
            or now - self._status_at >= STATUS_MS
            or r.state != self._told_state
            or r.offer_a != self._told_offer
            or r.contactor != self._told_contactor
            or r.lease != self._told_lease
            or r.faults != self._told_faults
        ):
            self._say_status(now)
        for fault in r.faults:
            if fault not in self._known_faults:
                self._say({"code": protocol.FAULT, "fault": fault, "active": 1})
        for fault in self._known_faults:
            if fault not in r.faults:
                self._say({"code": protocol.FAULT, "fault": fault, "active": 0})
        self._known_faults = r.faults
        wait = LOAD_MS if r.contactor else IDLE_LOAD_MS
        if r.load and r.loads != self._told_loads and now - self._load_at >= wait:
            self._say_load(now)

    def _say_status(self, now: int) -> None:
        r = self._report
        message = {
            "code": protocol.CHARGER_STATUS,
            "state": r.state,
            "offer_a": r.offer_a,
            "lease": r.lease,
            "lease_ms": self.lease.left_ms(now) if r.lease == self.lease.number else 0,
            "contactor": 1 if r.contactor else 0,
            "mode": self._config["mode"],
            "faults": self._faults()[:6],
            "rejected": self._link.rejected,
            "uptime_s": now // 1000,
            "cap_a": r.cap_a,
            "authorised": 1 if self._orders.allowed else 0,
        }
        rssi = self._network.rssi()
        if rssi is not None:
            message["rssi"] = rssi
        if hasattr(gc, "mem_free"):
            message["free"] = gc.mem_free()
        if self._say(message):
            self._status_at = now
            self._told_state = r.state
            self._told_offer = r.offer_a
            if r.contactor != self._told_contactor:
                self._load_at = 0  # what it measures matters now
            self._told_contactor = r.contactor
            self._told_lease = r.lease
            self._told_faults = r.faults

    def _faults(self) -> "list[str]":
        faults = self._report.faults
        if self._report.meter_lost:
            faults = faults + ["own_meter"]
        if self._report.reader_lost:
            faults = faults + ["card_reader"]
        if self._schedule_wrong:
            faults = faults + ["schedule"]
        return faults

    def _say_load(self, now: int) -> None:
        r = self._report
        load = r.load
        message = {
            "code": protocol.CHARGER_LOAD,
            "current_ma": load[0::5],
            "voltage_dv": load[1::5],
            "power_w": load[2::5],
            "energy_wh": load[3::5],
            "pf_pct": load[4::5],
            "age_ms": min(600_000, max(0, now - r.load_ms)),
        }
        if r.freq_mhz:
            message["freq_mhz"] = r.freq_mhz
        if r.suspect:
            message["suspect"] = 1
        running = self.attendant.sessions.running
        if running is not None:
            message["session"] = running["n"]
            message["session_wh"] = self.attendant.session_wh(r)
        if self._say(message):
            self._load_at = now
            self._told_loads = r.loads

    # -- in

    def _heard(self, message: "dict[str, Any]", now: int) -> None:
        code = message["code"]
        if code == protocol.AVAILABLE_LOAD:
            if self.lease.offer(message, now):
                self._order(now)
        elif code == protocol.REPLY:
            before = self._registration.accepted
            self._registration.reply(message)
            if self._registration.accepted and not before:
                self._accepted()
        elif code == protocol.COMMAND:
            self._command(message, now)
        elif code == protocol.TIME:
            self._utc_s = message["utc_s"]
            self._utc_at = now
            self._offset_min = message["offset_min"]
        elif code in (protocol.UPDATE_OFFER, protocol.UPDATE_CHUNK):
            self._update(message)
        elif self.attendant.heard(message, now):
            pass
        elif code in (protocol.CONFIG_GET, protocol.CONFIG_SET):
            self._setting(message)

    def _house_heard(self, message: "dict[str, Any]", now: int) -> None:
        """The meter this charger hangs under has said something to everybody."""
        if message["code"] == protocol.COUNTER_LOAD and not message.get("suspect"):
            self._house = message["current_ma"]
            self._house_at = now - message["age_ms"]

    def _order(self, now: int) -> None:
        """Work out what may be offered, and leave it for the safety lane if it is something new."""
        o = self._orders
        config = self._config
        mode = config["mode"]
        before = (
            o.service,
            o.limit_a,
            o.until_ms,
            o.else_a,
            o.lease,
            o.allowed,
            o.plug,
            o.present,
            o.clear,
            o.stop,
        )
        o.else_a = 0
        if mode == "managed":
            o.limit_a, o.until_ms = self.lease.granted()
            o.else_a = config["failsafe_a"]
            o.lease = self.lease.number
        elif mode == "manual":
            o.limit_a, o.until_ms = config["manual_a"], FOREVER
        else:
            own = self._report.load[0::5] if config["meter_sees"] == "all" else []
            o.limit_a = house_rule.limit_a(
                config["contracted_a"],
                config["buffer_a"],
                config["max_a"],
                self._house,
                own,
                self._wiring,
            )
            o.until_ms = self._house_at + house_rule.GOOD_MS
        access = self.attendant.access
        if access.max_a:
            o.limit_a = min(o.limit_a, access.max_a)
            o.else_a = min(o.else_a, access.max_a)
        if not self.in_schedule(now):
            o.limit_a = o.else_a = 0
        o.allowed = access.allowed
        o.plug = self.attendant.plug(self._report)
        o.present = access.how in ("card", "list")
        if o.clear and self._report.cleared == o.clear:
            o.clear = ""
            o.service = False
        o.stop = self._restarting
        if before != (
            o.service,
            o.limit_a,
            o.until_ms,
            o.else_a,
            o.lease,
            o.allowed,
            o.plug,
            o.present,
            o.clear,
            o.stop,
        ):
            self._exchange.order(o)

    def in_schedule(self, now: int) -> bool:
        """Whether the week's timer allows charging; always while the time is not known."""
        if not self._spans or not self._utc_s:
            return True
        return is_open(
            self._spans,
            minute_of_week(self._utc_s + (now - self._utc_at) // 1000, self._offset_min),
        )

    def _command(self, message: "dict[str, Any]", now: int) -> None:
        command = message["command"]
        refused = ""
        if command == "clear_fault":
            self._orders.clear = message.get("argument", "") or "*"
            self._exchange.order(self._orders)
        elif command == "start":
            self.attendant.start(now)
        elif command == "stop":
            self.attendant.stop()
        elif command == "reset":
            self._restarting = True
        elif command == "self_test":
            if message.get("argument", "") == "calibrate" and not self._calibrate():
                refused = "not measured: unplug the car and restart"
            else:
                # The whole test is made at every start, and only there: with the line steady and nobody under load.
                self._restarting = True
        elif command == "identify":
            if self._report.light:
                self._orders.identify_ms = now + IDENTIFY_MS
                self._exchange.order(self._orders)
            else:
                refused = "this board has no light"
        else:
            refused = "no plug is locked here"  # neither board drives a lock
        answer = {
            "code": protocol.COMMAND_RESULT,
            "command": command,
            "result": "refused" if refused else "done",
        }
        if refused:
            answer["words"] = refused
        self._say(answer)

    def _calibrate(self) -> bool:
        """Keep what the ADC said of both rails at the start's self-test, which it makes only without a car."""
        r = self._report
        if r.plugged or not r.rail_high_mv or not r.rail_low_mv:
            return False
        self._config.change({"pilot_high_mv": r.rail_high_mv, "pilot_low_mv": r.rail_low_mv})
        return True

    def _update(self, message: "dict[str, Any]") -> None:
        if message["code"] == protocol.UPDATE_OFFER and self._report.contactor:
            self._update_status(message["update"], "busy")
            return
        if self.update is None:
            gc.collect()
            try:
                # Only now: most starts never need it.
                from firmware.common.update import Update
            except MemoryError:
                self._update_status(message["update"], "failed", "no room")
                return
            self.update = Update(self._link)
        self.update.heard(message, ticks_ms())

    def _update_status(self, number: int, state: str, words: str = "") -> None:
        message = {
            "code": protocol.UPDATE_STATUS,
            "update": number,
            "state": state,
            "offset": 0,
        }
        if words:
            message["words"] = words
        self._say(message)

    def _accepted(self) -> None:
        """Reaching the manager is what shows that an update works."""
        self._orders.settled = True
        self._exchange.order(self._orders)
        ended = update_start.settle()
        if ended is not None:
            self._update_status(ended[0], ended[1])

    def _setting(self, message: "dict[str, Any]") -> None:
        from firmware.common.config import ConfigError

        name = message["name"]
        answer = {"code": protocol.CONFIG_VALUE, "name": name, "result": "ok"}
        try:
            if message["code"] == protocol.CONFIG_SET:
                self._config.change({name: json.loads(message["value"])})
            answer["value"] = json.dumps(self._config.shown(name))
        except ConfigError as e:
            answer["result"] = "unknown" if e.what == "unknown" else "refused"
        except (ValueError, OSError):
            answer["result"] = "refused"
        self._say(answer)
        if message["code"] == protocol.CONFIG_SET and answer["result"] == "ok" and name in AT_ONCE:
            self._use(name)

    def _use(self, name: str) -> None:
        """A setting that counts without a restart has changed."""
        if name == "schedule":
            self._spans = parse(self._config["schedule"])
        elif name == "list_key":
            self.attendant.rekey(self._config)
