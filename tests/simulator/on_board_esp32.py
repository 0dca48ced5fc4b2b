"""Runs on a simulated ESP32 as its main.py: what the chip refuses, and what it does unasked."""

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
    assert sys.platform == "esp32"
    assert os.uname()[0] == "esp32"
    assert len(machine.unique_id()) == 6


def test_pins_that_do_not_exist():
    for n in (-1, 20, 24, 28, 29, 30, 31, 40, 99):
        refuses(ValueError, Pin, n)


def test_input_only_pins():
    for n in (34, 35, 36, 37, 38, 39):
        assert Pin(n, Pin.IN).value() in (0, 1)
        refuses(ValueError, Pin, n, Pin.OUT)
        refuses(ValueError, Pin, n, Pin.IN, Pin.PULL_UP)
        refuses(ValueError, PWM, Pin(n))


def test_the_same_pin_is_the_same_object():
    assert Pin(5) is Pin(5)
    Pin(5, Pin.OUT, value=1)
    assert Pin(5).value() == 1
    assert Pin(5)() == 1


def test_hard_interrupts_are_refused():
    refuses(ValueError, Pin(4, Pin.IN).irq, lambda pin: None, Pin.IRQ_RISING, hard=True)
    refuses(ValueError, machine.Timer, 0, period=10, callback=lambda t: None, hard=True)


def test_pwm_without_a_duty_starts_at_half():
    assert PWM(Pin(18), freq=1000).duty_u16() == 32768


def test_pwm_range():
    pwm = PWM(Pin(19), freq=1000, duty_u16=65535)
    assert pwm.duty_u16() == 65535
    refuses(ValueError, pwm.duty_u16, 65536)
    refuses(ValueError, pwm.duty_u16, -1)
    refuses(ValueError, pwm.duty, 1024)
    refuses(ValueError, pwm.duty_ns, 1_000_001)
    refuses(ValueError, pwm.freq, 0)


def test_adc_only_where_there_is_one():
    for n in (5, 16, 17, 18, 19, 21, 22, 23):
        refuses(ValueError, ADC, Pin(n))


def test_adc_range_follows_attenuation():
    # The bench has nothing on pin 33's converter: dead.
    assert ADC(Pin(33), atten=ADC.ATTN_11DB).read_u16() < 2000
    refuses(ValueError, ADC(Pin(33)).atten, 7)


def test_adc2_refuses_with_wifi_on():
    adc = ADC(Pin(4))
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(False)
    adc.read_u16()
    wlan.active(True)
    refuses(OSError, adc.read_u16)
    refuses(OSError, adc.read_uv)
    wlan.active(False)
    adc.read_u16()


def test_a_read_takes_some_40_us():
    adc = ADC(Pin(36), atten=ADC.ATTN_11DB)
    began = time.ticks_us()
    for _ in range(500):
        adc.read_uv()
    assert 20_000 <= time.ticks_diff(time.ticks_us(), began) < 40_000


def test_calibrated_reading_is_whole_millivolts_and_noisy():
    adc = ADC(Pin(36), atten=ADC.ATTN_11DB)
    PWM(Pin(25), freq=1000, duty_u16=65535)  # steady +12 V: 2.28 V at the converter
    seen = [adc.read_uv() for _ in range(200)]
    assert all(uv % 1000 == 0 for uv in seen)
    assert len(set(seen)) > 3
    assert min(seen) > 2_150_000 and max(seen) < 2_400_000


def test_wifi_joins_late_and_only_when_on():
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(False)
    refuses(OSError, wlan.connect, "home", "password")
    wlan.active(True)
    assert not wlan.isconnected()
    assert wlan.ifconfig()[0] == "0.0.0.0"
    refuses(OSError, wlan.status, "rssi")
    wlan.connect("home", "password")
    refuses(OSError, wlan.connect, "home", "password")  # "Wifi Internal Error" while joining
    assert not wlan.isconnected()
    began = time.ticks_ms()
    while not wlan.isconnected():
        time.sleep_ms(10)
        assert time.ticks_diff(time.ticks_ms(), began) < 2000
    assert wlan.ifconfig()[0] != "0.0.0.0"
    refuses(ValueError, wlan.config, "no such thing")


def test_watchdog_time():
    refuses(ValueError, WDT, 1)
    refuses(ValueError, WDT, timeout=0)


def test_uarts():
    refuses(ValueError, UART, 3, 9600)
    refuses(ValueError, UART, 2, 9600, tx=Pin(34), rx=Pin(35))
    uart = UART(1, baudrate=9600, tx=Pin(4), rx=Pin(5), timeout=20)
    assert uart.read(1) is None
    assert uart.any() == 0
    assert uart.write(b"into the air") == 12


def test_ticks_wrap_at_30_bits():
    assert time.ticks_add((1 << 30) - 1, 2) == 1
    assert time.ticks_diff(1, (1 << 30) - 1) == 2
    assert time.ticks_diff((1 << 30) - 1, 1) == -2
    assert 0 <= time.ticks_ms() < 1 << 30
    refuses(OverflowError, time.ticks_add, 0, 1 << 29)


def test_clock_counts_from_2000():
    assert 0 <= time.time() < 1000
    assert time.localtime(0)[:6] == (2000, 1, 1, 0, 0, 0)
    assert time.mktime((2026, 11, 23, 12, 30, 15, 0, 0)) == 848_752_215
    assert time.localtime(848_752_215)[:6] == (2026, 11, 23, 12, 30, 15)


def test_nvs_keeps_what_is_committed():
    import esp32

    nvs = esp32.NVS("latch")
    refuses(OSError, nvs.get_i32, "none")
    nvs.set_i32("n", -5)
    nvs.set_blob("b", b"abc")
    nvs.commit()
    again = esp32.NVS("latch")
    buffer = bytearray(3)
    assert again.get_i32("n") == -5
    assert again.get_blob("b", buffer) == 3 and bytes(buffer) == b"abc"
    refuses(OSError, again.get_blob, "n", buffer)
    refuses(OverflowError, again.set_i32, "n", 1 << 31)
    refuses(OSError, esp32.NVS, "a name that is too long")


def test_empty_bus():
    bus = machine.SoftI2C(scl=Pin(22), sda=Pin(21))
    refuses(OSError, bus.writeto, 0x50, b"x")
    refuses(OSError, bus.readfrom, 0x50, 1)


def test_lan_needs_its_phy():
    refuses(ValueError, network.LAN)


def test_files_are_the_boards_own():
    assert "main.py" in os.listdir("/")
    for foreign in ("sim", "host", "rom", "etc", "usr"):
        assert foreign not in os.listdir("/")
    with open("/there.txt", "w") as f:
        f.write("ä")
    os.rename("/there.txt", "there.new")
    assert os.stat("there.new")[6] == 2
    os.remove("/there.new")


def test_sockets_block_for_ever_once_told_to():
    import socket

    server = socket.socket()
    server.bind(("0.0.0.0", 80))
    server.listen(1)
    server.settimeout(0.05)
    refuses(OSError, server.accept)
    caller = socket.socket()
    caller.settimeout(0.5)
    caller.connect(socket.getaddrinfo("127.0.0.1", 80)[0][-1])
    called, _ = server.accept()
    caller.settimeout(0.05)
    began = time.ticks_ms()
    refuses(OSError, caller.recv, 1)
    assert 40 <= time.ticks_diff(time.ticks_ms(), began) < 400
    caller.setblocking(False)
    assert caller.read(1) is None
    refuses(OSError, caller.recv, 1)
    called.write(b"GET")
    caller.settimeout(1)
    assert caller.read(3) == b"GET"
    assert caller._timeout_us == 1_000_000
    caller.setblocking(True)
    assert caller._timeout_us is None
    called.close()
    assert caller.recv(1) == b""
    caller.close()
    server.close()


def test_one_thread_at_a_time():
    import _thread

    seen = []

    def other():
        for n in range(50):
            a = len(seen)
            seen.append(n)
            assert len(seen) == a + 1
            if not n % 10:
                time.sleep_ms(1)
        done.append(1)

    done = []
    lock = _thread.allocate_lock()
    with lock:
        assert not lock.acquire(False)
    for _ in range(2):
        _thread.start_new_thread(other, ())
    began = time.ticks_ms()
    while len(done) < 2:
        time.sleep_ms(1)
        assert time.ticks_diff(time.ticks_ms(), began) < 3000
    assert len(seen) == 100


def test_rename_replaces_by_full_names_too():
    for name, text in (("/a.tmp", "new"), ("/a", "old")):
        with open(name, "w") as f:
            f.write(text)
    os.rename("/a.tmp", "/a")
    with open("/a") as f:
        assert f.read() == "new"
    assert "a.tmp" not in os.listdir()
    os.remove("a")
