"""The charger's own access point "CCVEI": a telephone on it sees what the charger does, and sets
it up. It takes the place
of the network lane; the safety lane goes on beside it, so a charger on a fixed current charges meanwhile.
"""

import gc
import sys

from firmware.charger.clock import Clock
from firmware.charger.exchange import Exchange, Orders, Report
from firmware.common.portal import Portal
from firmware.common.ticks import sleep_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

NAME = "CCVEI"
OPEN_MS = (
    15 * 60_000
)  # without a restart asked for; a configured charger then goes back to its network
TABS = (
    ("/", "Status", ()),
    (
        "/network",
        "Network",
        (
            "id", "site", "key", "wifi_ssid", "wifi_password",
            "broker_host", "broker_port", "broker_user", "broker_password", "portal_password",
        ),
    ),
    ("/mode", "Operation mode", ("mode", "manual_a", "schedule", "access", "failsafe_a")),
    (
        "/home",
        "Home options",
        ("counter", "counter_key", "meter_sees", "contracted_a", "buffer_a", "max_a", "phases", "wiring"),
    ),
)  # fmt: skip

_EVSE = {"A": "no car", "B": "car plugged in", "C": "car ready", "D": "car asks for ventilation", "E": "pilot shorted",
         "F": "not available"}  # fmt: skip
_MODES = {
    "managed": "\u21c4 managed",
    "intelligent": "\u2302 intelligent",
    "manual": "\u270b manual",
}


def password(config: "Any", uid: str) -> str:
    """The access point's: the one that was set, else one of this board's own, which it prints at its start."""
    own: str = config["portal_password"]
    return own if len(own) >= 8 else "ccvei-" + uid[-6:]


def status(r: Report, config: "Any", address: str) -> "list[tuple[str, str]]":
    """What the first tab shows."""
    ma = 0
    for k in range(0, len(r.load), 5):
        ma = max(ma, r.load[k])
    rows = [
        ("Amps", "%d.%d A of %d A" % (ma // 1000, ma % 1000 // 100, r.offer_a)),
        (
            "EVSE",
            "%s %s, %s" % ("\u26a1" if r.contactor else "\u25cb", r.state, _EVSE[r.state[0]]),
        ),
        (
            "HOME",
            "%d A contracted" % config["contracted_a"] if config["contracted_a"] else "not set",
        ),
        ("Wi-Fi", "\u25d4 %s at %s" % (NAME, address)),
        ("Mode", _MODES[config["mode"]]),
        ("Timer", "\u23f0 " + config["schedule"] if config["schedule"] else "\u2014 always"),
    ]
    if r.faults:
        rows.append(("Faults", "\u26a0 " + ", ".join(r.faults)))
    elif r.why:
        rows.append(("Waiting for", r.why.replace("_", " ")))
    return rows


class AccessPoint:
    """`run` until the restart."""

    def __init__(
        self,
        config: "Any",
        wlan: "Any",
        exchange: Exchange,
        orders: Orders,
        start: int,
        restart: "Any",
    ) -> None:
        self._config = config
        self._exchange = exchange
        self._orders = orders
        self._clock = Clock(start)
        self._restart = restart
        self._report = Report()
        address = wlan.ifconfig()[0]
        self._portal = Portal(NAME, config, TABS, lambda: status(self._report, config, address))

    def run(self) -> None:
        """Serve until the visitor asks for the restart, or nobody came to a charger that is configured."""
        portal = self._portal
        while not portal.finished:
            try:
                self._exchange.read(self._report)
                portal.step()
            except Exception as e:  # noqa: BLE001 - a page that fails must not end the access point
                sys.print_exception(e)
            gc.collect()
            if self._config["id"] and self._clock.now_ms() > OPEN_MS:
                break
            sleep_ms(10)
        portal.close()
        # Never under load: the contactor opens first, with the car told before.
        self._orders.stop = True
        self._exchange.order(self._orders)
        while True:
            self._exchange.read(self._report)
            if not self._report.contactor:
                break
            sleep_ms(50)
        self._restart()
