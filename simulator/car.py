"""Cars as a charger's pilot line and the mains see them. Pure: what they see goes in with the time.

car = Car(max_a=32, phases=1, wants_wh=20_000)
car.step(now_ms, duty_permille=533, pilot_mv=8900, live=False)
car.letter      "B" plugged in, "C" wants power
car.ma          what it draws on each of its phases
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

NOMINAL_V = 230
# The table of IEC 61851-1 gives a car 5 s to follow a new duty, 3 s to stop when it ends.
FOLLOW_LIMIT_MS = 5000
STOP_LIMIT_MS = 3000
_WAKE_MS = 2000  # a sleeping car wakes when the pilot was away from +9 V for so long


class CarError(ValueError):
    """A car that cannot be: which property and why, in words."""


def offered_ma(duty_permille: int) -> int:
    """What a car makes of a duty, IEC 61851-1 Annex A; 0 outside the table.

    8 to 10 %: 6 A; to 85 %: 0.6 A a percent; to 96 %: 2.5 A a percent above 64; to 97 %: 80 A.
    """
    if duty_permille < 80 or duty_permille > 970:
        return 0
    if duty_permille <= 100:
        return 6000
    if duty_permille <= 850:
        return duty_permille * 60
    return min(80_000, (duty_permille - 640) * 250)


@dataclass
class Car:
    """One car, from plugging in to unplugging.

    `max_a` on each of `phases`; wants `wants_wh` (None: it never has enough), draws less in the
    last `taper` of it. `ready_ms` from seeing a PWM to asking for power, `follow_ms` (0..5000) to
    a new duty, `ramp_a_s` amperes a second upwards. `uses_a` is less than it could have, for
    climate or a slow charger; None: all. `sleepy`: does not react to PWM until the pilot was
    away. `obeys` False: keeps drawing what it was first offered, whatever the duty says later.
    `stops_after_s`: its driver's app ends the charge so long after it began.
    """

    max_a: int = 32
    phases: int = 1
    wants_wh: int | None = None
    taper: float = 0.0
    ready_ms: int = 800
    follow_ms: int = 1500
    ramp_a_s: float = 8.0
    uses_a: float | None = None
    sleepy: bool = False
    obeys: bool = True
    stops_after_s: float | None = None
    letter: str = field(default="B", init=False)
    ma: int = field(default=0, init=False)
    taken_wh: float = field(default=0.0, init=False)
    _now: int | None = field(default=None, init=False)
    _offer: int = field(default=0, init=False)
    _offer_since: int = field(default=0, init=False)
    _above_since: int | None = field(default=None, init=False)
    _obeyed: int = field(default=0, init=False)
    _away_since: int | None = field(default=None, init=False)
    _charging_since: int | None = field(default=None, init=False)
    _stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, float, float], ...] = (
            ("max_a", 1, 80), ("phases", 1, 3), ("taper", 0, 1), ("ready_ms", 0, 600_000),
            ("follow_ms", 0, FOLLOW_LIMIT_MS), ("ramp_a_s", 0.1, 1000),
        )  # fmt: skip
        for name, low, high in ranges:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise CarError(f"car: {name} is a number, not {value!r}")
            if not low <= value <= high:
                raise CarError(f"car: {name} is from {low:g} to {high:g}, not {value:g}")
        if self.wants_wh is not None and self.wants_wh < 0:
            raise CarError(f"car: wants_wh is not negative, {self.wants_wh} is")

    @classmethod
    def named(cls, properties: dict[str, Any]) -> Car:
        """A car from a table of a scenario; CarError for a property there is not."""
        known = {f.name for f in dataclasses.fields(cls) if f.init}
        wrong = sorted(set(properties) - known)
        if wrong:
            raise CarError(f"car: no property {', '.join(wrong)}; there are {', '.join(known)}")
        return cls(**properties)

    @property
    def wants(self) -> bool:
        """Would it charge if it could?"""
        full = self.wants_wh is not None and self.taken_wh >= self.wants_wh
        return not (full or self._stopped or self.sleepy)

    def stop(self) -> None:
        """The driver ends the charge in the car; it stays plugged in."""
        self._stopped = True

    def start(self) -> None:
        """The driver starts it again."""
        self._stopped = False

    def step(self, now_ms: int, *, duty_permille: int, pilot_mv: int, live: bool) -> None:
        """See the pilot (its duty, its high plateau) and the mains until `now_ms`."""
        passed = 0 if self._now is None else now_ms - self._now
        self._now = now_ms
        self.taken_wh += self.ma * self.phases * passed * NOMINAL_V / 3_600_000_000
        offer = offered_ma(duty_permille)
        if offer != self._offer:
            self._offer, self._offer_since = offer, now_ms
        # Who draws too much follows in time whatever else is offered meanwhile.
        if offer >= self._obeyed:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now_ms
        since = now_ms - self._offer_since
        self._wake(now_ms, pilot_mv)
        if not self.wants:
            self.letter = "B"
        elif self.letter == "B" and offer and since >= self.ready_ms:
            self.letter = "C"
        elif self.letter == "C" and not offer and self.ma == 0 and since >= self.follow_ms:
            self.letter = "B"
        if self.letter != "C" or not live:
            self.ma = 0
            self._charging_since = None
            return
        if self._charging_since is None:
            self._charging_since = now_ms
        charged_ms = now_ms - self._charging_since
        if self.stops_after_s is not None and charged_ms >= self.stops_after_s * 1000:
            self._stopped = True
        above = self._above_since
        self._draw(passed, offer, since if above is None else now_ms - above)

    def _wake(self, now_ms: int, pilot_mv: int) -> None:
        if not self.sleepy:
            return
        if pilot_mv < 1500 or pilot_mv > 10_500:
            if self._away_since is None:
                self._away_since = now_ms
            elif now_ms - self._away_since >= _WAKE_MS:
                self.sleepy = False
        else:
            self._away_since = None

    def _draw(self, passed: int, offer: int, since: int) -> None:
        # A stop is obeyed within 3 s, whatever a new amount may take.
        patience = min(self.follow_ms, STOP_LIMIT_MS - 500) if not offer else self.follow_ms
        if since >= patience or not self._obeyed:
            self._obeyed = offer if self.obeys or not self._obeyed else self._obeyed
        target = min(self._obeyed, self.max_a * 1000)
        if self.uses_a is not None:
            target = min(target, round(self.uses_a * 1000))
        if self.wants_wh and self.taper and target:
            left = (self.wants_wh - self.taken_wh) / self.wants_wh
            if left < self.taper:
                # Near full a battery takes ever less, down to about 6 A at the charger.
                target = min(target, max(6000, round(self.max_a * 1000 * left / self.taper)))
        if target <= self.ma:
            self.ma = target
        else:
            self.ma = min(target, self.ma + round(self.ramp_a_s * passed))
