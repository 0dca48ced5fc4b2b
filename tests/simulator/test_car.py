"""Cars keep to IEC 61851-1's table and times, except those that are made not to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.car import FOLLOW_LIMIT_MS, STOP_LIMIT_MS, Car, CarError, offered_ma

TICK_MS = 50


def drive(
    car: Car, moments: list[tuple[int, int]], until_ms: int, close_ms: int = 100
) -> list[tuple[int, str, int]]:
    """Show the car duties from times on; a contactor that follows C while there is a duty. (t, letter, mA)."""
    seen = []
    c_since = None
    for t in range(0, until_ms, TICK_MS):
        duty = next(d for at, d in reversed(moments) if at <= t)
        c_since = None if car.letter != "C" else t if c_since is None else c_since
        live = c_since is not None and t - c_since >= close_ms
        car.step(
            t,
            duty_permille=duty,
            pilot_mv=9000 if duty not in {0, 1000} else 12_000 if duty else -12_000,
            live=live,
        )
        seen.append((t, car.letter, car.ma))
    return seen


@pytest.mark.parametrize(
    ("permille", "ma"),
    [(0, 0), (50, 0), (79, 0), (80, 6000), (100, 6000), (267, 16_020), (533, 31_980), (850, 51_000),
     (960, 80_000), (970, 80_000), (971, 0), (1000, 0)],
)  # fmt: skip
def test_what_a_duty_means(permille: int, ma: int) -> None:
    assert offered_ma(permille) == ma


def test_a_charge_from_plug_to_full() -> None:
    car = Car(max_a=16, wants_wh=20, ready_ms=800, ramp_a_s=8)
    seen = drive(car, [(0, 1000), (2000, 533)], 60_000)
    assert {letter for t, letter, _ in seen if t < 2800} == {"B"}
    assert next(t for t, letter, _ in seen if letter == "C") <= 3000
    assert max(ma for _, _, ma in seen) == 16_000  # its own limit, not the offer
    rising = [ma for t, _, ma in seen if 2800 < t < 6000 and ma]
    assert rising == sorted(rising)
    assert rising[0] < 16_000
    assert seen[-1][1:] == ("B", 0)
    assert car.taken_wh == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("follow_ms", [0, 1500, 5000])
def test_a_lower_duty_is_followed_in_time(follow_ms: int) -> None:
    seen = drive(Car(follow_ms=follow_ms), [(0, 533), (20_000, 200)], 30_000)
    before = [ma for t, _, ma in seen if t == 19_950]
    assert before == [31_980]
    late = [ma for t, _, ma in seen if t >= 20_000 + FOLLOW_LIMIT_MS + TICK_MS]
    assert set(late) == {12_000}
    in_between = [ma for t, _, ma in seen if 20_000 <= t < 20_000 + follow_ms]
    assert set(in_between) <= {31_980}


def test_an_ended_pwm_is_obeyed_within_3_s() -> None:
    seen = drive(Car(follow_ms=5000), [(0, 533), (20_000, 1000)], 30_000)
    assert all(ma == 0 for t, _, ma in seen if t >= 20_000 + STOP_LIMIT_MS)
    assert seen[-1][1] == "B"


def test_one_that_does_not_obey_keeps_drawing() -> None:
    seen = drive(Car(obeys=False), [(0, 533), (20_000, 100)], 40_000)
    assert seen[-1][2] == 31_980


def test_a_sleeper_wakes_when_the_pilot_was_away() -> None:
    car = Car(sleepy=True)
    assert all(letter == "B" for _, letter, _ in drive(car, [(0, 533)], 60_000))
    car = Car(sleepy=True)
    seen = drive(car, [(0, 533), (40_000, 0), (44_000, 1000), (45_000, 533)], 60_000)
    assert seen[-1][1] == "C"


def test_near_full_it_takes_less() -> None:
    car = Car(max_a=32, wants_wh=100, taper=0.5)
    seen = [ma for _, _, ma in drive(car, [(0, 533)], 120_000) if ma]
    peak = seen.index(max(seen))
    assert seen[peak:] == sorted(seen[peak:], reverse=True)
    assert 6000 <= seen[-1] < 12_000


def test_the_driver_stops_and_starts() -> None:
    car = Car(stops_after_s=5)
    assert drive(car, [(0, 533)], 20_000)[-1][1:] == ("B", 0)
    car.start()
    assert car.wants


def test_it_may_use_less_than_it_has() -> None:
    assert drive(Car(uses_a=9.5), [(0, 533)], 20_000)[-1][2] == 9500


@given(
    st.lists(
        st.tuples(st.integers(0, 40_000), st.sampled_from([0, 50, 100, 267, 533, 900, 1000])),
        max_size=8,
    ),
    st.integers(1, 80),
    st.integers(0, 5000),
)
def test_never_more_than_was_offered_when_it_last_looked(
    changes: list[tuple[int, int]], max_a: int, follow_ms: int
) -> None:
    moments = [(0, 1000), *sorted(changes)]
    for t, letter, ma in drive(Car(max_a=max_a, follow_ms=follow_ms), moments, 50_000):
        recent = [
            offered_ma(duty)
            for at, duty in moments
            if at <= t and at > t - FOLLOW_LIMIT_MS - 2 * TICK_MS
        ]
        held = [
            offered_ma(duty) for at, duty in moments if at <= t - FOLLOW_LIMIT_MS - 2 * TICK_MS
        ][-1:]
        assert ma <= min(max_a * 1000, max(recent + held))
        assert ma == 0 or letter == "C"


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"max_a": 0}, "max_a is from 1 to 80"),
        ({"max_a": "32"}, "max_a is a number"),
        ({"phases": 4}, "phases is from 1 to 3"),
        ({"follow_ms": 5001}, "follow_ms is from 0 to 5000"),
        ({"wants_wh": -1}, "wants_wh"),
        ({"colour": "red"}, "no property colour"),
        ({"letter": "C"}, "no property letter"),
    ],
)
def test_cars_that_cannot_be(properties: dict[str, Any], words: str) -> None:
    with pytest.raises(CarError, match=words):
        Car.named(properties)
