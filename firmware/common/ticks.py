"""Milliseconds that wrap, as the boards count them, and on CPython the same from its monotonic
clock."""

try:
    from time import sleep_ms, ticks_add, ticks_diff, ticks_ms
except ImportError:
    import time as _time

    _PERIOD = 1 << 30  # as on the ESP32 and ESP8266

    def ticks_ms() -> int:
        """Now; only differences mean anything."""
        return int(_time.monotonic() * 1000) % _PERIOD

    def ticks_add(ticks: int, ms: int) -> int:
        """The moment `ms` after `ticks`."""
        return (ticks + ms) % _PERIOD

    def ticks_diff(end: int, start: int) -> int:
        """Milliseconds from `start` to `end`, right up to six days either way."""
        return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2

    def sleep_ms(ms: int) -> None:
        """Do nothing for so long."""
        _time.sleep(ms / 1000)


__all__ = ("sleep_ms", "ticks_add", "ticks_diff", "ticks_ms")
