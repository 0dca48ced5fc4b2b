"""One decision for cars whose current somebody else measures and limits: the sharing of this system
without its devices, for `ievcc allocate` and for races against other algorithms.

`Allocator.decide` takes one request (a plain dict as `ievcc allocate` reads it) and gives whole
amperes for each charger. It remembers, over the requests of a run, who has charged since when, who
waits, and what the house drew.

Groups are limits on sums of currents: on one phase of a cable, or, with `angle_deg`, on the length of
a sum of phasors, as on the lines of a three-phase cable whose cars sit between two of them.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manager.core import laxity
from manager.core.sharing import POLICIES, Offers, Wish
from manager.core.site import NO_MINUTE

TURN_S = 15 * 60
LOW_VOLTS = 200  # a phase may be as low, and 208 V is some networks' own
WIDTH = 80  # the most a charger may be offered, A
_HAIR = 1e-6  # A; sums of cosines are not exact
_ROOM = ("cars", 0)


class RequestError(ValueError):
    """A request that makes no sense. `field` names what is wrong in it."""

    def __init__(self, field_name: str, why: str) -> None:
        super().__init__(f"{field_name}: {why}")
        self.field = field_name


@dataclass(slots=True)
class _Car:
    """What is remembered of one session."""

    on_s: float | None = None
    waits_s: float | None = None
    urgent: bool = False


@dataclass(slots=True)
class Allocator:
    """Decides request after request of one run."""

    sessions: dict[str, _Car] = field(default_factory=dict)
    peaks: tuple[tuple[int, tuple[int, ...]], ...] = ()
    rises: laxity.Rises = field(default_factory=dict)
    minute: int = NO_MINUTE

    def decide(self, request: Mapping[str, Any]) -> Offers:
        """Whole amperes for each charger of the request. RequestError says what is wrong with it."""
        now_s = _number(request, "now_s", 0, 1e12)
        policy = request.get("policy", "fair")
        if policy not in POLICIES:
            raise RequestError("policy", f"{policy!r} is not one of {', '.join(POLICIES)}")
        limit_a = (
            None if request.get("limit_a") is None else _number(request, "limit_a", -1e6, 1e6)
        )
        groups = request.get("groups") or []
        if limit_a is None and not groups:
            raise RequestError("limit_a", "is missing, and there are no groups")
        if request.get("house_a") is not None:
            house_ma = round(_number(request, "house_a", -1e6, 1e6) * 1000)
            self._learn(house_ma, round(now_s * 1000), request)
        chargers = request.get("chargers")
        if not isinstance(chargers, list):
            raise RequestError("chargers", "must be a list")
        wishes = [self._wish(c, n, policy, now_s, request) for n, c in enumerate(chargers)]
        ids = [w.id for w in wishes]
        if len(set(ids)) < len(ids):
            raise RequestError("chargers", "an id is there twice")
        if groups:
            lines = _Lines(groups, ids, limit_a)
            offers = _within_lines(wishes, lines, policy)
        else:
            offers = POLICIES[policy](wishes, {_ROOM: math.floor((limit_a or 0) * 1000 + _HAIR)})
        self._remember(chargers, offers, now_s)
        return offers

    def _learn(self, house_ma: int, now_ms: int, request: Mapping[str, Any]) -> None:
        self.minute = NO_MINUTE
        if request.get("minute") is not None:
            self.minute = math.floor(_number(request, "minute", 0, 7 * 1440 - 1))
        before = self.peaks
        self.peaks = laxity.with_peak(before, (house_ma,), now_ms)
        if before and before[-1][0] != self.peaks[-1][0]:
            most = [(at, max(ma)) for at, ma in self.peaks[-4:]]
            self.rises = laxity.learned_rises(self.rises, most, self.minute)

    def _wish(
        self, charger: Any, place: int, policy: str, now_s: float, request: Mapping[str, Any]
    ) -> Wish:
        if not isinstance(charger, dict) or not isinstance(charger.get("id"), str):
            raise RequestError(f"chargers[{place}].id", "is missing")
        min_a = math.ceil(_number(charger, "min_a", 0, WIDTH, 6))
        max_a = math.floor(_number(charger, "max_a", 0, WIDTH, 32))
        car = self.sessions.setdefault(_session(charger), _Car())
        wanted_wh = _still_wanted_wh(charger)
        period_s = _number(request, "period_s", 0.001, 86_400, 60)
        if wanted_wh is not None and policy == "deadline":
            # What it can still take within the period, so that no other goes short for nothing.
            need = math.ceil(wanted_wh * 3600 / period_s / LOW_VOLTS)
            max_a = min(max_a, max(min_a, need))
        spare = 0
        if policy == "deadline":
            leaves = charger.get("est_departure_s")
            lax = laxity.laxity_ms(
                round(now_s * 1000),
                None if leaves is None else round(leaves * 1000),
                wanted_wh,
                max(1, math.floor(_number(charger, "max_a", 0, WIDTH, 32))),
                1,
            )
            car.urgent = car.urgent or lax is None or lax < laxity.URGENT_MS
            if request.get("house_a") is not None:
                spare = laxity.URGENT_SPARE_MA
                if not car.urgent:
                    house = [(at, ma[0]) for at, ma in self.peaks]
                    known = round(request["house_a"] * 1000)
                    on = car.on_s is not None
                    now_ms = round(now_s * 1000)
                    spare = laxity.spare_ma(known, house, now_ms, on, self.rises, self.minute)
        return Wish(
            id=charger["id"],
            rooms=(_ROOM,),
            min_a=max(1, min_a),
            max_a=max_a,
            rank=self._rank(charger, place, policy, now_s, car),
            spare_ma=spare,
        )

    def _rank(
        self, charger: Mapping[str, Any], place: int, policy: str, now_s: float, car: _Car
    ) -> tuple[int, ...]:
        order = int(charger.get("order", place))
        if policy == "equal":
            return (order,)
        if policy == "first":
            return (round(charger.get("arrival_s", 0)), order)
        if policy == "deadline":
            leaves = charger.get("est_departure_s")
            leaves = 1 << 60 if leaves is None else round(leaves)
            return (not car.urgent, car.on_s is None, leaves, order)
        if car.on_s is not None:
            waits = any(c.waits_s is not None for c in self.sessions.values())
            return (2 if waits and now_s - car.on_s >= TURN_S else 0, round(car.on_s), order)
        return (1, round(now_s if car.waits_s is None else car.waits_s), order)

    def _remember(
        self, chargers: Sequence[Mapping[str, Any]], offers: Offers, now_s: float
    ) -> None:
        here = {_session(c) for c in chargers}
        self.sessions = {name: car for name, car in self.sessions.items() if name in here}
        for c in chargers:
            car = self.sessions[_session(c)]
            if offers[c["id"]]:
                car.on_s = now_s if car.on_s is None else car.on_s
                car.waits_s = None
            else:
                car.on_s = None
                car.waits_s = now_s if car.waits_s is None else car.waits_s


def _session(charger: Mapping[str, Any]) -> str:
    return str(charger.get("session", charger["id"]))


def _still_wanted_wh(charger: Mapping[str, Any]) -> float | None:
    if charger.get("requested_kwh") is None:
        return None
    requested = _number(charger, "requested_kwh", 0, 1e6)
    return max(0.0, (requested - _number(charger, "delivered_kwh", 0, 1e6, 0)) * 1000)


def _number(
    table: Mapping[str, Any], key: str, low: float, high: float, default: float | None = None
) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RequestError(key, f"{value!r} is not a number within {low:g}..{high:g}")
    return float(value)


class _Lines:
    """Limits on sums of phasors, and how much of each is taken."""

    def __init__(self, groups: Sequence[Any], ids: Sequence[str], limit_a: float | None) -> None:
        self.limits: list[float] = []
        self.of: dict[str, list[tuple[int, complex]]] = {name: [] for name in ids}
        for n, group in enumerate(groups):
            if not isinstance(group, dict) or not isinstance(group.get("ids"), list):
                raise RequestError(f"groups[{n}]", "needs name, limit_a and ids")
            self.limits.append(_number(group, "limit_a", 0, 1e6))
            members = group["ids"]
            coef = group.get("coef") or [1] * len(members)
            angle = group.get("angle_deg") or [0] * len(members)
            if not len(members) == len(coef) == len(angle):
                raise RequestError(f"groups[{n}]", "ids, coef and angle_deg differ in length")
            for name, c, a in zip(members, coef, angle, strict=True):
                if name in self.of and c:
                    self.of[name].append((n, cmath.rect(c, math.radians(a))))
        if limit_a is not None:
            for name in ids:
                self.of[name].append((len(self.limits), 1 + 0j))
            self.limits.append(limit_a)
        self.sums = [0j] * len(self.limits)

    def fits(self, name: str, more: int) -> bool:
        """Whether `more` amperes for this one keep every limit that it touches."""
        return all(
            abs(self.sums[n] + c * more) <= self.limits[n] + _HAIR for n, c in self.of[name]
        )

    def most(self, name: str, low: int, high: int) -> int:
        """The most within [low, high] that fits; 0 if not even `low` does."""
        if not self.fits(name, low):
            return 0
        top = float(high)
        for n, c in self.of[name]:
            # |sum + c a| = limit, for the larger a: sum lies within the circle, so there is one.
            s, limit = self.sums[n], self.limits[n] + _HAIR
            square = abs(c) ** 2
            half = (s * c.conjugate()).real
            root = half * half - square * (abs(s) ** 2 - limit * limit)
            if root >= 0:
                top = min(top, (-half + math.sqrt(root)) / square)
        amps = max(low, min(high, math.floor(top + _HAIR)))
        while amps > low and not self.fits(name, amps):
            amps -= 1
        return amps

    def take(self, name: str, amps: int) -> None:
        for n, c in self.of[name]:
            self.sums[n] += c * amps


def _within_lines(wishes: Sequence[Wish], lines: _Lines, policy: str) -> Offers:
    ordered = sorted(wishes, key=lambda w: (w.priority, w.rank))
    offers = {w.id: 0 for w in wishes}
    if policy in ("first", "deadline"):
        for w in ordered:
            amps = lines.most(w.id, w.min_a, w.max_a) if w.max_a >= w.min_a else 0
            lines.take(w.id, amps)
            offers[w.id] = amps
        return offers
    rising = []
    for w in ordered:
        if w.max_a >= w.min_a and lines.fits(w.id, w.min_a):
            lines.take(w.id, w.min_a)
            offers[w.id] = w.min_a
            rising.append(w)
    level = min((offers[w.id] for w in rising), default=0)
    while rising:
        level += 1
        still = []
        for w in rising:
            if offers[w.id] >= level:
                still.append(w)
            elif offers[w.id] < w.max_a and lines.fits(w.id, 1):
                lines.take(w.id, 1)
                offers[w.id] += 1
                still.append(w)
        rising = still
    return offers
