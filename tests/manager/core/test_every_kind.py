"""`fair` where chargers differ: minima, maxima, classes, wirings. `test_every_case` has all maxima with
the usual minimum, and all wirings of alike chargers; here are

one class, one phase, up to three chargers: every (minimum, maximum) from 6 to 32 A of each, every room
    to 60 A, but for what is certainly the same: a maximum above what the others' minima leave is as
    good as that, since nobody who is in is offered less than its minimum. So a case is a room and for
    each charger a minimum and how far it may rise, at most the room less all minima. Who is left out
    has no say in it, and `orders` has every order of minima; among those who are in, order decides
    only who has an odd ampere, which the sorted offers do not show.
one class, one phase, four and five chargers: the same of the minima 6, 7, 10 and 16 and of the rises
    0, 1, 4, 10 and 26, every room: 20 kinds, in every choice of five.
orders: every order of up to three minima of 6 to 32 A, and of five out of six, every room.
classes: every way to put up to five chargers of three kinds into classes, every room.
three phases: every three chargers of three kinds and four wirings, every room on each phase; and
    five, at rooms where something changes.

The oracle tries every choice, class after class: on one phase every offer of the first and for each
the best of the others, on three every total for those on all phases. It knows nothing of levels.
`make test` takes every so many of these cases, `make soak` all (IEVCC_EVERY: every so many).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from functools import cache

import pytest

from manager.core.sharing import Wish, fair

ROOM = 60
LOW, HIGH = 6, 32
PART = int(os.environ.get("IEVCC_EVERY", "1"))
Kind = tuple[int, int]  # minimum and maximum
Sorted = tuple[int, ...]
L1 = ("main", 0)
PHASES = tuple(("main", p) for p in range(3))
PLACES = ((PHASES[0],), (PHASES[1],), (PHASES[2],), PHASES)


@cache
def best(kinds: tuple[Kind, ...], room: int) -> Sorted | None:
    """The rising offers no other choice beats from the least upwards; None if not all fit."""
    if not kinds:
        return ()
    (low, high), others = kinds[0], kinds[1:]
    top: Sorted | None = None
    for amps in range(low, min(high, room) + 1):
        rest = best(others, room - amps)
        if rest is not None:
            offers = tuple(sorted((amps, *rest)))
            top = offers if top is None else max(top, offers)
    return top


def admitted(minima: Iterable[int], room: int) -> list[int]:
    """Places of those whose minimum fits beside the minima of those before."""
    inside = []
    for n, low in enumerate(minima):
        if low <= room:
            room -= low
            inside.append(n)
    return inside


def check_one_class(kinds: tuple[Kind, ...], room: int) -> None:
    wishes = [Wish(f"c{n}", (L1,), *kind, rank=(n,)) for n, kind in enumerate(kinds)]
    got = list(fair(wishes, {L1: room * 1000}).values())
    inside = admitted((low for low, _ in kinds), room)
    expected = best(tuple(sorted(kinds[n] for n in inside)), room)
    assert tuple(sorted(got[n] for n in inside)) == expected, (kinds, room, got)
    assert all(not a or n in inside for n, a in enumerate(got)), (kinds, room, got)


def every(cases: Iterable[tuple[tuple[Kind, ...], int]], step: int) -> int:
    n = 0
    for kinds, room in itertools.islice(cases, 0, None, step):
        check_one_class(kinds, room)
        n += 1
    return n


def up_to_three(step: int, of_three: int) -> int:
    """Every so many of the cases of one and two chargers, and of three."""
    n = done = 0
    for count in (1, 2, 3):
        every_nth = of_three if count == 3 else step
        for room in range(LOW * count, ROOM + 1):
            for minima in itertools.combinations_with_replacement(range(LOW, HIGH + 1), count):
                slack = room - sum(minima)
                if slack < 0:
                    continue
                rises = [range(min(slack, HIGH - low) + 1) for low in minima]
                begin = n % every_nth
                for rise in itertools.islice(itertools.product(*rises), begin, None, every_nth):
                    check_one_class(
                        tuple((m, m + r) for m, r in zip(minima, rise, strict=True)), room
                    )
                    done += 1
                n += 1
    return done


SOME = tuple((m, min(HIGH, m + r)) for m in (6, 7, 10, 16) for r in (0, 1, 4, 10, 26))


def four_and_five() -> Iterator[tuple[tuple[Kind, ...], int]]:
    for count in (4, 5):
        for kinds in itertools.combinations_with_replacement(SOME, count):
            for room in range(ROOM + 1):
                yield kinds, room


def orders() -> Iterator[tuple[tuple[Kind, ...], int]]:
    for count, minima in (
        (2, range(LOW, HIGH + 1)),
        (3, range(LOW, HIGH + 1)),
        (5, (6, 8, 10, 13, 16, 32)),
    ):
        for order in itertools.product(minima, repeat=count):
            for room in range(ROOM + 1):
                yield tuple((m, HIGH) for m in order), room


THREE_KINDS: tuple[Kind, ...] = ((6, 32), (6, 9), (10, 16))


def in_classes(step: int) -> int:
    n = done = 0
    for count in range(1, 6):
        classes = [
            c
            for c in itertools.product(range(count), repeat=count)
            if set(c) == set(range(max(c) + 1))
        ]
        for kinds in itertools.product(THREE_KINDS, repeat=count):
            for of in classes:
                for room in range(n % step, ROOM + 1, step):
                    check_classes(kinds, of, room)
                    done += 1
                n += 1
    return done


def check_classes(kinds: tuple[Kind, ...], of: tuple[int, ...], room: int) -> None:
    wishes = [
        Wish(f"c{n}", (L1,), *kind, priority=c, rank=(n,))
        for n, (kind, c) in enumerate(zip(kinds, of, strict=True))
    ]
    got = list(fair(wishes, {L1: room * 1000}).values())
    left = room
    for c in range(max(of) + 1):
        mine = [n for n, other in enumerate(of) if other == c]
        inside = [mine[i] for i in admitted((kinds[n][0] for n in mine), left)]
        expected = best(tuple(sorted(kinds[n] for n in inside)), left)
        assert tuple(sorted(got[n] for n in inside)) == expected, (kinds, of, room, got)
        assert sum(got[n] for n in mine) == sum(expected or ()), (kinds, of, room, got)
        left -= sum(expected or ())


# --- three phases ---------------------------------------------------------------------------------

Car = tuple[int, Kind]  # where: a phase, or 3: all of them


def best_on_three(cars: tuple[Car, ...], rooms: tuple[int, ...]) -> Sorted:
    """As `best`, for cars that all fit with their minima."""
    groups = [tuple(sorted(kind for at, kind in cars if at == place)) for place in range(4)]
    top: Sorted = ()
    least = sum(low for low, _ in groups[3])
    for total in range(least, min(rooms) + 1) if groups[3] else (0,):
        parts = [best(groups[3], total)]
        parts += [best(groups[p], rooms[p] - total) for p in range(3)]
        if any(part is None for part in parts):
            break
        top = max(top, tuple(sorted(itertools.chain.from_iterable(p or () for p in parts))))
    return top


def check_three_phases(cars: tuple[Car, ...], rooms: tuple[int, ...]) -> None:
    wishes = [Wish(f"c{n}", PLACES[at], *kind, rank=(n,)) for n, (at, kind) in enumerate(cars)]
    got = list(fair(wishes, {k: a * 1000 for k, a in zip(PHASES, rooms, strict=True)}).values())
    left = list(rooms)
    inside = []
    for n, (at, (low, _)) in enumerate(cars):
        mine = range(3) if at == 3 else (at,)
        if all(left[p] >= low for p in mine):
            inside.append(n)
            for p in mine:
                left[p] -= low
    expected = best_on_three(tuple(cars[n] for n in inside), rooms)
    assert tuple(sorted(got[n] for n in inside)) == expected, (cars, rooms, got)
    assert sum(got) == sum(expected), (cars, rooms, got)


def on_three_phases(count: int, rooms: Iterable[int], step: int) -> int:
    """Phases can change places, so their rooms rise."""
    rooms = tuple(rooms)
    done = 0
    every_car = list(itertools.product(range(4), THREE_KINDS))
    triples = list(itertools.combinations_with_replacement(rooms, 3))
    for n, cars in enumerate(itertools.product(every_car, repeat=count)):
        for triple in itertools.islice(triples, n % step, None, step):
            check_three_phases(cars, triple)
            done += 1
    return done


CHANGES = (
    5,
    6,
    11,
    12,
    15,
    16,
    17,
    18,
    22,
    24,
    30,
    36,
    44,
    60,
)  # A: where somebody is let in, or is full


def test_a_slice_of_every_minimum_and_maximum() -> None:
    assert up_to_three(997, 29_989) > 3_000
    assert every(four_and_five(), 1_499) > 2_000
    assert every(orders(), 1_499) > 1_000


def test_a_slice_of_every_class() -> None:
    assert in_classes(1_499) > 5_000


def test_a_slice_of_every_kind_on_three_phases() -> None:
    assert on_three_phases(3, range(ROOM + 1), 19_937) > 3_000
    assert on_three_phases(5, CHANGES, 9_973) > 10_000


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_minimum_and_maximum() -> None:
    assert up_to_three(1, PART) > 1_400_000
    assert every(four_and_five(), 1) > 3_000_000
    assert every(orders(), 1) > 1_700_000


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_class() -> None:
    assert in_classes(PART) > 8_000_000 // PART // 2


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_kind_on_three_phases() -> None:
    assert on_three_phases(3, range(ROOM + 1), PART) > 60_000_000 // PART // 2
    assert on_three_phases(5, CHANGES, PART) > 130_000_000 // PART // 2
