"""The thesis' own five tests of its message protocol (its figure 17), and what follows from them."""

import pytest

from manager.core.commands import Send
from manager.core.decide import decide
from manager.core.events import Announced, Report
from manager.core.registration import new_message
from manager.core.site import site
from shared import protocol

EMPTY = site(30, policy="equal")


def with_counter():
    after, words = new_message(EMPTY, "hello/new", "0x001", "Counter-1")
    assert words == "Counter registered: Counter-1"
    return after


def test_01_invalid_code() -> None:
    assert new_message(EMPTY, "0x000", "0x000", "Counter-1")[1] == "Invalid Message: message code"


def test_02_new_counter() -> None:
    assert (
        new_message(EMPTY, "hello/new", "0x001", "Counter-1")[1] == "Counter registered: Counter-1"
    )


def test_03_new_charger() -> None:
    assert (
        new_message(with_counter(), "Counter-1", "0x002", "Charger-1")[1]
        == "Charger registered: Charger-1"
    )


def test_03_new_charger_invalid_topic() -> None:
    assert (
        new_message(with_counter(), "Counter-2", "0x002", "Charger-1")[1]
        == "Invalid Message: message topic"
    )


def test_04_max_counters_exhausted() -> None:
    assert (
        new_message(with_counter(), "hello/new", "0x001", "Counter-2")[1]
        == "Max registered counters achieved"
    )


@pytest.mark.parametrize("topic", ["Counter-1", "Counter-1/new", "hello/new"])
def test_a_charger_may_announce_itself_on_its_counters_topic_or_on_hello(topic: str) -> None:
    message = {
        "code": protocol.NEW_CHARGER,
        "boot": 1,
        "seq": 1,
        "id": "Charger-1",
        "counter": "Counter-1",
        "model": "",
        "firmware": "",
        "min_a": 6,
        "max_a": 32,
        "phases": 1,
        "wiring": [1],
        "failsafe_a": 0,
    }
    after, commands = decide(with_counter(), Announced(topic, message), 0)
    assert list(after.chargers) == ["Charger-1"]
    reply = next(c for c in commands if isinstance(c, Send))
    assert reply.message["words"] == "Charger registered: Charger-1"
    assert (reply.message["re_boot"], reply.message["re_seq"]) == (1, 1)


def test_coming_back_keeps_the_place_in_the_order() -> None:
    now = with_counter()
    for name in ("Charger-1", "Charger-2"):
        now, _ = new_message(now, "Counter-1", 2, name)
    now, words = new_message(now, "Counter-1", 2, "Charger-1", now_ms=60_000, boot=2)
    assert words == "Charger registered: Charger-1"
    assert now.chargers["Charger-1"].order < now.chargers["Charger-2"].order


def test_a_second_board_under_a_running_boards_name_is_refused() -> None:
    now, _ = new_message(with_counter(), "Counter-1", 2, "Charger-1")
    after, words = new_message(now, "Counter-1", 2, "Charger-1", now_ms=1_000, boot=77)
    assert words == "Name in use by a running device: Charger-1"
    assert after == now


def test_a_meters_name_is_not_a_chargers() -> None:
    assert "Name in use" in new_message(with_counter(), "Counter-1", 2, "Counter-1")[1]


def test_phases_the_feeder_does_not_have_are_refused() -> None:
    words = new_message(with_counter(), "Counter-1", 2, "Charger-1", phases=3, wiring=[1, 2, 3])[1]
    assert words == "Phases [1, 2, 3] do not exist on feeder main"


def test_an_unknown_device_is_asked_to_announce_itself() -> None:
    _, commands = decide(
        EMPTY, Report("Charger-9", {"code": protocol.CHARGER_STATUS, "boot": 1, "seq": 5}), 0
    )
    assert [c.message["result"] for c in commands if isinstance(c, Send)] == [
        protocol.UNKNOWN_DEVICE
    ]
