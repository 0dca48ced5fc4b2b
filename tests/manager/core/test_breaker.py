"""The breaker models against the tables they come from, and the laws any protection obeys."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.core.breaker import (
    NEVER,
    Account,
    Bands,
    Breaker,
    BreakerError,
    Icp,
    Linky,
    Mcb,
    contract_ma,
    envelope,
)

# IEC 60898-1 table 7: curve, rating in A, multiple, shortest and longest time allowed to a cold
# breaker.
IEC = [
    ("B", 16, 1.45, 0, 3600),
    ("C", 16, 1.45, 0, 3600),
    ("D", 16, 1.45, 0, 3600),
    ("B", 16, 2.55, 1, 60),
    ("C", 32, 2.55, 1, 60),
    ("D", 32, 2.55, 1, 60),
    ("B", 40, 2.55, 1, 120),
    ("C", 63, 2.55, 1, 120),
    ("D", 63, 2.55, 1, 120),
    ("B", 32, 3.0, 0.1, 45),
    ("B", 40, 3.0, 0.1, 90),
    ("B", 32, 5.01, 0, 0.1),
    ("C", 32, 5.0, 0.1, 15),
    ("C", 40, 5.0, 0.1, 30),
    ("C", 32, 10.01, 0, 0.1),
    ("D", 32, 10.0, 0.1, 4),
    ("D", 40, 10.0, 0.1, 8),
    ("D", 32, 20.01, 0, 0.1),
]


@pytest.mark.parametrize(("curve", "rated_a", "multiple", "shortest", "longest"), IEC)
@pytest.mark.parametrize("slowness", [0.0, 0.25, 0.5, 1.0])
def test_a_cold_breaker_trips_within_the_standards_times(
    curve, rated_a, multiple, shortest, longest, slowness
):
    breaker = Mcb(curve, rated_a * 1000, slowness)
    time = breaker.cold_trip_s(round(multiple * rated_a * 1000))
    assert shortest * 0.999 <= time <= longest * 1.001


@pytest.mark.parametrize("curve", ["B", "C", "D"])
@pytest.mark.parametrize("slowness", [0.0, 0.5, 1.0])
def test_at_113_percent_it_holds_for_ever_and_then_at_145_percent_trips_within_the_hour(
    curve, slowness
):
    breaker: Breaker = Mcb(curve, 32_000, slowness)
    breaker = breaker.after(36_160, 3_600_000)
    assert not breaker.tripped
    assert breaker.seconds_left(36_160) == NEVER
    assert breaker.seconds_left(46_400) <= 3600


# 32 A, in the middle of the tolerance band: worked out by hand from the two envelopes.
@pytest.mark.parametrize(
    ("curve", "multiple", "seconds"),
    [
        ("C", 1.45, 465),
        ("C", 2.0, 45),
        ("C", 2.55, 7.75),
        ("B", 5.0, 0.03),
        ("C", 10.0, 0.03),
        ("D", 20.0, 0.025),
    ],
)
def test_a_typical_breaker(curve, multiple, seconds) -> None:
    assert Mcb(curve, 32_000).cold_trip_s(int(multiple * 32_000)) == pytest.approx(
        seconds, rel=0.15
    )


def test_a_warm_breaker_trips_sooner_and_a_rested_one_as_if_new() -> None:
    cold = Mcb("C", 32_000)
    warm = cold.preloaded(32_000)
    assert warm.used == pytest.approx(1 / 1.13**2)
    assert warm.seconds_left(64_000) < 0.4 * cold.seconds_left(64_000)
    rested = warm.after(0, 3_600_000)
    assert rested.seconds_left(64_000) == pytest.approx(cold.seconds_left(64_000), rel=1e-3)


def test_overloads_in_quick_succession_add_up() -> None:
    breaker = Mcb("B", 32_000)
    alone = breaker.seconds_left(64_000)
    for _ in range(3):
        breaker = breaker.after(64_000, int(alone * 300)).after(16_000, 1_000)
    assert not breaker.tripped
    assert breaker.after(64_000, int(alone * 300)).tripped


@pytest.mark.parametrize("curve", ["B", "C", "D"])
@pytest.mark.parametrize("rated_a", [16, 32, 63])
def test_the_fastest_is_never_slower_than_the_slowest(curve, rated_a) -> None:
    for percent in range(114, 6000, 7):
        fastest, slowest = envelope(curve, rated_a * 1000, percent / 100)
        assert fastest <= slowest


# The meter's own table (k = 1.2, Q = 50), S/Sc against seconds.
@pytest.mark.parametrize(
    ("ratio", "seconds"),
    [
        (1.0, NEVER),
        (1.2, NEVER),
        (1.25, 1000),
        (1.3, 500),
        (1.4, 250),
        (1.5, 166.7),
        (1.75, 90.9),
        (2, 62.5),
        (2.5, 38.5),
        (3, 27.8),
        (4, 17.9),
        (6, 10.4),
    ],
)
def test_portugals_switch(ratio, seconds) -> None:
    assert Icp(30_000).cold_trip_s(round(30_000 * ratio)) == pytest.approx(seconds, rel=0.005)


# 2 kW of house and a 7.36 kW car on each contract step, in seconds.
@pytest.mark.parametrize(
    ("contract_va", "seconds"),
    [(3450, 33), (4600, 60), (5750, 117), (6900, 319), (10_350, NEVER), (13_800, NEVER)],
)
def test_one_car_too_many_on_a_portuguese_contract(contract_va, seconds) -> None:
    assert Icp(contract_ma(contract_va)).cold_trip_s(9_360_000 // 230) == pytest.approx(
        seconds, rel=0.01
    )


def test_portugals_switch_forgets_at_once() -> None:
    switch = Icp(30_000).after(60_000, 60_000)
    assert not switch.tripped
    assert switch.used == pytest.approx(60 / 62.5)
    assert switch.after(36_000, 100).used == 0
    assert switch.after(60_000, 2_500).tripped
    assert switch.after(60_000, 2_500).after(0, 1_000_000).tripped, "a person has to close it"


@pytest.mark.parametrize(
    ("ratio", "seconds"),
    [
        (1.3, NEVER),
        (1.35, 327),
        (1.4, 247),
        (1.5, 174),
        (1.75, 100),
        (2, 69),
        (2.5, 40),
        (3, 26),
        (4, 14),
    ],
)
def test_frances_filter_from_no_load(ratio, seconds) -> None:
    assert Linky(30_000).cold_trip_s(int(30_000 * ratio)) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(("ratio", "seconds"), [(1.5, 132), (2, 47)])
def test_frances_filter_from_80_percent(ratio, seconds) -> None:
    assert Linky(30_000).preloaded(24_000).seconds_left(int(30_000 * ratio)) == pytest.approx(
        seconds, abs=1
    )


@pytest.mark.parametrize(
    ("ratio", "upper", "seconds"),
    [
        (1.0, 1.27, NEVER),
        (1.10, 1.27, NEVER),
        (1.11, 1.27, 10_800),
        (1.27, 1.27, 10_800),
        (1.28, 1.27, 120),
        (1.32, 1.33, 10_800),
    ],
)
def test_italys_bands(ratio, upper, seconds) -> None:
    assert Bands(30_000, upper).cold_trip_s(int(30_000 * ratio)) == seconds


def test_italys_three_hours_are_for_the_whole_day() -> None:
    meter = Bands(30_000)
    for _ in range(2):
        meter = meter.after(35_000, 80 * 60_000).after(20_000, 3_600_000)
    assert meter.seconds_left(35_000) == 20 * 60
    assert meter.after(20_000, 24 * 3_600_000).seconds_left(35_000) == 180 * 60


def test_a_linky_counts_the_second_that_has_begun() -> None:
    meter = Linky(8_130).after(13_200, 100_000).after(72_000, 900)
    left = meter.seconds_left(13_200)
    assert not meter.after(13_200, round(left * 1000) - 1).tripped
    assert meter.after(13_200, round(left * 1000)).tripped


MODELS = st.one_of(
    st.builds(Mcb, st.sampled_from(["B", "C", "D"]), st.integers(6_000, 125_000), st.floats(0, 1)),
    st.builds(Icp, st.integers(5_000, 100_000), st.floats(1, 200), st.floats(1, 2)),
    st.builds(Linky, st.integers(5_000, 100_000)),
    st.builds(Bands, st.integers(5_000, 100_000)),
)
HISTORY = st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)), max_size=8)


@given(MODELS, HISTORY, st.integers(0, 400_000))
def test_it_trips_when_it_said_it_would_and_not_before(breaker, history, current_ma) -> None:
    for ma, dt_ms in history:
        breaker = breaker.after(ma, dt_ms)
        assert 0 <= breaker.used <= 1
    left = breaker.seconds_left(current_ma)
    if breaker.tripped:
        assert left == 0
    elif left == NEVER:
        assert not breaker.after(current_ma, 3_600_000).tripped
    else:
        assert breaker.after(current_ma, math.ceil(left * 1000) + 1000).tripped
        if left > 2:
            assert not breaker.after(current_ma, int((left - 2) * 1000)).tripped


@given(MODELS, HISTORY, st.integers(0, 400_000), st.integers(0, 100_000))
def test_more_current_never_holds_longer(breaker, history, current_ma, more_ma) -> None:
    for ma, dt_ms in history:
        breaker = breaker.after(ma, dt_ms)
    assert (
        breaker.seconds_left(current_ma + more_ma)
        <= breaker.seconds_left(current_ma) * (1 + 1e-9) + 1e-9
    )


@given(MODELS, st.data())
def test_what_it_holds_it_holds_for_ever(breaker, data) -> None:
    current_ma = data.draw(st.integers(0, breaker.holds_ma))
    assert breaker.seconds_left(current_ma) == NEVER


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Mcb("K", 16_000), "curve"),  # type: ignore[arg-type]
        (lambda: Mcb("B", 0), "rated_ma"),
        (lambda: Mcb("B", 16_000, 2), "slowness"),
        (lambda: Icp(0), "contract_ma"),
        (lambda: Icp(1, q=0), "q"),
        (lambda: Icp(1, k=3), "k"),
        (lambda: Linky(0), "contract_ma"),
        (lambda: Linky(1, b=1), "b"),
        (lambda: Linky(1, limit=0.5), "limit"),
        (lambda: Bands(0), "contract_ma"),
        (lambda: Bands(1, upper=1.0), "upper"),
        (lambda: Mcb("B", 16_000).after(-1, 1), "current_ma"),
        (lambda: Icp(16_000).after(1, -1), "dt_ms"),
        (lambda: Mcb("B", 16_000).preloaded(20_000), "current_ma"),
        (lambda: contract_ma(0), "va"),
    ],
)
def test_what_no_breaker_has_is_refused_by_name(make, field) -> None:
    with pytest.raises(BreakerError) as refused:
        make()
    assert refused.value.field == field


def test_the_account_of_one_overload() -> None:
    # 20 A of house and 10 A of car on 30 A; the house goes to 44 A for 20 s, the car follows after
    # 8.
    account = Account(Icp(30_000), 30_000)
    account = account.after(20_000, 10_000, 60_000)
    assert account.closed() == ()
    account = account.after(44_000, 10_000, 8_000).after(44_000, 0, 12_000).after(20_000, 0, 1_000)
    (overload,) = account.closed()
    assert (overload.begin_ms, overload.end_ms, overload.seconds) == (60_000, 80_000, 20)
    assert overload.peak_ma == 54_000
    assert overload.excess_mas == 24_000 * 8 + 14_000 * 12
    assert overload.cars_mas == 10_000 * 8
    # T at 54 A is 83 s, at 44 A 187 s.
    assert overload.budget == pytest.approx(max(8 / (50 / 0.6), 20 / (50 / (44 / 30 - 1.2))))
    assert not overload.tripped


def test_an_overload_that_trips_has_used_it_all() -> None:
    account = Account(Icp(30_000), 30_000).after(60_000, 0, 63_000)
    (overload,) = account.closed()
    assert overload.tripped
    assert overload.budget == 1
