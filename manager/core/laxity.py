"""How urgent a car is, and how much room a car that is not should leave the house.

Laxity is the time a car could still lose: until it leaves, less what charging at its most takes. A car
with more than two hours of it stays below what the house has drawn lately, so that an oven's next turn
finds the room free, and leaves it what it seldom rises by within two minutes at this time of day, on a
day like this, with as much running as now; once it has less, it takes what there is, and goes on doing
so until it leaves: a car that changes sides at every turn would start and stop at every turn.

The numbers were chosen on 14 days of the UCI house with five users of a garage (bench/race.py prints
the frontier): against a fixed margin they deliver the same energy with a third of the overload.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest

from manager.core.site import NO_MINUTE, Charger, House

URGENT_MS = 2 * 3_600_000
URGENT_SPARE_MA = 200  # meters and cars are inexact
LAX_SPARE_MA = 2_000
RUNNING_LOOKS_BACK_MS = 5 * 60_000  # what ran lately may run again: ovens, heaters, kettles
STARTING_LOOKS_BACK_MS = 15 * 60_000
PEAK_MS = 60_000
VOLTS = 230
RISE_QUANTILE = 0.9
RISE_ENOUGH = 120  # minutes; of less nothing is concluded
RISE_MA = 500  # rises are counted in steps of this ...
RISE_MOST = 100  # ... up to so many
RISE_FADES = 10_000  # minutes of one kind: two months of a weekday's four hours
LEVEL_MA = 2_000
LEVELS = 10  # what runs now, in steps of LEVEL_MA; the last is all above
PART_MIN = 240  # of a day

Rises = Mapping[
    int, tuple[int, ...]
]  # kind of minute -> how often the house rose by 0, 1, ... RISE_MA


def laxity_ms(
    now_ms: int, departs_ms: int | None, wanted_wh: float | None, max_a: int, phases: int
) -> int | None:
    """ms the car can lose and still get what it wants; None if nobody said when it leaves or how much it wants."""
    if departs_ms is None or wanted_wh is None:
        return None
    charging = max(0.0, wanted_wh) * 3_600_000 / (max_a * phases * VOLTS)
    return departs_ms - now_ms - round(charging)


def spare_ma(
    now_ma: int,
    peaks: list[tuple[int, int]],
    now_ms: int,
    running: bool,
    rises: Rises,
    minute: int,
) -> int:
    """mA a car with time to spare leaves free. `peaks`: (begin of a minute, most the house drew in it);
    `rises`: what is learned of it; `minute` of the week."""
    back = RUNNING_LOOKS_BACK_MS if running else STARTING_LOOKS_BACK_MS
    lately = max((ma for at, ma in peaks if at > now_ms - back), default=now_ma)
    return max(LAX_SPARE_MA, lately - now_ma, seldom_rises_ma(rises, minute, now_ma))


def _level(ma: int) -> int:
    return max(0, min(LEVELS - 1, ma // LEVEL_MA))


def _kind(minute: int, ma: int) -> int:
    """Part of the day, weekday or weekend, and what runs."""
    weekend = minute >= 5 * 1440
    return ((minute % 1440 // PART_MIN) * 2 + weekend) * LEVELS + _level(ma)


def learned_rises(rises: Rises, peaks: Sequence[tuple[int, int]], minute: int) -> Rises:
    """With what the house did in the two minutes after the fourth last of `peaks`, the last having just begun."""
    if minute == NO_MINUTE or len(peaks) < 4:
        return rises
    (begin, was), (_, one), (end, two) = peaks[-4:-1]
    if end - begin > 3 * PEAK_MS:
        return rises  # it was not heard in between
    rise = min(RISE_MOST, max(0, -(-(max(one, two) - was) // RISE_MA)))
    kind = _kind(minute, was)
    counts = list(rises.get(kind, ()))
    counts += [0] * (rise + 1 - len(counts))
    counts[rise] += 1
    if sum(counts) > RISE_FADES:
        counts = [-(-c // 2) for c in counts]
    return {**rises, kind: tuple(counts)}


def seldom_rises_ma(rises: Rises, minute: int, now_ma: int) -> int:
    """What the house rises by within two minutes in only one of ten cases, at such a time with so much
    running; while that is little known with so much running at any time; then at all. 0 while nothing is known.
    """
    known = rises.get(_kind(minute, now_ma), ()) if minute != NO_MINUTE else ()
    if sum(known) < RISE_ENOUGH:
        level = _level(now_ma)
        known = _together(tuple(c for k, c in rises.items() if k % LEVELS == level))
    if sum(known) < RISE_ENOUGH:
        known = _together(tuple(rises.values()))
    if sum(known) < RISE_ENOUGH:
        return 0
    seen = 0
    for step, count in enumerate(known):
        seen += count
        if seen >= RISE_QUANTILE * sum(known):
            return step * RISE_MA
    return RISE_MOST * RISE_MA


@lru_cache(64)
def _together(counts: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip_longest(*counts, fillvalue=0)))


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


def spare_on_ma(
    house: House, phase: int, now_ms: int, running: bool, rises: Rises, minute: int
) -> int:
    """The same for one phase of a feeder's house."""
    peaks = [(at, ma[phase]) for at, ma in house.peaks]
    return spare_ma(house.current_ma[phase], peaks, now_ms, running, rises, minute)
