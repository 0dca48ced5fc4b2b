"""Sharing against an oracle that tries everything: up to five chargers, up to 60 A, one or three phases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager.core.sharing import POLICIES, Offers, Wish, equal, fair, first

Key = tuple[str, int]
Rooms = dict[Key, int]
L1 = ("main", 0)


def fits(wishes: list[Wish], offers: Offers, rooms: Rooms) -> bool:
    """Whether the rooms hold these offers; who is not among the offers has nothing."""
    for key, room in rooms.items():
        mine = [w for w in wishes if key in w.rooms]
        taken = sum(max(0, offers.get(w.id, 0) - w.held_a) for w in mine)
        if taken * 1000 > max(0, room):
            return False
    return True


def admitted(every: list[Wish], group: list[Wish], rooms: Rooms, taken: Offers) -> list[Wish]:
    """In order, everybody of this class whose minimum fits beside the others' minima."""
    got: list[Wish] = []
    for w in sorted(group, key=lambda w: w.rank):
        if fits(every, taken | {v.id: v.min_a for v in [*got, w]}, rooms):
            got.append(w)
    return got


def choices(wishes: list[Wish]) -> Iterator[Offers]:
    for amps in itertools.product(*[range(w.min_a, w.max_a + 1) for w in wishes]):
        yield dict(zip([w.id for w in wishes], amps, strict=True))


def best(every: list[Wish], group: list[Wish], rooms: Rooms, taken: Offers) -> list[int]:
    """The sorted offers no other choice beats from the least upwards."""
    top: list[int] = []
    for offers in choices(group):
        if fits(every, taken | offers, rooms):
            top = max(top, sorted(offers.values()))
    return top


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Wish], Rooms]:
    phases = draw(st.sampled_from([1, 1, 3]))
    rooms = {("main", p): draw(st.integers(-3000, 60_000)) for p in range(phases)}
    count = draw(st.integers(1, 5))
    widest = {1: 26, 2: 26, 3: 12, 4: 7, 5: 5}[count]  # the oracle tries every choice
    wishes = []
    for n in range(count):
        low = draw(st.integers(6, 16))
        high = low + draw(st.integers(0, widest))
        on = tuple(rooms) if draw(st.booleans()) else (draw(st.sampled_from(sorted(rooms))),)
        wishes.append(
            Wish(
                f"c{n}",
                on,
                low,
                high,
                priority=draw(st.integers(0, 1)),
                rank=(n,),
                held_a=draw(st.sampled_from([0, 0, 0, 6])),
            )
        )
    return wishes, rooms


@settings(max_examples=250, deadline=None)
@given(cases())
def test_fair_is_what_the_oracle_finds(case: tuple[list[Wish], Rooms]) -> None:
    wishes, rooms = case
    offers = fair(wishes, rooms)
    taken: Offers = {}
    for priority in sorted({w.priority for w in wishes}):
        group = [w for w in wishes if w.priority == priority]
        inside = admitted(wishes, group, rooms, taken)
        assert {w.id for w in group if offers[w.id]} == {w.id for w in inside}
        assert sorted(offers[w.id] for w in inside) == best(wishes, inside, rooms, taken)
        taken |= {w.id: offers[w.id] for w in group}


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from(sorted(POLICIES)), st.integers(0, 3))
def test_every_policy_keeps_within_rooms_minima_and_maxima(
    case: tuple[list[Wish], Rooms], policy: str, max_active: int
) -> None:
    wishes, rooms = case
    offers = POLICIES[policy](wishes, rooms, max_active)
    assert set(offers) == {w.id for w in wishes}
    assert all(offers[w.id] == 0 or w.min_a <= offers[w.id] <= w.max_a for w in wishes)
    assert fits(wishes, offers, rooms)
    assert not max_active or sum(1 for a in offers.values() if a) <= max_active


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from(["fair", "first", "deadline"]))
def test_no_ampere_that_fits_is_left_unspent(case: tuple[list[Wish], Rooms], policy: str) -> None:
    wishes, rooms = case
    offers = POLICIES[policy](wishes, rooms)
    for w in wishes:
        more = offers[w.id] + 1 if offers[w.id] else w.min_a
        if more <= w.max_a:
            assert not fits(wishes, offers | {w.id: more}, rooms), w.id


def on_one_phase(*maxima: int) -> list[Wish]:
    return [Wish(f"c{n}", (L1,), 6, most, rank=(n,)) for n, most in enumerate(maxima)]


@pytest.mark.parametrize(
    ("policy", "room_a", "maxima", "offers"),
    [
        # What the rivals waste or stop: 11 A for two, 17 A for three, 26 A for five.
        (fair, 11, (32, 32), [11, 0]),
        (fair, 17, (32, 32, 32), [9, 8, 0]),
        (fair, 26, (32,) * 5, [7, 7, 6, 6, 0]),
        (fair, 26.8, (32,), [26]),
        (fair, 25, (32, 32), [13, 12]),
        (fair, 30, (10, 32, 32), [10, 10, 10]),
        (fair, 40, (8, 32, 12), [8, 20, 12]),
        (fair, 5.9, (32, 32), [0, 0]),
        (equal, 25.7, (32, 32, 32), [8, 8, 8]),
        (equal, 17, (32, 32, 32), [8, 8, 0]),
        (equal, 40, (8, 32, 32), [8, 16, 16]),
        (first, 26, (16, 32), [16, 10]),
        (first, 20, (16, 32, 32), [16, 0, 0]),
    ],
)
def test_in_numbers(
    policy: object, room_a: float, maxima: tuple[int, ...], offers: list[int]
) -> None:
    got = policy(on_one_phase(*maxima), {L1: round(room_a * 1000)})  # type: ignore[operator]
    assert list(got.values()) == offers


def test_what_a_car_cannot_use_goes_to_others_first() -> None:
    wishes = [Wish("a", (L1,), want_a=8, rank=(0,)), Wish("b", (L1,), max_a=16, rank=(1,))]
    assert fair(wishes, {L1: 24_000}) == {"a": 8, "b": 16}
    assert fair(wishes, {L1: 30_000}) == {"a": 14, "b": 16}  # nobody else can have it


def test_classes_are_served_in_order() -> None:
    wishes = [Wish("guest", (L1,), priority=1), Wish("owner", (L1,), max_a=16)]
    assert fair(wishes, {L1: 25_000}) == {"guest": 9, "owner": 16}
    assert fair(wishes, {L1: 20_000}) == {"guest": 0, "owner": 16}
