"""Stacking and composite schedules, as OCPP 1.6 section 3.13 and 2.0.1 section K have them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.ocpp import profiles
from manager.ocpp.profiles import Place, Profile, ProfileError, composite, limit_a, parsed

DAY = 86_400_000
PLACE = Place(1, "7", 10_000, 3, 230)


def one(number: int, purpose: str, *limits: float, stack: int = 0, **more: Any) -> Profile:
    """Absolute from 0, a new limit every 100 s."""
    connector = 0 if purpose == "max" else 1
    transaction = "7" if purpose == "transaction" else ""
    periods = tuple(profiles.Period(n * 100, a) for n, a in enumerate(limits))
    fields: dict[str, Any] = {"kind": "Absolute", "unit": "A", "start_ms": 0} | more
    return Profile(
        number, connector, purpose, stack, periods=periods, transaction=transaction, **fields
    )


MAX, DEFAULT, OWN = one(1, "max", 20), one(2, "default", 16), one(3, "transaction", 10)


@pytest.mark.parametrize(
    ("installed", "limit"),
    [
        ((), None),
        ((MAX,), 20),
        ((DEFAULT,), 16),
        ((MAX, DEFAULT), 16),
        ((MAX, DEFAULT, OWN), 10),
        ((DEFAULT, one(3, "transaction", 30)), 30),
        ((MAX, one(3, "transaction", 30)), 20),
        ((DEFAULT, one(4, "default", 8, stack=2)), 8),
        ((one(4, "default", 30, stack=2), DEFAULT), 30),
        ((DEFAULT, one(4, "default", 8, stack=2, duration_s=50)), 16),  # silent by now
        ((DEFAULT, one(4, "default", 8, stack=2, to_ms=99_000)), 16),
        ((DEFAULT, one(4, "default", 8, stack=2, from_ms=101_000)), 16),
        ((one(4, "default", 11_040, unit="W"),), 16),
        ((one(4, "default", 9, 8),), 8),
        ((one(4, "default", 9, 8, kind="Relative", start_ms=None),), 9),  # since the transaction
        ((one(4, "default", 9, 8, kind="Recurring", repeat_ms=DAY, start_ms=100_000 - 3 * DAY),), 9),
    ],
)  # fmt: skip
def test_what_holds_now(installed: tuple[Profile, ...], limit: float | None) -> None:
    assert limit_a(installed, PLACE, 100_000) == limit


@given(st.lists(st.integers(0, 5), unique=True, min_size=1), st.integers(0, 400))
def test_one_more_cap_only_lowers(which: list[int], second: int) -> None:
    every = (
        DEFAULT,
        OWN,
        one(4, "default", 30, 6, stack=3),
        one(5, "max", 25, 12, 32),
        one(6, "transaction", 32, 0, stack=1, duration_s=150),
        one(7, "default", 3, stack=1, from_ms=200_000),
    )
    some = tuple(every[n] for n in which)
    free = limit_a(some, PLACE, second * 1000)
    capped = limit_a((*some, one(9, "max", 13, stack=8)), PLACE, second * 1000)
    assert capped is not None
    assert capped <= 13
    if free is not None and not any(p.purpose == "max" for p in some):
        assert capped == min(free, 13)


@given(st.integers(0, 300_000), st.integers(1, 600))
def test_the_composite_says_what_holds_at_every_second(from_ms: int, seconds: int) -> None:
    some = (MAX, one(4, "default", 30, 6, 18, stack=3, duration_s=250), DEFAULT)
    steps = composite(some, PLACE, from_ms, seconds)
    assert steps[0][0] == 0
    for second in range(seconds):
        now = [amps for start, amps in steps if start <= second][-1]
        before = limit_a(some, PLACE, from_ms + second * 1000)
        earlier = limit_a(some, PLACE, from_ms + max(0, second * 1000 - 999))
        assert now in (before, earlier)  # a step within a second is told at the next whole one


RAW = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
    },
}
PERIODS = [{"startPeriod": 0, "limit": 1}, {"startPeriod": 0, "limit": 2}]


@pytest.mark.parametrize(
    ("change", "connector", "transaction"),
    [
        ({}, 1, ""),
        ({}, 0, "7"),
        ({"transactionId": 8}, 1, "7"),
        ({"stackLevel": 99}, 1, "7"),
        ({"chargingProfileKind": "Recurring"}, 1, "7"),
        ({"chargingProfilePurpose": "ChargePointMaxProfile"}, 1, "7"),
        ({"chargingProfilePurpose": "Wish"}, 1, "7"),
        ({"validFrom": "2026-01-02T00:00:00Z", "validTo": "2026-01-01T00:00:00Z"}, 1, "7"),
        ({"validFrom": "tomorrow"}, 1, "7"),
        ({"chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": PERIODS}}, 1, "7"),
        ({"chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": []}}, 1, "7"),
    ],
)  # fmt: skip
def test_profiles_that_cannot_be(change: dict[str, Any], connector: int, transaction: str) -> None:
    assert parsed(RAW, 1, "7").periods[0].limit == 16
    with pytest.raises(ProfileError):
        parsed(RAW | change, connector, transaction)


def test_replaced_cleared_ended() -> None:
    two = profiles.installed((MAX, DEFAULT), one(9, "default", 5))
    assert [p.id for p in two] == [1, 9]
    assert [p.id for p in profiles.cleared(two, 9)] == [1]
    assert [p.id for p in profiles.cleared(two, None, None, "ChargePointMaxProfile")] == [9]
    assert profiles.cleared(two) == ()
    assert profiles.ended((MAX, OWN), "7") == (MAX,)
