"""A car as the pilot and the mains see it: letters A, B, C, and what it draws."""

from __future__ import annotations

from firmware.charger import pilot
from simulator.scenario import VOLTS

_READY_MS = 800  # from the first PWM until the car asks for power
_LEAVE_C_MS = 1_500  # from the end of PWM until the car stops asking


class Car:
    """`max_a` on each of `phases`; wants `wants_wh` (None: no end). Times in ms, `follow_ms` to
    follow a new duty.
    """

    def __init__(self, max_a: int, phases: int, wants_wh: int | None, follow_ms: int) -> None:
        self.max_a = max_a
        self.phases = phases
        self.wants_wh = wants_wh
        self.follow_ms = follow_ms
        self.willing = True  # the driver has not stopped it
        self.letter = "B"
        self.amps_ma = 0
        self.taken_mas = 0.0
        self._told = (0, 0)  # offer in 0.1 A, since when
        self._obeyed = 0
        self._now = 0

    @property
    def taken_wh(self) -> float:
        """Energy taken since it came."""
        return self.taken_mas * VOLTS / 3_600_000

    @property
    def wants(self) -> bool:
        """Whether it would charge if it could."""
        return self.willing and (self.wants_wh is None or self.taken_wh < self.wants_wh)

    def step(self, now_ms: int, duty: int | None, powered: bool) -> None:
        """`duty` per mille on the pilot (None: dead), `powered`: the contactor is closed."""
        self.taken_mas += self.amps_ma * self.phases * (now_ms - self._now) / 1000
        self._now = now_ms
        offer = 0 if duty is None else pilot.decamps(duty)
        if offer != self._told[0]:
            self._told = (offer, now_ms)
        since = now_ms - self._told[1]
        if not self.wants:
            self.letter = "B"
        elif self.letter == "B" and offer >= 60 and since >= _READY_MS:
            self.letter = "C"
        elif self.letter == "C" and not offer and since >= _LEAVE_C_MS:
            self.letter = "B"
        if since >= self.follow_ms:
            self._obeyed = offer
        if powered and self.letter == "C":
            self.amps_ma = min(self._obeyed * 100, self.max_a * 1000)
        else:
            self.amps_ma = 0

    def next_ms(self, now_ms: int) -> int:
        """When it will do something by itself; far away if it will not."""
        waits = (self.follow_ms, _READY_MS, _LEAVE_C_MS)
        times = [self._told[1] + wait for wait in waits if self._told[1] + wait > now_ms]
        if self.amps_ma and self.wants_wh is not None and self.wants:
            left_mas = self.wants_wh * 3_600_000 / VOLTS - self.taken_mas
            times.append(now_ms + int(left_mas * 1000 / (self.amps_ma * self.phases)) + 1)
        return min(times, default=2**62)
