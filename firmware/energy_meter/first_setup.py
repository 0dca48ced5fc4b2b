"""The meter's own access point: a telephone on it finds what is measured, and the settings."""

import gc

from firmware.common.modbus import Bus
from firmware.common.portal import Portal
from firmware.common.ticks import sleep_ms, ticks_diff, ticks_ms
from firmware.energy_meter import board
from firmware.energy_meter.meter import Reader

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

TABS = (
    ("/", "Status", ()),
    ("/network", "Network", ("wifi_ssid", "wifi_password")),
    ("/emoncms", "Emoncms", ("emon_address", "emon_key", "emon_node")),
    (
        "/mqtt",
        "MQTT server",
        (
            "id", "site", "key", "role", "phases",
            "broker_host", "broker_port", "broker_user", "broker_password",
        ),
    ),
)  # fmt: skip
NAME = "EnergyMeter"  # the access point's
_OPEN_MS = 15 * 60_000  # without a visit to /restart; a configured meter then measures again


def status(reader: "Any", address: str) -> "list[tuple[str, str]]":
    """What the first tab shows."""
    rows = []
    for i in range(len(reader.phases)):
        r = reader.phases[i].reading
        n = " " + str(i + 1) if len(reader.phases) > 1 else ""
        if r is None:
            rows.append(("PZEM" + n, "no answer"))
            continue
        rows.append(("Voltage" + n, "%d.%d V" % (r.voltage_dv // 10, r.voltage_dv % 10)))
        rows.append(("Current" + n, "%d.%03d A" % (r.current_ma // 1000, r.current_ma % 1000)))
        rows.append(("Power" + n, "%d.%d W" % (r.power_dw // 10, r.power_dw % 10)))
        rows.append(("Energy" + n, "%d.%03d kWh" % (r.energy_wh // 1000, r.energy_wh % 1000)))
    rows.append(("IP address", address))
    return rows


def run(config: "Any") -> None:
    """Serve the pages and measure, until the visitor asks for the restart or nobody came."""
    access_point = board.access_point(NAME)
    reader = Reader(config, Bus(board.pzem_uart(bool(config["uart_swap"]))), ticks_ms())
    address = access_point.ifconfig()[0]
    portal = Portal(NAME, config, TABS, lambda: status(reader, address))
    dog = board.watchdog()
    began = ticks_ms()
    while not portal.finished:
        dog.feed()
        reader.poll(ticks_ms())
        portal.step()
        gc.collect()
        if config["wifi_ssid"] and config["id"] and ticks_diff(ticks_ms(), began) > _OPEN_MS:
            break
        sleep_ms(4)
    portal.close()
    board.restart()
