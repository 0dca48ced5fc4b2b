"""The network lane: announces the charger, takes leases, says what happens. It may block as long as it likes."""

import gc
import json
import sys

from firmware.charger.clock import Clock
from firmware.charger.exchange import Exchange, Orders, Report
from firmware.charger.lease import LeaseHolder
from firmware.charger.settings import FIRMWARE, wiring
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
FOREVER = -1


class NetworkLane:
    """`run` until the end; `step` is one round of it. `link` as firmware.common.link.Link."""

    def __init__(self, config: "Any", boot: int, link: "Any", network: "Any", exchange: Exchange, orders: Orders,
                 model: str, reset: str, start: int) -> None:  # fmt: skip
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

    def run(self) -> None:
        """For ever. Whatever goes wrong in here is this lane's own affair."""
        while True:
            try:
                self.step()
            except Exception as e:  # noqa: BLE001 - the lease runs out by itself; the lane must come back
                sys.print_exception(e)  # type: ignore[attr-defined]
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
            self._heard(got[1], self._clock.now_ms())
            got = self._link.take()
        self._exchange.read(self._report)
        if self._registration.due(self._link.session if self._link.connected else 0, ticks):
            self._announce(ticks)
        self._print()
        if self._registration.accepted:
            self._tell(now)

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
            "faults": (r.faults + (["own_meter"] if r.meter_lost else []))[:6],
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
        if self._say(message):
            self._load_at = now
            self._told_loads = r.loads

    # -- in

    def _heard(self, message: "dict[str, Any]", now: int) -> None:
        code = message["code"]
        if code == protocol.AVAILABLE_LOAD:
            if self.lease.offer(message, now) and self._config["mode"] == "managed":
                self._order()
        elif code == protocol.REPLY:
            self._registration.reply(message)
        elif code == protocol.COMMAND:
            self._command(message)
        elif code in (protocol.CONFIG_GET, protocol.CONFIG_SET):
            self._setting(message)

    def _order(self) -> None:
        o = self._orders
        o.limit_a, o.until_ms = self.lease.granted()
        o.else_a = self._config["failsafe_a"]
        o.lease = self.lease.number
        self._exchange.order(o)

    def _command(self, message: "dict[str, Any]") -> None:
        command = message["command"]
        if command == "clear_fault":
            self._orders.clear = message.get("argument", "") or "*"
            self._exchange.order(self._orders)

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
