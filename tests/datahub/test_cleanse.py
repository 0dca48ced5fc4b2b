"""The laws of cleansing, as properties."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from datahub.fog import cleanse
from datahub.fog.cleanse import MINUTE_MS, QUARTER_MS, Device, Windows

T0 = 1_795_392_000_000


def reading(energy_wh: list[int], power_w: int = 0, suspect: int | None = None) -> SimpleNamespace:
    n = len(energy_wh)
    return SimpleNamespace(
        power_w=[power_w] * n,
        current_ma=[0] * n,
        voltage_dv=[2300] * n,
        energy_wh=energy_wh,
        suspect=suspect,
    )


def run(
    readings: list[tuple[int, list[int]]],
) -> tuple[Device, Windows, list[tuple[int, int, int]]]:
    """(ms after T0, counters) in order; the device, its windows, and (time, counted, flags) of
    each.
    """
    device = Device()
    windows: Windows = {}
    out = []
    for i, (after, energy) in enumerate(readings):
        t, counted, flags, _ = cleanse.take(
            1, device, 1, i, reading(energy), T0 + after, 0, windows, late=False
        )
        out.append((t, counted, flags))
    return device, windows, out


steps = st.lists(
    st.tuples(
        st.integers(0, 3 * QUARTER_MS), st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=40,
)


def absolute(moves: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    t, out = 0, []
    for ahead, energy in moves:
        t += ahead
        out.append((t, energy))
    return out


@given(steps)
def test_counted_energy_never_falls_nor_rises_faster_than_it_can(
    moves: list[tuple[int, list[int]]],
) -> None:
    _, _, out = run(absolute(moves))
    for (t1, before, _), (t2, after, _) in pairwise(out):
        assert (
            0
            <= after - before
            <= 3 * (cleanse.PHASE_MAX_W * (t2 - t1) // 3_600_000 + cleanse.SLACK_WH)
        )


@given(steps)
def test_the_energy_of_the_windows_is_exactly_what_was_counted(
    moves: list[tuple[int, list[int]]],
) -> None:
    device, windows, _ = run(absolute(moves))
    for width in (MINUTE_MS, QUARTER_MS):
        parts = [w for (_, wide, _), w in windows.items() if wide == width]
        assert sum(w.energy_wh for w in parts) == device.counted_wh
        assert sum(w.n for w in parts) == len(moves)
        assert all(0 <= w.estimated_wh <= w.energy_wh for w in parts)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**9),
    st.integers(0, 10**8),
    st.sampled_from([MINUTE_MS, QUARTER_MS]),
)
def test_energy_is_shared_out_whole_and_in_proportion_to_time(
    energy: int, start: int, length: int, width: int
) -> None:
    shares = cleanse.spread(energy, T0 + start, T0 + start + length, width)
    assert sum(wh for _, wh in shares) == energy
    for begins, wh in shares:
        assert begins % width == 0
        if length:
            inside = min(begins + width, T0 + start + length) - max(begins, T0 + start)
            assert abs(wh - energy * inside / length) <= 1


def test_a_counter_that_starts_anew_goes_on_from_where_it_was() -> None:
    _, _, out = run([(0, [5000]), (1000, [5002]), (2000, [1]), (3000, [3])])
    assert [(counted, flags) for _, counted, flags in out] == [
        (0, 0),
        (2, 0),
        (3, cleanse.RESET),
        (5, 0),
    ]


def test_a_jump_no_cable_could_carry_is_shown_and_not_counted() -> None:
    _, _, out = run([(0, [5000]), (1000, [5001]), (2000, [905_001]), (3000, [905_002])])
    assert [(counted, flags) for _, counted, flags in out] == [
        (0, 0),
        (1, 0),
        (1, cleanse.JUMP),
        (2, 0),
    ]


def test_energy_that_fell_into_a_gap_is_counted_and_marked_estimated() -> None:
    device, windows, out = run([(0, [0]), (10 * MINUTE_MS, [600])])
    assert out[1][2] == cleanse.AFTER_GAP
    minutes = {
        (start - T0) // MINUTE_MS: w
        for (_, width, start), w in windows.items()
        if width == MINUTE_MS
    }
    assert {m: w.energy_wh for m, w in minutes.items()} == dict.fromkeys(range(10), 60) | {10: 0}
    assert sum(w.estimated_wh for w in minutes.values()) == device.counted_wh == 600


def test_a_late_reading_counts_in_its_window_while_that_is_open_and_never_as_energy() -> None:
    device, windows, _ = run([(0, [0]), (5 * MINUTE_MS, [10])])
    for after, taken in ((4 * MINUTE_MS, 1), (1 * MINUTE_MS, 0)):
        before = windows.get((1, MINUTE_MS, T0 + after), cleanse.Window()).n
        _, counted, flags, _ = cleanse.take(
            1, device, 1, 99, reading([5]), T0 + after, 0, windows, late=True
        )
        assert windows.get((1, MINUTE_MS, T0 + after), cleanse.Window()).n - before == taken
        assert (counted, flags) == (10, cleanse.LATE)


def test_a_clock_that_was_set_back_makes_no_reading_earlier() -> None:
    _, _, out = run([(60_000, [0]), (1000, [1])])
    assert out[1][0] == out[0][0]
    assert out[1][2] & cleanse.CLOCK


HOUR = 3_600_000


def test_the_senders_clock_is_corrected_by_the_brokers() -> None:
    for name, t_ms, sent, want in (
        ("right", T0, T0 + 5000, (T0, 0)),
        ("a week offline, then sent", T0 - 7 * 24 * HOUR, T0 + 5000, (T0 - 7 * 24 * HOUR, 0)),
        ("an hour ahead", T0 + HOUR, T0 + HOUR + 5000, (T0, cleanse.CLOCK)),
        (
            "two years behind",
            T0 - 2 * 8766 * HOUR,
            T0 - 2 * 8766 * HOUR + 5000,
            (T0, cleanse.CLOCK),
        ),
        ("later than its arrival", T0 + HOUR, T0 + 5000, (T0 + 5000, cleanse.CLOCK)),
    ):
        assert cleanse.true_time(t_ms, sent, T0 + 5000) == want, name


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(1, 30))
def test_a_record_is_new_once(order: list[int], cut: int) -> None:
    """Whatever is sent again, in whatever order, in whatever batches: the fold takes each
    (boot, seq) once.
    """
    from datahub.fog import batch
    from tests.datahub.folding import Places, messages

    places = Places()
    stored: set[tuple[int, int, int]] = set()
    taken = 0
    for i in range(0, len(order), cut):
        facts = batch.fold(messages(order[i : i + cut]), places)
        batch.settle(facts, stored, places.states)
        stored |= facts.fresh
        taken += facts.taken
    assert taken == len(set(order)) == len(stored)
    assert sum(1 for key in stored if key[0] == 1) == taken
