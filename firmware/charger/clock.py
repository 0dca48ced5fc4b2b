"""Milliseconds since the start that do not wrap: what the state machine and the lease count in."""

from firmware.common.ticks import ticks_diff, ticks_ms


class Clock:
    """One a lane, all made from the same `start` ticks; `now_ms` must be asked at least every six days."""

    def __init__(self, start: int) -> None:
        self._last = start
        self._total = 0

    def now_ms(self) -> int:
        """Milliseconds since the start."""
        ticks = ticks_ms()
        passed: int = ticks_diff(ticks, self._last)
        self._total += passed
        self._last = ticks
        return self._total

    def at(self, ticks: int) -> int:
        """The same for a recent moment given as ticks."""
        passed: int = ticks_diff(ticks, self._last)
        return self._total + passed
