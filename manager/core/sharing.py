"""Who gets how many amperes: pure arithmetic over wishes and rooms, in whole amperes.

A *room* is what a phase of a feeder has left for cars, in mA; a *wish* names the rooms its amperes come out of, each
ampere taking 1000 mA from every one of them (a three-phase car takes from three rooms of each feeder above it). An
offer is 0 or within [min_a, max_a].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Key = tuple[str, int]  # feeder and phase


class Wish(NamedTuple):  # a thousand are made for one decision, and a tuple is made the fastest
    """What one charger could use. `rank` sorts within a priority class: lower is admitted first.

    `want_a`: what its car is known to be able to use, at most `max_a`; beyond that it is served only from what is left.
    `held_a`: amperes that are kept for it in any case (its failsafe) and cost nothing.
    `spare_ma`: under `deadline`, what must stay free beside it, because it has time to wait.
    """

    id: str
    rooms: tuple[Key, ...]
    min_a: int = 6
    max_a: int = 32
    priority: int = 0
    rank: tuple[int, ...] = ()
    want_a: int = 80
    held_a: int = 0
    spare_ma: int = 0


Offers = dict[str, int]


def _cost(wish: Wish, amps: int) -> int:
    return max(0, amps - wish.held_a) * 1000


def _fits(wish: Wish, amps: int, have_a: int, room: Mapping[Key, int]) -> bool:
    held = wish.held_a
    more = (max(amps, held) - max(have_a, held)) * 1000
    if more > 0:
        for k in wish.rooms:  # a thousand generators cost milliseconds
            if room[k] < more:
                return False
    return True


def _take(wish: Wish, amps: int, have_a: int, room: dict[Key, int]) -> None:
    held = wish.held_a
    more = (max(amps, held) - max(have_a, held)) * 1000
    for k in wish.rooms:
        room[k] -= more


def _in_order(wishes: Sequence[Wish]) -> list[Wish]:
    return sorted(wishes, key=lambda w: (w.priority, w.rank))


def equal(wishes: Sequence[Wish], rooms: Mapping[Key, int], max_active: int = 0) -> Offers:
    """The thesis' rule: floor(room / n) each; while that is less than somebody's minimum, the last in order stands by.

    What a charger's maximum leaves over goes to the others, equally again.
    """
    offers = {w.id: 0 for w in wishes}
    sharing = _in_order(wishes)
    if max_active:
        sharing = sharing[:max_active]
    while sharing:
        got = _equal_among(sharing, rooms)
        if got is not None:
            offers.update(got)
            break
        sharing.pop()
    return offers


def _equal_among(sharing: list[Wish], rooms: Mapping[Key, int]) -> Offers | None:
    room = dict(rooms)
    for w in sharing:
        for k in w.rooms:
            room[k] += w.held_a * 1000
    got: Offers = {}
    rest = sharing
    while rest:
        crowd: dict[Key, int] = {}
        for w in rest:
            for k in w.rooms:
                crowd[k] = crowd.get(k, 0) + 1
        share = {w.id: min(room[k] // (1000 * crowd[k]) for k in w.rooms) for w in rest}
        full = [w for w in rest if share[w.id] >= w.max_a]
        for w in full or rest:
            amps = min(w.max_a, share[w.id])
            if amps < w.min_a:
                return None
            got[w.id] = amps
            for k in w.rooms:
                room[k] -= amps * 1000
        rest = [w for w in rest if w.id not in got]
    return got


def fair(wishes: Sequence[Wish], rooms: Mapping[Key, int], max_active: int = 0) -> Offers:
    """Exact whole-ampere max-min within each priority class, the classes in order; nothing that fits is left unspent.

    Within a class everybody whose minimum fits is admitted, in order of rank; then the least are raised together as
    long as that fits, and single amperes that are left go by rank.
    """
    offers = {w.id: 0 for w in wishes}
    room = dict(rooms)
    ordered = _in_order(wishes)
    active = 0
    start = 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end].priority == ordered[start].priority:
            end += 1
        admitted = []
        for w in ordered[start:end]:
            if max_active and active >= max_active:
                break
            if _fits(w, w.min_a, 0, room):
                _take(w, w.min_a, 0, room)
                offers[w.id] = w.min_a
                admitted.append(w)
                active += 1
        if any(w.want_a < w.max_a for w in admitted):
            _fill(
                admitted,
                {w.id: max(w.min_a, min(w.max_a, w.want_a)) for w in admitted},
                offers,
                room,
            )
        _fill(admitted, {w.id: w.max_a for w in admitted}, offers, room)
        start = end
    return offers


_Kind = tuple[tuple[Key, ...], int, int]  # rooms, A that cost nothing more, A at most


def _fill(
    wishes: list[Wish], most: Mapping[str, int], offers: Offers, room: dict[Key, int]
) -> None:
    """Raise the least offers together, level by level, none above `most`; what one level leaves goes by rank.

    Levels are taken many at a time: per room, `steps[a]` counts the wishes that would take one more ampere in going to
    level `a`, so the highest level everybody fits under is found without touching a single wish. Wishes out of the same
    rooms, as high and to go as high, are counted as one.
    """
    rising = [w for w in wishes if offers[w.id] < most[w.id]]
    while rising:
        alike: dict[_Kind, list[str]] = {}
        for w in rising:
            kind = w.rooms, max(w.held_a, offers[w.id]), most[w.id]
            if kind in alike:
                alike[kind].append(w.id)
            else:
                alike[kind] = [w.id]
        top = max(high for _, _, high in alike)
        level = _level({kind: len(those) for kind, those in alike.items()}, top, room)
        for (rooms, low, high), those in alike.items():
            amps = min(level, high)
            if amps > low:
                for k in rooms:
                    room[k] -= (amps - low) * 1000 * len(those)
                offers.update(dict.fromkeys(those, amps))
            else:  # but for what costs nothing
                offers.update({name: max(offers[name], amps) for name in those})
        if level >= top:
            return
        rising = _one_more(rising, level, most, offers, room)


def _one_more(
    rising: list[Wish], level: int, most: Mapping[str, int], offers: Offers, room: dict[Key, int]
) -> list[Wish]:
    """Give those of whom not all can go above `level` one ampere more, by rank; who may still rise after that."""
    going: list[Wish] = []
    refused: set[tuple[tuple[Key, ...], int]] = set()  # nor will one alike fit: rooms only shrink
    # A car on one phase stands in the way of fewer others than one on three.
    for w in sorted(rising, key=lambda w: len(w.rooms)):
        have = offers[w.id]
        if have > level:  # its minimum is
            going.append(w)
        elif have < most[w.id] and (w.rooms, w.held_a) not in refused:
            if _fits(w, level + 1, have, room):
                _take(w, level + 1, have, room)
                offers[w.id] = level + 1
                going.append(w)
            else:
                refused.add((w.rooms, w.held_a))
    return [w for w in going if offers[w.id] < most[w.id]]


def _level(alike: Mapping[_Kind, int], top: int, room: Mapping[Key, int]) -> int:
    """The highest level, at most `top`, that all wishes fit under, of which there are so many of each kind."""
    steps: dict[Key, list[int]] = {}
    for (rooms, low, high), count in alike.items():
        if low < high:
            for k in rooms:
                counts = steps.get(k)
                if counts is None:
                    counts = steps[k] = [0] * (top + 2)
                counts[low + 1] += count
                counts[high + 1] -= count
    level = top
    for k, counts in steps.items():
        left = room[k] // 1000
        taking = 0
        for a in range(top + 1):
            taking += counts[a]
            left -= taking
            if left < 0 < taking:  # overdrawn without a taker is not this fill's doing
                level = min(level, a - 1)
                break
    return level


def deadline(wishes: Sequence[Wish], rooms: Mapping[Key, int], max_active: int = 0) -> Offers:
    """Least laxity first, as `rank` has it; each takes all it can use, but a car that has time to
    spare leaves the rooms `spare_ma` free for the house's next step.
    """
    offers = {w.id: 0 for w in wishes}
    room = dict(rooms)
    active = 0
    for top in (False, True):
        for w in _in_order(wishes):
            have = offers[w.id]
            if not have and max_active and active >= max_active:
                continue
            most = w.max_a if top else min(w.max_a, max(w.min_a, w.want_a))
            left = min(room[k] for k in w.rooms) - w.spare_ma
            amps = min(most, max(0, left + _cost(w, have)) // 1000 + w.held_a)
            if amps < w.min_a or amps <= have:
                continue
            active += not have
            _take(w, amps, have, room)
            offers[w.id] = amps
    return offers


def first(wishes: Sequence[Wish], rooms: Mapping[Key, int], max_active: int = 0) -> Offers:
    """Arrival order: each takes all it can use before the next is asked."""
    return deadline([w._replace(spare_ma=0) for w in wishes], rooms, max_active)


POLICIES = {"equal": equal, "first": first, "fair": fair, "deadline": deadline}
