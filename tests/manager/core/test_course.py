"""A session's quarter hours add up to its meter, whatever was lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.core.course import QUARTER_MS, Course, Doing, Part, doing, ended, seen

T = 1_000 * QUARTER_MS  # a quarter hour begins
MIN = 60_000


def test_readings_fall_into_their_quarter_hours() -> None:
    c = Course(T)
    c = seen(c, T + MIN, 100, "charging")
    c = seen(c, T + 14 * MIN + 30_000, 1500, "charging", 500)
    c = ended(c, T + 15 * MIN + 30_000, 1600)
    assert [(q.start_s * 1000 - T, q.energy_wh, q.solar_wh) for q in c.quarters()] == [
        (0, 1550, 700),
        (QUARTER_MS, 50, 0),
    ]


def test_what_nobody_heard_is_spread_evenly_and_said_to_be() -> None:
    c = ended(Course(T + QUARTER_MS // 2), T + 2 * QUARTER_MS, 300)
    assert [q.energy_wh for q in c.quarters()] == [100, 200]
    assert c.spread_wh == 300
    assert c.quarters()[1].charging_s == 900
    assert ended(Course(T), T + 2 * QUARTER_MS, 0).parts[T // 1000] == Part()


def test_a_meter_that_counted_less_than_was_seen_is_believed() -> None:
    c = seen(Course(T), T + MIN, 1000, "charging", 1000)
    c = seen(c, T + QUARTER_MS + 1, 1030, "charging", 1000)
    c = ended(c, T + QUARTER_MS + MIN, 950)
    assert sum(q.energy_wh for q in c.quarters()) == 950
    assert all(q.solar_wh <= q.energy_wh for q in c.quarters())


def test_late_and_repeated_readings_change_nothing() -> None:
    c = seen(Course(T), T + MIN, 100, "charging")
    assert seen(c, T + MIN, 100, "charging") == c
    assert seen(c, T, 90, "charging") == c


@pytest.mark.parametrize(
    ("state", "ma", "wh", "want"),
    [
        ("C2", 16_000, 0, "charging"),
        ("D2", 6_000, 10, "charging"),
        ("C2", 0, 10, "idle"),
        ("B2", 0, 10, "idle"),
        ("B2", 0, 0, "waiting"),  # its own timer: nothing taken yet
        ("B1", 0, 10, "waiting"),  # nothing is offered: not the driver's fault
        ("C1", 0, 10, "waiting"),
        ("F1", 0, 10, "waiting"),
    ],
)
def test_what_time_counts_as(state: str, ma: int, wh: int, want: Doing) -> None:
    assert doing(state, ma, wh) == want


READING = st.tuples(
    st.integers(-5_000, 3_000_000),  # ms since the last, or a clock set back
    st.integers(-50, 5_000),  # Wh more, or a count that fell
    st.sampled_from(["charging", "idle", "waiting"]),
    st.integers(0, 1000),
)


@given(
    st.integers(0, QUARTER_MS),
    st.lists(READING, max_size=20),
    st.integers(0, 3_000_000),
    st.integers(0, 100_000),
)
def test_the_quarter_hours_are_the_session(
    begin: int, readings: list[tuple[int, int, Doing, int]], more_ms: int, total: int
) -> None:
    c = Course(T + begin)
    at, wh = T + begin, 0
    for passed, took, what, sun in readings:
        at += passed
        wh = max(0, wh + took)
        c = seen(c, at, wh, what, sun)
        assert sum(p.energy_wh for p in c.parts.values()) == c.energy_wh
    end = max(c.seen_ms, at + more_ms)
    c = ended(c, end, total)
    assert sum(q.energy_wh for q in c.quarters()) == total == c.energy_wh
    for p in c.parts.values():
        assert 0 <= p.solar_mwh <= p.energy_wh * 1000
        assert 0 <= p.charging_ms + p.idle_ms <= QUARTER_MS


def test_a_clock_that_was_set_does_not_make_a_million_quarter_hours() -> None:
    c = ended(Course(T), T + 40 * 365 * 86_400_000, 5000)
    assert len(c.parts) <= 31 * 96 + 1
    assert sum(q.energy_wh for q in c.quarters()) == 5000
