"""What the charger does from power-on: everything safe first, a window for the REPL, then the two lanes."""

import _thread
import gc
import os
import sys

from firmware.charger import board as boards
from firmware.charger.board import Board
from firmware.charger.exchange import Exchange, Orders, Report
from firmware.charger.safety_lane import SafetyLane
from firmware.charger.settings import ROWS, ChargerConfig, calibrated, evse_settings
from firmware.common.config import Config, ConfigError, raise_boot
from firmware.common.ticks import sleep_ms, ticks_diff, ticks_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

RESTART_MS = 60_000
SERVICE_MS = 10_000
TRIAL_MS = 600_000  # new firmware has so long to reach the manager, then it starts anew
NETWORK_STACK = 16 * 1024  # bytes; a TLS handshake needs most of it


def configuration() -> Config:
    """The settings; those of the factory if the file is damaged, so that the portal can be reached."""
    try:
        return ChargerConfig(ROWS)
    except ConfigError as e:
        print(e)
        return ChargerConfig(ROWS, "config.none")


def first_orders(config: "Any") -> Orders:
    """What holds until the network lane has spoken, and for ever if it never does."""
    orders = Orders()
    orders.else_a = config["failsafe_a"]
    if config["mode"] == "manual":
        orders.limit_a = config["manual_a"]
        orders.until_ms = -1
    elif config["mode"] == "intelligent":
        orders.else_a = 0
    orders.allowed = config["access"] == "free"
    return orders


def run(trying: bool = False) -> None:
    """Never returns on a board, unless Ctrl-C came. `trying`: an update waits for the manager to be reached."""
    config = configuration()
    board = Board(boards.pins(config["board"]), calibrated(config))
    try:
        began = ticks_ms()
        pressed = board.button()
        while ticks_diff(ticks_ms(), began) < config["repl_window_ms"]:
            sleep_ms(50)
            pressed = pressed or board.button()
        configured = config["id"] and (config["wifi_ssid"] or board.table.LAN is not None)
        charge(config, board, pressed or not configured, serviced(board), trying)
    finally:
        board.safe()


def serviced(board: Board) -> bool:
    """Whether somebody who has repaired it says so: the button held for ten seconds at start, or, for boards without
    one, a file of this name put there over the cable, good for one start."""
    began = ticks_ms()
    while board.button():
        if ticks_diff(ticks_ms(), began) >= SERVICE_MS:
            return True
        sleep_ms(50)
    try:
        os.remove("service")
    except OSError:
        return False
    return True


def charge(
    config: "Any", board: Board, setup: bool, service: bool = False, trying: bool = False
) -> None:
    """Start both lanes; the safety lane is this thread. `setup`: the other one is the access point. `service`: every
    latched fault may end, once."""
    gc.collect()
    from firmware.charger.own_meter import OwnMeter

    gc.collect()
    boot = raise_boot()
    start = ticks_ms()
    orders = first_orders(config)
    orders.service = service
    orders.clear = "*" if service else ""
    exchange = Exchange(orders)
    meter = OwnMeter(board.pzem_uart(), config["phases"]) if config["own_meter"] else None
    settings = evse_settings(config, boards.random_32)
    reader = None
    bus = board.card_reader(config["nfc"]) if config["nfc"] != "none" else None
    if bus is not None:
        from firmware.charger.pn532 import Reader

        reader = Reader(bus, True)
    safety = SafetyLane(board, settings, exchange, orders, meter, start, reader)
    if trying:
        safety.trial_ms = TRIAL_MS

    if not setup:
        load_network_lane()

    def other() -> None:
        try:
            if setup:
                set_up(config, exchange, orders, start)
            else:
                connect(config, board, boot, exchange, orders, start)
        except Exception as e:  # noqa: BLE001 - no memory, a damaged module: the car goes on charging
            sys.print_exception(e)
        # What runs without its network lane starts anew, but not under a car's load and not at once.
        report = Report()
        while True:
            sleep_ms(RESTART_MS)
            exchange.read(report)
            if not report.contactor:
                boards.restart()

    _thread.stack_size(NETWORK_STACK)
    _thread.start_new_thread(other, ())
    _thread.stack_size(0)
    gc.collect()
    try:
        safety.run()
    except Exception as e:  # noqa: BLE001 - whatever it was, the contactor is open by now
        sys.print_exception(e)
        boards.restart()


def load_network_lane() -> None:
    """Before either lane runs: loaded beside a running one it lies all over the heap, and the room that is left is in
    pieces too small for new firmware."""
    try:
        gc.collect()
        import firmware.common.link
        import firmware.common.resolve

        gc.collect()
        import firmware.charger.network_lane  # noqa: F401 - `connect` says whose they are
    except Exception as e:  # noqa: BLE001 - `connect` meets it again, where a car can charge without it
        sys.print_exception(e)


def connect(
    config: "Any", board: Board, boot: int, exchange: Exchange, orders: Orders, start: int
) -> None:
    """The network lane: never returns. Its modules are there, see `load_network_lane`."""
    from firmware.charger.network_lane import NetworkLane
    from firmware.common.link import Link
    from firmware.common.resolve import resolve

    wifi = boards.network_interface(board.table, config["wifi_ssid"], config["wifi_password"])
    follow: "tuple[tuple[str, bytes | None], ...]" = ()
    if config["mode"] == "intelligent":
        follow = ((config["counter"], bytes.fromhex(config["counter_key"]) or None),)
    link = Link(
        config,
        boot,
        boards.uid(),
        follow,
        tls=broker_tls(config) if config["broker_tls"] else None,
        resolve=lambda host, limit_ms: resolve(host, wifi.name_server(), limit_ms),
    )
    lane = NetworkLane(
        config,
        boot,
        link,
        wifi,
        exchange,
        orders,
        board.table.MODEL,
        boards.reset_cause(),
        start,
        boards.restart,
    )
    lane.run()


def broker_tls(config: "Any") -> "Any":
    """The ssl.SSLContext for the broker. OSError or ValueError without a certificate to check it by: there is no
    falling back to a plain connection."""
    import ssl

    boards.clock_not_before(config["utc_s"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    with open("ca.der", "rb") as f:
        context.load_verify_locations(cadata=f.read())  # type: ignore[arg-type, unused-ignore]
    try:
        with open("cert.der", "rb") as f:
            own = f.read()
    except OSError:
        return context
    with open("key.der", "rb") as f:
        context.load_cert_chain(own, f.read())  # type: ignore[arg-type, unused-ignore]
    return context


def set_up(config: "Any", exchange: Exchange, orders: Orders, start: int) -> None:
    """The access point instead of it: never returns."""
    from firmware.charger import access_point

    secret = access_point.password(config, boards.uid())
    wlan = boards.access_point(access_point.NAME, secret)
    print(
        "access point %s, password %s, http://%s/"
        % (access_point.NAME, secret, wlan.ifconfig()[0])
    )
    access_point.AccessPoint(config, wlan, exchange, orders, start, boards.restart).run()
