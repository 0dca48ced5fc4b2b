"""What is left for cars on every phase of every feeder: limit, less the house, less a margin.

A meter that measures everything shows house and cars in one number. The cars' own meters tell them apart, but no two
meters look at the same moment: a PZEM-004T shows a load between 1.0 and 2.65 s late. So the house is known to within a
range, narrow while the cars are steady and wide while they ramp, and the estimate moves only when it must:

- a reading that the cars cannot explain, even if each draws the most it lawfully may, raises the house at once;
- a reading whose whole window the cars' own meters have covered moves the estimate into its range, and no further.

So a ramping car is never mistaken for a house that steps (which would pause the car and start the ramp again), and a
step of the house is never hidden for longer than it cannot do harm: what is hidden fits under leases already granted.

When a meter falls silent the house is taken for what it last was for 3 s, then for what it seldom exceeds at this hour
of this weekday, then for the worst it may be. It is never "the last value" for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

from manager.core.leases import FOLLOW_MS, worst_a
from manager.core.site import (
    MAIN,
    NO_MINUTE,
    Charger,
    Habits,
    House,
    Meter,
    Reading,
    Site,
    changed,
)

LAG_SPAN_MS = 1_650  # PZEM-004T v3: shows a step after 1.0 s at the earliest, after 2.65 s wholly; two differ so
STALE_MS = 10_000  # a charger that has not sent its meter's reading for so long is taken to draw anything it may
OPEN_MS = 4_000  # so long after a contactor opened, no meter shows its car any more
NARROW_MA = 250  # cars this steady: take the upper end of the range, the safe one; less than one whole ampere's step
KEEP_MS = 12_000  # readings older than this explain nothing any more
HABIT_QUANTILE = 0.99
STEP_MA = 500
FLICKER_MA = (
    250  # of a house that does not step, seen through meters of 0.5 % and cars that draw 26 A
)
FLICKER_MS = 120_000
HABIT_ENOUGH_S = 600  # ten minutes of this hour have been seen


def remembered(readings: tuple[Reading, ...], new: Reading, now_ms: int) -> tuple[Reading, ...]:
    """The readings with one more; those that explain nothing any more are dropped, but for the newest of them."""
    while len(readings) > 1 and readings[1].at_ms < now_ms - KEEP_MS:
        readings = readings[1:]
    if readings and new.at_ms < readings[-1].at_ms:
        return tuple(sorted((*readings, new), key=lambda r: r.at_ms))
    return (*readings, new)


def drawn_ma(charger: Charger) -> int:
    """What the car on this charger drew last, highest phase, by its own meter; 0 if unknown."""
    return max(charger.readings[-1].current_ma) if charger.readings else 0


def _ceiling_ma(charger: Charger, now_ms: int) -> int:
    lately = charger.was_a if now_ms < charger.was_until_ms else 0
    return max(worst_a(charger, now_ms), lately) * 1000


def _range_ma(charger: Charger, phase: int, at_ms: int, now_ms: int) -> tuple[int, int] | None:
    """Least and most the car can have drawn on this phase of the charger in a meter's reading stamped `at_ms`.

    None: not known yet, its own meter is still to show that moment.
    """
    if charger.state and not charger.contactor and at_ms - charger.contactor_ms > KEEP_MS // 3:
        return 0, 0  # it had opened well before that moment
    readings = charger.readings
    if charger.meter and readings and now_ms - readings[-1].at_ms <= STALE_MS:
        if readings[-1].at_ms < at_ms + LAG_SPAN_MS:
            return None
        low = high = -1
        before = after = -1
        for r in readings:
            ma = r.current_ma[phase] if phase < len(r.current_ma) else 0
            if r.at_ms <= at_ms - LAG_SPAN_MS:
                before = ma
            elif r.at_ms >= at_ms + LAG_SPAN_MS:
                after = ma
                break
            else:
                low = ma if low < 0 else min(low, ma)
                high = max(high, ma)
        for ma in (before, after):
            if ma >= 0:
                low = ma if low < 0 else min(low, ma)
                high = max(high, ma)
        return low, high
    high = _ceiling_ma(charger, now_ms)
    if not charger.meter and charger.contactor and now_ms - charger.sent_ms < STALE_MS:
        # Nobody measures this car. That it draws what it is offered is the trade's assumption.
        settled = (
            charger.confirmed == charger.number
            and charger.on_ms >= 0
            and now_ms - charger.on_ms > FOLLOW_MS
        )
        return (min(high, charger.limit_a * 1000) if settled else 0), high
    return 0, high


def _upper_ma(charger: Charger, phase: int, at_ms: int, now_ms: int) -> int:
    upper = _ceiling_ma(charger, now_ms)
    for r in charger.readings:
        if r.at_ms >= at_ms - 2 * LAG_SPAN_MS and phase < len(r.current_ma):
            upper = max(upper, r.current_ma[phase])
    return upper


def _of_phase(charger: Charger, phase: int) -> int | None:
    return charger.phases.index(phase) if phase in charger.phases else None


def told_apart(
    house: House, readings: tuple[Reading, ...], cars: list[Charger], phases: int, now_ms: int
) -> House:
    """The house on one feeder after its meter for everything, or one of the cars' own meters, has spoken."""
    if not readings:
        return house
    current = list(house.current_ma)
    resolved = house.resolved_ms
    for reading in reversed(readings):
        if reading.at_ms <= house.resolved_ms:
            break
        ranges: list[tuple[int, int]] = []
        for phase in range(phases):
            total = reading.current_ma[phase] if phase < len(reading.current_ma) else 0
            low = high = 0
            for car in cars:
                own = _of_phase(car, phase)
                if own is None:
                    continue
                r = _range_ma(car, own, reading.at_ms, now_ms)
                if r is None:
                    break
                low += r[0]
                high += r[1]
            else:
                ranges.append((total - high, total - low))
                continue
            break
        if len(ranges) < phases:
            continue
        for phase, (low, high) in enumerate(ranges):
            if resolved < 0 or high - low <= NARROW_MA:
                current[phase] = high
            else:
                current[phase] = min(max(current[phase], low), high)
        resolved = reading.at_ms
        break
    for reading in reversed(readings):
        if reading.at_ms <= resolved:
            break
        for phase in range(phases):
            total = reading.current_ma[phase] if phase < len(reading.current_ma) else 0
            for car in cars:
                own = _of_phase(car, phase)
                if own is not None:
                    total -= _upper_ma(car, own, reading.at_ms, now_ms)
            if resolved < 0 and reading is readings[-1]:
                current[phase] = total
            else:
                current[phase] = max(current[phase], total)
    return changed(
        house,
        current_ma=tuple(current),
        resolved_ms=resolved,
        read_ms=readings[-1].at_ms,
    )


def beneath(site: Site, feeder: str, chargers: Iterable[Charger]) -> list[Charger]:
    """The chargers on this feeder and on every one that hangs under it."""
    if feeder == MAIN:
        return list(chargers)
    below = {name for name in site.feeders if feeder in site.above(name)}
    return [c for c in chargers if c.feeder in below]


def solar_ma(site: Site, meters: Iterable[Meter], houses: Mapping[str, House]) -> tuple[int, ...]:
    """What the sun gives beyond what the house draws, mA per phase of the main feeder.

    With a solar meter its production less the house, without one what the house feeds in.
    """
    phases = site.feeders[MAIN].phases
    house = houses.get(MAIN)
    if house is None or house.read_ms < 0:
        return (0,) * phases
    made = [0] * phases
    every = list(meters)
    if not any(m.role == "grid" and m.feeder == MAIN for m in every):  # that one has seen the sun
        for meter in every:
            if meter.role == "solar" and meter.readings:
                for phase, ma in enumerate(meter.readings[-1].current_ma[:phases]):
                    made[phase] += abs(ma)
    return tuple(max(0, m - h) for m, h in zip(made, house.current_ma, strict=True))


def measured(
    site: Site, feeder: str, meters: Iterable[Meter], chargers: Mapping[str, Charger], now_ms: int
) -> House:
    """The house on one feeder from the meters there, before the question of how old all of it is."""
    phases = site.feeders[feeder].phases
    old = site.houses.get(feeder) or House((0,) * phases)
    here = [m for m in meters if m.feeder == feeder]
    whole = [m for m in here if m.role in ("grid", "feeder")]
    if whole:
        return told_apart(
            old, whole[0].readings, beneath(site, feeder, chargers.values()), phases, now_ms
        )
    parts = [m for m in here if m.role == "house"]
    if not parts or not all(m.readings for m in parts):
        return old
    current = [0] * phases
    for meter in parts:
        for phase, ma in enumerate(meter.readings[-1].current_ma[:phases]):
            current[phase] += ma
    at = min(m.readings[-1].at_ms for m in parts)
    return changed(old, current_ma=tuple(current), resolved_ms=at, read_ms=at)


def worst_house_ma(site: Site, feeder: str) -> int:
    """The most the house may draw here, per phase, when nothing is measured."""
    here = site.feeders[feeder]
    if here.worst_house_ma is not None:
        return here.worst_house_ma
    if here.parent:
        return 0  # a cable of its own with chargers only, unless the site file or a meter says otherwise
    worst = site.settings.worst_house_a
    return max(here.limit_ma) if worst is None else worst * 1000


def steady_ma(house: House, phase: int, now_ms: int) -> int:
    """The house's current on one phase, without its flicker.

    Where a whole ampere is just free or just not, meters' noise would cut and raise a car at every
    reading. A house that was a little higher within the last minutes is taken at that; one that
    has fallen by more is believed at once.
    """
    now = house.current_ma[phase]
    lately = now
    for at, ma in house.peaks[-3:]:  # a peak a minute
        if at > now_ms - FLICKER_MS and ma[phase] > lately:
            lately = ma[phase]
    return lately if lately <= now + FLICKER_MA else now


def graded(
    site: Site, feeder: str, house: House, has_meter: bool, now_ms: int
) -> tuple[str, tuple[int, ...]]:
    """The grade of what is known, and the house's current per phase to reckon with: the ladder."""
    worst = worst_house_ma(site, feeder)
    phases = site.feeders[feeder].phases
    if house.read_ms < 0:
        return "lost" if has_meter else "unmeasured", (worst,) * phases
    silent = now_ms - house.read_ms
    if silent <= site.settings.meter_silent_ms:
        # What the building feeds in may be gone with the next cloud: it makes no room.
        return "measured", tuple(
            max(0, steady_ma(house, phase, now_ms)) for phase in range(phases)
        )
    if silent <= site.settings.meter_lost_ms:
        usual = seldom_above_ma(site.habits.get(feeder), site.minute)
        if usual is None:
            usual = worst
        return "silent", tuple(max(ma, usual) for ma in house.current_ma)
    return "lost", tuple(max(ma, worst) for ma in house.current_ma)


def learned(habits: Habits, minute: int, current_ma: int, now_ms: int) -> Habits:
    """The house's habits with one more reading; each whole second of it counts once."""
    if minute == NO_MINUTE:
        return habits
    since = habits.since_ms
    seconds = 1 if since < 0 else min(60, (now_ms - since) // 1000)
    if seconds < 1:
        return habits
    hour = minute // 60
    amps = max(0, -(-current_ma // 1000))
    counts = list(habits.hours.get(hour, ()))
    counts += [0] * (amps + 1 - len(counts))
    counts[amps] += seconds
    if sum(counts) > 8 * 3600:  # two months of this hour: let the old weeks fade
        counts = [c // 2 for c in counts]
    steps = habits.steps
    if habits.last_ma is not None:
        kind = _hour_of_day(minute)
        rises = list(steps.get(kind, ()))
        rise = max(0, current_ma - habits.last_ma) // STEP_MA
        rises += [0] * (rise + 1 - len(rises))
        rises[rise] += 1
        if sum(rises) > 14 * 3600:  # two weeks of weekdays and more: let the old ones fade
            rises = [-(-c // 2) for c in rises]
        steps = {**steps, kind: tuple(rises)}
    return Habits({**habits.hours, hour: tuple(counts)}, now_ms, current_ma, steps, habits.rises)


def _hour_of_day(minute: int) -> int:
    """0..23 from Monday to Friday, 24..47 at the weekend: too few of each of 168 hours are ever seen."""
    return minute % 1440 // 60 + (24 if minute >= 5 * 1440 else 0)


def step_margin_ma(habits: Habits | None, minute: int) -> int:
    """Kept free so that the house's own steps exceed the limit less than once an hour, by what it does at this
    hour; by all hours while this one is little known, 0 while nothing is.
    """
    if habits is None:
        return 0
    rises = habits.steps.get(_hour_of_day(minute), ()) if minute != NO_MINUTE else ()
    if sum(rises) < HABIT_ENOUGH_S:
        rises = tuple(map(sum, zip_longest(*habits.steps.values(), fillvalue=0)))
    if sum(rises) < HABIT_ENOUGH_S:
        return 0
    allowed = sum(rises) / 3600
    above = 0
    for half_amps in range(len(rises) - 1, 0, -1):
        above += rises[half_amps]
        if above > allowed:
            return (half_amps + 1) * STEP_MA
    return 0


def seldom_above_ma(
    habits: Habits | None, minute: int, quantile: float = HABIT_QUANTILE
) -> int | None:
    """What the house exceeds in only 1 % of the time at this hour of this weekday; None if that is not known yet."""
    if habits is None or minute == NO_MINUTE:
        return None
    counts = habits.hours.get(minute // 60, ())
    total = sum(counts)
    if total < HABIT_ENOUGH_S:
        return None
    seen = 0
    for amps, count in enumerate(counts):
        seen += count
        if seen >= quantile * total:
            return amps * 1000
    return (len(counts) - 1) * 1000
