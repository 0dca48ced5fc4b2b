"""`time` as on ESP32 and ESP8266: ticks that wrap after 2**30 ms, an epoch of 2000, sleeps that
serve the wires."""

import host
import wiring

# 30 bits, as small integers have on a 32-bit board; the computer's 62 would hide every comparison
# without ticks_diff.
_PERIOD = 1 << 30
_EPOCH_2000 = 946684800
_start = int(host.getenv("BOARD_TICKS") or 0)  # ms; near 2**30 it lets a test see the wrap
_set_at_s = 0


def ticks_ms():
    """Milliseconds, wrapping."""
    return (wiring.now_us() // 1000 + _start) & (_PERIOD - 1)


def ticks_us():
    """Microseconds, wrapping."""
    return (wiring.now_us() + _start * 1000) & (_PERIOD - 1)


def ticks_cpu():
    """A finer clock; microseconds here."""
    return ticks_us()


def ticks_add(ticks, delta):
    """As on the boards: the sum, wrapped; OverflowError for a delta of more than half the period."""
    if not -(_PERIOD >> 1) < delta < (_PERIOD >> 1):
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & (_PERIOD - 1)


def ticks_diff(end, start):
    """As on the boards: the signed distance, right within half a period."""
    return ((end - start + (_PERIOD >> 1)) & (_PERIOD - 1)) - (_PERIOD >> 1)


def sleep_ms(ms):
    """Sleep; interrupt handlers run meanwhile."""
    wiring.sleep_us(int(ms) * 1000)


def sleep_us(us):
    """Busy for so long."""
    if us < 1000:
        wiring.busy(int(us))
    else:
        wiring.sleep_us(int(us))


def sleep(s):
    """Sleep for so many seconds."""
    wiring.sleep_us(int(s * 1_000_000))


def time():
    """Seconds since 2000-01-01; a board without a set clock counts from its start."""
    return _set_at_s + wiring.now_us() // 1_000_000


def time_ns():
    """Nanoseconds since 2000-01-01."""
    return _set_at_s * 1_000_000_000 + wiring.now_us() * 1000


def _set(seconds):
    global _set_at_s
    _set_at_s = seconds - wiring.now_us() // 1_000_000


def gmtime(seconds=None):
    """(year, month, day, hour, minute, second, weekday, yearday)."""
    return host.time.gmtime((time() if seconds is None else seconds) + _EPOCH_2000)[:8]


def localtime(seconds=None):
    """The same: boards know no time zone."""
    return gmtime(seconds)


def mktime(parts):
    """Seconds since 2000 of (year, month, day, hour, minute, second, ...)."""
    year, month, day, hour, minute, second = parts[:6]
    year -= month <= 2
    days = (
        365 * year
        + year // 4
        - year // 100
        + year // 400
        + (153 * ((month + 9) % 12) + 2) // 5
        + day
        - 730426
    )
    return days * 86400 + hour * 3600 + minute * 60 + second
