"""What the energy meter does from power-on: leave the way in open, then measure for ever."""

import gc
import sys

from firmware.common.config import Config, raise_boot
from firmware.common.ticks import sleep_ms, ticks_diff, ticks_ms
from firmware.energy_meter import board
from firmware.energy_meter.settings import ROWS

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_SETUP_HOLD_MS = 5000  # the button held so long while measuring opens the access point
_SETUP = "setup"  # a file whose being there says so to the next start


def stays_out(window_ms: int) -> bool:
    """Wait for somebody who wants in: Ctrl-C on the line (KeyboardInterrupt), or the button held.

    True for the button. While this waits the REPL still has its line, and no watchdog runs.
    """
    began = ticks_ms()
    while True:
        if board.button_held():
            return True
        if ticks_diff(ticks_ms(), began) >= window_ms:
            return False
        sleep_ms(50)


def run() -> None:
    """Returns only to the REPL: the button was held, or main was interrupted in its window."""
    config = Config(ROWS)
    if stays_out(config["repl_window_ms"]):
        print("button held: main.py stays out")
        return
    if board.asked_for_setup(_SETUP) or not (config["id"] and config["wifi_ssid"]):
        from firmware.energy_meter import first_setup

        first_setup.run(config)
    else:
        measure(config, raise_boot())


def measure(config: Config, boot: int) -> None:
    """Read, publish, answer; ends only by a restart."""
    # The collector between imports: what one leaves behind would lie in the middle of the next
    # one's room.
    gc.collect()
    from firmware.common.link import Link

    gc.collect()
    from firmware.energy_meter.meter import Meter, Reader

    gc.collect()
    from firmware.common.modbus import Bus
    from firmware.common.resolve import resolve
    from firmware.common.wifi import Wifi

    gc.collect()
    network = Wifi(board.station(), config["wifi_ssid"], config["wifi_password"])
    link = Link(
        config,
        boot,
        board.uid(),
        resolve=lambda host, limit_ms: resolve(host, network.name_server(), limit_ms),
    )
    emoncms: "Any" = None
    if config["emon_address"]:
        from firmware.energy_meter.emoncms import Emoncms

        emoncms = Emoncms(config, network.name_server)
    oled = board.oled()
    display: "Any" = None
    if oled is not None:
        from firmware.energy_meter.display import Display

        display = Display(oled)
    gc.collect()
    reader = Reader(config, Bus(board.pzem_uart(bool(config["uart_swap"]))), ticks_ms())
    meter = Meter(config, reader, link, network, board.restart, ticks_ms())
    pages = _pages(config, meter, link, network)
    dog = board.watchdog()
    pressed: int | None = None
    while True:
        dog.feed()
        now = ticks_ms()
        joined = network.step(now)
        if joined:
            link.service()
        dog.feed()
        try:
            meter.step(ticks_ms())
            now = ticks_ms()
            if emoncms is not None and joined:
                emoncms.step(now, lambda: meter.load(ticks_ms()))
            # While the PZEM thinks there is time to draw: its answer waits in the buffer.
            if display is not None and display.due(now, reader.bus.waiting):
                display.step(now, pages)
        except (MemoryError, OSError) as e:
            # Memory in pieces or a full file system: one round is lost, the next may fare better.
            sys.print_exception(e)
            gc.collect()
        if not board.button_held():
            pressed = None
        elif pressed is None:
            pressed = now
        elif ticks_diff(now, pressed) > _SETUP_HOLD_MS:
            board.ask_for_setup(_SETUP)
        link.wait(4)


def _pages(config: Config, meter: "Any", link: "Any", network: "Any") -> "list[Any]":
    def values() -> "list[str]":
        from firmware.energy_meter import display

        phases = [(p.reading, p.suspect) for p in meter.phases]
        return display.values(config["id"], phases)

    def where() -> "list[str]":
        from firmware.energy_meter import display

        state = "registered" if meter.registration.accepted else meter.registration.words
        if not link.connected:
            state = link.fault or "joining"
        host = config["broker_host"]
        return display.network(
            config["wifi_ssid"], network.address(), network.rssi(), host, state or "waiting"
        )

    def wrong() -> "list[str]":
        from firmware.energy_meter import display

        return display.faults(meter.faults() + (["broker " + link.fault] if link.fault else []))

    return [values, where, wrong]
