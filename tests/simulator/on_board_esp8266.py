"""Runs on a simulated ESP8266 as its main.py. The bench has put b"0123456789abcdefghijklmno" on the
line before it starts, and echoes nothing."""

# mypy: ignore-errors

import os
import sys
import time

import machine
import network
from machine import ADC, PWM, UART, WDT, Pin


def refuses(error, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except error:
        return
    raise AssertionError("not refused")


def test_platform():
    assert sys.platform == "esp8266"
    assert len(machine.unique_id()) == 4


def test_pins_that_do_not_exist():
    for n in (6, 7, 8, 11, 17, 32):
        refuses(ValueError, Pin, n)
    refuses(ValueError, Pin(16, Pin.IN).irq, lambda pin: None)


def test_pwm():
    refuses(ValueError, PWM, Pin(4), freq=1001)
    refuses(ValueError, PWM, Pin(16))
    assert PWM(Pin(4), freq=1000).duty_u16() == 0


def test_one_adc():
    ADC(0).read_u16()
    refuses(ValueError, ADC, 1)


def test_watchdog_has_one_time():
    refuses(ValueError, WDT, timeout=2000)
    refuses(ValueError, WDT, timeout=8000)


def test_no_hardware_timers():
    refuses(ValueError, machine.Timer, 0)


def test_access_point_is_on_by_itself():
    ap = network.WLAN(network.WLAN.IF_AP)
    assert ap.active()
    ap.active(False)
    assert not ap.active()


def test_uart0_line_by_line():
    refuses(ValueError, UART, 0, 9600, tx=Pin(4), rx=Pin(5))
    refuses(ValueError, UART, 0, 9600, tx=Pin(1), rx=Pin(13))
    refuses(ValueError, UART, 2, 9600)
    assert UART(1, 9600).read(1) is None
    uart = UART(0, baudrate=9600, timeout=20)
    # The REPL has the line until it is taken away.
    assert uart.read(5) is None
    os.dupterm(None, 1)
    # Now the 25 bytes of an answer arrive while nobody reads: 15 stay.
    print("send")
    time.sleep_ms(500)
    assert uart.any() == 15
    assert uart.read() == b"0123456789abcde"
    assert uart.read(1) is None
    roomy = UART(0, baudrate=9600, timeout=20, rxbuf=64)
    print("send")
    time.sleep_ms(500)
    assert roomy.any() == 25
    assert roomy.read(10) == b"0123456789"
    buffer = bytearray(30)
    assert roomy.readinto(buffer) == 15
    # init without a time-out sets it to 0.
    roomy.init(baudrate=9600)
    began = time.ticks_ms()
    assert roomy.read(1) is None
    assert time.ticks_diff(time.ticks_ms(), began) < 15


def test_ctrl_c_while_the_repl_has_the_line():
    os.dupterm(UART(0, 115200), 1)
    uart = UART(0, baudrate=9600, timeout=20)
    print("interrupt")
    try:
        for _ in range(100):
            time.sleep_ms(5)
            uart.any()
    except KeyboardInterrupt:
        return
    raise AssertionError("no KeyboardInterrupt")


def test_esp32_modules_are_not_there():
    for name in ("esp32", "no_such_module"):
        try:
            __import__(name)
        except ImportError:
            continue
        raise AssertionError(name)
