"""The energy meter's hardware, and the only place that knows its pins: ESP8266 (NodeMCU), or an
ESP32.

ESP8266: the PZEM hangs on UART0, the only one that receives, on pins 1 and 3, or with `uart_swap`
on 15 (out) and 13. GPIO15 must be low when the chip starts, and the PZEM's opto-coupler may pull
it up: see docs/meter-wiring.md.
"""

import os

import machine
import network

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

ESP32 = os.uname()[0] == "esp32"
BUTTON = 0  # FLASH / BOOT on nearly every board; low while pressed
SCL, SDA = (22, 21) if ESP32 else (5, 4)
_OLED = 0x3C  # its I2C address
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


def access_point(name: str) -> "Any":
    """An open access point of this name at 192.168.4.1, with the station off: both at once make
    an ESP8266's access point change channels under its visitors."""
    network.WLAN(network.WLAN.IF_STA).active(False)
    wlan = network.WLAN(network.WLAN.IF_AP)
    wlan.active(True)
    wlan.config(ssid=name, security=0)
    return wlan


def oled() -> "Any":
    """The SSD1306 on the I2C bus, None if there is none."""
    bus = machine.SoftI2C(scl=machine.Pin(SCL), sda=machine.Pin(SDA), freq=400_000)
    try:
        bus.writeto(_OLED, b"")
        import ssd1306

        return ssd1306.SSD1306_I2C(128, 64, bus, _OLED)
    except (OSError, ImportError):
        return None


def watchdog() -> "Any":
    """Starts it: from here on it must be fed. The ESP8266's has 5 s and takes no other time."""
    return machine.WDT(timeout=8000) if ESP32 else machine.WDT()


def ask_for_setup(flag: str) -> None:
    """Start anew, and into the access point."""
    with open(flag, "w") as f:
        f.write("1")
    machine.reset()


def asked_for_setup(flag: str) -> bool:
    """Was that what this start is for? Once: the next start is an ordinary one."""
    try:
        os.remove(flag)
    except OSError:
        return False
    return True


def restart() -> None:
    """Start the board anew."""
    machine.reset()
