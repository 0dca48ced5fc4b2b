"""The lease and its anchor."""

from firmware.charger.lease import LeaseHolder

BOOT = 7


def lease(number, seq, limit_a=16, ttl_ms=15_000, boot=BOOT):
    return {
        "limit_a": limit_a,
        "ttl_ms": ttl_ms,
        "lease": number,
        "reason": "fair",
        "re_boot": boot,
        "re_seq": seq,
    }


def holder(failsafe_a=0):
    held = LeaseHolder(BOOT, failsafe_a)
    held.sent(1, 1000)
    return held


def test_a_lease_counts_from_the_message_it_answers_however_late_it_comes():
    for late in (0, 1, 5_000, 14_999):
        held = holder()
        assert held.offer(lease(1, 1), 1000 + late)
        assert held.limit_a(1000 + late) == 16
        assert held.left_ms(1000 + late) == 15_000 - late
        assert held.limit_a(15_999) == 16
        assert held.limit_a(16_000) == 0
        assert held.left_ms(16_000) == 0


def test_a_lease_that_comes_after_its_end_is_refused():
    held = holder()
    assert not held.offer(lease(1, 1), 16_000)
    assert held.refused == "over"
    assert held.number == 0


def test_the_newest_number_wins():
    held = holder()
    assert held.offer(lease(5, 1, 10), 1100)
    assert not held.offer(lease(5, 1, 20), 1200)
    assert held.refused == "number"
    assert not held.offer(lease(4, 1, 20), 1200)
    assert held.offer(lease(6, 1, 8), 1300)
    assert held.limit_a(1300) == 8


def test_a_lease_for_another_boot_or_an_unknown_message_is_refused():
    held = holder()
    assert not held.offer(lease(1, 1, boot=6), 1100)
    assert held.refused == "boot"
    assert not held.offer(lease(1, 2), 1100)
    assert held.refused == "anchor"
    assert not held.offer(lease(1, 0), 1100)
    assert held.refused == "anchor"


def test_sixteen_messages_are_remembered():
    held = LeaseHolder(BOOT, 0)
    for seq in range(1, 18):
        held.sent(seq, seq * 100)
    assert not held.offer(lease(1, 1), 1800)
    assert held.refused == "anchor"
    assert held.offer(lease(1, 2), 1800)
    assert held.left_ms(1800) == 200 + 15_000 - 1800


def test_without_a_lease_the_failsafe_current_holds():
    for failsafe_a in (0, 6, 10):
        held = holder(failsafe_a)
        assert held.limit_a(1000) == failsafe_a
        held.offer(lease(1, 1, 32), 1000)
        assert held.limit_a(2000) == 32
        assert held.limit_a(16_000) == failsafe_a


def test_a_current_no_pilot_can_say_pauses():
    held = holder(6)
    for number in range(1, 6):
        assert held.offer(lease(number, 1, number), 1100)
        assert held.limit_a(1100) == 0
