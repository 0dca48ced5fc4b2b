"""Who may charge; schedules; the rule of mode "intelligent"."""

from firmware.charger import house_rule
from firmware.charger.access import Access
from firmware.charger.card_list import hashed
from firmware.charger.schedule import ScheduleError, is_open, minute_of_week, parse

CARD, OTHER = "04a1b2c3d4e5f6", "08112233"


def test_a_tap_asks_and_the_answer_starts():
    a = Access(False)
    assert not a.allowed
    assert a.tap(CARD, 0)
    assert a.asking == CARD
    a.verdict(OTHER, True, "card", 0, 100)
    assert not a.allowed
    a.verdict(CARD, True, "card", 16, 100)
    assert (a.allowed, a.card, a.how, a.max_a) == (True, CARD, "card", 16)
    a.verdict(CARD, False, "card", 0, 200)
    assert a.allowed


def test_the_same_card_stops_another_does_not():
    a = Access(False)
    a.tap(CARD, 0)
    a.verdict(CARD, True, "card", 0, 0)
    a.step(True, 10)
    assert not a.tap(CARD, 1500)  # still the same tap
    assert a.allowed
    assert not a.tap(OTHER, 5000)
    assert a.allowed
    assert not a.tap(CARD, 8000)
    assert not a.allowed
    assert a.tap(CARD, 11_000)


def test_unplugging_ends_it_and_so_does_a_minute_without_a_plug():
    a = Access(False)
    a.tap(CARD, 0)
    a.verdict(CARD, True, "card", 0, 0)
    a.step(False, 59_999)
    assert a.allowed
    a.step(False, 60_000)
    assert not a.allowed
    a.tap(CARD, 70_000)
    a.verdict(CARD, True, "card", 0, 70_000)
    a.step(True, 71_000)
    a.step(True, 900_000)
    assert a.allowed
    a.step(False, 900_020)
    assert not a.allowed


def test_five_failures_lock_for_a_minute():
    a = Access(False)
    for k in range(5):
        assert a.tap("%08x" % (0x04000000 + k), k * 3000)
        assert not a.locked(k * 3000)
        a.verdict("%08x" % (0x04000000 + k), False, "card", 0, k * 3000)
    assert a.locked(12_000)
    assert not a.tap(CARD, 71_999)
    assert a.tap(CARD, 74_100)


def test_the_list_decides_when_the_manager_does_not_answer():
    a = Access(False)
    a.tap(CARD, 0)
    assert not a.overdue(2999)
    assert a.overdue(3000)
    a.verdict(CARD, True, "list", 0, 3000)
    assert a.how == "list"
    assert not a.overdue(9000)


def test_free_needs_no_card_and_the_manager_may_stop_it():
    a = Access(True)
    assert a.allowed
    assert not a.tap(CARD, 0)
    a.step(True, 100)
    a.stop()
    assert not a.allowed
    a.step(True, 200)
    assert not a.allowed
    a.step(False, 300)
    assert a.allowed


def test_a_card_is_hashed_as_hmac_sha256():
    # RFC 4231, test case 2: key "Jefe", data "what do ya want for nothing?".
    assert hashed(b"Jefe", b"what do ya want for nothing?".hex()) == "5bdcc146bf60754e"


def test_schedules():
    for text, minute, allowed in (
        ("", 0, True),
        ("mo-fr 22:00-06:00", 21 * 60 + 59, False),
        ("mo-fr 22:00-06:00", 22 * 60, True),
        ("mo-fr 22:00-06:00", 24 * 60 + 5 * 60 + 59, True),
        ("mo-fr 22:00-06:00", 24 * 60 + 6 * 60, False),
        ("fr 22:00-06:00", 5 * 1440 + 60, True),
        ("su 22:00-06:00", 60, True),
        ("su 22:00-06:00", 361, False),
        ("sa-su 00:00-24:00", 6 * 1440, True),
        ("sa-su 00:00-24:00", 4 * 1440, False),
        ("su-mo 10:00-11:00", 610, True),
        ("mo 10:00-11:00, mo 12:00-13:00", 12 * 60 + 30, True),
    ):
        assert is_open(parse(text), minute) == allowed, (text, minute)
    for text in (
        "mo",
        "xx 10:00-11:00",
        "mo 10-11",
        "mo 25:00-26:00",
        "mo 10:60-11:00",
        "mo-tu-we 10:00-11:00",
        ",",
        "mo 10:00",
    ):
        try:
            parse(text)
        except ScheduleError:
            continue
        raise AssertionError(text)


def test_the_minute_of_the_week():
    assert minute_of_week(0, 0) == 3 * 1440  # a Thursday
    assert minute_of_week(4 * 86400, 0) == 0
    assert minute_of_week(4 * 86400, -1) == 7 * 1440 - 1


def test_what_the_house_leaves():
    for contracted, buffer, house, own, wiring, amps in (
        (30, 3, [5000], [], [1], 22),
        (30, 3, [5001], [], [1], 21),
        (30, 3, [21_000], [], [1], 6),
        (30, 3, [21_001], [], [1], 0),
        (30, 3, [21_000], [15_000], [1], 21),
        (30, 3, [0, 10_000, 20_000], [], [1, 2, 3], 7),
        (30, 3, [0, 10_000, 20_000], [], [2], 17),
        (40, 0, [0], [], [1], 32),
        (40, 0, [], [], [1], 0),
        (30, 3, [5000], [], [1, 2, 3], 22),
    ):
        assert house_rule.limit_a(contracted, buffer, 32, house, own, wiring) == amps, (
            contracted,
            house,
            own,
        )
