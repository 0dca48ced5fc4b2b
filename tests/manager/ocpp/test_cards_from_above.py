"""Who may charge at a charger of ours, by what a strict central system says: its local list while it is away, and its
reservations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared import protocol
from tests.manager.ocpp.above import Above, both
from tests.manager.ocpp.building import Scenario, run, side_by_side, until
from tests.manager.ocpp.rpc import Peer
from tests.manager.ocpp.test_strict_central import (
    CARD,
    NAME,
    SECRET,
    Board,
    network,
    peered,
    statuses,
)

Payload = dict[str, Any]
GOOD, BLOCKED, EXPIRED, REMOVED, LATER = "04C0FFEE", "04B10CED", "040DDA7E", "04DEC1DE", "04ABCDEF"
RESERVED, OTHER, FAMILY = "04AA11BB", "04CC22DD", "04FA0011"
FAR, PAST = "2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Above]]:
    yield from both(tmp_path_factory.mktemp)


@pytest.fixture(params=["1.6", "2.0.1"])
def above(request: pytest.FixtureRequest, networks: dict[str, Above]) -> Iterator[Above]:
    found = networks[request.param]
    yield found
    assert found.peer.violations == []


async def verdict(board: Board, card: str) -> str:
    """What a card held to the charger is answered."""
    before = len(board.orders)
    board.say(protocol.CARD_READ, card=card.lower())

    def answers() -> list[Payload]:
        return [o for o in board.orders[before:] if o.get("card") == card.lower()]

    return str((await until(f"{card} is judged", answers))[0]["verdict"])


# The local list.


def entry(old: bool, tag: str, status: str | None = "Accepted", until_: str = "") -> Payload:
    """A row of a list; `status` None takes it off."""
    if old:
        info: Payload = {"status": status} | ({"expiryDate": until_} if until_ else {})
        return {"idTag": tag} | ({"idTagInfo": info} if status else {})
    info = {"status": status} | ({"cacheExpiryDateTime": until_} if until_ else {})
    return {"idToken": {"idToken": tag, "type": "ISO14443"}} | (
        {"idTokenInfo": info} if status else {}
    )


async def send(above: Above, version: int, kind: str, *rows: Payload) -> str:
    number = {"listVersion" if above.old else "versionNumber": version}
    more: Payload = {"localAuthorizationList": list(rows)} if rows else {}
    answer = await above.ask("SendLocalList", **number, updateType=kind, **more)
    return str(answer["status"])


async def listed(above: Above) -> int:
    answer = await above.ask("GetLocalListVersion")
    return int(answer["listVersion" if above.old else "versionNumber"])


async def change(above: Above, name: str, value: str) -> None:
    if above.old:
        answer = await above.ask("ChangeConfiguration", key=name, value=value)
        assert answer["status"] == "Accepted"
        return
    component, variable = {
        "LocalAuthListEnabled": ("LocalAuthListCtrlr", "Enabled"),
        "LocalAuthorizeOffline": ("AuthCtrlr", "LocalAuthorizeOffline"),
        "LocalPreAuthorize": ("AuthCtrlr", "LocalPreAuthorize"),
    }[name]
    one = {"component": {"name": component}, "variable": {"name": variable}}
    answer = await above.ask("SetVariables", setVariableData=[{**one, "attributeValue": value}])
    assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted"


async def fill(above: Above) -> None:
    rows = (
        entry(above.old, GOOD, until_=FAR),
        entry(above.old, BLOCKED, "Blocked"),
        entry(above.old, EXPIRED, until_=PAST),
        entry(above.old, REMOVED),
    )
    assert await send(above, 5, "Full", *rows) == "Accepted"
    more = entry(above.old, LATER), entry(above.old, REMOVED, None)
    assert await send(above, 6, "Differential", *more) == "Accepted"


def test_a_list_and_its_versions(above: Above) -> None:
    old = above.old

    async def test() -> None:
        await fill(above)
        assert await listed(above) == 6
        assert set(above.point.cards) == {GOOD, BLOCKED, EXPIRED, LATER}
        for version in (5, 6):
            word = await send(above, version, "Differential", entry(old, OTHER))
            assert word == "VersionMismatch"
        assert await send(above, 7, "Full", entry(old, OTHER, None)) == "Failed"
        many = [entry(old, f"04{n:06X}") for n in range(201)]
        assert await send(above, 7, "Differential", *many) == "Failed"
        assert await listed(above) == 6, "what failed has changed nothing"
        for start in range(0, 1000, 200):
            part = [entry(old, f"04{n:06X}") for n in range(start, start + 200)]
            version = 10 + start
            kind = "Differential" if start else "Full"
            assert await send(above, version, kind, *part) == "Accepted"
        assert await send(above, 2000, "Differential", entry(old, OTHER)) == "Failed", "it is full"
        assert (await listed(above), len(above.point.cards)) == (810, 1000)
        assert await send(above, 2001, "Full") == "Accepted"
        assert await listed(above) == 0, "the standard's number for an empty list"
        await change(above, "LocalAuthListEnabled", "false")
        word = await send(above, 2002, "Full", entry(old, GOOD))
        assert (word, await listed(above)) == (("NotSupported", -1) if old else ("Failed", 0))
        await change(above, "LocalAuthListEnabled", "true")

    above.run(test())


def test_while_the_central_system_is_away_its_list_decides(above: Above) -> None:
    old = above.old
    words = {GOOD: "accepted", LATER: "accepted", BLOCKED: "unknown", EXPIRED: "unknown"}
    words |= {REMOVED: "unknown", OTHER: "unknown"}

    async def away(how: bool) -> None:
        await above.peer.ask(away=how)
        await until("so it is", lambda: above.point.accepted is not how)

    async def test() -> None:
        await above.end_session()
        await fill(above)
        # While it is there it is asked, whatever the list says; unless that is not wanted.
        since = above.mark()
        assert await verdict(above.board, OTHER) == "accepted"
        assert await verdict(above.board, GOOD) == "accepted"
        assert len(above.said("Authorize", since)) == 2
        await change(above, "LocalPreAuthorize", "true")
        assert await verdict(above.board, GOOD) == "accepted"
        assert len(above.said("Authorize", since)) == 2
        await change(above, "LocalPreAuthorize", "false")
        await away(True)
        assert {c: await verdict(above.board, c) for c in words} == words
        # A session that begins and ends meanwhile is told when it is there again.
        above.session += 1
        above.board.begin(above.session, above.wh, GOOD.lower())
        await until("it is given current", lambda: above.board.limit == 28)
        above.wh += 500
        above.board.end(above.session, 500)
        since = above.mark()
        await away(False)
        await until("it is told", lambda: not above.point.queue)
        if old:
            (begun,), (ended,) = (
                above.said("StartTransaction", since),
                above.said("StopTransaction", since),
            )
            assert (begun["idTag"], ended["meterStop"]) == (GOOD, above.wh)
        else:
            events = above.said("TransactionEvent", since)
            assert events[0]["idToken"]["idToken"] == GOOD
            assert {e["offline"] for e in events} == {True}
            assert [e["seqNo"] for e in events] == list(range(len(events)))
        # A list that is not to be gone by.
        await change(above, "LocalAuthorizeOffline", "false")
        await away(True)
        assert await verdict(above.board, GOOD) == "unknown"
        await away(False)
        await change(above, "LocalAuthorizeOffline", "true")

    above.run(test())


# Reservations.


def reservation(
    old: bool, number: int, tag: str, until_: str = FAR, group: str = ""
) -> tuple[str, Payload]:
    if old:
        what: Payload = {"connectorId": 1, "idTag": tag, "reservationId": number}
        more = {"parentIdTag": group} if group else {}
        return "ReserveNow", {**what, "expiryDate": until_, **more}
    what = {"evseId": 1, "id": number, "idToken": {"idToken": tag, "type": "ISO14443"}}
    whose: Payload = {"groupIdToken": {"idToken": group, "type": "Central"}} if group else {}
    return "ReserveNow", {**what, "expiryDateTime": until_, **whose}


async def reserve(above: Above, number: int, tag: str = RESERVED, **more: str) -> str:
    method, params = reservation(above.old, number, tag, **more)
    return str((await above.ask(method, **params))["status"])


def updates(above: Above, since: int) -> list[tuple[int, str]]:
    """Reservations that 2.0.1 was told to be over; 1.6 has no words for that."""
    said = above.said("ReservationStatusUpdate", since)
    return [(p["reservationId"], p["reservationUpdateStatus"]) for p in said]


def test_reserved_for_one_card(above: Above) -> None:
    async def test() -> None:
        await above.end_session()
        await above.status("Available")
        assert await reserve(above, 31, until_=PAST) == "Rejected"
        assert await reserve(above, 31, OTHER) == "Accepted"
        await above.status("Reserved")
        assert await reserve(above, 32) == "Occupied"
        assert await reserve(above, 31) == "Accepted", "the same number: it goes for the other"
        # Another card is refused, another's start from afar too, and a car without a card gets nothing.
        assert await verdict(above.board, OTHER) == "unknown"
        start: Payload = (
            {"idTag": OTHER} if above.old else {"idToken": {"idToken": OTHER, "type": "ISO14443"}}
        )
        start |= {"connectorId": 1} if above.old else {"remoteStartId": 1, "evseId": 1}
        method = "RemoteStartTransaction" if above.old else "RequestStartTransaction"
        assert (await above.ask(method, **start))["status"] == "Rejected"
        leases = above.board.lease
        await above.begin(card="")
        await until("leases come", lambda: above.board.lease > leases + 1)
        assert above.board.limit == 0
        assert above.here.manager.ceilings[f"ocpp {NAME}"] == {"Charger-1": 0}
        await above.end_session()
        await above.status("Reserved")
        # The card it is for.
        assert await verdict(above.board, RESERVED) == "accepted"
        since = above.mark()
        await above.begin(RESERVED.lower())
        await until("it is given current", lambda: above.board.limit == 28)
        told = above.said("StartTransaction" if above.old else "TransactionEvent", since)[0]
        assert told["reservationId"] == 31
        assert above.point.reservations == {}
        await above.end_session()
        await above.status("Available")
        assert await verdict(above.board, OTHER) == "accepted"

    above.run(test())


def test_reserved_for_a_group(above: Above) -> None:
    async def test() -> None:
        await above.end_session()
        assert await reserve(above, 41, group="FAMILY") == "Accepted"
        assert await verdict(above.board, OTHER) == "unknown"
        assert await verdict(above.board, FAMILY) == "accepted"
        await above.begin(FAMILY.lower())
        await until("it is given current", lambda: above.board.limit == 28)
        assert above.point.reservations == {}

    above.run(test())


def test_a_reservation_ends(above: Above) -> None:
    def in_s(seconds: float) -> str:
        return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()

    async def test() -> None:
        await above.end_session()
        await above.status("Available")
        since = above.mark()
        # By itself.
        assert await reserve(above, 51, until_=in_s(2)) == "Accepted"
        await above.status("Reserved")
        await above.status("Available")
        assert await verdict(above.board, OTHER) == "accepted"
        # Taken back.
        assert await reserve(above, 52) == "Accepted"
        assert (await above.ask("CancelReservation", reservationId=99))["status"] == "Rejected"
        assert (await above.ask("CancelReservation", reservationId=52))["status"] == "Accepted"
        assert await verdict(above.board, OTHER) == "accepted"
        # The connector is taken out of service.
        assert await reserve(above, 53) == "Accepted"
        out: Payload = {"connectorId": 1, "type": "Inoperative"}
        back: Payload = {"connectorId": 1, "type": "Operative"}
        if not above.old:
            out, back = ({"operationalStatus": w} for w in ("Inoperative", "Operative"))
        assert (await above.ask("ChangeAvailability", **out))["status"] == "Accepted"
        assert await reserve(above, 54) == "Unavailable"
        assert (await above.ask("ChangeAvailability", **back))["status"] == "Accepted"
        await above.status("Available")
        assert (await above.ask("CancelReservation", reservationId=53))["status"] == "Rejected"
        await until("all is told", lambda: not above.point.queue)
        over = [(51, "Expired"), (53, "Removed")]
        assert updates(above, since) == ([] if above.old else over)

    above.run(test())


def reservations_outlive_a_restart_and_bind_the_sites_own_cards(
    tmp_path: Path, version: str
) -> None:
    """Ana is the site's own, and judged by the site alone; what is reserved for another is not hers all the same."""
    old = version == "1.6"

    async def test() -> None:
        async with Peer("central", {NAME: SECRET}) as peer:
            port = await peered(peer)

            async def ask(method: str, **params: Any) -> str:
                answer = await peer.ask(to=NAME, method=method, params=params)
                return str(answer["status"])

            async with network(tmp_path, port, version, cards={"ana": OTHER}) as (here, board, _):
                await until("it is available", lambda: "Available" in statuses(peer, version))
                assert await verdict(board, OTHER) == "accepted"
                assert await verdict(board, CARD) == "unknown", (
                    "of the site's table: the first word"
                )
                method, params = reservation(old, 61, RESERVED)
                assert await ask(method, **params) == "Accepted"
                assert await verdict(board, OTHER) == "busy"
                here.manager.store.flush()
            before = len(peer.events)
            async with network(tmp_path, port, version, boot=2, cards={}) as (here, board, upward):
                point = upward.points[NAME]
                await until("it is reserved", lambda: statuses(peer, version)[-1:] == ["Reserved"])
                assert await verdict(board, OTHER) == "busy"
                # Her session all the same, as where the charger decides alone: it takes nothing from the other.
                board.begin(1, 1000, OTHER.lower())
                lease = board.lease
                await until("leases come", lambda: board.lease > lease + 1)
                assert board.limit == 0
                assert set(point.reservations) == {61}
                board.end(1, 0)
                assert await ask("CancelReservation", reservationId=61) == "Accepted"
                assert await verdict(board, OTHER) == "accepted"
                soon = datetime.fromtimestamp(time.time() + 2, UTC).isoformat()
                await until("it is free", lambda: statuses(peer, version)[-1:] == ["Available"])
                method, params = reservation(old, 62, RESERVED, soon)
                assert await ask(method, **params) == "Accepted"
                here.manager.store.flush()
            await until("it is over", lambda: datetime.now(UTC).isoformat() > soon)
            async with network(tmp_path, port, version, boot=3, cards={}) as (here, board, upward):
                point = upward.points[NAME]
                await until("it is free", lambda: not point.reservations)
                assert await verdict(board, OTHER) == "accepted"
                await until("all is told", lambda: point.accepted and not point.queue)
            late = [
                e["params"]
                for e in peer.events[before:]
                if e.get("method") == "ReservationStatusUpdate"
            ]
            assert [p["reservationUpdateStatus"] for p in late] == ([] if old else ["Expired"])
            assert peer.violations == []

    run(test)


RESTARTED: dict[str, Scenario] = {
    version: partial(reservations_outlive_a_restart_and_bind_the_sites_own_cards, version=version)
    for version in ("1.6", "2.0.1")
}


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(RESTARTED, tmp_path_factory.mktemp("restarted"))


@pytest.mark.parametrize("version", RESTARTED)
def test_reservations_outlive_a_restart(version: str, restarted: dict[str, Future[None]]) -> None:
    restarted[version].result(170)
