"""How urgent a car is, and how much room a car that is not should leave the house.

Laxity is the time a car could still lose: until it leaves, less what charging at its most takes. A car
with more than two hours of it stays below what the house has drawn lately, so that an oven's next turn
finds the room free; once it has less, it takes what there is, and goes on doing so until it leaves:
a car that changes sides at every turn would start and stop at every turn.

The numbers were chosen on 14 days of the UCI house with five users of a garage (bench/race.py prints
the frontier): against a fixed margin they deliver the same energy with a third of the overload.
"""

from __future__ import annotations

from manager.core.site import Charger, House

URGENT_MS = 2 * 3_600_000
URGENT_SPARE_MA = 200  # meters and cars are inexact
LAX_SPARE_MA = 2_000
RUNNING_LOOKS_BACK_MS = 5 * 60_000  # what ran lately may run again: ovens, heaters, kettles
STARTING_LOOKS_BACK_MS = 15 * 60_000
PEAK_MS = 60_000
VOLTS = 230


def laxity_ms(
    now_ms: int, departs_ms: int | None, wanted_wh: float | None, max_a: int, phases: int
) -> int | None:
    """ms the car can lose and still get what it wants; None if nobody said when it leaves or how much it wants."""
    if departs_ms is None or wanted_wh is None:
        return None
    charging = max(0.0, wanted_wh) * 3_600_000 / (max_a * phases * VOLTS)
    return departs_ms - now_ms - round(charging)


def spare_ma(now_ma: int, peaks: list[tuple[int, int]], now_ms: int, running: bool) -> int:
    """mA a car with time to spare leaves free. `peaks`: (begin of a minute, most the house drew in it)."""
    back = RUNNING_LOOKS_BACK_MS if running else STARTING_LOOKS_BACK_MS
    lately = max((ma for at, ma in peaks if at > now_ms - back), default=now_ma)
    return max(LAX_SPARE_MA, lately - now_ma)


def with_peak(
    peaks: tuple[tuple[int, tuple[int, ...]], ...], current_ma: tuple[int, ...], now_ms: int
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The house's highest currents minute by minute, with one more reading."""
    if peaks and now_ms - peaks[-1][0] < PEAK_MS:
        at, most = peaks[-1]
        highest = tuple(max(a, b) for a, b in zip(most, current_ma, strict=True))
        return peaks if highest == most else (*peaks[:-1], (at, highest))
    return (*(p for p in peaks if p[0] > now_ms - STARTING_LOOKS_BACK_MS), (now_ms, current_ma))


def still_wanted_wh(charger: Charger) -> float | None:
    """Wh the car still wants, by its own meter's count of the session."""
    if charger.wants.wanted_wh is None:
        return None
    return max(0, charger.wants.wanted_wh - charger.session_wh)


def spare_on_ma(house: House, phase: int, now_ms: int, running: bool) -> int:
    """The same for one phase of a feeder's house."""
    peaks = [(at, ma[phase]) for at, ma in house.peaks]
    return spare_ma(house.current_ma[phase], peaks, now_ms, running)
