"""Who is let in, and what comes in that is no OCPP: nothing changes, and it is counted."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from manager.ocpp.settings import Up
from manager.ocpp.upward import Upward
from simulator.ocpp_charger import Charger
from tests.manager.ocpp.building import PASSWORD, Building, building, run, site_text, until


def basic(name: str, password: str) -> dict[str, str]:
    word = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


async def opened(
    here: Building, name: str = "Left", version: str = "1.6", **more: Any
) -> ClientConnection:
    options: dict[str, Any] = {
        "subprotocols": [f"ocpp{version}"],
        "additional_headers": basic(name, PASSWORD),
        "compression": None,
        "close_timeout": 1,
    } | more
    return await connect(f"{here.url}/{name}", **options)


async def answer_in(socket: ClientConnection) -> Any:
    """The next answer; what is asked meanwhile is let be."""
    while True:
        frame = json.loads(await socket.recv())
        if frame[0] != 2:
            return frame


async def pour(socket: ClientConnection, text: str, times: int) -> None:
    """Send this so many times, and listen until the other side has enough."""
    for _ in range(times):
        await socket.send(text)
    while True:
        await socket.recv()


BAD: tuple[str | bytes, ...] = (
    "",
    "x",
    "{}",
    "[]",
    "[2]",
    '[2,"1"]',
    '[2,"1","Heartbeat"]',
    '[2,1,"Heartbeat",{}]',
    '[2,"","Heartbeat",{}]',
    '["2","1","Heartbeat",{}]',
    '[2,"1",{},{}]',
    '[2,"1","Heartbeat",[]]',
    '[2,"' + "x" * 37 + '","Heartbeat",{}]',
    "[" * 5000,
    b"\xff\xfe\x00",
    "[3,null,{}]",
    "[9,1,2,3]",
    '[2,"1","StartTransaction",{"meterStart":1e400}]',
    '[2,"1","StartTransaction",{"meterStart":NaN}]',
    '[2,"1","StartTransaction",{"meterStart":' + "9" * 40 + "}]",
)
KIND, VALUE = "TypeConstraintViolation", "PropertyConstraintViolation"
# How often something may be there: the two versions spell it differently.
COUNT = {"1.6": "OccurenceConstraintViolation", "2.0.1": "OccurrenceConstraintViolation"}
STATUS = {
    "1.6": {"connectorId": 1, "errorCode": "NoError", "status": "Available"},
    "2.0.1": {"timestamp": "now", "connectorStatus": "Available", "evseId": 1, "connectorId": 1},
}
START = {
    "1.6": {"connectorId": 1, "idTag": "x", "meterStart": 1, "timestamp": "now"},
    "2.0.1": {"eventType": "Started", "timestamp": "now", "triggerReason": "Authorized", "seqNo": 0,
              "transactionInfo": {"transactionId": "x"}},
}  # fmt: skip
# What is answered to: by nothing, or by the code of an error.
ANSWERED: dict[str, list[tuple[str, dict[str, Any], str | None]]] = {
    "1.6": [
        ("Heartbeat", {"x": [1]}, None),  # a vendor's key: taken
        ("NoSuchThing", {}, "NotImplemented"),
        ("../../etc/passwd", {}, "NotImplemented"),
        ("SetChargingProfile", {}, COUNT["1.6"]),
        ("BootNotification", {}, COUNT["1.6"]),
        ("StatusNotification", STATUS["1.6"] | {"connectorId": "one"}, KIND),
        ("StatusNotification", STATUS["1.6"] | {"status": "Flying"}, VALUE),
        ("StartTransaction", START["1.6"] | {"meterStart": "much"}, KIND),
        ("StartTransaction", START["1.6"] | {"connectorId": 77}, VALUE),
        ("UnlockConnector", {"connectorId": 1}, "NotImplemented"),  # ours to ask
    ],
    "2.0.1": [
        ("Heartbeat", {"x": [1]}, None),
        ("NoSuchThing", {}, "NotImplemented"),
        ("../../etc/passwd", {}, "NotImplemented"),
        ("SetChargingProfile", {}, COUNT["2.0.1"]),
        ("BootNotification", {}, COUNT["2.0.1"]),
        ("StatusNotification", STATUS["2.0.1"] | {"evseId": "one"}, KIND),
        ("StatusNotification", STATUS["2.0.1"] | {"connectorStatus": "Flying"}, VALUE),
        ("TransactionEvent", START["2.0.1"] | {"seqNo": "much"}, KIND),
        (
            "TransactionEvent",
            START["2.0.1"] | {"evse": {"id": 77}},
            None,
        ),  # or it would be told for ever
        ("UnlockConnector", {"evseId": 1, "connectorId": 1}, "NotImplemented"),
    ],
}


VERSIONS = pytest.mark.parametrize("version", ["1.6", "2.0.1"])


def test_wrong_credentials_names_and_versions(tmp_path: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            for headers, status in (
                (basic("Left", "another password"), 401),
                (basic("Right", PASSWORD), 401),
                (basic("Left", ""), 401),
                ({}, 401),
                ({"Authorization": "Basic ###"}, 401),
                ({"Authorization": f"Bearer {PASSWORD}"}, 401),
            ):
                with pytest.raises(InvalidStatus) as e:
                    await opened(here, additional_headers=headers)
                assert e.value.response.status_code == status
            assert here.central.refused["credentials"] == 6
            with pytest.raises(InvalidStatus) as e:
                await opened(here, "Nobody")
            assert e.value.response.status_code == 404
            assert here.central.refused["unknown"] == 1
            for offered in (["ocpp1.5"], ["mqtt", "ocpp2.1"], None):
                with pytest.raises(InvalidHandshake):
                    await opened(here, subprotocols=offered)
            assert here.central.refused["subprotocol"] == 3
            assert here.manager.site.chargers == {}
            # The charger's own order decides between versions both know.
            async with await opened(here, subprotocols=["ocpp2.0.1", "ocpp1.6"]) as socket:
                assert socket.subprotocol == "ocpp2.0.1"

    run(test)


@VERSIONS
def test_frames_that_are_none_change_nothing_and_are_counted(tmp_path: Path, version: str) -> None:
    async def test() -> None:
        # Two: of a charger with one connector it does not matter what it calls it.
        async with building(tmp_path, site_text("Left\nconnectors = 2")) as here:
            car = here.car("Left", version)
            await car.connect()
            await until("it is here", lambda: "Left" in here.manager.site.chargers)
            await car.disconnect()
            station = here.central.stations["Left"]
            async with await opened(here, version=version) as socket:
                for n, frame in enumerate(BAD, 1):
                    await socket.send(frame)
                    assert (await answer_in(socket))[0] == 4
                    assert sum(station.refused.values()) == n
                for n, (action, payload, code) in enumerate(ANSWERED[version]):
                    await socket.send(json.dumps([2, str(n), action, payload]))
                    answer = await answer_in(socket)
                    assert answer[1] == str(n)
                    assert (answer[2] if answer[0] == 4 else None) == code, action
            assert here.charger("Left").state == "A1"
            assert station.connectors[1].transaction is None
            # Rubbish without end is no charger.
            async with await opened(here, version=version) as socket:
                with pytest.raises(ConnectionClosed):
                    await pour(socket, "rubbish", 200)
            # And it is let in again.
            await car.connect()
            await until("it is here", lambda: station.talk is not None)

    run(test)


@VERSIONS
def test_random_frames_change_nothing(tmp_path: Path, version: str) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            good = here.car("Right", version)
            await here.charging(good)
            await until("it draws", lambda: good.drawn_a > 20)
            dice = random.Random(7)
            words = [
                "BootNotification",
                "StatusNotification",
                "MeterValues",
                "StartTransaction",
                "TransactionEvent",
                "x",
                "",
            ]
            values: list[Any] = [
                None,
                1,
                -1,
                1e300,
                "",
                "x" * 3000,
                [],
                {},
                [{}],
                {"a": {"b": [1]}},
                True,
                "NaN",
            ]
            keys = [
                "connectorId",
                "idTag",
                "meterStart",
                "timestamp",
                "meterValue",
                "status",
                "errorCode",
                "transactionId",
                "evseId",
                "eventType",
                "seqNo",
                "transactionInfo",
                "zz",
            ]
            sent = 0
            for _ in range(6):
                async with await opened(here, version=version) as socket:
                    for _ in range(30):
                        payload = {
                            dice.choice(keys): dice.choice(values)
                            for _ in range(dice.randrange(6))
                        }
                        frame: Any = [
                            dice.choice([2, 2, 2, 3, 4, 7]),
                            dice.choice(["1", 1, None]),
                            dice.choice(words),
                            payload,
                        ]
                        text = json.dumps(frame[: dice.randrange(1, 6)])
                        if dice.random() < 0.3:
                            cut = dice.randrange(len(text))
                            text = text[:cut] + chr(dice.randrange(32, 1000)) + text[cut + 1 :]
                        try:
                            await socket.send(text)
                            sent += 1
                        except ConnectionClosed:
                            break
            assert sent > 100
            station = here.central.stations["Left"]
            await until("they were counted", lambda: sum(station.refused.values()) > 20)
            assert station.connectors[1].transaction is None
            assert good.drawn_a > 20, "the one beside it has noticed nothing"
            assert here.charger("Right").mode == "managed"

    run(test)


@VERSIONS
def test_oversized_messages_and_floods_end_the_connection(tmp_path: Path, version: str) -> None:
    async def test() -> None:
        async with building(tmp_path, site_text("Left", "Right")) as here:
            good = here.car("Right", version)
            await here.charging(good)
            async with await opened(here, version=version) as socket:
                await socket.send(json.dumps([2, "1", "DataTransfer", {"data": "x" * 70_000}]))
                with pytest.raises(ConnectionClosed) as e:
                    await pour(socket, "", 0)
                assert e.value.rcvd is not None
                assert e.value.rcvd.code == 1009
            station = here.central.stations["Left"]
            await until("it is counted", lambda: station.refused["size"])
            async with await opened(here, version=version) as socket:
                with pytest.raises(ConnectionClosed):
                    await pour(socket, '[2,"1","Heartbeat",{}]', 2000)
            await until("it is counted", lambda: station.refused["flood"])
            # Many that never say who they are are let go, and the good one goes on.
            raw = [
                await asyncio.open_connection("localhost", here.central.port) for _ in range(100)
            ]
            here.house_a = 12.0
            await until("the good one is led all the while", lambda: 0 < good.drawn_a <= 18)
            for _, writer in raw:
                writer.close()
            assert here.charger("Right").mode == "managed"

    run(test)


def trusting(folder: Path, client: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if client:
        context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return context


def secured(folder: Path, profile: int) -> str:
    more = f"security_profile = {profile}\nca = '{folder}/ca.pem'\n"
    more += f"certificate = '{folder}/central.pem'\nkey = '{folder}/central.key'"
    return site_text("Left", "Right", more=more)


@VERSIONS
def test_security_profile_2(tmp_path: Path, version: str, certificates: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, secured(certificates, 2)) as here:
            car = here.car("Left", version, tls=trusting(certificates))
            await here.charging(car)
            await until("it draws", lambda: car.drawn_a > 20)
            wrong = Charger(here.url, "Right", "not the password", tls=trusting(certificates))
            with pytest.raises(InvalidStatus):
                await wrong.connect()
            with pytest.raises((OSError, InvalidHandshake, EOFError)):
                await Charger(here.url.replace("wss", "ws"), "Right", PASSWORD).connect()
            with pytest.raises(ssl.SSLCertVerificationError):
                await Charger(
                    here.url, "Right", PASSWORD, tls=ssl.create_default_context()
                ).connect()

    run(test)


@VERSIONS
def test_security_profile_3_both_ways(tmp_path: Path, version: str, certificates: Path) -> None:
    async def test() -> None:
        async with building(tmp_path, secured(certificates, 3)) as here:
            car = here.car("Left", version, tls=trusting(certificates, "Left"))
            car.password = ""
            await here.charging(car)
            await until("it draws", lambda: car.drawn_a > 20)
            with pytest.raises(InvalidStatus):  # a good certificate, of another charger
                await Charger(here.url, "Right", tls=trusting(certificates, "Left")).connect()
            for client in ("", "forged"):
                with pytest.raises((OSError, InvalidHandshake, ConnectionClosed, EOFError)):
                    await Charger(here.url, "Left", tls=trusting(certificates, client)).connect()
            # Our own points, with a certificate, at the same door: it knows them or it does not.
            up = Up(here.url, "Right", version, ca=certificates / "ca.pem", certificate=certificates / "Right.pem",
                    key=certificates / "Right.key", each=False, chargers=("Left",))  # fmt: skip
            upward = Upward(here.manager, up, tmp_path)
            here.beside(upward.run())
            await until("it is let in", lambda: here.central.stations["Right"].talk is not None)
            await until("and accepted", lambda: upward.points["Right"].accepted)

    run(test)
