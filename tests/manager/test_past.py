"""What the store tells of days gone by: currents and energies in steps, events, decisions."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from manager import past
from manager.refusal import Refusal
from manager.store import DECISION, EVENT, READING, connect

T0 = 1_790_000_000_000
HOUR = 3_600_000
ROLES = {"M": "grid"}


def store_of(path: Path, readings: list[tuple[str, int, int, int, int]]) -> Path:
    """Readings (device, at_ms after T0, phase, mA, Wh)."""
    with closing(connect(path)) as db:
        for n, (device, at_ms, phase, ma, wh) in enumerate(readings):
            values = (device, 1, n, T0 + at_ms, phase, ma, 2300, 0, wh, None, None, 0, None, None)
            db.execute(READING, values)
    return path


def device(said: dict[str, Any], name: str) -> dict[str, Any]:
    return next(d for d in said["devices"] if d["id"] == name)


def test_means_peaks_and_energies_of_each_step(tmp_path: Path) -> None:
    path = store_of(
        tmp_path / "db",
        [
            ("M", 0, 1, 10_000, 100),
            ("M", 30_000, 1, 20_000, 130),
            ("M", 60_000, 1, 6_000, 160),
            # nothing in the third minute
            ("M", 185_000, 1, 8_000, 175),
            ("C", 61_000, 1, 5_000, 7),
            ("M", 240_000, 1, 99_000, 999),  # not in the time asked for
        ],
    )
    said = past.history(path, T0, T0 + 240_000, 60, ROLES)
    assert said["step_s"] == 60
    assert said["t"] == [T0 // 1000 + s for s in (0, 60, 120, 180)]
    meter = device(said, "M")
    assert meter["role"] == "grid"
    assert meter["mean_a"] == [15.0, 6.0, None, 8.0]
    assert meter["peak_a"] == [20.0, 6.0, None, 8.0]
    assert meter["energy_wh"] == [30, 30, None, 15]
    charger = device(said, "C")
    assert charger["role"] == "charger"
    assert charger["mean_a"] == [None, 5.0, None, None]


def test_of_three_phases_the_current_is_the_highest_and_the_energy_that_of_all(
    tmp_path: Path,
) -> None:
    readings = [
        ("M", at, p, 1000 * p, 10 * p + at // 1000) for at in (0, 10_000) for p in (1, 2, 3)
    ]
    meter = device(past.history(store_of(tmp_path / "db", readings), T0, T0 + 60_000, 60, {}), "M")
    assert meter["mean_a"] == [3.0]
    assert meter["energy_wh"] == [30]


@pytest.mark.parametrize("span_ms", [2 * HOUR, 60 * HOUR])
def test_a_counter_set_to_zero_takes_nothing_back(tmp_path: Path, span_ms: int) -> None:
    readings = [("M", h * HOUR, 1, 1000, wh) for h, wh in enumerate((500, 700, 0))]
    said = past.history(store_of(tmp_path / "db", readings), T0, T0 + span_ms, 3600, {})
    energies = [wh or 0 for wh in device(said, "M")["energy_wh"]]
    assert sum(energies) == 200


def test_a_long_time_is_told_by_the_counters_and_adds_up(tmp_path: Path) -> None:
    hours = 24 * 31
    readings = [("M", h * HOUR + 5_000, 1, 1000, 230 * h) for h in range(hours)]
    readings += [("C", h * HOUR, 1, 1000, 100 * h) for h in range(0, hours, 7)]  # seldom there
    said = past.history(store_of(tmp_path / "db", readings), T0, T0 + hours * HOUR, 3600, ROLES)
    meter = device(said, "M")
    assert meter["energy_wh"][:3] == [230, 230, 230]
    assert sum(wh or 0 for wh in meter["energy_wh"]) == 230 * (hours - 1)
    assert set(meter["mean_a"]) == {None}
    charger = device(said, "C")
    assert sum(wh or 0 for wh in charger["energy_wh"]) == 100 * ((hours - 1) // 7 * 7)
    assert charger["energy_wh"][5:8] == [None, 700, None]


def test_what_was_folded_adds_up_with_what_is_still_whole(tmp_path: Path) -> None:
    # Three hours folded into quarter hours, 100 Wh each; then whole readings, 100 Wh an hour.
    begin_ms = T0 - T0 % (24 * HOUR)
    path = tmp_path / "db"
    with closing(connect(path)) as db:
        for n in range(12):
            start_s = begin_ms // 1000 + n * 900
            db.execute(
                "INSERT INTO folded (step_s, start_s, device, phase, readings, sum_ma, peak_ma,"
                " sum_w, used_wh, energy_wh) VALUES (900, ?, 'M', 1, 900, 9, 1, 9, 100, ?)",
                (start_s, 100 * (n + 1)),
            )
        db.execute(
            "INSERT INTO folded_to (device, phase, at_ms, energy_wh) VALUES ('M', 1, ?, 1200)",
            (begin_ms + 3 * HOUR - 1000,),
        )
        for hour in range(4, 60):
            values = (
                "M",
                1,
                hour,
                begin_ms + hour * HOUR,
                1,
                1000,
                2300,
                0,
                1300 + 100 * (hour - 4),
            )
            db.execute(READING, (*values, None, None, 0, None, None))
    said = past.history(path, begin_ms, begin_ms + 60 * HOUR, 3600, ROLES)
    energy = device(said, "M")["energy_wh"]
    assert energy[:6] == [400, 400, 400, 100, 100, 100]
    assert sum(wh or 0 for wh in energy) == 1300 + 100 * 55


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "step_s", "words"),
    [
        (T0, T0, None, "ends after it begins"),
        (T0, T0 - 1, None, "ends after it begins"),
        (T0, T0 + 401 * 24 * HOUR, 86_400, "at most 400 days"),
        (T0, T0 + 24 * HOUR, 10, "8640 steps are too many"),
        (T0, T0 + 49 * HOUR, 300, "900 s or more"),
    ],
)
def test_what_is_too_long_or_too_fine_is_refused(
    tmp_path: Path, from_ms: int, to_ms: int, step_s: int | None, words: str
) -> None:
    with pytest.raises(Refusal, match=words):
        past.history(store_of(tmp_path / "db", []), from_ms, to_ms, step_s, {})


@pytest.mark.parametrize(("hours", "step_s"), [(1, 10), (24, 300), (48, 900)])
def test_the_step_left_out_suits_a_plot(hours: int, step_s: int) -> None:
    assert past.step_for(T0, T0 + hours * HOUR) == step_s


def test_events_and_decisions_newest_first_page_by_page(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with closing(connect(path)) as db:
        for n in range(10):
            db.execute(EVENT, (T0 + n, "state", "AB"[n % 2], f"C{n}"))
            db.execute(DECISION, (T0 + n, "AB"[n % 2], n, n, "share", "words"))
    first = past.events(path, None, 3)
    assert [e["words"] for e in first] == ["C9", "C8", "C7"]
    assert [e["words"] for e in past.events(path, first[-1]["n"], 2)] == ["C6", "C5"]
    assert [e["words"] for e in past.events(path, None, 2, "A")] == ["C8", "C6"]
    assert [d["offer_a"] for d in past.decisions(path, None, 2, "B")] == [9, 7]
    assert past.events(path, 0, 5) == []
