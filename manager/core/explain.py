"""Why a charger has what it has, once all have been given their share: see `reasons` for the words."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import ceil

from manager.core.reasons import Reason
from manager.core.sharing import Key, Offers, Wish
from manager.core.site import Charger, House, Settings

TURNS = ("fair", "cheapest", "green")  # policies under which cars that do not fit take turns


def amperes(ma: int) -> float:
    """mA as A with one digit, for people."""
    return round(ma / 1000, 1)


def limited(charger: Charger, limit_a: int, **numbers: int) -> Reason:
    """That it may have so much and no more, and who says so."""
    wants = charger.wants
    kind = "limited"
    if wants.user_max_a == limit_a:
        kind = "driver_limit"
    elif wants.rights_max_a == limit_a:
        kind = "rights_limit"
    return Reason(kind, {"limit_a": limit_a, **numbers})


class Shared:
    """One sharing, ready to answer for every charger without looking at all others again.

    `room` is what each phase of each feeder had, `left` what it has still; `sun` the surplus per
    phase under a solar mode, None otherwise.
    """

    def __init__(
        self,
        settings: Settings,
        chargers: Mapping[str, Charger],
        houses: Mapping[str, House],
        wishes: Mapping[str, Wish],
        offers: Offers,
        room: Mapping[Key, int],
        left: Mapping[Key, int],
        sun: tuple[int, ...] | None,
        now_ms: int,
    ) -> None:
        self.settings = settings
        self.houses = houses
        self.room = room
        self.left = left
        self.sun = sun
        self.now_ms = now_ms
        self.offers = offers
        given = [name for name, amps in offers.items() if amps]
        self.cars = len(given)
        self.scarcest: dict[tuple[Key, ...], Key] = {}
        self.shares: dict[tuple[Key, int], Reason] = {}
        # What those who are given something have above their minimum, by class.
        self.above_min_ma: dict[int, int] = {}
        for n in given:
            above_ma = 1000 * max(0, offers[n] - chargers[n].min_a)
            # One that has ceased to wish may have something still.
            of = wishes[n].priority if n in wishes else chargers[n].priority
            self.above_min_ma[of] = self.above_min_ma.get(of, 0) + above_ma
        # When the turns of those who charge end, and who stands by in which order, by class.
        self.ends: dict[int, list[int]] = {}
        self.queue: dict[int, list[tuple[int, ...]]] = {}
        for name in given:
            one = chargers[name]
            if one.on_ms >= 0:
                self.ends.setdefault(one.priority, []).append(one.on_ms + settings.turn_ms)
        for wish in wishes.values():
            if not offers[wish.id]:
                self.queue.setdefault(wish.priority, []).append(wish.rank)
        for ends in self.ends.values():
            ends.sort()
        for ranks in self.queue.values():
            ranks.sort()

    def why(self, charger: Charger, wish: Wish) -> Reason:
        """The reason for this charger's share."""
        target = self.offers[wish.id]
        if self.sun is not None and target < wish.max_a:
            return self._sun(charger, target, self.sun)
        return self._given(charger, wish, target) if target else self._standby(charger, wish)

    def _sun(self, charger: Charger, target: int, sun: tuple[int, ...]) -> Reason:
        surplus = amperes(min(sun[phase] for phase in charger.phases))
        if target:
            return Reason("solar", {"offer_a": target, "surplus_a": surplus})
        return Reason("no_sun", {"surplus_a": surplus, "min_a": charger.min_a})

    def _given(self, charger: Charger, wish: Wish, target: int) -> Reason:
        if target >= wish.max_a:
            if wish.max_a < charger.max_a:
                return limited(charger, wish.max_a, offer_a=target)
            return Reason("whole", {"offer_a": target, "max_a": wish.max_a})
        if target == wish.want_a:
            drawn = amperes(charger.low_peak_ma)
            return Reason("capped", {"offer_a": target, "drawn_a": drawn})
        if self.cars == 1:
            return Reason("alone", {"offer_a": target})
        key = self._scarcest(wish)
        share = self.shares.get((key, target))
        if share is None:  # on a large site hundreds have the same one
            room = amperes(self.room[key])
            share = Reason("share", {"offer_a": target, "room_a": room, "cars": self.cars})
            self.shares[key, target] = share
        return share

    def _scarcest(self, wish: Wish) -> Key:
        """The room of this wish that has the least left."""
        key = self.scarcest.get(wish.rooms)
        if key is None:
            key = self.scarcest[wish.rooms] = min(wish.rooms, key=self.left.__getitem__)
        return key

    def _standby(self, charger: Charger, wish: Wish) -> Reason:
        settings = self.settings
        key = self._scarcest(wish)
        house = self.houses[key[0]]
        if house.grade in ("silent", "lost"):
            return Reason("meter_lost", {"house_a": amperes(max(house.current_ma))})
        if settings.max_active and self.cars >= settings.max_active:
            return Reason("max_active", {"max_active": settings.max_active})
        short_ma = charger.min_a * 1000 - self.left[key]
        if settings.policy in TURNS:
            # Its own class and those after it would give that up for it, those before it do not.
            short_ma -= sum(ma for of, ma in self.above_min_ma.items() if of >= wish.priority)
        if short_ma <= 0 and wish.spare_ma:
            return Reason("time_to_spare", {"spare_a": amperes(wish.spare_ma)})
        short = amperes(max(0, short_ma))
        ends = self.ends.get(wish.priority)
        if settings.policy not in TURNS or not ends:
            return Reason("standby", {"short_a": short})
        ahead = bisect_left(self.queue[wish.priority], wish.rank)
        wait = max(0, ends[min(ahead, len(ends) - 1)] - self.now_ms)
        return Reason("turn", {"short_a": short, "wait_min": ceil(wait / 60_000)})
