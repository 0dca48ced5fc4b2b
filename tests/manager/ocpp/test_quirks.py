"""What chargers in the field get wrong, as a table, and what becomes of it."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.ocpp import quirks
from manager.ocpp.connector import Transaction
from manager.ocpp.frames import fault_of, schema_of
from manager.ocpp.measures import measured
from manager.ocpp.quirks import ClockOff
from shared import protocol
from simulator.ocpp_charger import Charger, Habits
from tests.manager.ocpp.building import (
    Building,
    Scenario,
    building,
    run,
    side_by_side,
    site_text,
    until,
)

NOW = "2026-01-01T00:00:00.000Z"
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}

# version, action, as sent, as understood, what was mended
MENDED: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("1.6", "StatusNotification", STATUS | {"connectorId": "1"}, STATUS, ["number"]),
    ("1.6", "StatusNotification", STATUS | {"acme": {"x": 1}}, STATUS, ["key"]),
    ("1.6", "StatusNotification", STATUS | {"info": None}, STATUS, ["null"]),
    ("1.6", "StatusNotification", STATUS | {"status": "available"}, STATUS, ["case"]),
    ("1.6", "StatusNotification", STATUS | {"connectorId": 1.0}, STATUS, []),
    (
        "1.6",
        "BootNotification",
        {"chargePointVendor": "V" * 30, "chargePointModel": 7},
        {"chargePointVendor": "V" * 20, "chargePointModel": "7"},
        ["long", "text"],
    ),
    (
        "1.6",
        "MeterValues",
        {"connectorId": 1, "meterValue": {"timestamp": NOW, "sampledValue": [{"value": 5}]}},
        {"connectorId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": "5"}]}]},
        ["list", "text"],
    ),
    (
        "2.0.1",
        "StatusNotification",
        {"connectorStatus": "occupied", "evseId": "1", "connectorId": 1, "ConnectorType": "x"},
        {"connectorStatus": "Occupied", "evseId": 1, "connectorId": 1, "timestamp": NOW},
        ["case", "key", "number", "time"],
    ),
    (
        "2.0.1",
        "TransactionEvent",
        {"eventType": "Started", "timestamp": NOW, "triggerReason": "Authorized", "seqNo": "0",
         "offline": "false", "transactionInfo": {"transactionId": 17}},
        {"eventType": "Started", "timestamp": NOW, "triggerReason": "Authorized", "seqNo": 0,
         "offline": False, "transactionInfo": {"transactionId": "17"}},
        ["boolean", "number", "text"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("version", "action", "sent", "meant", "said"), MENDED)
def test_understood_as_it_was_meant(
    version: str, action: str, sent: dict[str, Any], meant: dict[str, Any], said: list[str]
) -> None:
    good, words = quirks.mended(sent, schema_of(2, action, version), NOW)
    assert good == meant
    assert sorted(words) == said
    assert fault_of(2, action, version, good) == ("", "")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["connectorId", "status", "meterValue", "timestamp", "x"]), PLAIN
    ),
    st.sampled_from(["StatusNotification", "MeterValues", "StartTransaction"]),
)
def test_mending_never_fails_and_never_spoils(payload: dict[str, Any], action: str) -> None:
    good, _ = quirks.mended(payload, schema_of(2, action, "1.6"), NOW)
    again, said = quirks.mended(good, schema_of(2, action, "1.6"), NOW)
    assert again == good
    assert not said
    if not fault_of(2, action, "1.6", payload)[0]:
        assert not fault_of(2, action, "1.6", good)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("16.1", 16.1), (" 7 ", 7), ("1,5", 1.5), (3, 3), ("", None), ("NaN", None), ("1e99", None),
     (None, None), ("12A", None), (float("inf"), None)],
)  # fmt: skip
def test_numbers(text: object, value: float | None) -> None:
    assert quirks.number(text) == value


@pytest.mark.parametrize(
    ("tag", "card"),
    [
        ("04A1B2C3", "04a1b2c3"),
        ("04:a1:b2:c3:d4:e5:f6", "04a1b2c3d4e5f6"),
        ("Ann", "3f5e6dd6ef0cbc17"),
        ("ann ", "3f5e6dd6ef0cbc17"),
    ],
)
def test_tags_are_cards(tag: str, card: str) -> None:
    found = quirks.card_number(tag)
    if tag.startswith("04"):
        assert found == card
    else:
        assert found == quirks.card_number("ANN")
        assert len(found) == 16


def test_a_clock_that_is_off() -> None:
    hour = 3_600_000
    clock = ClockOff()
    for late in (900, 40, 300):  # written, then under way for so long
        clock = clock.seen(10 * hour + hour, 10 * hour + late)
    assert clock.off_ms == hour - 40
    assert clock.wrong
    assert clock.ours(clock.theirs(5 * hour)) == 5 * hour
    clock = clock.seen(11 * hour, 11 * hour + 30)  # it was set
    assert clock.off_ms == -30
    assert not clock.wrong


@pytest.mark.parametrize(
    ("values", "phases", "ma", "wh"),
    [
        ([{"value": "16.0", "measurand": "Current.Import", "phase": "L1"}], 1, (16000,), None),
        ([{"value": "16.0", "measurand": "Current.Import"}], 3, (16000,) * 3, None),
        ([{"value": "3.68", "measurand": "Power.Active.Import", "unit": "kW"}], 1, (16000,), None),
        ([{"value": "11040", "measurand": "Power.Active.Import"}], 3, (16000,) * 3, None),
        (
            [
                {"value": "2300", "measurand": "Power.Active.Import", "phase": f"L{p}"}
                for p in (1, 2)
            ],
            3,
            (10000, 10000, 0),
            None,
        ),
        ([{"value": "1234"}], 1, None, 1234),
        ([{"value": "1.5", "unit": "kWh"}], 1, None, 1500),
        ([{"value": 1.5, "unitOfMeasure": {"unit": "Wh", "multiplier": 3}}], 1, None, 1500),
        ([{"value": "4F434D46", "format": "SignedData"}, {"value": "x"}, 7], 1, None, None),
        ([{"value": "-5", "measurand": "Current.Import", "phase": "L1"}], 1, (0,), None),
        ([{"value": "9", "measurand": "Temperature", "location": "Body"}], 1, None, None),
    ],
)
def test_measured(
    values: list[Any], phases: int, ma: tuple[int, ...] | None, wh: int | None
) -> None:
    found = measured(values, phases)
    assert (found.current_ma, found.energy_wh) == (ma, wh)


# Live: each on a charger of its own, side by side.


async def _good(here: Building, car: Charger) -> None:
    """It shares as a good one does."""
    await until("it draws what is left", lambda: 24 < car.drawn_a <= 28, 60)
    here.house_a = 14.0
    await until("it gives way", lambda: 8 < car.drawn_a <= 16)
    assert here.charger("Left").mode == "managed"


def one_with_habits(folder: Path, habits: Habits, version: str, counted: str) -> None:
    async def test() -> None:
        async with building(folder, site_text("Left")) as here:
            car = here.car("Left", version, habits)
            await car.connect()
            station = here.central.stations["Left"]
            if habits.no_boot:
                nudge = ("TriggerMessage", {"requestedMessage": "BootNotification"})
                await until("it was asked", lambda: nudge in car.got, 40)
                await until("it is taken as it is", lambda: station.booted, 60)
            station = here.central.stations["Left"]
            assert await car.begin("04A1B2C3", 32) == "Accepted"
            await _good(here, car)
            if counted:
                assert station.mended[counted] > 0

    run(test)


def running(here: Building) -> Transaction | None:
    return here.central.stations["Left"].connectors[1].transaction


def events_told_twice_or_not_at_all(folder: Path) -> None:
    async def test() -> None:
        async with building(folder, site_text("Left")) as here:
            car = here.car("Left", habits=Habits(silent_meter=True))
            await car.connect()
            station = here.central.stations["Left"]
            # Before there is a transaction: taken as a reading, and that is all.
            value = [{"timestamp": car.now(), "sampledValue": car.sampled()}]
            await car.call("MeterValues", {"connectorId": 1, "meterValue": value})
            assert station.mended["no_transaction"] == 1
            start = {
                "connectorId": 1,
                "idTag": "04A1B2C3",
                "meterStart": 100,
                "timestamp": car.now(),
            }
            first = await car.call("StartTransaction", start)
            again = await car.call("StartTransaction", start)
            assert first["transactionId"] == again["transactionId"]
            assert station.mended["start_again"] == 1
            # Another one begins and the end of the first never came.
            other = await car.call(
                "StartTransaction", start | {"meterStart": 900, "timestamp": NOW}
            )
            assert other["transactionId"] != first["transactionId"]
            assert station.mended["end"] == 1
            # The end of the first comes late, that of the second with no number, and once more.
            stop = {
                "transactionId": first["transactionId"],
                "meterStop": 950,
                "timestamp": car.now(),
            }
            assert await car.call("StopTransaction", stop) == {}
            assert running(here) is not None
            await car.call("StopTransaction", stop | {"transactionId": 0})
            assert running(here) is None
            await car.call("StopTransaction", stop | {"transactionId": other["transactionId"]})
            assert station.mended["stop_unknown"] == 2
            # Readings of a transaction whose start we never heard: it runs.
            await car.call(
                "MeterValues", {"connectorId": 1, "transactionId": 5000, "meterValue": value}
            )
            assert station.mended["start_lost"] == 1
            one = running(here)
            assert one is not None
            assert one.id == 5000
            assert not car.errors

    run(test)


def told_twice_or_not_at_all_in_events(folder: Path) -> None:
    """As `events_told_twice_or_not_at_all`, in 2.0.1's words."""

    async def test() -> None:
        async with building(folder, site_text("Left")) as here:
            ends: list[int] = []
            here.manager.listeners.append(
                lambda _, m: (
                    ends.append(m["energy_wh"]) if m["code"] == protocol.SESSION_END else None
                )
            )
            car = here.car("Left", "2.0.1", Habits(silent_meter=True))
            await car.connect()
            station = here.central.stations["Left"]

            async def event(
                kind: str,
                theirs: str,
                wh: int | None = None,
                why: str = "MeterValuePeriodic",
                **more: Any,
            ) -> dict[str, Any]:
                what: dict[str, Any] = {
                    "eventType": kind,
                    "timestamp": car.now(),
                    "triggerReason": why,
                    "seqNo": 0,
                    "transactionInfo": {"transactionId": theirs},
                    **more,
                }
                if wh is not None:
                    what["meterValue"] = [
                        {"timestamp": car.now(), "sampledValue": [{"value": wh}]}
                    ]
                return await car.call("TransactionEvent", what)

            # Before there is a transaction: taken as a reading, and that is all.
            value = [{"timestamp": car.now(), "sampledValue": car.sampled()}]
            await car.call("MeterValues", {"evseId": 1, "meterValue": value})
            assert station.mended["no_transaction"] == 1
            token = {"idToken": {"idToken": "04A1B2C3", "type": "ISO14443"}}
            for n in range(2):  # the same start told twice is one
                answer = await event("Started", "first", 1100, "Authorized", **token)
                assert answer["idTokenInfo"]["status"] == "Accepted"
                assert station.mended["start_again"] == n
            first = running(here)
            # Another one begins and the end of the first never came.
            await event("Started", "second", 1900, "Authorized", **token)
            second = running(here)
            assert first is not None
            assert second is not None
            assert first.id != second.id
            assert (station.mended["end"], ends) == (1, [800])
            # What is said of the first comes late: answered, so that it is not told for ever, and nothing else.
            await event("Updated", "first", 1950)
            assert station.mended["after_end"] == 1
            await event("Ended", "first", 1960)
            assert (station.mended["stop_unknown"], running(here)) == (1, second)
            # The end of the second, of which it does not say where, and once more.
            await event("Ended", "second", 2400, evse={"id": 1})
            assert (running(here), ends) == (None, [800, 500])
            await event("Ended", "second", 2400)
            assert (station.mended["stop_unknown"], len(ends)) == (2, 2)
            # Events of a transaction whose start we never heard: it runs, and its card comes late.
            await event("Updated", "third", 2500)
            one = running(here)
            assert one is not None
            assert (station.mended["start_lost"], one.theirs, one.begin_wh) == (1, "third", 2500)
            await event("Updated", "third", 2600, "Authorized", **token)
            one = running(here)
            assert one is not None
            assert one.tag == "04A1B2C3"
            # The end of one that we never heard of.
            await event("Ended", "nobody's", 9000)
            assert running(here) == one
            assert not car.errors

    run(test)


def reported_before_boot_is_accepted(folder: Path, version: str = "1.6") -> None:
    old = version == "1.6"

    async def test() -> None:
        async with building(folder, site_text("Left"), meter=False) as here:
            car = here.car("Left", version, Habits(no_boot=True))
            await car.connect()
            boot: dict[str, Any] = {"chargePointVendor": "Elsewhere", "chargePointModel": "Wall 1"}
            if not old:
                station = {"vendorName": "Elsewhere", "model": "Wall 2"}
                boot = {"reason": "PowerUp", "chargingStation": station}
            # Its meter is not there: it is to wait.
            assert (await car.call("BootNotification", boot))["status"] == "Pending"
            car.status = "Preparing"
            await car.say_status()
            assert await car.begin("04A1B2C3", 32) == "error"
            refused = "StartTransaction" if old else "TransactionEvent"
            assert car.errors[:1] == [(refused, "SecurityError")]
            car.transaction = ""
            assert here.central.stations["Left"].mended["before_boot"] >= 1
            here.announce_meter()
            here.beside(here._meter())
            assert (await car.call("BootNotification", boot))["status"] == "Accepted"
            assert await car.begin("04A1B2C3", 32) == "Accepted"
            await _good(here, car)

    run(test)


def a_manager_started_anew_knows_what_runs(folder: Path, version: str = "1.6") -> None:
    async def test() -> None:
        text = site_text("Left", "Right")
        async with building(folder, text) as here:
            car = here.car("Left", version)
            await here.charging(car, 20)
            await until("it draws", lambda: car.drawn_a == 20)
            number = here.central.stations["Left"].connectors[1].transaction
            here.manager._keep_site()
            here.manager.store.flush()
        async with building(folder, text) as here:
            held = here.charger("Left")
            await until(
                "it counts though it is not here", lambda: here.charger("Left").worst_a >= 20
            )
            assert here.central.stations["Left"].connectors[1].transaction == number
            assert held.id == "Left"
            car.url = here.url
            here.cars.append(car)
            here.beside(car.live())
            await car.connect()
            car.wants_a = 20
            await until("it goes on", lambda: car.drawn_a >= 19)
            here.house_a = 18.0
            await until("it is led", lambda: 0 < car.drawn_a <= 12)
            await car.end()
            await until("and ended", lambda: here.charger("Left").state == "A1")

    run(test)


SCENARIOS: dict[str, Scenario] = {
    "texts": partial(one_with_habits, habits=Habits(texts=True), version="1.6", counted="number"),
    "clock-ahead": partial(one_with_habits, habits=Habits(clock_s=7200), version="1.6", counted="clock"),
    "clock-behind": partial(one_with_habits, habits=Habits(clock_s=-86_400), version="2.0.1", counted="clock"),
    "power-only": partial(one_with_habits, habits=Habits(power_only=True), version="1.6", counted=""),
    "slow": partial(one_with_habits, habits=Habits(slow_s=1.5), version="2.0.1", counted=""),
    "no-boot": partial(one_with_habits, habits=Habits(no_boot=True), version="1.6", counted="no_boot"),
    "texts-2.0.1": partial(one_with_habits, habits=Habits(texts=True), version="2.0.1", counted="number"),
    "clock-ahead-2.0.1": partial(one_with_habits, habits=Habits(clock_s=7200), version="2.0.1", counted="clock"),
    "power-only-2.0.1": partial(one_with_habits, habits=Habits(power_only=True), version="2.0.1", counted=""),
    "no-boot-2.0.1": partial(one_with_habits, habits=Habits(no_boot=True), version="2.0.1", counted="no_boot"),
    "twice-or-never": events_told_twice_or_not_at_all,
    "twice-or-never-2.0.1": told_twice_or_not_at_all_in_events,
    "before-boot": reported_before_boot_is_accepted,
    "before-boot-2.0.1": partial(reported_before_boot_is_accepted, version="2.0.1"),
    "restart": a_manager_started_anew_knows_what_runs,
    "restart-2.0.1": partial(a_manager_started_anew_knows_what_runs, version="2.0.1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SCENARIOS, tmp_path_factory.mktemp("quirks"))


@pytest.mark.parametrize("name", SCENARIOS)
def test_live(name: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[name].result(170)
