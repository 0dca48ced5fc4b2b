"""Whatever well-formed messages say, and whatever is changed meanwhile: `decide` gives a next site."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager.core import leases, plain
from manager.core.commands import Send
from manager.core.decide import decide
from manager.core.events import (
    Announced,
    Configured,
    Event,
    Forget,
    Offline,
    Online,
    Report,
    Tick,
    Wished,
)
from manager.core.registration import new_message
from manager.core.site import MAIN, Feeder, Settings, Site, Wants, Window, site
from shared import protocol

NAMES = st.sampled_from(["a", "b", "c", "d"])
UP = [row[0] for row in protocol.MESSAGES if row[2] in ("up", "both")]


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(
        st.integers(low, high), st.sampled_from([low, high]), st.integers(low, min(high, low + 9))
    )


@st.composite
def messages(draw: st.DrawFn, codes: list[int]) -> dict[str, Any]:
    code = draw(st.sampled_from(codes))
    message: dict[str, Any] = {
        "code": code,
        "boot": draw(st.sampled_from([1, 1, 1, 1, 2])),
        "seq": 0,  # the test numbers them, but for a few
    }
    for name, optional, kind, low, high, words in protocol.fields(code):
        if optional and draw(st.booleans()):
            continue
        value: Any
        if kind == "i":
            value = draw(whole(low, high))
        elif kind == "p":
            value = draw(st.lists(whole(low, high), min_size=1, max_size=3))
        elif kind == "e":
            value = draw(st.sampled_from(words.split("|")))
        elif kind == "d":
            value = draw(NAMES)
        elif kind == "l":
            value = draw(st.lists(st.just("f"), max_size=2))
        else:
            value = "ab" * low
        message[name] = value
    return message


def quiet(ma: int) -> dict[str, Any]:
    """A house that leaves something for cars."""
    return {
        "code": protocol.COUNTER_LOAD, "boot": 1, "seq": 0, "current_ma": [ma] * 3,
        "voltage_dv": [2300] * 3, "power_w": [0] * 3, "energy_wh": [0] * 3, "age_ms": 0,
    }  # fmt: skip


CHANGES = st.builds(
    Configured,
    settings=st.one_of(st.none(), st.builds(
        Settings,
        policy=st.sampled_from(["fair", "equal", "first", "deadline"]),
        source=st.sampled_from(["grid", "solar_first", "solar_only"]),
        update_interval_ms=st.sampled_from([0, 5000]),
        max_active=st.integers(0, 2),
        learned_margin=st.booleans(),
        windows=st.sampled_from([(), (Window(0, 60, 10),), (Window(0, 60, 5, "b"),)]),
    )),
    feeders=st.sampled_from([
        None,
        {MAIN: Feeder(MAIN, (30_000,) * 3), "g": Feeder("g", (9_000,) * 3, MAIN)},
        {MAIN: Feeder(MAIN, (20_000,))},
    ]),
    places=st.sampled_from([None, {}, {"b": "g"}]),
)  # fmt: skip
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Announced,
        st.sampled_from(["hello/new", "a", "a/new", "x"]),
        messages([protocol.NEW_COUNTER, protocol.NEW_CHARGER]),
    ),
    st.builds(Report, NAMES, messages(UP)),
    st.builds(Report, NAMES, messages([
        protocol.CHARGER_STATUS, protocol.CHARGER_LOAD, protocol.COUNTER_LOAD,
    ])),
    st.builds(lambda ma: Report("a", quiet(ma)), st.integers(0, 20_000)),
    st.builds(lambda ma: Report("a", quiet(ma)), st.integers(0, 20_000)),
    st.builds(Tick, st.just(5)),
    st.builds(Offline, NAMES),
    st.builds(Online, NAMES),
    st.builds(Forget, NAMES),
    st.builds(Tick, st.integers(-1, 10_079)),
    st.builds(Wished, NAMES, st.builds(
        Wants, st.one_of(st.none(), st.integers(0, 50_000)), st.one_of(st.none(), st.integers(0, 10**7)),
        st.one_of(st.none(), st.integers(0, 40)),
    )),
    CHANGES,
)  # fmt: skip


STEPS = st.lists(
    st.tuples(EVENTS, st.one_of(st.integers(0, 1500), st.integers(0, 90_000))),
    min_size=10, max_size=50,
)  # fmt: skip


def garage(role: str) -> Site:
    """A meter, and three chargers that a car waits at, on different phases."""
    now = site(30, phases=3, max_counters=2, update_interval_ms=0, min_off_ms=0)
    now, _ = new_message(now, "hello/new", 1, "a", phases=3, role=role)
    for name, wiring in (("b", [2]), ("c", [1, 2, 3]), ("d", [3])):
        now, _ = new_message(now, "a", 2, name, wiring=wiring, phases=len(wiring))
        now, _ = decide(now, Report(name, {
            "code": protocol.CHARGER_STATUS, "boot": 1, "seq": 2, "state": "C2", "offer_a": 0,
            "lease": 0, "lease_ms": 0, "contactor": 1, "mode": "managed", "faults": [],
            "rejected": 0, "uptime_s": 1,
        }), 0)  # fmt: skip
    return now


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from(["house", "grid"]))
def test_no_message_stops_the_core(steps: list[tuple[Event, int]], role: str) -> None:
    now = garage(role)
    at = 0
    for number, (event, later) in enumerate(steps):
        at += later
        if isinstance(event, (Report, Announced)) and later % 5:
            event.message["seq"] = number + 10  # type: ignore[index]
        now, commands = decide(now, event, at)
        for command in commands:
            if isinstance(command, Send):
                protocol.encode({**command.message, "boot": 1, "seq": 1})
        for charger in now.chargers.values():
            assert charger.reason.words()
            assert charger.target_a == 0 or charger.min_a <= charger.target_a <= charger.max_a
            assert leases.worst_a(charger, at) <= charger.worst_a  # it may have fallen since
    assert (
        plain.site_from_plain(plain.site_to_plain(now), at).chargers.keys() == now.chargers.keys()
    )
