"""What a charger is counted at, clause by clause."""

from __future__ import annotations

from manager.core import leases
from manager.core.leases import FOLLOW_MS, worst_a
from manager.core.site import Charger, changed

TTL = 15_000


def charging(limit_a: int, at: int = 0) -> Charger:
    """A charger that was heard at `at` and confirmed a lease of so many A at once."""
    charger = leases.heard(Charger("c", 1, "m", "main"), 1, 10, at)
    lease, keep = leases.with_lease(charger, limit_a, at, TTL)
    assert keep  # the disk has not heard of it
    charger = leases.heard(changed(charger, **lease), 1, 11, at)
    return leases.confirmed(charger, 1, 1, contactor=True, now_ms=at)


def cut(charger: Charger, limit_a: int, at: int) -> Charger:
    lease, keep = leases.with_lease(charger, limit_a, at, TTL)
    assert not keep  # what the disk knows of covers it
    return leases.heard(changed(charger, **lease), 1, 12, at)


def test_a_lease_counts_from_when_it_is_sent_until_a_car_has_followed_its_end() -> None:
    charger = charging(26)
    assert worst_a(charger, 0) == 26
    assert worst_a(charger, TTL + FOLLOW_MS - 1) == 26
    assert worst_a(charger, TTL + FOLLOW_MS) == 0


def test_it_counts_from_the_message_it_answers_not_from_when_it_was_sent() -> None:
    charger = charging(26)
    late, _ = leases.with_lease(charger, 26, 9_000, TTL)  # nothing was heard for 9 s
    assert worst_a(changed(charger, **late), TTL + FOLLOW_MS) == 0


def test_a_lower_one_counts_only_when_confirmed_and_followed() -> None:
    charger = cut(charging(26), 12, 1_000)
    assert worst_a(charger, 10_000) == 26
    charger = leases.confirmed(charger, 1, 2, contactor=True, now_ms=1_050)
    assert worst_a(charger, 1_050 + FOLLOW_MS - 1) == 26
    assert worst_a(charger, 1_050 + FOLLOW_MS) == 12


def test_at_once_with_the_contactor_open() -> None:
    charger = cut(charging(26), 12, 1_000)
    charger = leases.confirmed(charger, 1, 2, contactor=False, now_ms=1_050)
    assert worst_a(charger, 1_050) == 12


def test_as_soon_as_its_own_meter_has_shown_the_drop() -> None:
    charger = cut(charging(26), 12, 1_000)
    charger = leases.confirmed(charger, 1, 2, contactor=True, now_ms=1_050)
    for second in (2, 3, 4, 5):
        charger = leases.drop_seen(charger, 25_900, second * 1_000)
        assert worst_a(charger, second * 1_000) == 26
    charger = leases.drop_seen(charger, 12_100, 6_000)
    assert worst_a(charger, 6_000) == 12


def test_drawing_little_is_no_drop() -> None:
    charger = cut(charging(26), 12, 1_000)
    charger = leases.confirmed(charger, 1, 2, contactor=True, now_ms=1_050)
    for second in (2, 3, 4, 5, 6):
        charger = leases.drop_seen(charger, 3_000, second * 1_000)
        assert worst_a(charger, second * 1_000) == 26


def test_a_new_boot_has_forgotten() -> None:
    charger = leases.heard(charging(26), 2, 1, 5_000)
    assert worst_a(charger, 5_000 + FOLLOW_MS - 1) == 26
    assert worst_a(charger, 5_000 + FOLLOW_MS) == 0


def test_an_older_message_proves_nothing() -> None:
    charger = charging(26)
    assert leases.heard(charger, 1, 9, 3_000) == charger


def test_the_failsafe_counts_always() -> None:
    assert worst_a(changed(charging(0), failsafe_a=6), 0) == 6


def test_after_a_restart_the_highest_counts_for_a_whole_life() -> None:
    charger = leases.restored(charging(26), 100_000, TTL)
    assert worst_a(charger, 100_000 + TTL + FOLLOW_MS - 1) == 26
    assert charger.number > 1
    assert not charger.sent_known


def test_a_number_nobody_can_outbid_is_not_followed() -> None:
    charger = leases.heard(charging(26), 1, 20, 500)
    after = leases.confirmed(charger, 1, 2**31 - 1, contactor=True, now_ms=500)
    assert after.number == 1
