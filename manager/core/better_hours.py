"""`cheapest` and `green` on a running site: which cars wait for better hours, and what the sun gives them meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from manager.core import headroom
from manager.core.plans import plan_of
from manager.core.reasons import Reason
from manager.core.sharing import Key
from manager.core.site import Charger
from manager.core.wishes import limit_a
from manager.core.work import Work, ready


class BetterHours:
    """For one sharing. `room` is what each phase of each feeder has for cars."""

    def __init__(self, work: Work, room: Mapping[Key, int]) -> None:
        self.work = work
        self.room = room
        site = work.site
        self.costs = site.prices if site.settings.policy == "cheapest" else site.carbon
        self.sun = list(headroom.solar_ma(site, work.meters.values(), work.houses))
        self.crowd: dict[Key, int] = {}
        for charger in work.chargers.values():
            if ready(charger) and work.obeys(charger):
                for key in work.keys(charger):
                    self.crowd[key] = self.crowd.get(key, 0) + 1

    def most_a(self, charger: Charger) -> tuple[Reason | None, int | None]:
        """The reason to wait, if this car waits; otherwise the most it may have, None for no limit."""
        work = self.work
        most = limit_a(work, charger)
        share = min(self.room[k] // (1000 * self.crowd.get(k, 1)) for k in work.keys(charger))
        share = max(charger.min_a, min(most, share))
        plan = plan_of(charger, self.costs, work.now, work.site.utc_s, share)
        if plan.now:
            return None, None
        sun = min((self.sun[p] for p in charger.phases), default=0) // 1000
        young = charger.on_ms >= 0 and work.now - charger.on_ms < work.site.settings.min_on_ms
        if sun >= charger.min_a or young:
            amps = max(charger.min_a, min(most, sun))
            for p in charger.phases:
                self.sun[p] -= amps * 1000
            return None, amps
        minute = work.site.minute + (plan.next_s - work.site.utc_s + 59) // 60
        at = f"{minute % 1440 // 60:02d}:{minute % 60:02d}"
        return Reason("planned", {"at": at}), None
