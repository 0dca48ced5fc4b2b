"""What the energy meter does from power-on: leave the way in open, then measure for ever."""

import gc
import sys

from firmware.common.config import Config, raise_boot
from firmware.common.ticks import sleep_ms, ticks_diff, ticks_ms
from firmware.energy_meter import board
from firmware.energy_meter.settings import ROWS


def stays_out(window_ms: int) -> bool:
    """Wait for somebody who wants in: Ctrl-C on the line (KeyboardInterrupt), or the button held;
    True for the button."""
    began = ticks_ms()
    while ticks_diff(ticks_ms(), began) < window_ms:
        if board.button_held():
            return True
        sleep_ms(50)
    return False


def run() -> None:
    """Never returns on a board, unless the button was held or Ctrl-C came in the window."""
    config = Config(ROWS)
    if stays_out(config["repl_window_ms"]):
        print("button held: staying in the REPL")
        return
    boot = raise_boot()
    measure(config, boot)


def measure(config: Config, boot: int) -> None:
    """Read, publish, answer; ends only by a restart."""
    # The collector between imports: what one leaves behind would otherwise lie in the middle of
    # the next one's room.
    gc.collect()
    from firmware.common.link import Link

    gc.collect()
    from firmware.energy_meter.meter import Meter

    gc.collect()
    from firmware.common.modbus import Bus
    from firmware.common.wifi import Wifi

    gc.collect()
    network = Wifi(board.station(), config["wifi_ssid"], config["wifi_password"])
    link = Link(config, boot, board.uid())
    bus = Bus(board.pzem_uart(bool(config["uart_swap"])))
    meter = Meter(config, bus, link, network, board.restart, ticks_ms())
    dog = board.watchdog()
    gc.collect()
    while True:
        dog.feed()
        if network.step(ticks_ms()):
            link.service()
        dog.feed()
        try:
            meter.step(ticks_ms())
        except (MemoryError, OSError) as e:
            # Memory in pieces or a full file system: one round is lost, the next may fare better.
            sys.print_exception(e)  # type: ignore[attr-defined]
            gc.collect()
        link.wait(2)
