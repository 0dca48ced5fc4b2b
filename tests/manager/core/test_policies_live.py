"""What the policies, limits and modes do on a running site, changed while it runs."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from manager.core import plain
from manager.core.decide import START_MS
from manager.core.events import Admitted, Configured, Offline, Wished
from manager.core.site import MAIN, Feeder, Wants, Window, site
from tests.manager.core.plant import Plant


def plant(
    limit_a: float = 30, chargers: int = 3, role: str = "house", **settings: object
) -> Plant:
    settings = {"update_interval_ms": 0, "min_off_ms": 0, "min_on_ms": 0, **settings}
    got = Plant(site(limit_a, **settings), role)  # type: ignore[arg-type]
    for n in range(1, chargers + 1):
        got.add(f"c{n}")
    return got


def charging(got: Plant, house_a: float, seconds: float = 20) -> Plant:
    got.house(house_a)
    for name in got.boards:
        got.state(name, "C")
    got.run(seconds)
    return got


def configure(got: Plant, **settings: object) -> None:
    got.put(Configured(settings=dataclasses.replace(got.site.settings, **settings)))  # type: ignore[arg-type]


def reason(got: Plant, name: str) -> str:
    return got.site.chargers[name].reason.words()


# --- turns ----------------------------------------------------------------------------------------


def test_turns_nobody_starves_and_the_rest_is_spent() -> None:
    got = charging(plant(17, 3, turn_ms=60_000), 0)
    assert got.offers() == (9, 8, 0)
    assert reason(got, "c3") == "standby: 1.0 A short, next turn in 1 min at the latest"
    charged = dict.fromkeys(got.boards, 0)
    for _ in range(12):
        got.run(15)
        assert sum(got.offers()) <= 17
        for board in got.boards.values():
            charged[board.name] += board.offer_a > 0
    assert min(charged.values()) >= 4  # of 12: each charges within three turns


def test_a_turn_is_not_shorter_than_the_minimum_on_time() -> None:
    got = charging(plant(11, 2, turn_ms=10_000, min_on_ms=120_000), 0)
    assert got.offers() == (11, 0)
    got.run(80)
    assert got.offers() == (11, 0)
    got.run(60)
    assert got.offers() == (0, 11)


# --- limits ---------------------------------------------------------------------------------------


def test_policy_limit_and_margin_change_while_running() -> None:
    got = charging(plant(30, 2), 4)
    assert got.offers() == (13, 13)
    configure(got, policy="first")
    got.run(20)
    assert got.offers() == (26, 0)
    got.put(Configured(feeders={MAIN: Feeder(MAIN, (20_000,))}))
    assert got.offers() == (16, 0)  # a cut waits for nothing
    configure(got, policy="equal", margin_ma=2000)
    got.run(20)
    assert got.offers() == (7, 7)


def test_a_drivers_own_limit() -> None:
    got = charging(plant(30, 2), 4)
    got.put(Wished("c1", Wants(user_max_a=8)))
    got.run(20)
    assert got.offers() == (8, 18)
    assert reason(got, "c1") == "limited to 8 A by its driver"


def test_rights_of_who_charges_bind_beside_the_drivers_wish_until_the_car_leaves() -> None:
    got = charging(plant(30, 2), 4)
    got.put(Admitted("c1", "anna", 10))
    got.run(20)
    assert got.offers() == (10, 16)
    assert reason(got, "c1") == "limited to 10 A by its user's rights"
    got.put(Wished("c1", Wants(user_max_a=8)))
    got.run(20)
    assert got.offers() == (8, 18)
    got.put(Wished("c1", None))
    got.run(20)
    assert got.offers() == (10, 16)
    assert got.site.chargers["c1"].wants.user == "anna"
    got.put(Admitted("c1", "anna", 12))  # rights may change while it charges
    got.run(20)
    assert got.offers() == (12, 14)
    got.put(Admitted("c1", "anna", 0, barred="quota"))
    assert got.offers() == (0, 26)
    assert reason(got, "c1") == "standby: its user's energy of this month is used up"
    got.state("c1", "A")
    got.state("c1", "C")
    got.run(20)
    assert got.offers() == (13, 13)
    assert got.site.chargers["c1"].wants == Wants()


def test_a_users_priority_goes_before_the_chargers_own() -> None:
    got = charging(plant(20, 3), 5)
    assert got.offers() == (8, 7, 0)
    got.put(Configured(priorities={"c1": 1, "c2": 1, "c3": 1}))
    got.put(Admitted("c3", "anna", None, 0))
    got.run(20)
    assert got.offers() == (0, 0, 15)
    # What one of a class before theirs has above its minimum is not to be had.
    assert reason(got, "c1") == "standby: 6.0 A short"
    got.put(Configured(priorities={"c3": 5}))
    got.run(20)
    assert got.offers() == (0, 0, 15)  # still hers
    got.put(Admitted("c3", ""))
    got.run(20)
    assert got.offers() == (8, 7, 0)


def test_priorities() -> None:
    got = charging(plant(30, 3), 5)
    assert got.offers() == (9, 8, 8)
    got.put(Configured(priorities={"c1": 1, "c2": 1}))
    got.run(20)
    assert got.offers() == (0, 0, 25)


def test_no_more_chargers_at_once_than_wanted() -> None:
    got = charging(plant(30, 3, max_active=2), 4)
    assert got.offers() == (13, 13, 0)
    assert reason(got, "c3") == "standby: 2 chargers at once"


@pytest.mark.parametrize(("minute", "offers"), [(59, (13, 13)), (60, (8, 18)), (120, (13, 13))])
def test_a_window_for_one_charger(minute: int, offers: tuple[int, ...]) -> None:
    got = plant(30, 2, windows=(Window(60, 120, 8, "c1"),))
    got.minute = minute
    assert charging(got, 4).offers() == offers


def test_a_window_for_all_over_the_end_of_the_week() -> None:
    got = plant(30, 2, windows=(Window(10_000, 60, 14),))
    got.minute = 10
    assert charging(got, 4).offers() == (7, 7)
    got.minute = 61
    got.run(20)
    assert got.offers() == (13, 13)


def test_a_car_that_draws_less_gives_back_and_gets_it_again() -> None:
    got = charging(plant(30, 2), 4)
    got.boards["c1"].car_a = 7
    got.run(100)
    assert got.offers() == (8, 18)
    assert reason(got, "c1") == "draws 7.0 A, so 8 A; the rest goes to others"
    got.boards["c1"].car_a = 32
    got.run(30)
    assert got.offers() == (13, 13)


# --- feeders and phases ---------------------------------------------------------------------------


def test_a_tree_of_feeders() -> None:
    got = Plant(site(40, update_interval_ms=0))
    feeders = {**got.site.feeders, "garage": Feeder("garage", (16_000,), MAIN)}
    got.put(Configured(feeders=feeders, places={"c1": "garage", "c2": "garage"}))
    for name in ("c1", "c2", "c3"):
        got.add(name)
    charging(got, 0)
    assert got.offers() == (8, 8, 24)


def test_three_phases_and_cars_on_one() -> None:
    got = Plant(site(20, phases=3, update_interval_ms=0))
    got.add("all", phases=3, wiring=(2, 3, 1))
    got.add("one", wiring=(3,))
    got.house(4, 0, 8)
    for name in got.boards:
        got.state(name, "C")
    got.run(20)
    assert got.offers() == (6, 6)  # 12 A on the third phase


# --- sun ------------------------------------------------------------------------------------------


def test_only_the_sun() -> None:
    got = charging(plant(30, 1, role="grid", source="solar_only", min_on_ms=0), 2)
    assert got.offers() == (0,)
    assert reason(got, "c1") == "standby: 0.0 A of sun, 6 A needed"
    configure(got, source="solar_first")
    got.run(20)
    assert got.offers() == (6,)
    configure(got, source="grid")
    got.run(20)
    assert got.offers() == (28,)


# --- deadline -------------------------------------------------------------------------------------


def test_who_must_leave_soon_comes_first_and_the_other_leaves_room_for_the_house() -> None:
    got = plant(20, 2, policy="deadline")
    hour = 3_600_000
    got.put(Wished("c1", Wants(wanted_wh=7_000, departs_ms=12 * hour)))
    got.put(Wished("c2", Wants(wanted_wh=7_000, departs_ms=2 * hour)))
    charging(got, 4)
    assert got.offers()[1] == 15
    assert got.offers()[0] == 0
    got.put(Wished("c2", Wants(wanted_wh=0, departs_ms=2 * hour, user_max_a=6)))
    got.run(60)
    assert got.offers() == (8, 6)  # 16 A free, 2 A of them left to the house


def test_what_the_house_rises_by_is_learned_and_known_over_a_restart() -> None:
    got = plant(30, 1, policy="deadline")
    for _ in range(6):
        got.house(4)
        got.run(60)
        got.house(7)
        got.run(60)
    rises = got.site.habits[MAIN].rises
    assert {step for counts in rises.values() for step, n in enumerate(counts) if n} == {0, 6}
    again = plain.site_from_plain(plain.site_to_plain(got.site), got.now)
    assert again.habits[MAIN].rises == rises


# --- silence --------------------------------------------------------------------------------------


def test_a_silent_meter_takes_headroom_away_step_by_step() -> None:
    got = plant(30, 1, worst_house_a=22)
    charging(got, 4, 700)  # ten minutes of this hour: what the house seldom exceeds is known
    got.house(9)
    got.run(30)
    got.house(4)
    got.run(20)
    assert got.offers() == (26,)
    got.meter_speaks = False
    got.run(2)
    assert got.offers() == (26,)
    got.run(4)
    assert got.offers() == (21,)  # 9 A: not exceeded in 99 of 100 seconds
    assert got.site.houses[MAIN].grade == "silent"
    got.run(60)
    assert got.offers() == (8,)  # 22 A at worst
    assert got.site.houses[MAIN].grade == "lost"
    got.meter_speaks = True
    got.run(20)
    assert got.offers() == (26,)


def test_without_a_worst_house_nothing_is_left_when_nothing_is_known() -> None:
    got = charging(plant(30, 1), 4)
    got.meter_speaks = False
    got.run(5)
    assert got.offers() == (0,)
    assert reason(got, "c1") == "standby: the meter is silent, 4.0 A kept for the house"


def test_a_silent_charger_is_counted_at_its_worst_until_that_is_over() -> None:
    got = charging(plant(30, 2), 4)
    got.boards["c2"].reachable = False
    got.put(Offline("c2"))
    got.run(10)
    assert got.offers()[0] == 13
    got.run(15)
    assert got.offers()[0] == 26
    assert reason(got, "c2").startswith("not heard for 2")


def test_a_car_nobody_measures_under_a_meter_for_everything_is_told_of_and_does_not_swing() -> (
    None
):
    got = Plant(site(30, update_interval_ms=0), "grid")
    got.add("c1", more={"meter": 0})
    assert next(n.kind for n in got.notes if n.device == "c1") == "unmeasured"
    charging(got, 4, 30)
    seen = set()
    for _ in range(60):
        got.run(1)
        seen.add(got.offers())
    assert seen == {(26,)}
    got.house(9)
    got.run(30)
    assert got.offers() == (21,)


# --- flicker, starts, sleep -----------------------------------------------------------------------


def test_a_house_at_a_whole_ampere_does_not_make_offers_flicker() -> None:
    got = charging(plant(30, 1, role="grid"), 4)
    before = len(got.sent)
    for n in range(300):
        got.house(4 + (n * 7 % 5 - 2) / 100)  # 3.98 to 4.02 A
        got.run(1)
    limits = [m["limit_a"] for _, _, m in got.sent[before:] if "limit_a" in m]
    assert sum(a != b for a, b in itertools.pairwise(limits)) <= 1
    got.house(3)  # a real fall is believed at once
    got.run(15)
    assert got.offers() == (27,)


def away(got: Plant, seconds: float) -> None:
    """The manager stops and starts again from its disk; readings go on."""
    kept = plain.site_to_plain(got.site)
    got.deaf = True
    got.run(seconds)
    got.deaf = False
    got.site = plain.site_from_plain(kept, got.now)


@pytest.mark.parametrize("role", ["house", "grid"])
def test_a_manager_that_was_away_for_a_moment_stops_no_car(role: str) -> None:
    got = charging(plant(30, 2, role=role, min_off_ms=60_000), 4, 60)
    assert got.offers() == (13, 13)
    away(got, 8)
    sent = len(got.sent)
    for _ in range(20):
        got.run(1)
        assert got.offers() == (13, 13)
    assert [m for _, _, m in got.sent[sent:] if "limit_a" in m]  # renewed, that is


def test_a_manager_whose_meter_stays_silent_after_its_start_lets_nobody_charge() -> None:
    got = charging(plant(30, 1, worst_house_a=22), 4, 60)
    got.meter_speaks = False
    away(got, 1)
    sent = len(got.sent)
    got.run(START_MS / 1000 + 30)
    limits = [m["limit_a"] for _, _, m in got.sent[sent:] if "limit_a" in m]
    assert sum(limits) == 0  # what it had before runs out by itself


def test_after_silence_it_goes_on_at_once() -> None:
    got = charging(plant(30, 1, min_off_ms=60_000), 4, 60)
    got.meter_speaks = False
    got.run(8)
    assert got.offers() == (0,)
    got.meter_speaks = True
    got.run(12)
    assert got.offers() == (26,)


def test_a_car_that_stopped_is_asked_once_an_hour_though_others_use_all() -> None:
    got = charging(plant(26, 2, turn_ms=60_000), 4, 60)
    assert got.offers() == (11, 11)
    got.state("c2", "B")  # it has had enough
    got.house(12)
    got.run(120)
    assert got.offers() == (14, 0)
    asked = 0
    for _ in range(3 * 60):
        got.run(60)
        asked += got.offers()[1] > 0
        assert got.offers()[0] >= 6
    assert 2 <= asked <= 8
    got.state("c2", "C")
    got.run(30)
    assert got.offers() == (7, 7)


def test_a_car_that_has_had_enough_finds_its_pilot_there_where_nobody_else_needs_it() -> None:
    got = charging(plant(60, 2), 4, 60)
    got.state("c2", "B")
    got.run(20)
    assert got.offers() == (32, 6)
    assert reason(got, "c2") == "offered 6 A, the car does not take any"


# --- what the house does by itself ----------------------------------------------------------------


def evening(got: Plant, seconds: int, step_a: float) -> None:
    """An oven that goes on and off every 40 s by `step_a`."""
    for n in range(seconds // 20):
        got.house(2 + step_a * (n % 2))
        got.run(20)
    got.house(2)
    got.run(20)


def test_the_margin_is_what_the_house_steps_by_at_this_hour() -> None:
    got = plant(30, 1, learned_margin=True)
    got.minute = 18 * 60
    evening(got, 700, 5.2)
    assert got.site.houses[MAIN].margin_ma == 5_500  # steps of 5.2 A, in half amperes
    got.minute = 3 * 60
    evening(got, 100, 0)
    assert got.site.houses[MAIN].margin_ma == 5_500  # this hour is little known: by all
    evening(got, 700, 0)
    assert got.site.houses[MAIN].margin_ma == 0  # by night nothing steps
    charging(got, 2)
    assert got.offers() == (28,)
    got.minute = 18 * 60
    got.run(10)
    assert got.offers() == (22,)
    assert got.site.houses[MAIN].margin_ma == 5_500
    # It is known after a restart too.
    site_again = plain.site_from_plain(plain.site_to_plain(got.site), got.now)
    assert site_again.habits[MAIN].steps == got.site.habits[MAIN].steps
