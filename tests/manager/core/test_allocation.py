"""`ievcc allocate`: decisions for cars whose current somebody else measures."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from manager.allocate import allocate, answers
from manager.core import laxity
from manager.core.allocation import Allocator

HOUR_S = 3600


def car(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "session": f"s-{name}",
        "order": int(name[1:]),
        "min_a": 6,
        "max_a": 32,
        **more,
    }


def asked(
    policy: str, limit_a: float | None, *cars: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "now_s": 0,
        "period_s": 60,
        "policy": policy,
        "limit_a": limit_a,
        "chargers": list(cars),
        **more,
    }


@pytest.mark.parametrize(
    ("policy", "offers"),
    [
        ("fair", {"c1": 9, "c2": 8, "c3": 0}),
        ("equal", {"c1": 8, "c2": 8, "c3": 0}),
        ("first", {"c1": 17, "c2": 0, "c3": 0}),
    ],
)
def test_policies(policy: str, offers: dict[str, int]) -> None:
    assert Allocator().decide(asked(policy, 17.4, car("c1"), car("c2"), car("c3"))) == offers


def test_turns_are_kept_over_the_run() -> None:
    allocator = Allocator()
    seen = []
    for minute in range(40):
        request = asked("fair", 7, car("c1"), car("c2")) | {"now_s": minute * 60}
        seen.append("".join("1" if a else "0" for a in allocator.decide(request).values()))
    assert seen == ["10"] * 15 + ["01"] * 15 + ["10"] * 10


def test_the_urgent_first_and_room_left_by_who_can_wait() -> None:
    wants = {"requested_kwh": 10, "delivered_kwh": 0}
    allocator = Allocator()
    night = car("c1", est_departure_s=12 * HOUR_S, **wants)
    soon = car("c2", est_departure_s=2 * HOUR_S, **wants)
    assert allocator.decide(asked("deadline", 20, night, soon, house_a=10)) == {"c1": 0, "c2": 19}
    # Alone, the one that can wait leaves 2 A free, and what the house drew lately.
    assert Allocator().decide(asked("deadline", 20, night, house_a=10)) == {"c1": 18}
    lately = Allocator()
    lately.decide(asked("deadline", 10, house_a=20))
    assert lately.decide(asked("deadline", 20, night, house_a=10) | {"now_s": 120}) == {"c1": 10}


def test_the_house_is_left_what_it_rises_by_at_such_a_time() -> None:
    """A house that from 18:00 to 22:00 on weekdays goes up by 6 A every other ten minutes, and else stays."""
    allocator = Allocator()
    night = car("c1", est_departure_s=600 * HOUR_S, requested_kwh=10, delivered_kwh=0)

    def ask(minute: int, *cars: dict[str, Any]) -> dict[str, int]:
        evening = 18 * 60 <= minute % 1440 < 22 * 60 and minute % 10080 < 5 * 1440
        house = 10.5 if evening and minute % 10 < 5 else 4.5
        more = {"house_a": house, "now_s": minute * 60, "minute": minute % 10080}
        return allocator.decide(asked("deadline", 30 - house, *cars) | more)

    for minute in range(14 * 1440):
        ask(minute)
    at = {}
    for minute in range(14 * 1440, 21 * 1440):
        offer = ask(minute, night)["c1"]
        if minute % 10 == 9:
            at[minute % 10080] = offer
    assert at[2 * 1440 + 12 * 60 + 9] == 23  # 25.5 A less the 2 A of any house
    assert at[2 * 1440 + 18 * 60 + 239] == 19
    assert at[5 * 1440 + 18 * 60 + 239] == 23  # at the weekend it does not


def test_who_has_become_urgent_stays_so() -> None:
    allocator = Allocator()
    one = car("c1", est_departure_s=3 * HOUR_S, requested_kwh=10, delivered_kwh=0)
    assert allocator.decide(asked("deadline", 20, one, house_a=10)) == {"c1": 19}
    one |= {"requested_kwh": 1}  # 2 h 50 min to spare now
    assert allocator.decide(asked("deadline", 20, one, house_a=10) | {"now_s": 60}) == {"c1": 19}


@pytest.mark.parametrize(
    ("departs_h", "wanted_kwh", "hours"), [(10, 7.36, 9), (1, 7.36, 0), (1, 14.72, -1)]
)
def test_laxity(departs_h: int, wanted_kwh: float, hours: int) -> None:
    got = laxity.laxity_ms(0, departs_h * 3_600_000, wanted_kwh * 1000, 32, 1)
    assert got == hours * 3_600_000
    assert laxity.laxity_ms(0, None, 1, 32, 1) is None


# --- groups ---------------------------------------------------------------------------------------


def lines(limit_a: float) -> list[dict[str, Any]]:
    """A transformer's three lines and cars between them: each line carries the difference of two."""
    ab, bc, ca = ["c1", "c4"], ["c2", "c5"], ["c3", "c6"]
    return [
        {
            "name": name, "limit_a": limit_a, "ids": [*plus, *minus], "coef": [1, 1, -1, -1],
            "angle_deg": [a, a, b, b],
        }
        for name, plus, minus, a, b in (
            ("A", ab, ca, 30, 150), ("B", bc, ab, -90, 30), ("C", ca, bc, 150, -90),
        )
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["fair", "first", "deadline", "equal"]),
    st.floats(0, 120),
    st.lists(st.sampled_from(["c1", "c2", "c3", "c4", "c5", "c6"]), unique=True, min_size=1),
)
def test_no_group_is_exceeded_and_nothing_that_fits_is_left(
    policy: str, limit_a: float, names: list[str]
) -> None:
    import cmath
    import math

    def fits(offers: dict[str, int]) -> bool:
        for group in lines(limit_a):
            total = sum(
                cmath.rect(c * offers.get(i, 0), math.radians(a))
                for i, c, a in zip(group["ids"], group["coef"], group["angle_deg"], strict=True)
            )
            if abs(total) > limit_a + 1e-5:
                return False
        return True

    request = asked(policy, None, *(car(n) for n in names), groups=lines(limit_a))
    offers = Allocator().decide(request)
    assert fits(offers)
    assert all(a == 0 or 6 <= a <= 32 for a in offers.values())
    if policy in ("fair", "equal"):
        for name in names:
            more = offers[name] + 1 if offers[name] else 6
            # By a thousandth of an ampere a phasor may turn either way.
            spare = {n: more if n == name else a for n, a in offers.items()}
            assert more > 32 or not fits(spare) or limit_a < 6


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("rubbish", "request: not understood"),
        ("[]", "request: must be an object"),
        ('{"now_s":0,"policy":"mine","limit_a":3,"chargers":[]}', "policy: 'mine' is not one of"),
        ('{"now_s":0,"chargers":[]}', "limit_a: is missing, and there are no groups"),
        ('{"now_s":0,"limit_a":30}', "chargers: must be a list"),
        ('{"now_s":0,"limit_a":30,"chargers":[{}]}', "chargers[0].id: is missing"),
        ('{"now_s":0,"limit_a":30,"chargers":[{"id":"a"},{"id":"a"}]}', "an id is there twice"),
        (
            '{"now_s":0,"limit_a":30,"chargers":[{"id":"a","max_a":"x"}]}',
            "max_a: 'x' is not a number",
        ),
    ],
)
def test_a_line_that_makes_no_sense_is_answered_and_the_next_one_read(
    line: str, error: str
) -> None:
    good = json.dumps(asked("fair", 10, car("c1")))
    told, offered = list(answers([line, good]))
    assert error in json.loads(told)["error"]
    assert json.loads(offered) == {"c1": 10}


def test_the_command() -> None:
    app = typer.Typer()
    app.command()(allocate)
    lines_in = "\n".join(json.dumps(asked("fair", a, car("c1"))) for a in (10, 20)) + "\n\n"
    got = CliRunner().invoke(app, input=lines_in)
    assert got.output == '{"c1":10}\n{"c1":20}\n'
    assert got.exit_code == 0
    assert CliRunner().invoke(app, input="x\n").exit_code == 1
