"""Everything a strict central system may ask of our charge point, and what it is answered, a row each."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from manager.ocpp.point import Outlet
from tests.manager.ocpp.above import Above, both
from tests.manager.ocpp.building import until
from tests.manager.ocpp.files import Files, served
from tests.manager.ocpp.test_strict_central import CARD, profile

Payload = dict[str, Any]
FREE, CHARGING = "free", "charging"


@dataclass(frozen=True)
class Row:
    """A call and its answer: a part of it, or the code of the error it is. `then`: (method, fields) said thereupon."""

    what: str
    version: str
    method: str
    params: Payload
    answer: Payload | str
    when: str = FREE
    then: tuple[str, Payload] | None = None
    name: str = field(default="")


def old(what: str, method: str, params: Payload, answer: Payload | str, **more: Any) -> Row:
    return Row(what, "1.6", method, params, answer, **more)


def new(what: str, method: str, params: Payload, answer: Payload | str, **more: Any) -> Row:
    return Row(what, "2.0.1", method, params, answer, **more)


def word(status: str) -> Payload:
    return {"status": status}


def variable(component: str, name: str, value: str | None = None, kind: str = "") -> Payload:
    one: Payload = {"component": {"name": component}, "variable": {"name": name}}
    if kind:
        one["attributeType"] = kind
    if value is not None:
        one["attributeValue"] = value
    return one


def get(component: str, name: str, kind: str = "") -> Payload:
    return {"getVariableData": [variable(component, name, kind=kind)]}


def put(component: str, name: str, value: str, kind: str = "") -> Payload:
    return {"setVariableData": [variable(component, name, value, kind)]}


def got(status: str, **more: Any) -> Payload:
    return {"getVariableResult": [{"attributeStatus": status, **more}]}


def done(status: str) -> Payload:
    return {"setVariableResult": [{"attributeStatus": status}]}


TOKEN = {"idToken": "04AA", "type": "ISO14443"}
INTERVAL = "SampledDataCtrlr", "TxUpdatedInterval"
HTTP = "http://127.0.0.1:9/nobody"
ROWS = [
    # Unlock: our cables are fixed ones.
    old("unlock", "UnlockConnector", {"connectorId": 1}, word("NotSupported")),
    old("unlock none", "UnlockConnector", {"connectorId": 9}, word("NotSupported")),
    new("unlock", "UnlockConnector", {"evseId": 1, "connectorId": 1}, word("UnlockFailed")),
    new("unlock none", "UnlockConnector", {"evseId": 9, "connectorId": 1}, word("UnknownConnector")),
    new("unlock a running one", "UnlockConnector", {"evseId": 1, "connectorId": 1},
        word("OngoingAuthorizedTransaction"), when=CHARGING),
    # Availability.
    old("out", "ChangeAvailability", {"connectorId": 1, "type": "Inoperative"}, word("Accepted"),
        then=("StatusNotification", word("Unavailable"))),
    old("back", "ChangeAvailability", {"connectorId": 0, "type": "Operative"}, word("Accepted"),
        then=("StatusNotification", word("Available"))),
    old("out of none", "ChangeAvailability", {"connectorId": 9, "type": "Inoperative"}, word("Rejected")),
    new("out", "ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 1}}, word("Accepted"),
        then=("StatusNotification", {"connectorStatus": "Unavailable"})),
    new("back", "ChangeAvailability", {"operationalStatus": "Operative"}, word("Accepted"),
        then=("StatusNotification", {"connectorStatus": "Available"})),
    new("out of none", "ChangeAvailability", {"operationalStatus": "Inoperative", "evse": {"id": 9}},
        word("Rejected")),
    # Data of vendors we do not know.
    old("vendor", "DataTransfer", {"vendorId": "acme", "data": "x"}, word("UnknownVendorId")),
    new("vendor", "DataTransfer", {"vendorId": "acme", "data": {"x": 1}}, word("UnknownVendorId")),
    old("cache", "ClearCache", {}, word("Accepted")),
    new("cache", "ClearCache", {}, word("Accepted")),
    # Triggers.
    *(
        row(f"trigger {what}", "TriggerMessage", {"requestedMessage": what}, word("Accepted"), then=(what, then))
        for row, what, then in (
            (old, "BootNotification", {"chargePointVendor": "IEVCC"}),
            (old, "Heartbeat", {}),
            (old, "StatusNotification", {"connectorId": 1, "status": "Available"}),
            (old, "FirmwareStatusNotification", word("Idle")),
            (old, "DiagnosticsStatusNotification", word("Idle")),
            (new, "BootNotification", {"chargingStation": {"vendorName": "IEVCC"}}),
            (new, "Heartbeat", {}),
            (new, "StatusNotification", {"evseId": 1, "connectorStatus": "Available"}),
            (new, "FirmwareStatusNotification", word("Idle")),
            (new, "LogStatusNotification", word("Idle")),
        )
    ),
    old("trigger a reading", "TriggerMessage", {"requestedMessage": "MeterValues"}, word("Accepted"),
        when=CHARGING, then=("MeterValues", {"connectorId": 1})),
    new("trigger a reading", "TriggerMessage", {"requestedMessage": "MeterValues"}, word("Accepted"),
        when=CHARGING, then=("MeterValues", {"evseId": 1})),
    new("trigger an event", "TriggerMessage", {"requestedMessage": "TransactionEvent"}, word("Accepted"),
        when=CHARGING, then=("TransactionEvent", {"triggerReason": "Trigger", "eventType": "Updated"})),
    new("trigger no event", "TriggerMessage", {"requestedMessage": "TransactionEvent"}, word("Rejected")),
    old("trigger of none", "TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 9},
        word("Rejected")),
    new("trigger of none", "TriggerMessage", {"requestedMessage": "StatusNotification", "evse": {"id": 9}},
        word("Rejected")),
    new("trigger what we have not", "TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"},
        word("NotImplemented")),
    # Configuration and variables.
    old("one key", "GetConfiguration", {"key": ["LocalAuthListEnabled", "NumberOfConnectors"]},
        {"configurationKey": [{"value": "true", "readonly": False}, {"value": "1", "readonly": True}]}),
    old("what the standard demands", "GetConfiguration", {"key": ["ConnectorPhaseRotation", "StopTxnSampledData"]},
        {"configurationKey": [{"value": "0.Unknown"}, {"value": "Energy.Active.Import.Register"}], "unknownKey": []}),
    old("no such key", "GetConfiguration", {"key": ["Nobody"]}, {"unknownKey": ["Nobody"]}),
    old("change", "ChangeConfiguration", {"key": "ConnectionTimeOut", "value": "90"}, word("Accepted")),
    old("changed", "GetConfiguration", {"key": ["ConnectionTimeOut"]}, {"configurationKey": [{"value": "90"}]}),
    old("read only", "ChangeConfiguration", {"key": "ChargeProfileMaxStackLevel", "value": "1"}, word("Rejected")),
    old("no number", "ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "-1"}, word("Rejected")),
    old("no truth", "ChangeConfiguration", {"key": "LocalPreAuthorize", "value": "yes"}, word("Rejected")),
    old("no measurand", "ChangeConfiguration", {"key": "MeterValuesSampledData", "value": "SoC"}, word("Rejected")),
    old("change none", "ChangeConfiguration", {"key": "Nobody", "value": "1"}, word("NotSupported")),
    new("get", "GetVariables", get(*INTERVAL), got("Accepted", attributeValue="60")),
    new("get by any case", "GetVariables", get("sampleddatactrlr", "TXUPDATEDINTERVAL"), got("Accepted")),
    new("get of none", "GetVariables", get("Nobody", "Knows"), got("UnknownComponent")),
    new("get none", "GetVariables", get("SampledDataCtrlr", "Knows"), got("UnknownVariable")),
    new("get its target", "GetVariables", get(*INTERVAL, "Target"), got("NotSupportedAttributeType")),
    new("set", "SetVariables", put("TxCtrlr", "EVConnectionTimeOut", "90"), done("Accepted")),
    new("set and got", "GetVariables", get("TxCtrlr", "EVConnectionTimeOut"), got("Accepted", attributeValue="90")),
    new("set what is read only", "SetVariables", put("SmartChargingCtrlr", "Entries", "5"), done("Rejected")),
    new("set no number", "SetVariables", put(*INTERVAL, "soon"), done("Rejected")),
    new("set its target", "SetVariables", put(*INTERVAL, "5", "Target"), done("NotSupportedAttributeType")),
    new("set of none", "SetVariables", put("Nobody", "Knows", "1"), done("UnknownComponent")),
    new("set none", "SetVariables", put("SampledDataCtrlr", "Knows", "1"), done("UnknownVariable")),
    # Reports, by their criteria.
    new("all", "GetBaseReport", {"requestId": 1, "reportBase": "FullInventory"}, word("Accepted"),
        then=("NotifyReport", {"requestId": 1, "seqNo": 3, "tbc": False})),
    new("what may be changed", "GetBaseReport", {"requestId": 2, "reportBase": "ConfigurationInventory"},
        word("Accepted"), then=("NotifyReport", {"requestId": 2, "seqNo": 1, "tbc": False})),
    new("a summary", "GetBaseReport", {"requestId": 3, "reportBase": "SummaryInventory"}, word("NotSupported")),
    new("one variable", "GetReport",
        {"requestId": 4, "componentVariable": [variable("AuthCtrlr", "LocalPreAuthorize")]}, word("Accepted"),
        then=("NotifyReport", {"requestId": 4, "tbc": False, "reportData": [
            {"component": {"name": "AuthCtrlr"}, "variable": {"name": "LocalPreAuthorize"},
             "variableAttribute": [{"value": "false", "mutability": "ReadWrite"}]}]})),
    new("one component", "GetReport", {"requestId": 5, "componentVariable": [{"component": {"name": "AuthCtrlr"}}]},
        word("Accepted"), then=("NotifyReport", {"requestId": 5, "reportData": [{"variable": {"name": v}} for v in (
            "AuthorizeRemoteStart", "LocalPreAuthorize", "LocalAuthorizeOffline")]})),
    new("who is in trouble", "GetReport", {"requestId": 6, "componentCriteria": ["Problem"]}, word("EmptyResultSet")),
    new("who is there", "GetReport", {"requestId": 7, "componentCriteria": ["Available"]}, word("Accepted"),
        then=("NotifyReport", {"requestId": 7, "tbc": False})),
    new("of nobody", "GetReport", {"requestId": 8, "componentVariable": [variable("Nobody", "Knows")]},
        word("EmptyResultSet")),
    # Transactions.
    old("start where one runs", "RemoteStartTransaction", {"idTag": "04AA", "connectorId": 1}, word("Rejected"),
        when=CHARGING),
    new("start where one runs", "RequestStartTransaction", {"idToken": TOKEN, "remoteStartId": 1, "evseId": 1},
        word("Rejected"), when=CHARGING),
    old("start at none", "RemoteStartTransaction", {"idTag": "04AA", "connectorId": 9}, word("Rejected")),
    new("start at none", "RequestStartTransaction", {"idToken": TOKEN, "remoteStartId": 1, "evseId": 9},
        word("Rejected")),
    old("stop none", "RemoteStopTransaction", {"transactionId": 4711}, word("Rejected"), when=CHARGING),
    new("stop none", "RequestStopTransaction", {"transactionId": "4711"}, word("Rejected"), when=CHARGING),
    new("is one on", "GetTransactionStatus", {"transactionId": "4711"},
        {"ongoingIndicator": False, "messagesInQueue": False}),
    new("is anything to be said", "GetTransactionStatus", {}, {"messagesInQueue": False}),
    old("reserve none", "ReserveNow", {"connectorId": 9, "idTag": "04AA", "reservationId": 1,
        "expiryDate": "2999-01-01T00:00:00Z"}, word("Rejected")),
    new("reserve none", "ReserveNow", {"id": 1, "idToken": TOKEN, "expiryDateTime": "2999-01-01T00:00:00Z",
        "evseId": 9}, word("Rejected")),
    old("reserve where one runs", "ReserveNow", {"connectorId": 1, "idTag": "04AA", "reservationId": 1,
        "expiryDate": "2999-01-01T00:00:00Z"}, word("Occupied"), when=CHARGING),
    new("reserve where one runs", "ReserveNow", {"id": 1, "idToken": TOKEN, "evseId": 1,
        "expiryDateTime": "2999-01-01T00:00:00Z"}, word("Occupied"), when=CHARGING),
    # Profiles that cannot be, and schedules.
    old("a transaction's and none runs", "SetChargingProfile", profile("1.6", 9, "TxProfile", 10), word("Rejected")),
    new("a transaction's and none runs", "SetChargingProfile", profile("2.0.1", 9, "TxProfile", 10), word("Rejected")),
    old("too high in the stack", "SetChargingProfile", profile("1.6", 9, "max", 10, stackLevel=9), word("Rejected")),
    new("too high in the stack", "SetChargingProfile", profile("2.0.1", 9, "max", 10, stackLevel=9), word("Rejected")),
    new("the grid's own", "SetChargingProfile", profile("2.0.1", 9, "max", 10,
        chargingProfilePurpose="ChargingStationExternalConstraints"), word("Rejected")),
    old("clear none", "ClearChargingProfile", {"id": 77}, word("Unknown")),
    new("clear none", "ClearChargingProfile", {"chargingProfileId": 77}, word("Unknown")),
    new("tell none", "GetChargingProfiles", {"requestId": 1, "chargingProfile": {}}, word("NoProfiles")),
    old("a schedule of none", "GetCompositeSchedule", {"connectorId": 9, "duration": 60}, word("Rejected")),
    new("a schedule of none", "GetCompositeSchedule", {"evseId": 9, "duration": 60}, word("Rejected")),
    old("a schedule of a year", "GetCompositeSchedule", {"connectorId": 1, "duration": 31_536_000}, word("Rejected")),
    new("a schedule of a year", "GetCompositeSchedule", {"evseId": 1, "duration": 31_536_000}, word("Rejected")),
    # Files by what we cannot speak, and firmware whose signature we could not check.
    old("a log by FTP", "GetDiagnostics", {"location": "ftp://127.0.0.1/"}, {}),
    new("a log by FTP", "GetLog", {"requestId": 1, "logType": "DiagnosticsLog",
        "log": {"remoteLocation": "ftp://127.0.0.1/"}}, word("Rejected")),
    new("a log we have not", "GetLog", {"requestId": 1, "logType": "SecurityLog", "log": {"remoteLocation": HTTP}},
        word("Rejected")),
    new("signed firmware", "UpdateFirmware", {"requestId": 1, "firmware": {"location": HTTP, "signature": "x",
        "retrieveDateTime": "2026-01-01T00:00:00Z"}}, word("Rejected")),
    # Resets.
    old("reset softly", "Reset", {"type": "Soft"}, word("Accepted")),
    old("reset hard", "Reset", {"type": "Hard"}, word("Accepted")),
    new("reset", "Reset", {"type": "Immediate"}, word("Accepted")),
    new("reset one", "Reset", {"type": "OnIdle", "evseId": 1}, word("Accepted")),
    new("reset none", "Reset", {"type": "OnIdle", "evseId": 9}, word("Rejected")),
    # What we do not have.
    new("certificates", "GetInstalledCertificateIds", {}, "NotImplemented"),
    new("displays", "GetDisplayMessages", {"requestId": 1}, "NotImplemented"),
    new("monitoring", "ClearVariableMonitoring", {"id": [1]}, "NotImplemented"),
    new("customers", "CustomerInformation", {"requestId": 1, "report": True, "clear": False}, "NotImplemented"),
    new("what a charger says", "Heartbeat", {}, "NotImplemented"),
    old("what a charger says", "Heartbeat", {}, "NotImplemented"),
]  # fmt: skip


def within(part: Any, whole: Any) -> bool:
    """Whether all that is said here is said there; lists of the same length."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(within(v, whole.get(k)) for k, v in part.items())
    if isinstance(part, list):
        same = isinstance(whole, list) and len(part) == len(whole)
        return same and all(map(within, part, whole))
    return bool(part == whole)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Above]]:
    yield from both(tmp_path_factory.mktemp)


@pytest.fixture(params=["1.6", "2.0.1"])
def above(request: pytest.FixtureRequest, networks: dict[str, Above]) -> Iterator[Above]:
    found = networks[request.param]
    yield found
    assert found.peer.violations == []


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.version}: {r.what}")
def test_answered(row: Row, networks: dict[str, Above]) -> None:
    above = networks[row.version]

    async def test() -> None:
        if row.when == CHARGING:
            await above.begin()
        else:
            await above.end_session()
        since, orders = above.mark(), len(above.board.orders)
        answer = await above.ask(row.method, **row.params)
        if isinstance(row.answer, str):
            assert answer["error"] == row.answer
        else:
            assert within(row.answer, answer), answer
        if row.then is not None:
            method, fields = row.then
            await until(
                f"{method} says so",
                lambda: any(within(fields, said) for said in above.said(method, since)),
            )
        commands = [o.get("command") for o in above.board.orders[orders:]]
        resets = row.method == "Reset" and answer["status"] == "Accepted"
        assert commands == (["reset"] if resets else [])
        assert above.peer.violations == []

    above.run(test())


def test_profiles_are_told_and_cleared_by_every_criterion(above: Above) -> None:
    old = above.old
    lower: Payload = {
        "stackLevel": 3,
        "validFrom": "2024-01-01T00:00:00Z",
        "validTo": "2999-01-01T00:00:00Z",
    }
    daily: Payload = {"chargingProfileKind": "Recurring", "recurrencyKind": "Daily"}
    installed = [
        profile(above.version, 11, "max", 30),
        profile(above.version, 12, "TxDefaultProfile", 20, **daily),
        profile(above.version, 13, "TxDefaultProfile", 16.1, **lower),
        profile(above.version, 14, "TxProfile", 4140, "W"),
    ]

    def ids() -> set[int]:
        return {p.id for p in above.point.profiles}

    async def install() -> None:
        for what in installed:
            answer = await above.ask("SetChargingProfile", **what)
            assert answer["status"] == "Accepted"
        assert ids() == {11, 12, 13, 14}

    async def told(**criteria: Any) -> list[Payload]:
        """What is reported of profiles under these criteria, in the schema's own form."""
        since = above.mark()
        request = {"requestId": since, **criteria}
        answer = await above.ask("GetChargingProfiles", **request)
        assert answer["status"] == "Accepted"
        method = "ReportChargingProfiles"
        await until("all are told", lambda: any(not r["tbc"] for r in above.said(method, since)))
        reports = above.said(method, since)
        assert {r["requestId"] for r in reports} == {since}
        return [{**p, "evseId": r["evseId"]} for r in reports for p in r["chargingProfile"]]

    async def test() -> None:
        await above.end_session()
        number = await above.begin()
        await install()
        if not old:
            every = await told(chargingProfile={})
            for sent, back in zip(installed, every, strict=True):
                want = {**sent["chargingProfile"], "evseId": sent["evseId"]}
                (schedule,) = want.pop("chargingSchedule")
                (again,) = back["chargingSchedule"]
                times = {k: v for k, v in want.items() if k.startswith("valid")}
                assert within({k: v for k, v in want.items() if k not in times}, back)
                assert all(back[k][:19] == v[:19] for k, v in times.items())
                assert again["startSchedule"][:19] == schedule["startSchedule"][:19]
                periods, start = (
                    schedule["chargingSchedulePeriod"],
                    again["chargingSchedulePeriod"],
                )
                assert within(periods, start)
            assert every[3]["transactionId"] == number
            by: tuple[tuple[Payload, set[int]], ...] = (
                ({"evseId": 0, "chargingProfile": {}}, {11}),
                ({"chargingProfile": {"chargingProfilePurpose": "TxDefaultProfile"}}, {12, 13}),
                ({"chargingProfile": {"stackLevel": 3}}, {13}),
                ({"evseId": 1, "chargingProfile": {"stackLevel": 0}}, {12, 14}),
                ({"chargingProfile": {"chargingProfileId": [11, 13]}}, {11, 13}),
            )
            for criteria, wanted in by:
                assert {p["id"] for p in await told(**criteria)} == wanted, criteria
            nobodys: tuple[Payload, ...] = (
                {"evseId": 2, "chargingProfile": {}},
                {"chargingProfile": {"chargingLimitSource": ["EMS"]}},
            )
            for criteria in nobodys:
                answer = await above.ask("GetChargingProfiles", requestId=1, **criteria)
                assert answer["status"] == "NoProfiles", criteria
        purpose, stack = "chargingProfilePurpose", "stackLevel"
        most = "ChargePointMaxProfile" if old else "ChargingStationMaxProfile"
        where = "connectorId" if old else "evseId"
        ways: tuple[tuple[Payload, set[int]], ...] = (
            ({"id" if old else "chargingProfileId": 12}, {11, 13, 14}),
            ({purpose: most}, {12, 13, 14}),
            ({stack: 3}, {11, 12, 14}),
            ({where: 1}, {11}),
            ({where: 0}, {12, 13, 14}),
            ({purpose: "TxDefaultProfile", stack: 0}, {11, 13, 14}),
            ({where: 1, purpose: "TxProfile"}, {11, 12, 13}),
            ({}, set()),
        )
        for criteria, left in ways:
            await install()
            by_number = old or "chargingProfileId" in criteria or not criteria
            what = criteria if by_number else {"chargingProfileCriteria": criteria}
            answer = await above.ask("ClearChargingProfile", **what)
            assert answer["status"] == "Accepted", criteria
            assert ids() == left, criteria
            answer = await above.ask("ClearChargingProfile", **what)
            assert answer["status"] == "Unknown", criteria

    above.run(test())


def test_a_remote_start_with_a_profile(above: Above) -> None:
    old = above.old

    def start(purpose: str) -> tuple[str, Payload]:
        raw = profile(above.version, 21, purpose, 9)
        one = raw["csChargingProfiles" if old else "chargingProfile"]
        if old:
            return "RemoteStartTransaction", {
                "idTag": "04AA",
                "connectorId": 1,
                "chargingProfile": one,
            }
        asked = {"idToken": TOKEN, "remoteStartId": 77, "evseId": 1, "chargingProfile": one}
        return "RequestStartTransaction", asked

    async def test() -> None:
        await above.end_session()
        method, params = start("TxDefaultProfile")
        assert (await above.ask(method, **params))["status"] == "Rejected"
        method, params = start("TxProfile")
        since = above.mark()
        assert (await above.ask(method, **params))["status"] == "Accepted"
        assert above.board.orders[-1]["command"] == "start"
        number = await above.begin()
        await until("its profile holds", lambda: above.board.limit == 9)
        if old:
            assert above.said("StartTransaction", since)[0]["idTag"] == "04AA"
            stop: Payload = {"transactionId": int(number)}
        else:
            first = above.said("TransactionEvent", since)[0]
            assert first["transactionInfo"]["remoteStartId"] == 77
            assert (first["triggerReason"], first["idToken"]) == ("RemoteStart", TOKEN)
            answer = await above.ask("GetTransactionStatus", transactionId=number)
            assert answer["ongoingIndicator"] is True
            stop = {"transactionId": number}
        method = "RemoteStopTransaction" if old else "RequestStopTransaction"
        assert (await above.ask(method, **stop))["status"] == "Accepted"
        assert above.board.orders[-1]["command"] == "stop"
        await above.end_session()
        assert above.point.profiles == (), "it was that transaction's alone"
        await above.begin()
        await until("nothing limits the next", lambda: above.board.limit == 28)

    above.run(test())


def test_a_remote_start_that_is_asked_about_first(above: Above) -> None:
    """`AuthorizeRemoteTxRequests`: the tag is as good as a card held to the charger, or as bad."""
    old = above.old

    async def told_to(value: str) -> None:
        if old:
            change: Payload = {"key": "AuthorizeRemoteTxRequests", "value": value}
            assert (await above.ask("ChangeConfiguration", **change))["status"] == "Accepted"
        else:
            await above.ask("SetVariables", **put("AuthCtrlr", "AuthorizeRemoteStart", value))

    async def start(tag: str) -> int:
        before, orders = above.mark(), len(above.board.orders)
        if old:
            answer = await above.ask("RemoteStartTransaction", idTag=tag, connectorId=1)
        else:
            token = {"idToken": tag, "type": "ISO14443"}
            answer = await above.ask(
                "RequestStartTransaction", idToken=token, remoteStartId=1, evseId=1
            )
        assert answer["status"] == "Accepted"
        await until("the central system is asked", lambda: above.said("Authorize", before))
        # What we have answered since shows that we have had its answer.
        await above.ask("DataTransfer", vendorId="x")
        return len(above.board.orders) - orders

    async def test() -> None:
        await above.end_session()
        await told_to("true")
        try:
            assert await start("99BAD0") == 0
            await start("04AA")
            await until("it is started", lambda: above.board.orders[-1].get("command") == "start")
        finally:
            await told_to("false")
            above.point.outlets["Charger-1"].asked.clear()

    above.run(test())


@pytest.mark.parametrize("theirs", ["1.6", "2.0.1"])
def test_another_makers_plug_is_let_go_by_its_charger(above: Above, theirs: str) -> None:
    """Passed on, whatever version either side speaks; the answer is that charger's."""

    async def test() -> None:
        outlet = Outlet("Elsewhere", 2)
        assert not await above.point.unlock(outlet), "it is not there"
        car = above.here.car("Elsewhere", theirs)
        try:
            await car.connect()
            assert await above.point.unlock(outlet)
            assert car.got[-1][0] == "UnlockConnector"
        finally:
            await car.stop()

    above.run(test())


def test_a_reset_that_waits_for_the_session(networks: dict[str, Above]) -> None:
    above = networks["2.0.1"]

    async def test() -> None:
        await above.begin()
        assert (await above.ask("Reset", type="OnIdle"))["status"] == "Scheduled"
        assert not [o for o in above.board.orders[-1:] if o.get("command") == "reset"]
        await above.end_session()
        await until("it is done", lambda: above.board.orders[-1].get("command") == "reset")

    above.run(test())


def test_a_log_is_left_by_the_tries_and_the_times_asked_for(above: Above) -> None:
    old = above.old
    method = "GetDiagnostics" if old else "GetLog"
    said = f"{'Diagnostics' if old else 'Log'}StatusNotification"
    failed = "UploadFailed" if old else "UploadFailure"

    async def leave(files: Files, retries: int, number: int, **span: str) -> list[Payload]:
        """The events in what was left, if it was; each request fails before the `files.fails`th."""
        since, files.asked = above.mark(), []
        what: Payload = {"retries": retries, "retryInterval": 0}
        if old:
            what |= {"location": files.url, **span}
        else:
            names = {"startTime": "oldestTimestamp", "stopTime": "latestTimestamp"}
            log = {"remoteLocation": files.url, **{names[k]: v for k, v in span.items()}}
            what |= {"logType": "DiagnosticsLog", "requestId": number, "log": log}
        answer = await above.ask(method, **what)
        ends = ("Uploaded", failed)

        def words() -> list[str]:
            return [str(p["status"]) for p in above.said(said, since)]

        await until("it is left or is not", lambda: words()[-1:] and words()[-1] in ends)
        assert words()[0] == "Uploading"
        if not old:
            assert {p["requestId"] for p in above.said(said, since)} == {number}
        name = answer["fileName" if old else "filename"]
        found = files.left.pop(f"/{name}", None)
        assert (found is None) == (words()[-1] == failed)
        events: list[Payload] = [] if found is None else json.loads(found)["events"]
        return events

    async def test() -> None:
        with served() as files:
            above.here.manager.note("test", "Charger-1", "something happened")
            files.fails = 2
            events = await leave(files, 2, 1)
            assert len(files.asked) == 3
            assert "something happened" in str(events)
            files.fails = 9
            await leave(files, 1, 2)
            assert len(files.asked) == 2
            files.fails = 0
            assert await leave(files, 0, 3, startTime="2999-01-01T00:00:00Z") == []
            assert await leave(files, 0, 4, stopTime="2020-01-01T00:00:00Z") == []

    above.run(test())


def verified(above: Above, value: Payload) -> Payload:
    """What a signed value says of its reading, its signature verified with the public key that came with it."""
    signed = json.loads(value["value"]) if above.old else value["signedMeterValue"]
    assert (signed["encodingMethod"], signed["signingMethod"]) == ("OCMF", "")
    marker, encoding, form, printed = base64.b64decode(signed["publicKey"]).decode().split(":")
    assert (marker, encoding, form) == ("oca", "base16", "asn1")
    key = serialization.load_der_public_key(bytes.fromhex(printed))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    head, what, proof = base64.b64decode(signed["signedMeterData"]).decode().split("|")
    assert head == "OCMF"
    signature = json.loads(proof)
    assert signature["SA"] == "ECDSA-secp256r1-SHA256"
    key.verify(bytes.fromhex(signature["SD"]), what.encode(), ec.ECDSA(hashes.SHA256()))
    changed = what.replace('"RV":', '"RV":1')
    with pytest.raises(InvalidSignature):
        key.verify(bytes.fromhex(signature["SD"]), changed.encode(), ec.ECDSA(hashes.SHA256()))
    found: Payload = json.loads(what)
    (reading,) = found["RD"]
    assert (found["GS"], reading["RU"]) == ("Charger-1", "kWh")
    return {**reading, "page": found["PG"], "context": value["context"]}


def test_signed_readings_verify(above: Above) -> None:
    """In the form of the Open Charge Alliance's paper: in readings under way, and both ends at the last."""
    old = above.old

    async def change(key: str, component: str, name: str, value: str) -> str:
        if old:
            return str((await above.ask("ChangeConfiguration", key=key, value=value))["status"])
        answer = await above.ask("SetVariables", **put(component, name, value))
        return str(answer["setVariableResult"][0]["attributeStatus"])

    sign = "SampledDataSignReadings", "SampledDataCtrlr", "SignReadings"
    updated = "SampledDataSignUpdatedReadings", "SampledDataCtrlr", "SignUpdatedReadings"
    sent = ("PublicKeyWithSignedMeterValue", "OCPPCommCtrlr", "PublicKeyWithSignedMeterValue")

    def signed(since: int) -> list[Payload]:
        calls = above.said("MeterValues", since) + above.said("StopTransaction", since)
        calls += above.said("TransactionEvent", since)
        values = [
            v
            for c in calls
            for m in [*c.get("meterValue", ()), *c.get("transactionData", ())]
            for v in m["sampledValue"]
        ]
        return [v for v in values if v.get("format") == "SignedData" or "signedMeterValue" in v]

    async def session(wanted: int) -> list[Payload]:
        await above.end_session()
        since, begun = above.mark(), above.wh
        above.point.outlets["Charger-1"].sampled_s = 0.0  # the next reading is due
        await above.begin()
        await above.end_session()
        values = signed(since)
        assert len(values) == wanted
        kwh = {"Transaction.Begin": begun, "Sample.Periodic": begun, "Transaction.End": above.wh}
        assert all(v["measurand"] == "Energy.Active.Import.Register" for v in values)
        if wanted:
            publics = [verified(above, v) for v in values]
            assert [p["RV"] for p in publics] == [kwh[p["context"]] / 1000 for p in publics]
            assert {"Transaction.Begin": "B", "Transaction.End": "E"}.items() <= {
                p["context"]: p["TX"] for p in publics
            }.items()
            assert len({p["page"] for p in publics}) == wanted
        return values

    async def test() -> None:
        assert await session(0) == []
        assert await change(*sign, "true") == "Accepted"
        try:
            await session(3)
            assert await change(*updated, "false") == "Accepted"
            values = await session(2)
            if old:
                asked = {"key": ["MeterPublicKey[1]"]}
                (key,) = (await above.ask("GetConfiguration", **asked))["configurationKey"]
                assert key["value"] == json.loads(values[0]["value"])["publicKey"]
            assert await change(*sent, "Sometimes") == "Rejected"
            assert await change(*sent, "Never") == "Accepted"
            since = above.mark()
            await above.begin()
            await above.end_session()
            keys = [
                (json.loads(v["value"]) if old else v["signedMeterValue"])["publicKey"]
                for v in signed(since)
            ]
            assert keys == ["", ""]
        finally:
            for what, value in ((sign, "false"), (updated, "true"), (sent, "EveryMeterValue")):
                await change(*what, value)

    above.run(test())


def test_a_stranger_to_the_central_system_is_stopped(above: Above) -> None:
    """A session under a card that it does not take is ended, as `StopTransactionOnInvalidId` has it."""

    async def test() -> None:
        await above.end_session()
        orders = len(above.board.orders)
        await above.begin("99a1b2c3d4")
        await until(
            "it is stopped",
            lambda: {"stop"} == {o.get("command") for o in above.board.orders[orders:]},
        )
        await above.end_session()
        await above.begin(CARD)

    above.run(test())
