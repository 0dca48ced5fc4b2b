"""Prices: clock times through daylight saving, day-ahead slots, and sums that add up to the last
unit.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.core.tariffs import (
    QUARTER_S,
    Line,
    Quarter,
    Rate,
    Spot,
    Tariff,
    TariffError,
    price,
    tariff_at,
    vat,
)

LISBON = "Europe/Lisbon"
WEEK = frozenset(range(5))


def utc(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def flat(price_u: int = 200_000, **more: object) -> Tariff:
    return Tariff("flat", rates=(Rate(price_u),), **more)  # type: ignore[arg-type]


NIGHT = Tariff(
    "two rates",
    rates=(Rate(90_000, from_min=22 * 60, to_min=8 * 60), Rate(210_000)),
    timezone=LISBON,
)


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ((2026, 1, 15, 7, 45), 90_000),
        ((2026, 1, 15, 8, 0), 210_000),
        ((2026, 1, 15, 21, 45), 210_000),
        ((2026, 1, 15, 22, 0), 90_000),
        ((2026, 7, 15, 7, 45), 90_000),
        ((2026, 7, 15, 8, 0), 210_000),
    ],
)
def test_clock_times_are_local_in_winter_and_summer(
    local: tuple[int, int, int, int, int], expected: int
) -> None:
    moment = int(datetime(*local, tzinfo=ZoneInfo(LISBON)).timestamp())
    assert NIGHT.price_u(moment, {}) == expected


@pytest.mark.parametrize(
    ("day", "quarters", "cheap"), [(29, 92, 36), (28, 96, 40)], ids=["23 hours", "24 hours"]
)
def test_a_day_has_its_own_number_of_quarter_hours_in_march(
    day: int, quarters: int, cheap: int
) -> None:
    _check_day((2026, 3, day), (2026, 3, day + 1), quarters, cheap)


def test_a_day_of_25_hours_has_100_quarter_hours() -> None:
    _check_day((2026, 10, 25), (2026, 10, 26), 100, 44)


Day = tuple[int, int, int]


def _check_day(start: Day, end: Day, quarters: int, cheap: int) -> None:
    zone = ZoneInfo(LISBON)
    first, last = (int(datetime(*d, tzinfo=zone).timestamp()) for d in (start, end))
    slots = range(first, last, QUARTER_S)
    assert len(slots) == quarters
    assert sum(NIGHT.price_u(s, {}) == 90_000 for s in slots) == cheap


def test_a_rate_over_midnight_belongs_to_the_day_it_began() -> None:
    weekend = Tariff(
        "weekend",
        rates=(Rate(1, frozenset({5}), from_min=22 * 60, to_min=6 * 60), Rate(2)),
    )
    saturday = utc(2026, 11, 28)
    assert weekend.price_u(saturday + 23 * 3600, {}) == 1
    assert weekend.price_u(saturday + 29 * 3600, {}) == 1, "Sunday 05:00"
    assert weekend.price_u(saturday + 5 * 3600, {}) == 2, "Saturday 05:00 is Friday's night"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tariff("t"), "either rates or spot"),
        (lambda: Tariff("t", rates=(Rate(1),), spot=Spot()), "either rates or spot"),
        (lambda: Tariff("t", rates=(Rate(1, WEEK),)), "no price on Sat at 00:00"),
        (lambda: Tariff("t", rates=(Rate(1, to_min=1425),)), "no price on Mon at 23:45"),
        (lambda: Tariff("t", rates=(Rate(1, from_min=7),)), "whole quarter hours"),
        (lambda: flat(valid_from_s=10, valid_to_s=10), "ends before it begins"),
        (lambda: Quarter(1, 0), "multiple of 900"),
        (lambda: Quarter(0, 5, solar_wh=6), "part of the energy"),
        (
            lambda: Tariff("t", spot=Spot()).price_u(0, {}),
            "no day-ahead price for 1970-01-01 00:00",
        ),
        (lambda: tariff_at([], 0), "no tariff at"),
        (lambda: tariff_at([flat(), NIGHT], 0), "all but one of 'flat', 'two rates'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(make: object, words: str) -> None:
    with pytest.raises(TariffError, match=words):
        make()  # type: ignore[operator]


def test_one_tariff_follows_another_to_the_second() -> None:
    old, new = flat(1, valid_to_s=1000), flat(2, valid_from_s=1000)
    assert tariff_at([old, new], 999) is old
    assert tariff_at([old, new], 1000) is new


def test_a_session_with_every_kind_of_price() -> None:
    tariff = flat(
        200_000,
        solar_u=50_000,
        per_hour=5000,
        per_session=3500,
        idle_per_hour=20000,
        idle_grace_s=900,
    )
    quarters = [
        Quarter(0, 1800, solar_wh=300, charging_s=900),
        Quarter(900, 1200, charging_s=600, idle_s=300),
        Quarter(1800, 0, idle_s=900),
    ]
    assert price(tariff, quarters, {}) == (
        Line("solar", 300, 50_000, 150),  # 0.3 kWh at 0.05 = 0.0150
        Line("energy", 2700, 200_000, 5400),  # 2.7 kWh at 0.20 = 0.5400
        Line("time", 1500, 5000, 2083),  # 25 min at 0.50 an hour
        Line("idle", 300, 20000, 1667),  # 5 min past the grace at 2.00 an hour
        Line("session", 1, 3500, 3500),
    )


def test_day_ahead_prices_by_the_quarter_hour() -> None:
    tariff = Tariff("omie", spot=Spot(factor_permille=1100, add_u=60_000))
    lines = price(tariff, [Quarter(0, 1000), Quarter(900, 1000)], {0: 105_100, 900: -2_000})
    assert lines == (Line("energy", 1000, 175_610, 1756), Line("energy", 1000, 57_800, 578))


@given(
    st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 8000)), max_size=40),
    st.integers(-100_000, 900_000),
)
def test_the_lines_hold_every_watt_hour_and_round_less_than_half_a_unit(
    took: list[tuple[int, int]], price_u: int
) -> None:
    quarters = [
        Quarter(i * QUARTER_S, max(a, b), solar_wh=min(a, b)) for i, (a, b) in enumerate(took)
    ]
    tariff = flat(price_u, solar_u=37_003)
    lines = price(tariff, quarters, {})
    assert sum(x.quantity for x in lines) == sum(q.energy_wh for q in quarters)
    for line in lines:
        assert abs(line.amount * 100_000 - line.quantity * line.price) <= 50_000


@pytest.mark.parametrize(
    ("net", "permille", "tax"),
    [
        (10_000, 230, 2300),
        (10_021, 230, 2300),
        (10_022, 230, 2300),
        (1, 230, 0),
        (-10_000, 230, -2300),
    ],
)
def test_tax_is_rounded_to_whole_cents(net: int, permille: int, tax: int) -> None:
    assert vat(net, permille) == tax
