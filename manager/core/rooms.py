"""What every phase of every feeder has left for cars: see `headroom` for what the house is taken to draw."""

from __future__ import annotations

from collections.abc import Iterable
from operator import lt

from manager.core import headroom, leases
from manager.core.calm import CALM, CALM_MS
from manager.core.sharing import Key
from manager.core.site import MAIN, Charger, House, Site, changed
from manager.core.wishes import not_wanting
from manager.core.work import Work


def by_key(site: Site) -> dict[Key, int]:
    """What every phase of every feeder has left for cars, in mA, to be taken from."""
    return {
        (name, phase): ma
        for name, left in site.headroom_ma.items()
        for phase, ma in enumerate(left)
    }


def left_for_cars(work: Work) -> None:
    """Work out what every phase of every feeder has left for cars, if that may have changed."""
    if work.site.headroom_ma and not (work.room_stale or work.must_share):
        return
    kept: dict[str, tuple[int, ...]] = {}
    here = work.site.feeders if work.at_stake is None else work.at_stake
    metered = {m.feeder for m in work.meters.values() if m.role != "solar"}
    calm = {m.feeder for m in work.meters.values() if m.pace == CALM}
    for name in here:
        feeder = work.site.feeders[name]
        has_meter = name in metered
        house = work.houses.get(name) or House((0,) * feeder.phases)
        now = work.now - CALM_MS if name in calm else work.now
        grade, current = headroom.graded(work.site, name, house, has_meter, now)
        margin = work.site.settings.margin_ma if has_meter else 0
        if has_meter and work.site.settings.learned_margin:
            margin = headroom.step_margin_ma(work.site.habits.get(name), work.site.minute)
        if (house.grade, house.margin_ma) != (grade, margin) or name not in work.houses:
            work.houses[name] = changed(house, grade=grade, margin_ma=margin)
        left = tuple(
            limit - ma - margin for limit, ma in zip(feeder.limit_ma, current, strict=True)
        )
        kept[name] = left
    for window in work.site.settings.windows:
        if not window.scope and work.site.minute >= 0 and window.holds(work.site.minute):
            kept[MAIN] = tuple(min(ma, window.max_a * 1000) for ma in kept[MAIN])
    for device, amps in work.site.failsafes.items():
        # It belongs here and has not been heard: it may be offering its failsafe, on any phase.
        if amps and device not in work.chargers:
            for name in work.site.above(work.site.places.get(device, MAIN)):
                if name in kept:
                    kept[name] = tuple(ma - amps * 1000 for ma in kept[name])
    if work.at_stake is not None:
        had = work.site.headroom_ma
        work.at_stake = tuple(n for n in here if any(map(lt, kept[n], had[n])))  # it fell there
        kept = {**had, **kept}
    work.site = changed(work.site, headroom_ma=kept)


def overloaded(work: Work) -> bool:
    """Whether what is granted no longer fits what is left: the house drew more, or a limit fell."""
    here = None if work.at_stake is None else set(work.at_stake)
    if here is not None and not here:
        return False
    left = by_key(work.site)
    cars: Iterable[Charger] = work.chargers.values()
    if here is not None:
        below = {name for name in work.site.feeders if not here.isdisjoint(work.site.above(name))}
        cars = [c for c in cars if c.feeder in below]
    for charger in cars:
        if work.obeys(charger):
            granted = max(charger.target_a, charger.failsafe_a)
        else:
            granted = leases.known_worst_a(charger, work.now)
        if granted:
            for key in work.keys(charger):
                left[key] -= granted * 1000
    return any(ma < 0 for key, ma in left.items() if here is None or key[0] in here)


def sunlit(work: Work, left: dict[Key, int]) -> tuple[int, ...] | None:
    """Under a solar mode: cut `left` down to the sun, and say how much there is (None: by the grid)."""
    settings = work.site.settings
    source = work.site.source
    if source == "grid":
        return None
    sun = headroom.solar_ma(work.site, work.meters.values(), work.houses)
    promised = [0] * len(sun)
    for charger in list(work.chargers.values()):
        if not work.obeys(charger) or not_wanting(work, charger) is not None:
            continue
        # A car is not stopped for a cloud within its minimum on-time; under solar_first, never.
        young = charger.on_ms >= 0 and work.now - charger.on_ms < settings.min_on_ms
        if source == "solar_first" or young:
            for phase in charger.phases:
                promised[phase] += charger.min_a * 1000
    for phase, ma in enumerate(sun):
        left[MAIN, phase] = min(left[MAIN, phase], max(ma, promised[phase]))
    return sun
