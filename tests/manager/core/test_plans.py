"""`cheapest` and `green`: the quarter hours a car with time charges in, and what they never change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.core.events import Foreseen, Wished
from manager.core.plans import NOW, QUARTER_S, Plan, planned
from manager.core.site import Wants
from tests.manager.core.test_policies_live import charging, configure, plant, reason

Q = QUARTER_S
T0 = 1_800_000_000 // Q * Q


def hours(*prices: int) -> dict[int, int]:
    return {T0 + n * Q: p for n, p in enumerate(prices)}


@pytest.mark.parametrize(
    ("prices", "at", "departs", "need", "plan"),
    [
        ((5, 1, 9), 0, 3 * Q, Q, Plan(now=False, next_s=T0 + Q)),
        ((1, 5, 9), 0, 3 * Q, Q, NOW),
        ((5, 5, 5), 0, 3 * Q, Q, NOW),  # among equals the earlier
        ((5, 1, 9), 0, 3 * Q, Q + 1, NOW),  # one second more than the cheapest holds
        ((5, 1, 9), 0, 3 * Q, 3 * Q, NOW),  # no time to lose
        ((5, 1, 9), 0, 3 * Q, 4 * Q, NOW),
        ((5, 9, 1), 300, 3 * Q - 1, Q - 1, Plan(now=False, next_s=T0 + 2 * Q)),
        ((5, 9, 1), 300, 3 * Q - 1, Q, NOW),  # the last quarter is a second short
        ((5, 1), 0, 4 * Q, 2 * Q, NOW),  # what is not known counts as the dearest
        ((), 0, 4 * Q, Q, NOW),
    ],
)
def test_the_cheapest_quarters_that_hold_it(
    prices: tuple[int, ...], at: int, departs: int, need: int, plan: Plan
) -> None:
    assert planned(hours(*prices), T0 + at, T0 + departs, need) == plan


@given(
    prices=st.lists(st.integers(-50, 50), min_size=1, max_size=8),
    need=st.integers(1, 8 * 9).map(lambda n: n * 100),
    begun=st.integers(0, 8).map(lambda n: n * 100),
)
def test_it_costs_no_more_than_any_other_choice(prices: list[int], need: int, begun: int) -> None:
    """Who follows the plan, made anew every 100 s, pays no more than the best choice beforehand."""
    costs = hours(*prices)
    departs = T0 + len(prices) * Q
    if need > departs - T0 - begun:
        return
    paid, got, at = 0, 0, T0 + begun
    while at < departs:
        if got < need and planned(costs, at, departs, need - got).now:
            paid += 100 * costs[at // Q * Q]
            got += 100
        at += 100
    assert got == need
    # The best beforehand: seconds sorted by price.
    best, left = 0, need
    for price, start in sorted((p, s) for s, p in costs.items()):
        took = min(left, Q - (begun if start == T0 else 0))
        best += took * price
        left -= took
    assert paid == best


def test_a_car_with_time_waits_for_the_cheap_hours() -> None:
    got = plant(30, 2, policy="cheapest")
    got.utc_s = T0
    got.put(Foreseen(prices=hours(9, 9, 2, 9, 9, 9, 9, 9)))
    got.put(Wished("c1", Wants(wanted_wh=600, departs_ms=8 * Q * 1000)))
    charging(got, 4)
    assert got.offers() == (0, 26)  # c2 said nothing: it charges at once
    assert reason(got, "c1") == "standby: charges in better hours, from 00:30"
    got.run(2 * Q)
    assert got.offers() == (13, 13)


def test_who_has_no_time_to_lose_charges_whatever_it_costs() -> None:
    got = plant(30, 1, policy="cheapest")
    got.utc_s = T0
    got.put(Foreseen(prices=hours(9, 9, 1, 1, 1, 1, 9, 9)))
    got.put(Wished("c1", Wants(wanted_wh=8_000, departs_ms=8 * Q * 1000)))
    charging(got, 4)
    assert got.offers() == (26,)


def test_without_prices_nobody_waits() -> None:
    got = plant(30, 1, policy="cheapest")
    got.utc_s = T0
    got.put(Wished("c1", Wants(wanted_wh=600, departs_ms=8 * Q * 1000)))
    assert charging(got, 4).offers() == (26,)


def test_green_goes_by_carbon_and_by_the_sun_that_is_left() -> None:
    got = plant(30, 1, role="grid", policy="green")
    got.utc_s = T0
    got.put(Foreseen(prices=hours(1, 9, 9, 9), carbon=hours(300, 300, 90, 300)))
    got.put(Wished("c1", Wants(wanted_wh=500, departs_ms=8 * Q * 1000)))
    charging(got, 4)
    assert got.offers() == (0,)
    got.house(-9)  # the roof gives 9 A more than the house takes
    got.run(20)
    assert got.offers() == (9,)
    assert reason(got, "c1") == "9 A of sun"
    got.house(4)
    got.run(20)
    assert got.offers() == (0,)
    configure(got, policy="cheapest")
    got.run(20)
    assert got.offers() == (26,)


def test_the_plan_moves_wishes_never_the_limit() -> None:
    got = plant(20, 3, policy="cheapest")
    got.utc_s = T0
    got.put(Foreseen(prices=hours(5, 1, 1, 5)))
    for name in got.boards:
        got.put(Wished(name, Wants(wanted_wh=3_000, departs_ms=6 * Q * 1000)))
    charging(got, 5)
    for amps in itertools.chain(range(5), range(5, 0, -1)):
        got.house(5 + amps)
        got.run(Q / 2)
        assert sum(got.offers()) + 5 + amps <= 20
