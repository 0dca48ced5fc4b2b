"""The sums a run ends with, worked out by hand; and the chart, the same bytes for the same run."""

import csv
import json
from pathlib import Path

import pytest

from simulator.figures import draw
from simulator.scenario import parse
from simulator.scenario_record import Line, Record, jain

SCENARIO = """
title = "Two chargers"
duration = 100
[site]
limit_a = 30
[breaker]
kind = "icp"
[[charger]]
[[charger]]
[[mark]]
at = 20
label = "(a)"
"""


def recorded() -> Record:
    """20 A of house; a car at 10 A from 10 s, 15 A too many from 20 to 26 s, then 5 A less."""
    record = Record(parse(SCENARIO, "two"))
    record.house_draws(0, (20_000,))
    record.wants(5_000, "Charger-1", True)
    record.wants(5_000, "Charger-2", True)
    record.offers(10_000, "Charger-1", 10, "alone")
    record.closed(10_000, "Charger-1", True)
    record.car_draws(10_000, "Charger-1", (10_000,))
    record.house_draws(20_000, (35_000,))
    record.offers(23_000, "Charger-1", 0, "standby")
    record.car_draws(24_000, "Charger-1", (0,))
    record.closed(24_000, "Charger-1", False)
    record.house_draws(26_000, (20_000,))
    record.finish(100_000)
    return record


def test_a_line_keeps_its_value_until_it_changes() -> None:
    line = Line()
    for at_ms, value in ((0, 1), (5, 1), (7, 2), (7, 3), (9, 3)):
        line.put(at_ms, value)
    assert (line.times_ms, line.values) == ([0, 7], [1, 3])
    assert [line.at(t) for t in (-1, 0, 6, 7, 100)] == [0, 1, 1, 3, 3]


def test_the_summary_is_what_one_works_out_by_hand() -> None:
    summary = recorded().summary()
    assert summary["energy_kwh"] == {
        "house": round((94 * 20 + 6 * 35) * 230 / 3.6e6, 3),
        "cars": round(14 * 10 * 230 / 3.6e6, 3),
        "wanted": None,
        "sun": 0,
        "bought": round((94 * 20 + 6 * 35 + 14 * 10) * 230 / 3.6e6, 3),
    }
    assert summary["excess"] == {
        "count": 1,
        "seconds": 6.0,
        "longest_s": 6.0,
        "ampere_seconds": 15 * 4 + 5 * 2,
        "peak_a": 45.0,
        "cars_seconds": 4.0,
        "cars_longest_s": 4.0,
        "cars_ampere_seconds": 10 * 4,
    }
    # 45 A on 30: T = 50 / 0.3 = 167 s, of which 4 went by; at 35 A it never trips.
    assert summary["trip_budget_used"] == pytest.approx(4 / 166.7, abs=1e-4)
    assert summary["tripped_s"] is None
    assert summary["starts"] == 1
    one, two = summary["chargers"]["Charger-1"], summary["chargers"]["Charger-2"]
    assert (one["wanting_s"], one["waiting_s"], one["longest_wait_s"]) == (95, 5 + 77, 77)
    assert (two["wanting_s"], two["waiting_s"], two["longest_wait_s"]) == (95, 95, 95)
    assert summary["jain_fairness"] == 0.5


def test_a_trip_is_told_at_its_time() -> None:
    record = Record(parse(SCENARIO, "two"))
    record.house_draws(0, (20_000,))
    record.house_draws(10_000, (60_000,))
    record.house_draws(80_000, (0,))
    record.finish(100_000)
    assert record.summary()["tripped_s"] == 72.5
    assert record.summary()["trip_budget_used"] == 1


@pytest.mark.parametrize(
    ("shares", "index"),
    [([], 1.0), ([5], 1.0), ([3, 3, 3], 1.0), ([1, 0, 0, 0], 0.25), ([1, 2], 0.9)],
)
def test_jain(shares: list[float], index: float) -> None:
    assert jain(shares) == pytest.approx(index)


def test_the_files_of_a_run(tmp_path: Path) -> None:
    recorded().write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "events.csv").open()))
    assert [(r["time_s"], r["who"], r["what"], r["value"]) for r in rows] == [
        ("10.000", "Charger-1", "offer_a", "10"),
        ("10.000", "Charger-1", "contactor", "closed"),
        ("20.000", "moment", "(a)", ""),
        ("23.000", "Charger-1", "offer_a", "0"),
        ("24.000", "Charger-1", "contactor", "open"),
    ]
    assert json.loads((tmp_path / "summary.json").read_text())["scenario"] == "two"


def test_the_same_run_draws_the_same_bytes(tmp_path: Path) -> None:
    record = recorded()
    first = [path.read_bytes() for path in draw(record, tmp_path)]
    assert first[0].startswith(b"<?xml")
    assert first[1].startswith(b"\x89PNG")
    assert [path.read_bytes() for path in draw(recorded(), tmp_path, "again")] == first
