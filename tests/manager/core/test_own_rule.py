"""A charger that goes by its own rule counts at all it may take, and for a while after."""

import json

from manager.core import leases, plain
from manager.core.leases import FOLLOW_MS
from manager.core.site import Charger, Granted, Site, changed
from tests.manager.core.plant import Plant

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


def test_one_that_has_not_said_how_it_is_may_have_a_car() -> None:
    assert leases.worst_a(changed(OWN, state=""), 0) == 16


def by_its_own_rule(amps: int) -> Plant:
    got = Plant(Site())
    board = got.add("c1")
    board.own = {"mode": "manual", "cap_a": amps}
    got.state("c1", "C")
    return got


def test_one_that_takes_less_has_a_car_that_is_yet_to_follow() -> None:
    got = by_its_own_rule(20)
    got.boards["c1"].own["cap_a"] = 12
    got.status(got.boards["c1"])
    assert leases.worst_a(got.site.chargers["c1"], got.now) == 20
    assert [n.words for n in got.notes if n.kind == leases.OWN_RULE] == [
        "may take up to 20 A by its own rule",
        "may take up to 12 A by its own rule",
    ]


def test_it_is_known_over_a_restart_of_the_manager_and_only_with_a_car() -> None:
    got = by_its_own_rule(20)
    again = plain.site_from_plain(json.loads(json.dumps(plain.site_to_plain(got.site))), 10**9)
    assert leases.worst_a(again.chargers["c1"], 10**9 + 60_000) == 20
    got.state("c1", "A")
    again = plain.site_from_plain(json.loads(json.dumps(plain.site_to_plain(got.site))), 10**9)
    assert leases.worst_a(again.chargers["c1"], 10**9 + 60_000) == 0
