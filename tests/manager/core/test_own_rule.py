"""A charger that goes by its own rule counts at all it may take, and for a while after."""

from manager.core import leases
from manager.core.leases import FOLLOW_MS
from manager.core.site import Charger, Granted, changed

OWN = Charger("C", 1, "Counter-1", "main", state="C2", mode="manual", cap_a=16)


def test_counts_at_what_it_says_it_may_take() -> None:
    assert leases.worst_a(OWN, 0) == leases.known_worst_a(OWN, 0) == 16
    assert leases.worst_a(changed(OWN, cap_a=None), 0) == 32
    assert leases.worst_a(changed(OWN, cap_a=63), 0) == 32


def test_not_without_a_car_nor_when_it_is_led() -> None:
    assert leases.worst_a(changed(OWN, state="A1"), 0) == 0
    assert leases.worst_a(changed(OWN, mode="managed"), 0) == 0


def test_a_higher_lease_still_counts() -> None:
    leased = changed(OWN, granted=(Granted(0, 1, 20, 1000),))
    assert leases.worst_a(leased, 999) == 20
    assert leases.worst_a(leased, 1000) == 16


def test_led_again_it_counts_until_a_lease_is_confirmed_and_followed() -> None:
    led = leases.led_again(changed(OWN, mode="managed", number=7), 16, 0, 15_000)
    assert leases.worst_a(led, 15_000 + FOLLOW_MS - 1) == 16
    assert leases.worst_a(led, 15_000 + FOLLOW_MS) == 0
    told = leases.confirmed(led, 0, 8, contactor=True, now_ms=1_000)
    assert leases.worst_a(told, 1_000 + FOLLOW_MS - 1) == 16
    assert leases.worst_a(told, 1_000 + FOLLOW_MS) == 0
