"""The shipped scenarios: the published timelines to the ampere, and for each of the others what it
is there to show.
"""

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from manager.cli import app
from simulator.scenario import load, parse, shipped
from simulator.scenario_clock import Clock, Wire
from simulator.scenario_record import Record
from simulator.scenario_run import run

MINUTE = 60_000
HOUR_MS = 60 * MINUTE
FOLLOWED_MS = (
    12_000  # reading 2.65 s late, decision, 5 s of the update interval, a car that takes 1 s
)


@cache
def ran(name: str, minutes: float = 0) -> Record:
    """One run of a scenario, or of its first minutes."""
    scenario = load(name)
    if minutes:
        scenario = replace(scenario, duration_ms=round(minutes * MINUTE))
    return run(scenario)


def offers_at(record: Record, at_ms: int) -> tuple[int, ...]:
    return tuple(bay.offer.at(at_ms) for bay in record.bays.values())


# Home, then the offers of chargers 1, 2 and 3, in the moments (a) to (n) of the published
# simulation.
THREE = [
    ("(a)", 3.2, (0, 0, 0)),
    ("(b)", 3.2, (26, 0, 0)),
    ("(c)", 5.0, None),
    ("(d)", 5.0, (25, 0, 0)),
    ("(e)", 5.0, (12, 12, 0)),
    ("(f)", 5.0, (8, 8, 8)),
    ("(g)", 9.0, (7, 7, 7)),
    ("(h)", 13.0, (8, 8, 0)),
    ("(i)", 16.4, None),
    ("(j)", 16.4, (6, 6, 0)),
    ("(k)", 16.4, (13, 0, 0)),
    ("(l)", 4.3, (8, 8, 8)),
    ("(m)", 4.3, (12, 12, 0)),
    ("(n)", 4.3, (25, 0, 0)),
]


def test_three_chargers_settle_on_the_published_offers() -> None:
    record = ran("three_chargers")
    marks = record.scenario.marks
    ends = [mark.at_ms - 1 for mark in marks[1:]] + [record.scenario.duration_ms]
    assert [mark.label for mark in marks] == [label for label, _, _ in THREE]
    for (label, home_a, offers), end in zip(THREE, ends, strict=True):
        assert record.house[0].at(end) == home_a * 1000, label
        if offers is not None:
            assert offers_at(record, end) == offers, label


def test_at_c_and_i_the_limit_is_passed_and_soon_kept_again() -> None:
    record = ran("three_chargers")
    begins = [overload.begin_ms for overload in record.overloads]
    assert begins == [40_000, 110_000, 135_000, 160_000]
    assert all(overload.seconds < FOLLOWED_MS / 1000 for overload in record.overloads)
    assert record.summary()["trip_budget_used"] < 0.05


@pytest.mark.parametrize(
    ("until_s", "offer"),
    [(9, 0), (39, 19), (69, 18), (109, 9), (149, 15), (189, 0), (309, 21), (359, 13)],
)
def test_one_charger_settles_on_the_published_offers(until_s: int, offer: int) -> None:
    assert offers_at(ran("standalone"), until_s * 1000) == (offer,)


def test_fair_spends_what_the_published_rule_leaves() -> None:
    fair, equal = ran("fair_and_immediate"), ran("three_chargers")
    assert sum(offers_at(fair, 84_000)) == 25
    assert sum(offers_at(equal, 84_000)) == 24
    assert fair.summary()["energy_kwh"]["cars"] > equal.summary()["energy_kwh"]["cars"]


def test_five_cars_take_turns_and_none_starves() -> None:
    record = ran("taking_turns", 50)
    for name, bay in record.bays.items():
        assert bay.energy_wh > 0.25 * 6 * 230 * 0.95, f"{name} has had less than one whole turn"
        # Two stand by at any time, so nobody waits longer than one turn and two hand-overs of two
        # minutes.
        assert bay.longest_wait_ms <= 19 * MINUTE, name
    assert record.summary()["jain_fairness"] > 0.9
    assert not record.overloads


def test_a_phase_that_is_short_does_not_slow_the_cars_on_another() -> None:
    record = ran("three_phases")
    short, after = 24 * MINUTE, 27 * MINUTE
    on_l2 = record.bays["Charger-2"].offer
    on_l3 = record.bays["Charger-3"].offer
    assert on_l2.at(short) + record.bays["Charger-1"].offer.at(short) <= 10
    assert on_l3.at(after) >= 12
    assert record.summary()["tripped_s"] is None


def test_a_silent_meter_is_believed_less_and_less() -> None:
    record = ran("silent_meter")
    before, lost, back = 2.9 * MINUTE, 6.5 * MINUTE, 11 * MINUTE
    assert sum(offers_at(record, int(before))) == 28
    assert sum(offers_at(record, int(lost))) <= 32 - 18, "the worst house the site file names"
    assert sum(offers_at(record, int(back))) == 26
    # What the house adds while nobody measures it was reckoned with.
    assert not record.overloads


def test_without_a_network_every_charger_stops_by_itself() -> None:
    record = ran("bad_network")
    assert max(offers_at(record, 4 * MINUTE)) >= 6
    # 15 s of lease, 6 s for a car that does not react.
    for at_ms in range(6 * MINUTE + 16_000, 8 * MINUTE, 1000):
        assert offers_at(record, at_ms) == (0, 0)
    assert record.summary()["messages"]["lost"] > 100
    assert record.summary()["tripped_s"] is None


def test_after_restarts_nothing_is_promised_twice() -> None:
    record = ran("restarts")
    limit_ma = record.scenario.limit_a * 1000
    for at_ms in range(0, record.scenario.duration_ms, 250):
        if 140_000 <= at_ms < 140_000 + FOLLOWED_MS:
            continue  # the house's own step
        drawn = sum(bay.drawn.at(at_ms) for bay in record.bays.values())
        assert drawn + record.house[0].at(at_ms) <= limit_ma
    assert all(offer >= 6 for offer in offers_at(record, record.scenario.duration_ms))


def test_a_manager_that_is_back_within_a_lease_is_not_missed() -> None:
    record = ran("restarts")
    assert {offers_at(record, at_ms) for at_ms in range(100_000, 139_000, 100)} == {(11, 11)}


def test_solar_only_takes_nothing_from_the_grid_that_the_sun_could_have_given() -> None:
    record = ran("only_the_sun")
    charging_from_sun = range(3 * HOUR_MS + 60_000, int(4.5 * HOUR_MS), 1000)
    over_s = sum(
        record.total[0].at(at_ms) > max(0, record.house[0].at(at_ms) - record.sun[0].at(at_ms))
        and record.total[0].at(at_ms) > 500
        for at_ms in charging_from_sun
    )
    # Only while a cloud or a kettle is on its way through meter, manager and car.
    assert over_s < 60
    assert offers_at(record, 3 * HOUR_MS + 120_000) == (0, 0), "the cloud"
    assert min(offers_at(record, 4 * HOUR_MS)) >= 6
    assert sum(offers_at(record, int(4.6 * HOUR_MS))) == 30, "the grid as well"
    energy = record.summary()["energy_kwh"]
    assert energy["bought"] < 0.3 * (energy["cars"] + energy["house"])


SMALL = """
duration = 120
[site]
limit_a = 30
policy = "equal"
update_interval_s = 0
worst_house_a = 10
[meter]
role = "house"
[house]
steps = [{at = 0, a = 5.5}]
[[charger]]
[[charger]]
[[car]]
charger = "Charger-1"
events = [{at = 5, do = "arrive"}]
[[car]]
charger = "Charger-2"
events = [{at = 6, do = "arrive"}]
"""


def small(more: str) -> Record:
    return run(parse(SMALL + more, "small"))


def test_a_limit_changed_on_the_way() -> None:
    record = small('[[event]]\nat = 60\ndo = "limit"\nlimit_a = 20')
    assert offers_at(record, 59_000) == (12, 12)
    assert offers_at(record, 119_000) == (7, 7)
    assert [o.seconds for o in record.overloads] == [pytest.approx(1, abs=0.2)]


def test_a_policy_changed_on_the_way() -> None:
    record = small('[[event]]\nat = 60\ndo = "policy"\npolicy = "first"')
    assert offers_at(record, 59_000) == (12, 12)
    assert offers_at(record, 119_000) == (24, 0)


def test_a_driver_who_stops_gives_what_she_had_to_the_others() -> None:
    text = SMALL.replace(
        '{at = 6, do = "arrive"}',
        '{at = 6, do = "arrive"}, {at = 50, do = "stop"}, {at = 90, do = "start"}',
    ).replace('{at = 5, do = "arrive"}', '{at = 5, do = "arrive"}, {at = 80, do = "leave"}')
    record = run(parse(text, "small"))
    assert offers_at(record, 49_000) == (12, 12)
    assert record.bays["Charger-1"].offer.at(79_000) == 24
    assert record.bays["Charger-2"].drawn.at(79_000) == 0
    # With room again a car that has stopped finds its pilot there and may start when it likes.
    assert record.bays["Charger-2"].offer.at(89_000) >= 6
    assert record.bays["Charger-2"].drawn.at(119_000) == 24_000


def test_a_car_that_ignores_a_cut_loses_its_power() -> None:
    text = SMALL.replace("{at = 6,", "{at = 30,")
    text = text.replace(
        '[[car]]\ncharger = "Charger-1"', '[[car]]\nobeys = false\ncharger = "Charger-1"'
    )
    record = run(parse(text, "small"))
    first = record.bays["Charger-1"]
    assert (first.offer.at(35_000), first.drawn.at(35_000)) == (12, 24_000)
    # It has 6 s to follow; over-current for 7 s more opens the contactor, until the car is unplugged.
    assert first.drawn.at(48_000) == 0
    assert (first.offer.at(119_000), first.starts) == (0, 1)
    assert record.bays["Charger-2"].offer.at(119_000) == 24


def test_without_a_failsafe_a_charger_that_hears_nothing_stops_and_with_one_it_goes_on() -> None:
    down = '[[event]]\nat = 60\ndo = "network_down"'
    assert offers_at(small(down), 119_000) == (0, 0)
    text = SMALL.replace("[[charger]]\n[[charger]]", "[[charger]]\nfailsafe_a = 6\n[[charger]]")
    assert offers_at(run(parse(text + down, "small")), 119_000) == (6, 0)


def test_a_feeder_of_its_own_keeps_its_own_limit() -> None:
    text = SMALL.replace("[[charger]]", '[[charger]]\nfeeder = "garage"')
    text += '[[feeder]]\nname = "garage"\nlimit_a = 15\n'
    record = run(parse(text, "small"))
    assert offers_at(record, 119_000) == (7, 7)


def test_a_window_of_the_week_keeps_its_own_limit() -> None:
    text = SMALL.replace("duration = 120", "duration = 240\nstart = 2022-09-14T17:58:00")
    text += '[[window]]\ndays = ["wed"]\nstart = "18:00"\nend = "21:00"\nmax_a = 14\n'
    record = run(parse(text, "small"))
    assert offers_at(record, 118_000) == (12, 12)
    assert offers_at(record, 150_000) == (7, 7)


def test_a_recorded_hour_second_by_second() -> None:
    record = ran("second_by_second", 40)
    summary = record.summary()
    assert summary["tripped_s"] is None
    assert summary["trip_budget_used"] < 0.1
    assert summary["energy_kwh"]["cars"] > 0.5


def test_a_meter_a_minute_late_is_lived_with() -> None:
    record = ran("minute_old_meter", 60)
    summary = record.summary()
    assert summary["energy_kwh"]["cars"] > 1
    assert summary["tripped_s"] is None
    # An overload is known a minute late, decided at once, and may begin again with the next
    # minute's reading.
    assert summary["excess"]["longest_s"] <= 360


def test_a_night_of_the_building() -> None:
    record = ran("building_week", 45)
    summary = record.summary()
    assert len(record.bays) == 20
    assert summary["tripped_s"] is None
    limit_ma = record.scenario.limit_a * 1000
    for overload in record.overloads:
        assert overload.peak_ma < 1.5 * limit_ma


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_whole_week_of_the_building() -> None:
    summary = run(load("building_week")).summary()
    energy = summary["energy_kwh"]
    assert energy["cars"] > 0.85 * energy["wanted"]
    assert summary["tripped_s"] is None
    assert summary["trip_budget_used"] < 0.1
    assert summary["excess"]["longest_s"] <= 15
    assert summary["jain_fairness"] > 0.9


SLICES = {"building_week": 45, "taking_turns": 50, "second_by_second": 40, "minute_old_meter": 60}


@pytest.mark.parametrize("name", shipped())
def test_no_car_is_promised_more_than_its_charger_may_give(name: str) -> None:
    record = ran(name, SLICES.get(name, 0))
    for charger in record.scenario.chargers:
        assert set(record.bays[charger.name].offer.values) <= {
            0,
            *range(charger.min_a, charger.max_a + 1),
        }


def test_the_same_scenario_runs_the_same(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        run(load("bad_network")).write(tmp_path / folder)
    for name in ("events.csv", "summary.json"):
        assert (tmp_path / "first" / name).read_bytes() == (
            tmp_path / "second" / name
        ).read_bytes()


def test_the_command_writes_all_it_says(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["simulate", "standalone", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "One charger and a home on 30 A" in done.output
    assert sorted(path.name for path in out.iterdir()) == [
        "chart.png",
        "chart.svg",
        "events.csv",
        "summary.json",
    ]
    assert json.loads((out / "summary.json").read_text())["chargers"]["Charger-1"]["starts"] == 2
    offers = [
        r["value"] for r in csv.DictReader((out / "events.csv").open()) if r["what"] == "offer_a"
    ]
    assert offers[:3] == ["0", "19", "18"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nothing"], 1, "no such scenario"),
        ([], 2, "Which scenario"),
        (["standalone", "--speed", "0"], 2, "max"),
        (["--list"], 0, "three_chargers"),
    ],
)
def test_wrong_use_says_how_it_is_meant(arguments: list[str], status: int, words: str) -> None:
    done = CliRunner().invoke(app, ["simulate", *arguments])
    assert done.exit_code == status
    assert words in done.output


def test_a_site_the_site_file_refuses_is_refused_here(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    text = "duration = 10\n[site]\nlimit_a = 16\nworst_house_a = 8\n[[charger]]\nfailsafe_a = 10\n"
    path.write_text(text)
    done = CliRunner().invoke(app, ["simulate", str(path)])
    assert done.exit_code == 1
    assert (
        "10 A (Charger-1) + 8 A (the house at worst) = 18 A, and its limit is 16 A" in done.output
    )


def test_speed_is_kept() -> None:
    clock = Clock()
    seen: list[int] = []
    for at_ms in (0, 1000, 2000):
        clock.at(at_ms, lambda at_ms=at_ms: seen.append(at_ms))  # type: ignore[misc]
    import time

    began = time.monotonic()
    clock.run(2000, speed=20)
    assert 0.1 <= time.monotonic() - began < 1.5
    assert seen == [0, 1000, 2000]


def test_a_link_keeps_its_order_and_loses_what_it_says_it_loses() -> None:
    clock = Clock()
    wire = Wire(clock, replace(load("bad_network").network, loss=0.3), seed=5)
    got: list[bytes] = []
    for n in range(1000):
        clock.at(n * 10, lambda n=n: wire.send("a", "t", b"%04d" % n, lambda _t, d: got.append(d)))  # type: ignore[misc]
    clock.run(60_000)
    assert got == sorted(got)
    assert wire.lost == 1000 - len(set(got))
    assert 250 < wire.lost < 350
    assert len(got) > len(set(got)), "some come twice"
