"""When a device announces itself."""

from firmware.common.registration import Registration
from shared import protocol


def answer(seq, result):
    return {"result": result, "words": "", "re_seq": seq, "re_boot": 1}


def test_announced_on_every_connection_until_accepted():
    r = Registration()
    assert not r.due(0, 0)
    assert r.due(1, 100)
    r.sent(5, 100)
    assert not r.due(1, 101)
    r.reply(answer(5, protocol.OK))
    assert r.accepted
    assert not r.due(1, 999_999)
    assert r.due(2, 1_000_000)
    assert not r.accepted


def test_patience_grows_to_half_a_minute():
    r = Registration()
    now, gaps, last = 0, [], 0
    for _ in range(9):
        while not r.due(1, now):
            now += 100
        gaps.append(now - last)
        last = now
        r.sent(now, now)
    assert gaps == [0, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]


def test_an_answer_to_something_else_accepts_nothing():
    r = Registration()
    assert r.due(1, 0)
    r.sent(5, 0)
    r.reply(answer(4, protocol.OK))
    assert not r.accepted
    r.reply(answer(5, protocol.FULL))
    assert not r.accepted
    assert r.due(1, 2000)


def test_a_manager_that_forgot_is_told_again():
    r = Registration()
    assert r.due(1, 0)
    r.sent(5, 0)
    r.reply(answer(5, protocol.OK))
    r.reply(answer(17, protocol.UNKNOWN_DEVICE))
    assert not r.accepted
    assert r.due(1, 1)


def test_who_was_sent_away_waits_before_it_comes_back():
    r = Registration()
    assert r.due(1, 0)
    r.sent(5, 0)
    r.reply(answer(5, protocol.OK))
    r.dismissed(1000)
    assert not r.due(1, 30_999)
    assert r.due(1, 31_000)


def test_alone_is_who_announced_and_was_answered_by_nobody():
    r = Registration()
    assert r.due(1, 0)
    assert not r.alone(60_000)
    r.sent(5, 0)
    assert not r.alone(4999)
    assert r.alone(5000)
    # A manager comes: it does not know who publishes here, and is told within two seconds.
    r.sent(6, 62_000)
    r.reply(answer(9, protocol.UNKNOWN_DEVICE))
    assert not r.alone(63_000)
    assert r.due(1, 64_000)
    r.sent(10, 64_000)
    r.reply(answer(10, protocol.FULL))
    assert not r.alone(99_000)
    # Another connection: everything is open again.
    assert r.due(2, 100_000)
    r.sent(11, 100_000)
    assert r.alone(105_000)
