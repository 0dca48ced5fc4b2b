"""The energy meter's hardware, and the only place that knows its pins: ESP8266 (NodeMCU), or an
ESP32.

ESP8266: the PZEM hangs on UART0, the only one that receives, on pins 1 and 3, or with `uart_swap`
on 15 (out) and 13. GPIO15 must be low when the chip starts, and the PZEM's opto-coupler may pull
it up: see docs/meter-wiring.md.
"""

import os
import sys

import machine
import network

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

ESP32 = sys.platform == "esp32"
BUTTON = 0  # FLASH / BOOT on nearly every board; low while pressed
SCL, SDA = (22, 21) if ESP32 else (5, 4)
RXBUF = 64  # a reading is 25 bytes, and UART0's own buffer on an ESP8266 holds 15


def uid() -> str:
    """The chip's own number in hex."""
    return "".join(["%02x" % b for b in machine.unique_id()])


def button_held() -> bool:
    """Is the button pressed now?"""
    return not machine.Pin(BUTTON, machine.Pin.IN, machine.Pin.PULL_UP).value()


def pzem_uart(swap: bool) -> "Any":
    """The serial line to the PZEM. On an ESP8266 this takes the REPL off it: from here on only the
    network talks."""
    if ESP32:
        return machine.UART(
            2, baudrate=9600, tx=machine.Pin(17), rx=machine.Pin(16), timeout=0, rxbuf=256
        )
    # Attached, the REPL would eat the answers, and a byte 3 in one would be Ctrl-C.
    os.dupterm(None, 1)
    if swap:
        return machine.UART(
            0,
            baudrate=9600,
            tx=machine.Pin(15),
            rx=machine.Pin(13),
            timeout=0,
            timeout_char=0,
            rxbuf=RXBUF,
        )
    return machine.UART(0, baudrate=9600, timeout=0, timeout_char=0, rxbuf=RXBUF)


def give_repl_back() -> None:
    """Put the REPL on UART0 again, as a start does."""
    if not ESP32:
        os.dupterm(machine.UART(0, 115200), 1)


def station() -> "Any":
    """The Wi-Fi station, with the access point off."""
    network.WLAN(network.WLAN.IF_AP).active(False)
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    return wlan


def watchdog() -> "Any":
    """Starts it: from here on it must be fed. The ESP8266's has 5 s and takes no other time."""
    return machine.WDT(timeout=8000) if ESP32 else machine.WDT()


def restart() -> None:
    """Start the board anew."""
    machine.reset()
