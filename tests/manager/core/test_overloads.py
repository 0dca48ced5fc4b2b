"""The watch on the main cable: what it notes, and how much of the breaker it says is used up."""

from dataclasses import replace

import pytest

from manager.core.breaker import Breaker, Icp, Linky, Mcb
from manager.core.commands import Note
from manager.core.overloads import Watch, flows
from manager.core.site import MAIN, Charger, Feeder, Meter, Reading, Site, site
from manager.site_file import SiteFileError, parse


def building(house_a: float, cars_a: float, role: str = "house", phases: int = 1) -> Site:
    """A meter and one charger on phase 1 that draws."""
    total = house_a if role == "house" else house_a + cars_a
    amps = (round(total * 1000),) + (2_000,) * (phases - 1)
    return replace(
        site(30, phases),
        meters={"M": Meter("M", 1, role, MAIN, phases, readings=(Reading(0, amps),))},
        chargers={
            "C": Charger(
                "C", 2, "M", MAIN, contactor=True,
                readings=(Reading(0, (round(cars_a * 1000),)),),
            )
        },
    )  # fmt: skip


@pytest.mark.parametrize("role", ["house", "grid"])
def test_house_and_cars_are_told_apart_by_either_meter(role: str) -> None:
    assert flows(building(21.5, 9, role)) == ((21_500, 9_000),)


def run(*steps: tuple[int, Site]) -> tuple[Watch, list[Note]]:
    watch = Watch.on(Icp(30_000), steps[0][1])
    notes: list[Note] = []
    for at_ms, now in steps:
        watch, new = watch.seen(now, at_ms)
        notes += new
    return watch, notes


def test_an_overload_is_noted_when_it_has_ended_with_its_share_of_the_budget() -> None:
    over, under = building(44, 16), building(20, 9)
    watch, notes = run((0, under), (1000, over), (5000, over), (9000, over), (11_000, under))
    assert notes == []
    watch, notes = run(
        (0, under), (1000, over), (5000, over), (9000, over), (11_000, under), (12_000, under)
    )
    (note,) = notes
    # 60 A on 30: T = 50 / 0.8 = 62.5 s, of which 10 went by.
    assert note.kind == "overload"
    assert note.words == "10 s above 30 A, 60.0 A at most: 16 % of the breaker's trip budget"
    assert note.numbers["excess_mas"] == 300_000
    assert note.numbers["cars_mas"] == 160_000
    assert watch.used == 0


def test_what_nobody_measured_is_not_made_up() -> None:
    over = building(44, 16)
    watch, notes = run((0, over), (60_000, over))
    assert [note.numbers["seconds"] for note in notes] == [10]
    assert watch.used == 0


def test_a_three_phase_cable_names_the_phase() -> None:
    over, under = building(30, 6, phases=3), building(20, 6, phases=3)
    _, notes = run((0, over), (4000, under), (5000, under))
    assert [note.words for note in notes] == [
        "4 s above 30 A on L1, 36.0 A at most: 0 % of the breaker's trip budget"
    ]


def test_a_lower_limit_ends_one_overload_and_begins_another() -> None:
    now = building(28, 6)
    lower = replace(now, feeders={MAIN: Feeder(MAIN, (25_000,))})
    calm = replace(building(10, 0), feeders=lower.feeders)
    _, notes = run((0, now), (3000, lower), (6000, calm), (7000, calm))
    assert [note.words.split(",")[0] for note in notes] == ["3 s above 30 A", "3 s above 25 A"]


@pytest.mark.parametrize(
    ("table", "breaker"),
    [
        ("", Mcb("C", 30_000)),
        ('[breaker]\nkind = "icp"\n', Icp(30_000)),
        ('[breaker]\ncurve = "B"\nrated_a = 32\n', Mcb("B", 32_000)),
        ('[breaker]\nkind = "linky"\ncontract_a = 45\n', Linky(45_000)),
    ],
)
def test_the_site_file_names_the_breaker(table: str, breaker: Breaker) -> None:
    assert parse(f"[site]\nlimit_a = 30\n{table}").breaker == breaker


def test_above_125_a_there_is_no_such_breaker_and_nothing_is_watched() -> None:
    assert parse("[site]\nlimit_a = 200\n").breaker is None


@pytest.mark.parametrize(
    ("table", "where", "words"),
    [
        ('kind = "fuse"', "breaker.kind", "not one of mcb, icp, linky, bands"),
        ('curve = "K"', "breaker.curve", "not B, C or D"),
        ("k = 1.2", "breaker.k", "not known of mcb"),
        ("rated_a = 0", "breaker.rated_ma", "1000..125000"),
        ('kind = "icp"\nq = 300', "breaker.q", "1..200"),
        ('kind = "bands"\nupper = true', "breaker.upper", "not a number"),
        ("preload_a = 40", "breaker.current_ma", "would trip"),
    ],
)
def test_a_breaker_that_cannot_be_is_refused(table: str, where: str, words: str) -> None:
    with pytest.raises(SiteFileError, match=words) as refused:
        parse(f"[site]\nlimit_a = 30\n[breaker]\n{table}\n")
    assert refused.value.where == where
