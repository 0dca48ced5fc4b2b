"""Scenario files: what they may say, and what is refused in which words."""

import datetime as dt

import pytest

from manager.core.breaker import Bands, Icp, Linky, Mcb
from simulator.scenario import ScenarioError, load, milliseconds, parse, shipped

LEAST = """
duration = 60
[site]
limit_a = 30
[[charger]]
"""


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (0, 0),
        (1.5, 1500),
        ("0:05", 5_000),
        ("59:59", 3_599_000),
        ("1:30:00", 5_400_000),
        ("2d 7:30:00", 199_800_000),
        ("0:00.250", 250),
    ],
)
def test_times(written: object, ms: int) -> None:
    assert milliseconds(written, "at") == ms


@pytest.mark.parametrize(
    "written", [-1, "5", "1:2", "1:60:0", "yesterday", True, None, [], 1e12, float("nan")]
)
def test_what_is_not_a_time(written: object) -> None:
    with pytest.raises(ScenarioError, match=r"^at: "):
        milliseconds(written, "at")


def test_the_least_a_scenario_says() -> None:
    s = parse(LEAST, "least")
    assert (s.title, s.duration_ms, s.limit_a, s.phases, s.policy) == (
        "least",
        60_000,
        30,
        1,
        "fair",
    )
    assert s.breaker == Mcb("C", 30_000)
    (charger,) = s.chargers
    assert (charger.name, charger.min_a, charger.max_a, charger.wiring) == (
        "Charger-1",
        6,
        32,
        (1,),
    )
    assert charger.failsafe_a == 0
    assert s.house.steps == ((0, (0,)),)


@pytest.mark.parametrize(
    ("table", "breaker"),
    [
        ('kind = "mcb"\ncurve = "B"\nrated_a = 16', Mcb("B", 16_000)),
        ('kind = "mcb"\npreload_a = 15', Mcb("C", 30_000).preloaded(15_000)),
        ('kind = "icp"\nk = 1.1', Icp(30_000, k=1.1)),
        ('kind = "linky"\ncontract_a = 45', Linky(45_000)),
        ('kind = "bands"\nupper = 1.33', Bands(30_000, 1.33)),
    ],
)
def test_the_breakers_one_can_choose(table: str, breaker: object) -> None:
    assert parse(f"{LEAST}\n[breaker]\n{table}", "x").breaker == breaker


def test_a_building_with_everything() -> None:
    s = parse(
        """
        title = "All of it"
        seed = 3
        duration = "1:00:00"
        start = 2022-09-14T23:20:00
        [site]
        limit_a = 40
        phases = 3
        policy = "equal"
        [meter]
        name = "Counter-7"
        role = "house"
        poll_s = 2
        lag_s = 1
        [network]
        delay_ms = [1, 500]
        loss = 0.1
        duplicate = 0.02
        [house]
        steps = [{at = "0:10", a = [1, 2, 3.5]}, {at = "1:00", a = 4}]
        [[charger]]
        name = "Left"
        phases = 3
        wiring = [2, 3, 1]
        [[charger]]
        name = "Right"
        wiring = [3]
        failsafe_a = 6
        [[car]]
        charger = "Left"
        phases = 3
        wants_kwh = 11.5
        departs = "0:50:00"
        events = [{at = 0, do = "arrive"}, {at = "0:30:00", do = "stop"}]
        [[event]]
        at = "0:20:00"
        do = "limit"
        limit_a = 20
        [[mark]]
        at = "0:20:00"
        label = "less"
        """,
        "all",
    )
    assert s.start == dt.datetime(2022, 9, 14, 23, 20)  # noqa: DTZ001
    assert (s.meter.name, s.meter.poll_ms, s.meter.lag_ms) == ("Counter-7", 2000, 1000)
    assert (s.network.delay_ms, s.network.loss) == ((1, 500), 0.1)
    assert s.house.steps == (
        (0, (0, 0, 0)),
        (10_000, (1000, 2000, 3500)),
        (60_000, (4000, 4000, 4000)),
    )
    assert [c.wiring for c in s.chargers] == [(2, 3, 1), (3,)]
    (car,) = s.cars
    assert (car.wants_wh, car.departs_ms) == (11_500, 3_000_000)
    assert car.events == ((0, "arrive"), (1_800_000, "stop"))
    assert [(e.at_ms, e.what, e.value) for e in s.events] == [(1_200_000, "limit", 20)]


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("duration = 60", "site.limit_a", "missing"),
        ("[site]\nlimit_a = 30", "duration", "missing"),
        ("duration = 0\n[site]\nlimit_a = 30", "duration", "above 0"),
        ("duration = 60\n[site]\nlimit_a = 30", "charger", "at least one"),
        ("nonsense", "", "not TOML"),
        (LEAST + "max_a = 100", "charger[1].max_a", "6..80"),
        (LEAST + "min_a = 5", "charger[1].min_a", "6..80"),
        (LEAST + "min_a = 16\nmax_a = 10", "charger[1].min_a", "above max_a = 10"),
        (LEAST + "failsafe_a = 4", "charger[1].failsafe_a", "neither 0 nor"),
        (LEAST + "phases = 3", "charger[1].phases", "set site.phases"),
        (LEAST + "wiring = [2]", "charger[1].wiring", "phases 1..1"),
        (LEAST + 'name = "a/b"', "charger[1].name", "device name"),
        (LEAST + "colour = 3", "charger[1].colour", "not known"),
        (LEAST + '[[charger]]\nname = "Charger-1"', "charger[2].name", "twice"),
        (LEAST + "[house]\nsteps = 3", "house.steps", "list"),
        (
            LEAST + "[house]\nsteps = [{at = 5, a = 1}, {at = 5, a = 2}]",
            "house.steps[2].at",
            "not after",
        ),
        (LEAST + "[house]\nsteps = [{at = 5, a = [1, 2]}]", "house.steps[1].a", "1 phases"),
        (LEAST + '[house]\nsteps = []\nrecording = "uci"', "house", "give one"),
        (LEAST + '[[car]]\ncharger = "Charger-9"', "car[1].charger", "none of the chargers"),
        (LEAST + "[[car]]", "car[1].charger", "missing"),
        (
            LEAST + '[[car]]\ncharger = "Charger-1"\nevents = [{at = 0, do = "leave"}]',
            "car[1].events[1].do",
            "not there",
        ),
        (
            LEAST + '[[car]]\ncharger = "Charger-1"\nevents = [{at = 70, do = "arrive"}]',
            "car[1].events[1].at",
            "after the end",
        ),
        (
            LEAST + '[[car]]\ncharger = "Charger-1"\n[[car]]\ncharger = "Charger-1"',
            "car",
            "at the same time",
        ),
        (LEAST + "[meter]\npoll_s = 0", "meter.poll_s", "0.1..3600"),
        (LEAST + '[meter]\nrole = "roof"', "meter.role", "house, grid"),
        (LEAST + "[network]\ndelay_ms = [9, 3]", "network.delay_ms", "least, most"),
        (LEAST + "[network]\nloss = 1", "network.loss", "0..0.99"),
        (LEAST + '[breaker]\nkind = "fuse"', "breaker.kind", "mcb, icp"),
        (LEAST + "[breaker]\npreload_a = 60", "breaker.current_ma", "would trip"),
        (LEAST + '[[event]]\nat = 1\ndo = "party"', "event[1].do", "not one of"),
        (LEAST + '[[event]]\nat = 1\ndo = "limit"', "event[1].limit_a", "missing"),
        (
            LEAST + '[[event]]\nat = 1\ndo = "charger_down"\ncharger = "x"',
            "event[1].charger",
            "one of",
        ),
        (LEAST + "[[mark]]\nat = 1", "mark[1].label", "missing"),
        (LEAST + "[garage]\nbays = 20", "start", "garage"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_place(text: str, where: str, word: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse(text, "x")
    assert refused.value.where == where
    assert word in str(refused.value)


def test_the_shipped_scenarios_are_all_in_order() -> None:
    names = shipped()
    assert len(names) >= 10
    for name in names:
        assert load(name).chargers


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="three_chargers"):
        load("nothing")
