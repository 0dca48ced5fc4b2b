"""Who may speak under a device's name: fresh, restarted, waiting, twin, replay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.presence import HOLD_MS, RESTART_MS, Presence, Verdict

BOTH_KINDS = pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])


def known(signed: bool, boot: int = 5, seq: int = 100, at_ms: int = 0) -> Presence:
    presence = Presence(signed)
    assert presence.judge(boot, seq, at_ms) is Verdict.RESTARTED
    return presence


@BOTH_KINDS
def test_numbers_only_rise(signed: bool) -> None:
    presence = known(signed)
    assert presence.judge(5, 101, 10) is Verdict.FRESH
    assert presence.judge(5, 105, 20) is Verdict.FRESH
    assert presence.judge(5, 105, 30) is Verdict.REPLAY
    assert presence.judge(5, 103, 30) is Verdict.REPLAY


def test_an_older_start_is_a_replay_when_signed() -> None:
    presence = known(signed=True)
    presence.offline(10)
    assert presence.judge(4, 1000, 60_000) is Verdict.REPLAY


@BOTH_KINDS
def test_a_board_that_said_goodbye_and_comes_back_is_taken_at_once(signed: bool) -> None:
    presence = known(signed)
    presence.offline(1_000)
    assert presence.judge(6, 1, 1_000 + RESTART_MS) is Verdict.RESTARTED
    assert presence.judge(6, 2, 1_100 + RESTART_MS) is Verdict.FRESH


@BOTH_KINDS
def test_a_board_that_comes_back_without_a_goodbye_waits_until_the_old_start_is_silent(
    signed: bool,
) -> None:
    presence = known(signed)
    assert presence.judge(6, 1, 500) is Verdict.WAIT
    assert presence.judge(6, 2, 500 + HOLD_MS - 1) is Verdict.WAIT
    assert presence.judge(6, 3, 500 + HOLD_MS) is Verdict.RESTARTED


@BOTH_KINDS
def test_a_second_board_is_refused_as_soon_as_the_first_speaks(signed: bool) -> None:
    presence = known(signed)
    assert presence.judge(9, 1, 100) is Verdict.WAIT
    assert presence.judge(5, 101, 200) is Verdict.FRESH
    assert presence.judge(9, 2, 300) is Verdict.TWIN
    assert presence.judge(5, 102, 400) is Verdict.FRESH


@BOTH_KINDS
def test_taking_over_the_connection_does_not_help(signed: bool) -> None:
    # The broker says the first board's last will in the moment in which the second connects.
    presence = known(signed)
    presence.offline(100)
    assert presence.judge(9, 1, 101) is Verdict.WAIT
    assert presence.judge(5, 101, 1_600) is Verdict.FRESH  # it has come back
    assert presence.judge(9, 2, 1_700) is Verdict.TWIN


@BOTH_KINDS
def test_a_refused_board_is_taken_when_the_first_has_gone(signed: bool) -> None:
    presence = known(signed)
    presence.judge(9, 1, 100)
    presence.judge(5, 101, 200)
    assert presence.judge(9, 2, 300) is Verdict.TWIN
    presence.offline(400)
    later = 400 + 2 * HOLD_MS
    assert presence.judge(9, 3, later) in (Verdict.RESTARTED, Verdict.WAIT)
    assert presence.judge(9, 4, later + HOLD_MS) in (Verdict.RESTARTED, Verdict.FRESH)


def test_what_was_heard_before_the_manager_restarted_is_not_heard_again() -> None:
    presence = Presence(signed=True, boot=5, seq=100)
    assert presence.judge(5, 100, 10) is Verdict.REPLAY
    assert presence.judge(5, 101, 10) is Verdict.FRESH


def test_a_board_that_restarted_while_the_manager_was_away_is_taken_at_once() -> None:
    presence = Presence(signed=True, boot=5, seq=100)
    assert presence.judge(6, 1, 10) is Verdict.RESTARTED


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(0, 4_000), st.booleans()),
        max_size=60,
    )
)
def test_no_signed_message_is_ever_taken_twice_and_none_before_a_newer(
    said: list[tuple[int, int, int, bool]],
) -> None:
    presence = Presence(signed=True)
    now_ms = 0
    taken: list[tuple[int, int]] = []
    for boot, seq, later_ms, offline in said:
        now_ms += later_ms
        if offline:
            presence.offline(now_ms)
        if presence.judge(boot, seq, now_ms) in (Verdict.FRESH, Verdict.RESTARTED):
            taken.append((boot, seq))
    assert taken == sorted(set(taken))


@given(st.lists(st.tuples(st.integers(1, 3_000), st.booleans()), min_size=1, max_size=60))
def test_nobody_takes_the_place_of_a_board_that_keeps_speaking(
    steps: list[tuple[int, bool]],
) -> None:
    presence = known(signed=True, boot=1, seq=0)
    now_ms, other = 0, 0
    for own, (later_ms, intrudes) in enumerate(steps, 1):
        now_ms += later_ms
        if intrudes:
            other += 1
            verdict = presence.judge(7, other, now_ms)
            assert verdict in (Verdict.WAIT, Verdict.TWIN)
        assert presence.judge(1, own, now_ms) is Verdict.FRESH
