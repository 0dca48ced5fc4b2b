"""`machine` of an ESP32 or an ESP8266 whose pins end on the simulated bench; as strict as the
boards."""

import adc
import host
import pins
import wiring

if host.ON_MICROPYTHON:
    from umachine import Signal, idle, mem8, mem16, mem32  # noqa: F401
else:
    from signal_class import Signal, idle  # noqa: F401

from buses import I2C, SPI, SoftI2C, SoftSPI  # noqa: F401
from pwm import PWM  # noqa: F401
from serial_port import UART  # noqa: F401

Pin = pins.Pin
ADC = adc.ADC

_ESP32 = wiring.CHIP == "esp32"
if _ESP32:
    from adc import ADCBlock  # noqa: F401

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = (
    (1, 2, 3, 4, 5) if _ESP32 else (0, 6, 1, 5, 4)
)


def unique_id():
    """The chip's own number: 6 bytes on an ESP32, 4 on an ESP8266."""
    raw = bytes.fromhex(host.getenv("BOARD_UID") or "0242ac110002")
    return raw[:6] if _ESP32 else raw[-4:]


def reset():
    """Start anew as after power-on, pins floating meanwhile."""
    wiring.say(82, HARD_RESET)  # "R"
    _leave(42)


def soft_reset():
    """Start the program anew; PWM pins go low first."""
    _leave(43)


def _leave(code):
    # A reset ends every thread at once, whatever any of them catches: the bench kills the board's
    # process.
    wiring.say(81, code)  # "Q"
    while True:
        host.sleep_us(1_000_000)


def reset_cause():
    """One of the *_RESET constants."""
    return {"power": PWRON_RESET, "hard": HARD_RESET, "wdt": WDT_RESET, "soft": SOFT_RESET}[
        host.getenv("BOARD_RESET") or "power"
    ]


def freq(hz=None):
    """The processor's clock in Hz."""
    return 160_000_000 if _ESP32 else 80_000_000


def disable_irq():
    """No pin handler runs until enable_irq."""
    pins.masked += 1
    return pins.masked - 1


def enable_irq(state=True):
    """Undo disable_irq."""
    pins.masked = int(state) if state is not True else 0
    pins.run_pending()


class WDT:
    """The watchdog: not fed in time, the bench resets the board. It cannot be stopped."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("invalid WDT id")
        if _ESP32:
            if timeout <= 0:
                raise ValueError("WDT timeout too short")
        elif timeout != 5000:
            raise ValueError("WDT timeout can't be changed")
        self._fed_us = wiring.now_us()
        wiring.say(87, 0, 0, timeout)  # "W"

    def feed(self):
        """Tell the watchdog that all is well."""
        now = wiring.now_us()
        # Not more often than every 20 ms: the bench then resets up to 20 ms too early, never too
        # late.
        if now - self._fed_us >= 20_000:
            self._fed_us = now
            wiring.say(75, 0)  # "K"


class Timer:
    """Soft timers: the callback runs when the board next waits or looks at a pin."""

    ONE_SHOT, PERIODIC = 0, 1

    def __init__(self, id=-1, **how):
        if not _ESP32 and id != -1:
            raise ValueError("invalid Timer number")
        if _ESP32 and not -1 <= id <= 3:
            raise ValueError("invalid Timer number")
        self._due = None
        if how:
            self.init(**how)

    def init(self, *, mode=1, freq=-1, period=-1, callback=None, tick_hz=1000, hard=False):
        """Start: every (or once after) `period` ms, or at `freq` Hz."""
        if _ESP32 and hard:
            raise ValueError("hard Timers are not implemented")
        self._every_us = int(1_000_000 / freq) if freq > 0 else period * 1_000_000 // tick_hz
        self._mode, self._callback = mode, callback
        self._due = wiring.now_us() + self._every_us
        if self._run not in wiring.every_wait:
            wiring.every_wait.append(self._run)

    def _run(self):
        if self._due is not None and wiring.now_us() >= self._due:
            self._due = self._due + self._every_us if self._mode else None
            if self._callback:
                self._callback(self)

    def deinit(self):
        """Stop."""
        self._due = None
        if self._run in wiring.every_wait:
            wiring.every_wait.remove(self._run)


class RTC:
    """The clock, and on an ESP8266 and ESP32 a little memory that survives resets but not a power
    cut."""

    ALARM0 = 0

    def __init__(self, id=0):
        pass

    def datetime(self, when=None):
        """(year, month, day, weekday, hour, minute, second, subsecond); set it by giving one."""
        import time

        if when is None:
            y, mo, d, h, mi, s, wd, _ = time.gmtime()
            return (y, mo, d, wd, h, mi, s, 0)
        time._set(time.mktime((when[0], when[1], when[2], when[4], when[5], when[6])))
        return None

    def memory(self, data=None):
        """Bytes kept over resets (512 at most on an ESP8266, 2048 on an ESP32)."""
        path = host.getenv("BOARD_RTC")
        if data is None:
            try:
                with host.open_host(path, "rb") as f:
                    return f.read()
            except OSError:
                return b""
        if len(data) > (2048 if _ESP32 else 512):
            raise ValueError("buffer too long")
        with host.open_host(path, "wb") as f:
            f.write(data)
        return None


def lightsleep(ms=None):
    """Sleep; the wires stay as they are."""
    import time

    time.sleep_ms(ms or 0)


def deepsleep(ms=None):
    """Sleep and start anew."""
    wiring.say(82, DEEPSLEEP_RESET)
    _leave(42)


def time_pulse_us(pin, level, timeout_us=1_000_000):
    """Nothing on the bench makes pulses this would measure."""
    return -2
