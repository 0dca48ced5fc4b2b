"""`fair` in every case there is, up to five chargers and 60 A: not a sample.

On one phase: every choice of maxima from 6 to 32 A for up to five chargers, at every whole ampere of
room from 0 to 60. Chargers of one class and one minimum can change places, so a choice is a multiset:
169,911 of five, 201,375 in all, at 61 rooms each 12.3 million cases. The oracle tries every
first offer, and for each the best that the others can then have.

On three phases: every choice of wiring (on L1, L2, L3 or all three) for up to five chargers of 6 to
32 A, at every whole ampere of room on each phase; phases can change places, so their rooms rise. The
oracle tries every total for the three-phase cars. What is left on a phase its cars share as evenly as
whole amperes go: of alike cars on one room nothing else is best.

`make test` takes every 997th case, `make soak` all.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import cache

import pytest

from manager.core.sharing import Wish, fair

LOW, HIGH, ROOM = 6, 32, 60
SLICE = 997  # a prime, so that a slice sees every room with every kind of choice
PART = int(os.environ.get("IEVCC_EVERY", "1"))  # a soak of every so many cases
Sorted = tuple[int, ...]
L1 = ("main", 0)


@cache
def best(maxima: Sorted, room: int) -> Sorted | None:
    """The rising offers no other choice beats from the least upwards; None if not all fit."""
    if not maxima:
        return ()
    top: Sorted | None = None
    for amps in range(LOW, min(maxima[0], room) + 1):
        rest = best(maxima[1:], room - amps)
        if rest is not None:
            offers = tuple(sorted((amps, *rest)))
            top = offers if top is None else max(top, offers)
    return top


def on_one_phase(step: int) -> Iterator[tuple[Sorted, int]]:
    n = 0
    for count in range(1, 6):
        for maxima in itertools.combinations_with_replacement(range(LOW, HIGH + 1), count):
            for room in range(n % step, ROOM + 1, step) if step > 1 else range(ROOM + 1):
                yield maxima, room
            n += 1


def check_one_phase(step: int) -> int:
    cases = 0
    wishes: list[Wish] = []
    before: Sorted = ()
    for maxima, room in on_one_phase(step):
        if maxima != before:
            before = maxima
            wishes = [Wish(f"c{n}", (L1,), LOW, most, rank=(n,)) for n, most in enumerate(maxima)]
        got = list(fair(wishes, {L1: room * 1000}).values())
        inside = min(len(maxima), room // LOW)  # whoever's minimum fits, in order
        expected = best.__wrapped__(maxima[:inside], room)  # asked once: not to be remembered
        assert expected is not None
        assert (tuple(sorted(got[:inside])), sum(got[inside:])) == (expected, 0), (maxima, room)
        cases += 1
    return cases


def evenly(room: int, cars: int) -> Sorted | None:
    """The best for so many alike cars on one room, the least first."""
    if not cars:
        return ()
    each, over = divmod(min(room, cars * HIGH), cars)
    return None if each < LOW else (each,) * (cars - over) + (each + 1,) * over


@cache
def best_on_three(rooms: tuple[int, int, int], singles: tuple[int, ...], threes: int) -> Sorted:
    """As `best`, for cars that all fit with their minima."""
    top: Sorted = ()
    totals = range(LOW * threes, min(HIGH * threes, *rooms) + 1) if threes else (0,)
    for total in totals:
        parts = [evenly(total, threes)]
        parts += [evenly(room - total, n) for room, n in zip(rooms, singles, strict=True)]
        if all(part is not None for part in parts):
            top = max(top, tuple(sorted(itertools.chain.from_iterable(p or () for p in parts))))
    return top


def on_three_phases(step: int) -> Iterator[tuple[tuple[int, ...], tuple[int, int, int]]]:
    n = 0
    for count in range(1, 6):
        for wiring in itertools.combinations_with_replacement(range(4), count):  # 3: all phases
            for rooms in itertools.combinations_with_replacement(range(ROOM + 1), 3):
                if n % step == 0:
                    yield wiring, rooms
                n += 1


def check_three_phases(step: int) -> int:
    cases = 0
    keys = [("main", p) for p in range(3)]
    places = [(keys[0],), (keys[1],), (keys[2],), tuple(keys)]
    wishes: list[Wish] = []
    before: tuple[int, ...] = ()
    for wiring, rooms in on_three_phases(step):
        if wiring != before:
            before = wiring
            wishes = [Wish(f"c{n}", places[w], rank=(n,)) for n, w in enumerate(wiring)]
        offers = fair(wishes, {k: a * 1000 for k, a in zip(keys, rooms, strict=True)})
        left = list(rooms)
        inside: list[int] = []
        for n, w in enumerate(wiring):
            mine = range(3) if w == 3 else (w,)
            if all(left[p] >= LOW for p in mine):
                inside.append(n)
                for p in mine:
                    left[p] -= LOW
        singles = tuple(sum(wiring[n] == p for n in inside) for p in range(3))
        expected = best_on_three(rooms, singles, sum(wiring[n] == 3 for n in inside))
        got = tuple(sorted(offers[f"c{n}"] for n in inside))
        assert got == expected, (wiring, rooms, offers)
        assert sum(offers.values()) == sum(expected), (wiring, rooms, offers)
        cases += 1
    return cases


def test_a_slice_of_every_case_on_one_phase() -> None:
    assert check_one_phase(SLICE) > 12_000


def test_a_slice_of_every_case_on_three_phases() -> None:
    assert check_three_phases(SLICE) > 4_000


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_case_on_one_phase() -> None:
    assert check_one_phase(PART) > 12_000_000 // PART // 2


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_case_on_three_phases() -> None:
    assert check_three_phases(PART) > 4_000_000 // PART // 2
