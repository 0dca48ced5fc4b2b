"""Every charger's share of what is left, and the reason for it."""

from __future__ import annotations

from collections.abc import Mapping

from manager.core import explain, leases, sharing
from manager.core.better_hours import BetterHours
from manager.core.reasons import Reason
from manager.core.rooms import sunlit
from manager.core.sharing import Key
from manager.core.site import Charger, changed
from manager.core.wishes import hurries, not_wanting, resting_still, wish_of
from manager.core.work import Work, plugged, usable_a

REST_MS = 10_000  # off at least so long when nobody knew what the house draws


def share(work: Work, room: Mapping[Key, int]) -> None:
    """Give every charger its target, and the reason for it."""
    settings = work.site.settings
    left = dict(room)
    sun = sunlit(work, left)
    wishes: list[sharing.Wish] = []
    waiting = [c for c in work.chargers.values() if c.waiting_ms >= 0]
    asleep: list[Charger] = []
    resting: set[str] = set()
    sunny: set[str] = set()
    reasons: dict[str, Reason] = {}
    better_hours = BetterHours(work, left) if settings.policy in ("cheapest", "green") else None
    for charger in work.chargers.values():
        if not work.obeys(charger):
            worst = leases.known_worst_a(charger, work.now)
            if charger.mode != "managed" and plugged(charger):
                worst = max(worst, usable_a(charger))
                reasons[charger.id] = Reason("own_mode", {"mode": charger.mode, "worst_a": worst})
            else:
                silent = (work.now - charger.heard_ms) // 1000
                reasons[charger.id] = Reason("silent", {"silent_s": silent, "worst_a": worst})
            held = worst
        else:
            held = charger.failsafe_a
            why = not_wanting(work, charger)
            if why is None:
                why = resting_still(work, charger)
                if why is not None:
                    resting.add(charger.id)
            most_a = None
            if why is None:
                if settings.policy == "deadline" and hurries(work, charger) != charger.urgent:
                    charger = changed(charger, urgent=not charger.urgent)  # noqa: PLW2901
                    work.chargers[charger.id] = charger
                why, most_a = better_hours.most_a(charger) if better_hours else (None, None)
            if why is None:
                wishes.append(wish_of(work, charger, bool(waiting), most_a))
                if most_a is not None:
                    sunny.add(charger.id)
            else:
                reasons[charger.id] = why
                if why.kind in ("asleep", "stopped"):
                    asleep.append(charger)
        if held:
            for key in work.keys(charger):
                left[key] -= held * 1000
    by = "fair" if better_hours else settings.policy
    offers = sharing.POLICIES[by](wishes, left, settings.max_active)
    for w in wishes:
        more = max(0, offers[w.id] - w.held_a) * 1000
        if more:
            for key in w.rooms:
                left[key] -= more
    active = sum(1 for a in offers.values() if a)
    for charger in asleep:
        # Nobody else can use it, so a car that slept may wake and find its pilot there.
        spare = min(left[k] for k in work.keys(charger)) // 1000 + charger.failsafe_a
        ok = spare >= charger.min_a and not (settings.max_active and active >= settings.max_active)
        offers[charger.id] = charger.min_a if ok else 0
        if ok:
            for key in work.keys(charger):
                left[key] -= max(0, charger.min_a - charger.failsafe_a) * 1000
    by_id = {w.id: w for w in wishes}
    told = explain.Shared(
        settings, work.chargers, work.houses, by_id, offers, room, left, sun, work.now
    )
    for name, charger in work.chargers.items():
        target = offers.get(name, 0)
        wish = by_id.get(name)
        if wish is not None:
            reasons[name] = told.why(charger, wish)
            if name in sunny and target:
                reasons[name] = Reason("solar", {"offer_a": target})
        elif name in offers and target and name in reasons:
            reasons[name] = Reason("asleep", {"offer_a": target})
        retarget(work, charger, target, wish is not None or name in resting, reasons[name])


def retarget(work: Work, charger: Charger, target: int, wanting: bool, reason: Reason) -> None:
    """The charger with a new share, and since when it has been on, waiting or idle."""
    on_ms, off_ms, waiting_ms, idle_ms = (
        charger.on_ms,
        charger.off_ms,
        charger.waiting_ms,
        charger.idle_ms,
    )
    if target and on_ms < 0:
        on_ms = work.now
    if not target and on_ms >= 0:
        on_ms = -1
        off_ms = work.now if wanting else off_ms
        if reason.kind == "meter_lost":  # not its house's doing: on again as soon as that is known
            off_ms -= work.site.settings.min_off_ms - min(REST_MS, work.site.settings.min_off_ms)
    if target or not wanting:
        waiting_ms = -1
    elif waiting_ms < 0:
        waiting_ms = work.now
    # A charger that stopped its car holds its pilot back for a while: that is not the car's sleep.
    if not target or charger.state != "B2" or charger.asleep:
        idle_ms = -1
    elif idle_ms < 0:
        idle_ms = work.now
    slept_ms = charger.slept_ms
    if not charger.asleep or target:
        slept_ms = -1
    elif slept_ms < 0:
        slept_ms = work.now
    if (target, on_ms, off_ms, waiting_ms, idle_ms, slept_ms, reason) == (
        charger.target_a,
        charger.on_ms,
        charger.off_ms,
        charger.waiting_ms,
        charger.idle_ms,
        charger.slept_ms,
        charger.target_reason,
    ):
        return
    fields = {
        "target_a": target,
        "on_ms": on_ms,
        "off_ms": off_ms,
        "waiting_ms": waiting_ms,
        "idle_ms": idle_ms,
        "slept_ms": slept_ms,
        "target_reason": reason,
        "reason": reason,
    }
    work.change(charger, fields)
