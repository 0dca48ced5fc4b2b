"""ocpp-rpc in strict mode as our central system: what it asks, what it is told, what a restart keeps."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from manager.ocpp.settings import Up
from manager.ocpp.upward import Upward
from shared import protocol
from tests.manager.ocpp.building import Building, building, run, site_text, until
from tests.manager.ocpp.rpc import Peer

SECRET = "a password of a network"
NAME = "IEVCC-home-Charger-1"
CARD = "04a1b2c3d4"


class Board:
    """One of our chargers, by what it says on the wire."""

    def __init__(self, here: Building, name: str, boot: int = 1) -> None:
        self.here, self.name, self.boot = here, name, boot
        self.seq = itertools.count(2)
        self.orders: list[dict[str, Any]] = []
        self.state, self.lease, self.limit = "A1", 0, 0
        here.manager.adapters[name] = self.take

    def moved(self, here: Building) -> None:
        """Its manager was started anew, and so, to be sure, was it."""
        self.here, self.boot, self.seq = here, self.boot + 1, itertools.count(2)
        self.lease = self.limit = 0
        here.manager.adapters[self.name] = self.take

    def take(self, message: Any) -> None:
        if message["code"] == protocol.AVAILABLE_LOAD:
            self.lease, self.limit = message["lease"], message["limit_a"]
            self.status()
        elif message["code"] in (protocol.COMMAND, protocol.CARD_VERDICT):
            self.orders.append(message)

    def say(self, code: int, **fields: Any) -> None:
        message = {"code": code, "boot": self.boot, "seq": next(self.seq), **fields}
        self.here.manager.heard(self.name, message)

    def announce(self) -> None:
        facts = {
            "counter": "Counter-1",
            "model": "Charger",
            "firmware": "1.0",
            "min_a": 6,
            "max_a": 32,
        }
        more = {"phases": 1, "wiring": [1], "failsafe_a": 0}
        message = {"code": protocol.NEW_CHARGER, "boot": self.boot, "seq": 1, "id": self.name}
        self.here.manager.heard(self.name, {**message, **facts, **more}, protocol.HELLO)
        self.status()

    def status(self, state: str = "") -> None:
        self.state = state or self.state
        more = {
            "contactor": int(self.state == "C2"),
            "mode": "managed",
            "faults": [],
            "rejected": 0,
        }
        lease = {"lease": self.lease, "lease_ms": 15_000, "offer_a": self.limit, "uptime_s": 1}
        self.say(protocol.CHARGER_STATUS, state=self.state, **lease, **more)

    def load(self, wh: int, amps: float = 10) -> None:
        ma = round(amps * 1000)
        row = {"current_ma": [ma], "voltage_dv": [2300], "power_w": [ma * 23 // 100]}
        self.say(protocol.CHARGER_LOAD, **row, energy_wh=[wh], age_ms=0)

    def begin(self, session: int, wh: int = 1000, card: str = CARD) -> None:
        """A session: with this card, or with none ("")."""
        self.status("C2")
        how = {"session": session, "energy_wh": wh, "age_s": 0}
        more = {"how": "card", "card": card} if card else {"how": "free"}
        self.say(protocol.SESSION_BEGIN, **how, **more)

    def end(self, session: int, wh: int = 500) -> None:
        how = {
            "session": session,
            "energy_wh": wh,
            "duration_s": 60,
            "age_s": 0,
            "why": "unplugged",
        }
        self.say(protocol.SESSION_END, **how, card=CARD)
        self.status("A1")

    async def live(self) -> None:
        while True:
            self.status()
            await asyncio.sleep(3)


@asynccontextmanager
async def network(
    folder: Path,
    port: int,
    version: str,
    *,
    boot: int = 1,
    cards: Mapping[str, str] | None = None,
    **more: Any,
) -> AsyncGenerator[tuple[Building, Board, Upward]]:
    """A manager with one charger of ours, a charge point of the central system at this port."""
    async with building(folder, site_text("Elsewhere"), cards=cards) as here:
        board = Board(here, "Charger-1", boot)
        yield here, board, charge_point(board, port, version, folder, **more)


def charge_point(board: Board, port: int, version: str, folder: Path, **more: Any) -> Upward:
    """Have its manager be a charge point for this board, at the central system at this port."""
    url, here = f"ws://127.0.0.1:{port}/ocpp", board.here
    up = Up(url, "IEVCC-home", version, password=SECRET, chargers=(board.name,), **more)
    upward = Upward(here.manager, up, folder)
    board.announce()
    here.beside(upward.run())
    here.beside(board.live())
    return upward


def listening(peer: Peer) -> int:
    return int(peer.of("listening")[0]["port"])


async def peered(peer: Peer) -> int:
    await until("it listens", lambda: peer.of("listening"))
    return listening(peer)


def statuses(peer: Peer, version: str) -> list[str]:
    key = "status" if version == "1.6" else "connectorStatus"
    return [p[key] for p in peer.calls("StatusNotification")]


def profile(
    version: str, number: int, purpose: str, limit: float, unit: str = "A", **more: Any
) -> dict[str, Any]:
    old = version == "1.6"
    if purpose == "max":
        purpose = "ChargePointMaxProfile" if old else "ChargingStationMaxProfile"
    schedule = {
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        "startSchedule": "2024-01-01T00:00:00Z",
    }
    one = {
        "stackLevel": 0,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule if old else [{"id": number, **schedule}],
    }
    one |= {"chargingProfileId" if old else "id": number, **more}
    where = 0 if "Max" in purpose else 1
    if old:
        return {"connectorId": where, "csChargingProfiles": one}
    return {"evseId": where, "chargingProfile": one}


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
@pytest.mark.parametrize("unit", ["A", "W"])
def test_profiles_only_lower(tmp_path: Path, version: str, unit: str) -> None:
    async def test() -> None:
        async with Peer("central", {NAME: SECRET}) as peer:
            port = await peered(peer)
            async with network(tmp_path, port, version) as (here, board, _):
                await until("it is available", lambda: "Available" in statuses(peer, version))
                board.begin(1)
                await until("it has what the site gives", lambda: board.limit == 28)
                factor = 1 if unit == "A" else 230

                async def put(number: int, purpose: str, amps: float) -> str:
                    what = profile(version, number, purpose, amps * factor, unit)
                    return str(
                        (await peer.ask(to=NAME, method="SetChargingProfile", params=what))[
                            "status"
                        ]
                    )

                assert await put(1, "max", 16.1) == "Accepted"
                await until("the maximum holds", lambda: board.limit == 16)
                assert await put(2, "TxDefaultProfile", 12) == "Accepted"
                await until("the default is lower", lambda: board.limit == 12)
                assert await put(3, "TxProfile", 20) == "Accepted"
                await until("the transaction's own takes its place", lambda: board.limit == 16)
                assert await put(1, "max", 60) == "Accepted"
                await until("the transaction's own is what is left", lambda: board.limit == 20)
                here.house_a = 18.0
                await until("the site gives less: no profile raises it", lambda: board.limit == 12)
                ask: dict[str, Any] = {"connectorId" if version == "1.6" else "evseId": 1}
                ask |= {"duration": 600, "chargingRateUnit": unit}
                told = await peer.ask(to=NAME, method="GetCompositeSchedule", params=ask)
                schedule = told["chargingSchedule"] if version == "1.6" else told["schedule"]
                assert schedule["chargingSchedulePeriod"][0]["limit"] == 20 * factor
                here.house_a = 2.0
                board.end(1)
                cleared = await peer.ask(to=NAME, method="ClearChargingProfile", params={})
                assert cleared["status"] == "Accepted"
                board.begin(2)
                await until("nothing limits it any more", lambda: board.limit == 28)
                assert peer.violations == []

    run(test)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_what_a_central_system_asks(tmp_path: Path, version: str) -> None:
    old = version == "1.6"

    async def test() -> None:
        async with Peer("central", {NAME: SECRET}) as peer:
            port = await peered(peer)
            async with network(tmp_path, port, version) as (_, board, _):
                await until("it is available", lambda: "Available" in statuses(peer, version))

                async def ask(method: str, **params: Any) -> Any:
                    return await peer.ask(to=NAME, method=method, params=params)

                if old:
                    assert (await ask("GetConfiguration"))["configurationKey"]
                    changed = await ask(
                        "ChangeConfiguration", key="MeterValueSampleInterval", value="1"
                    )
                    assert changed["status"] == "Accepted"
                    word = await ask("ChangeConfiguration", key="NumberOfConnectors", value="2")
                    assert word["status"] == "NotSupported"
                    assert (await ask("Reset", type="Soft"))["status"] == "Accepted"
                    listed = [{"idTag": "04FF", "idTagInfo": {"status": "Accepted"}}]
                    word = await ask(
                        "SendLocalList",
                        listVersion=3,
                        updateType="Full",
                        localAuthorizationList=listed,
                    )
                    assert word["status"] == "Accepted"
                    assert (await ask("GetLocalListVersion"))["listVersion"] == 3
                    start: dict[str, Any] = {"idTag": "04AA", "connectorId": 1}
                    reserve: dict[str, Any] = {
                        "connectorId": 1,
                        "idTag": "04AA",
                        "reservationId": 7,
                        "expiryDate": "2999-01-01T00:00:00Z",
                    }
                    inoperative: dict[str, Any] = {"connectorId": 0, "type": "Inoperative"}
                else:
                    data = [
                        {
                            "component": {"name": "SampledDataCtrlr"},
                            "variable": {"name": "TxUpdatedInterval"},
                            "attributeValue": "1",
                        }
                    ]
                    told = await ask("SetVariables", setVariableData=data)
                    assert told["setVariableResult"][0]["attributeStatus"] == "Accepted"
                    known = [{"component": {"name": "Nobody"}, "variable": {"name": "Knows"}}]
                    told = await ask("GetVariables", getVariableData=known)
                    assert told["getVariableResult"][0]["attributeStatus"] == "UnknownComponent"
                    assert (await ask("GetBaseReport", requestId=1, reportBase="FullInventory"))[
                        "status"
                    ] == "Accepted"
                    await until(
                        "it reports",
                        lambda: any(not r.get("tbc") for r in peer.calls("NotifyReport")),
                    )
                    assert (await ask("Reset", type="OnIdle"))["status"] == "Accepted"
                    token = {"idToken": "04AA", "type": "ISO14443"}
                    listed = [{"idToken": token, "idTokenInfo": {"status": "Accepted"}}]
                    word = await ask(
                        "SendLocalList",
                        versionNumber=3,
                        updateType="Full",
                        localAuthorizationList=listed,
                    )
                    assert word["status"] == "Accepted"
                    assert (await ask("GetLocalListVersion"))["versionNumber"] == 3
                    start = {"idToken": token, "remoteStartId": 5, "evseId": 1}
                    reserve = {
                        "id": 7,
                        "expiryDateTime": "2999-01-01T00:00:00Z",
                        "idToken": token,
                        "evseId": 1,
                    }
                    inoperative = {"operationalStatus": "Inoperative"}
                assert board.orders[-1]["command"] == "reset"
                assert (await ask("ReserveNow", **reserve))["status"] == "Accepted"
                await until("it is reserved", lambda: "Reserved" in statuses(peer, version))
                assert (await ask("CancelReservation", reservationId=7))["status"] == "Accepted"
                assert (await ask("CancelReservation", reservationId=7))["status"] == "Rejected"
                method = "RemoteStartTransaction" if old else "RequestStartTransaction"
                assert (await ask(method, **start))["status"] == "Accepted"
                assert board.orders[-1]["command"] == "start"
                board.begin(1)
                board.load(1000)
                method = "StartTransaction" if old else "TransactionEvent"
                first = (await until("it is told of", lambda: peer.calls(method)))[0]
                tag = first["idTag"] if old else first["idToken"]["idToken"]
                assert tag == "04AA", "the tag of the remote start, not the card of the board"
                await asyncio.sleep(1.1)
                board.load(1100)
                if old:
                    await until("it is measured", lambda: peer.calls("MeterValues"))
                    number = peer.of("call", method="StartTransaction")[0]["answer"][
                        "transactionId"
                    ]
                    assert peer.calls("MeterValues")[-1]["transactionId"] == number
                    stop = ("RemoteStopTransaction", {"transactionId": number})
                else:
                    await until(
                        "it is measured",
                        lambda: [
                            e
                            for e in peer.calls("TransactionEvent")
                            if e["triggerReason"] == "MeterValuePeriodic"
                        ],
                    )
                    stop = (
                        "RequestStopTransaction",
                        {"transactionId": first["transactionInfo"]["transactionId"]},
                    )
                assert (await ask("ChangeAvailability", **inoperative))["status"] == "Scheduled"
                assert (await ask(stop[0], **stop[1]))["status"] == "Accepted"
                assert board.orders[-1]["command"] == "stop"
                board.end(1)
                if old:
                    ended = (await until("it is ended", lambda: peer.calls("StopTransaction")))[0]
                    assert (ended["meterStop"], ended["reason"]) == (1500, "Remote")
                else:
                    ended = (
                        await until(
                            "it is ended",
                            lambda: [
                                e
                                for e in peer.calls("TransactionEvent")
                                if e["eventType"] == "Ended"
                            ],
                        )
                    )[0]
                    assert ended["transactionInfo"]["stoppedReason"] == "Remote"
                    assert [e["seqNo"] for e in peer.calls("TransactionEvent")] == list(
                        range(len(peer.calls("TransactionEvent")))
                    )
                await until(
                    "it is out of service", lambda: statuses(peer, version)[-1] == "Unavailable"
                )
                for what in ("Heartbeat", "StatusNotification", "MeterValues", "BootNotification"):
                    assert (await ask("TriggerMessage", requestedMessage=what))[
                        "status"
                    ] == "Accepted"
                await until("it does as told", lambda: len(peer.calls("BootNotification")) == 2)
                await until("the meter too", lambda: peer.calls("MeterValues"))
                assert (await ask("DataTransfer", vendorId="x"))["status"] == "UnknownVendorId"
                assert (await ask("ClearCache"))["status"] == "Accepted"
                assert (await ask("CertificateSigned", certificateChain="x"))["error"]
                # A card that is not the site's is the network's to judge.
                board.say(protocol.CARD_READ, card=CARD)
                good = await until(
                    "it is judged", lambda: [o for o in board.orders if o.get("card") == CARD]
                )
                assert good[0]["verdict"] == "accepted"
                board.say(protocol.CARD_READ, card="99a1b2c3")
                bad = await until(
                    "it is judged",
                    lambda: [o for o in board.orders if o.get("card") == "99a1b2c3"],
                )
                assert bad[0]["verdict"] == "unknown"
                assert peer.violations == []

    run(test)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_what_happened_offline_is_delivered_in_order_and_once(
    tmp_path: Path, version: str
) -> None:
    old = version == "1.6"

    async def test() -> None:
        async with Peer("central", {NAME: SECRET}) as peer:
            port = await peered(peer)
            async with network(tmp_path, port, version) as (here, board, _):
                await until("it is available", lambda: "Available" in statuses(peer, version))
                # The network loses its answers: what was told has to be told again, by the same number.
                await peer.ask(silent=True)
                board.begin(1)
                method = "StartTransaction" if old else "TransactionEvent"
                await until("it was told", lambda: peer.of("call", method=method))
                await peer.ask(drop=NAME)
                here.manager.store.flush()
            again: list[dict[str, Any]] = []
            # No connection at all, and a manager that is started anew in between.
            async with network(tmp_path, 9, version, boot=2) as (here, board, upward):
                board.status("C2")
                board.end(1, 700)
                board.begin(2, 1700)
                board.end(2, 300)
                await until("it is on its way to the disk", lambda: upward.points[NAME].queue)
                here.manager.store.flush()
            await peer.ask(silent=False)
            async with network(tmp_path, port, version, boot=3) as (here, board, upward):
                await until("all is delivered", lambda: not upward.points[NAME].queue, 60)
            calls = [e for e in peer.events if e["event"] == "call"]
            seen: dict[str, dict[str, Any]] = {}
            for one in calls:
                if one["method"] in ("StartTransaction", "StopTransaction", "TransactionEvent"):
                    seen.setdefault(one["message"], one)
            if old:
                told = [
                    (e["method"], e["params"].get("meterStart", e["params"].get("meterStop")))
                    for e in seen.values()
                ]
                assert told == [
                    ("StartTransaction", 1000),
                    ("StopTransaction", 1700),
                    ("StartTransaction", 1700),
                    ("StopTransaction", 2000),
                ]
                last = [e for e in calls if e["method"] == "StartTransaction"]
                stops = [
                    e["params"]["transactionId"] for e in calls if e["method"] == "StopTransaction"
                ]
                assert stops == [e["answer"]["transactionId"] for e in last[-2:]]
            else:
                events = [e["params"] for e in seen.values()]
                kinds = [e["eventType"] for e in events if e["eventType"] != "Updated"]
                assert kinds == ["Started", "Ended", "Started", "Ended"]
                ids = [
                    e["transactionInfo"]["transactionId"]
                    for e in events
                    if e["eventType"] != "Updated"
                ]
                assert ids[0] == ids[1] != ids[2] == ids[3]
            again = [e for e in calls if e["message"] in seen and e is not seen[e["message"]]]
            assert len(again) <= 1, "only what was never answered is told again"
            assert peer.violations == []

    run(test)


def test_not_with_a_wrong_password(tmp_path: Path) -> None:
    async def test() -> None:
        async with Peer("central", {NAME: "another password"}) as peer:
            port = await peered(peer)
            async with network(tmp_path, port, "1.6") as (_, board, upward):
                await until("it is refused", lambda: peer.of("refused"))
                board.begin(1)
                await until("that waits", lambda: upward.points[NAME].queue)
                assert not peer.of("connected")
                await until("that is counted", lambda: upward.points[NAME].refused["connection"])

    run(test)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_one_point_with_a_connector_each(tmp_path: Path, version: str) -> None:
    """And one that joins while there is something to be told of the others: nothing is lost, nothing overtaken."""
    old = version == "1.6"
    where = "connectorId" if old else "evseId"

    async def test() -> None:
        async with Peer("central", {"IEVCC-home": SECRET}) as peer:
            port = await peered(peer)
            async with building(tmp_path, site_text("Elsewhere")) as here:
                url, names = f"ws://127.0.0.1:{port}/ocpp", [f"Charger-{n}" for n in (1, 2, 3)]
                up = Up(
                    url, "IEVCC-home", version, each=False, password=SECRET, chargers=tuple(names)
                )
                upward = Upward(here.manager, up, tmp_path)
                boards = [Board(here, name) for name in names]
                for board in boards[:2]:
                    board.announce()
                    here.beside(board.live())
                here.beside(upward.run())

                def told() -> set[int]:
                    return {p[where] for p in peer.calls("StatusNotification")}

                await until("both are connectors", lambda: told() == {1, 2})
                for board in boards[:2]:
                    board.begin(1)
                await until(
                    "they share what the site gives",
                    lambda: [b.limit for b in boards[:2]] == [14, 14],
                )
                what = profile(version, 1, "max", 20)
                answer = await peer.ask(to="IEVCC-home", method="SetChargingProfile", params=what)
                assert answer["status"] == "Accepted"
                await until(
                    "and the station's maximum", lambda: [b.limit for b in boards[:2]] == [10, 10]
                )
                # A session ends and another begins, all in one breath with the one that joins: nothing is on disk yet.
                point = upward.points["IEVCC-home"]
                await until("all is told", lambda: not point.queue)
                await peer.ask(silent=True)
                boards[0].end(1, 200)
                boards[1].end(1, 300)
                boards[2].announce()
                here.beside(boards[2].live())
                boards[2].begin(1, 7000)
                boards[0].begin(2, 1200)
                boards[2].end(1, 400)
                assert upward.points["IEVCC-home"] is point
                assert len(point.queue) >= 5
                await peer.ask(silent=False)
                await peer.ask(drop="IEVCC-home")
                await until("the third is a connector too", lambda: told() == {1, 2, 3})
                await until("all is told", lambda: not point.queue)
                assert peer.violations == []
                told_of: dict[int, list[tuple[str, int]]] = {1: [], 2: [], 3: []}
                first: dict[str, dict[str, Any]] = {}
                for e in peer.of("call"):
                    first.setdefault(
                        e["message"], e
                    )  # what was in doubt is told again by its number
                numbers: dict[str, int] = {}
                for e in first.values():
                    p = e["params"]
                    if e["method"] == "StartTransaction":
                        again = [c for c in peer.of("call") if c["message"] == e["message"]]
                        numbers[again[-1]["answer"]["transactionId"]] = p["connectorId"]
                        told_of[p["connectorId"]].append(("begins", p["meterStart"]))
                    elif e["method"] == "StopTransaction":
                        told_of[numbers[p["transactionId"]]].append(("ends", p["meterStop"]))
                    elif e["method"] == "TransactionEvent" and p["eventType"] != "Updated":
                        word = {"Started": "begins", "Ended": "ends"}[p["eventType"]]
                        wh = p["meterValue"][0]["sampledValue"][0]["value"]
                        told_of[p["evse"]["id"]].append((word, wh))
                assert told_of == {
                    1: [("begins", 1000), ("ends", 1200), ("begins", 1200)],
                    2: [("begins", 1000), ("ends", 1300)],
                    3: [("begins", 7000), ("ends", 7400)],
                }

    run(test)
