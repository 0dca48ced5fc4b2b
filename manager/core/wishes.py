"""What each charger is to be given if there is room: its limits, its turn, and why not if it wants nothing."""

from __future__ import annotations

from math import ceil

from manager.core import laxity
from manager.core.explain import limited
from manager.core.reasons import Reason
from manager.core.sharing import Wish
from manager.core.site import Charger, Habits, changed
from manager.core.work import Work, usable_a

PROBE_MS = 3_600_000  # a car that stopped and is offered nothing since is asked so often whether it wants some
ASLEEP_MS = 60_000  # offered current for so long without taking any
GIVE_BACK_MS = 60_000  # drawing less than offered for so long gives the difference to others


def not_wanting(work: Work, charger: Charger) -> Reason | None:
    """Why this charger is to be offered nothing whatever the room; None if it may be."""
    state = charger.state[0]
    if charger.faults or state == "E":
        return Reason("fault", {"faults": ", ".join(charger.faults) or charger.state})
    if state == "F":
        return Reason("out_of_service")
    if state == "A":
        return Reason("no_car")
    if not charger.authorised:
        return Reason("not_authorised")
    if charger.asleep:
        if charger.slept_ms < 0 or work.now - charger.slept_ms < PROBE_MS:
            return Reason("stopped")
        # All current is in use, so it has had no pilot by which to say that it wants some again.
        work.chargers[charger.id] = charger = changed(charger, asleep=False, slept_ms=-1)
    if 0 <= charger.idle_ms <= work.now - ASLEEP_MS:
        work.chargers[charger.id] = changed(charger, asleep=True)
        return Reason("asleep", {"offer_a": charger.limit_a})
    most = limit_a(work, charger)
    if most < charger.min_a:
        if charger.wants.barred and charger.wants.rights_max_a == 0:
            return Reason(charger.wants.barred)
        return limited(charger, most)
    return None


def resting_still(work: Work, charger: Charger) -> Reason | None:
    """The reason if it stopped so lately that it must not start yet."""
    if work.site.settings.policy in ("equal", "first") or charger.on_ms >= 0:
        return None
    if charger.contactor and charger.offer_a:
        return None  # it charges: what was to stop it did not reach it
    wait = charger.off_ms + work.site.settings.min_off_ms - work.now
    return Reason("resting", {"wait_s": ceil(wait / 1000)}) if wait > 0 else None


def limit_a(work: Work, charger: Charger) -> int:
    """The most this charger may be offered by every limit that is its own."""
    limit = usable_a(charger)
    for window in work.site.settings.windows:
        if window.scope == charger.id and work.site.minute >= 0 and window.holds(work.site.minute):
            limit = min(limit, window.max_a)
    return limit


def wish_of(work: Work, charger: Charger, somebody_waits: bool, most_a: int | None = None) -> Wish:
    """What it could use, at most `most_a`, and where it stands in the policy's order."""
    most = limit_a(work, charger)
    if most_a is not None:
        most = min(most, most_a)
    want = most
    if charger.low_ms >= 0 and work.now - charger.low_ms >= GIVE_BACK_MS:
        want = min(most, max(charger.min_a, ceil(charger.low_peak_ma / 1000) + 1))
    return Wish(
        charger.id,
        work.keys(charger),
        charger.min_a,
        most,
        charger.priority,
        rank(work, charger, somebody_waits),
        want,
        charger.failsafe_a,
        0 if work.site.settings.policy != "deadline" else spare_ma(work, charger),
    )


def spare_ma(work: Work, charger: Charger) -> int:
    """Under `deadline`: mA to leave free beside it on each phase."""
    if charger.urgent:
        return laxity.URGENT_SPARE_MA
    on = charger.on_ms >= 0
    spares = [laxity.LAX_SPARE_MA]
    for name, phase in work.keys(charger):
        house = work.houses.get(name)
        if house is not None and house.read_ms >= 0:
            habits = work.site.habits.get(name, Habits())
            minute = work.site.minute
            spares.append(laxity.spare_on_ma(house, phase, work.now, on, habits.rises, minute))
    return max(spares)


def hurries(work: Work, charger: Charger) -> bool:
    """Whether it has little time to lose; once it has, that stays so until its car leaves."""
    lax = laxity.laxity_ms(
        work.now,
        charger.wants.departs_ms,
        laxity.still_wanted_wh(charger),
        limit_a(work, charger),
        len(charger.phases),
    )
    return charger.urgent or lax is None or lax < laxity.URGENT_MS


def rank(work: Work, charger: Charger, somebody_waits: bool) -> tuple[int, ...]:
    """Its place in the policy's order: the lowest is served first."""
    policy = work.site.settings.policy
    if policy == "equal":
        return (charger.order,)
    if policy == "first":
        return (charger.asked_ms, charger.order)
    if policy == "deadline":
        leaves = charger.wants.departs_ms
        return (
            not charger.urgent,
            charger.on_ms < 0,
            leaves if leaves is not None else 1 << 60,
            charger.order,
        )
    # Turns: those in their turn, then those who wait, longest first, then those who have had theirs.
    settings = work.site.settings
    if charger.on_ms >= 0:
        turn = max(settings.turn_ms, settings.min_on_ms)
        over = somebody_waits and work.now - charger.on_ms >= turn
        return (2 if over else 0, charger.on_ms, charger.order)
    since = charger.waiting_ms if charger.waiting_ms >= 0 else work.now
    return (1, since, charger.order)
