"""A central system that sends what is no OCPP, too much or too large: nothing changes here, and it is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.manager.ocpp.above import Above, both
from tests.manager.ocpp.building import run, until
from tests.manager.ocpp.test_door import BAD, COUNT, KIND, VALUE
from tests.manager.ocpp.test_strict_central import NAME, network


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Above]]:
    yield from both(tmp_path_factory.mktemp)


@pytest.fixture(params=["1.6", "2.0.1"])
def above(request: pytest.FixtureRequest, networks: dict[str, Above]) -> Iterator[Above]:
    found = networks[request.param]
    yield found
    # What it could not read of ours, it had itself asked for without meaning it.
    assert [v for v in found.peer.violations if "method" in v] == []


def as_it_is(above: Above) -> Any:
    """All a central system could have changed here."""
    point = above.point
    session = point.outlets["Charger-1"].running
    assert session is not None
    what = (point.profiles, point.variables, point.cards, point.reservations, session.session)
    return json.dumps([repr(what), above.here.manager.ceilings, len(above.board.orders)])


def test_nothing_changes(above: Above) -> None:
    where = "connectorId" if above.old else "evseId"
    answered = [
        ("NoSuchThing", {}, "NotImplemented"),
        ("Heartbeat", {}, "NotImplemented"),
        ("../../etc/passwd", {}, "NotImplemented"),
        ("SetChargingProfile", {where: 1}, COUNT[above.version]),
        ("ReserveNow", {}, COUNT[above.version]),
        ("GetCompositeSchedule", {where: [1], "duration": 60}, KIND),
        ("GetCompositeSchedule", {where: 1, "duration": 60, "chargingRateUnit": "hp"}, VALUE),
        ("Reset", {"type": "Gentle"}, VALUE),
    ]

    async def pour(text: str, times: int = 1) -> None:
        await above.peer.ask(60, pour=NAME, text=text, times=times)

    def connections() -> int:
        return len(above.peer.of("connected"))

    async def led() -> None:
        """It is here again, and all the while its car was led."""
        await until("it is accepted", lambda: above.point.accepted)
        above.here.house_a = 18.0
        await until("it gives way", lambda: above.board.limit == 12)
        above.here.house_a = 2.0
        await until("it goes on", lambda: above.board.limit == 28)

    async def test() -> None:
        refused = above.point.refused
        await above.begin()
        await until("it charges", lambda: above.board.limit == 28)
        before = as_it_is(above)
        for n, frame in enumerate(
            (f for f in BAD if isinstance(f, str)), sum(refused.values()) + 1
        ):
            await pour(frame)
            counted = partial(lambda n: sum(refused.values()) >= n, n)
            await until(f"{frame[:40]!r} is counted", counted)
        for action, payload, code in answered:
            had = refused[code]
            await pour(json.dumps([2, "1", action, payload]))
            more = partial(lambda code, had: refused[code] == had + 1, code, had)
            await until(f"{action} is {code}", more)
        assert connections() == 1
        assert as_it_is(above) == before
        # Without end; too many, though each is good; too large.
        for text, times, why in (
            ("rubbish", 200, ""),
            (json.dumps([2, "1", "GetLocalListVersion", {}]), 3000, "flood"),
            (
                json.dumps([2, "1", "DataTransfer", {"vendorId": "x", "data": "x" * 70_000}]),
                1,
                "size",
            ),
        ):
            had, seen = refused[why], connections()
            await pour(text, times)
            await until("it has enough", lambda seen=seen: connections() > seen)  # type: ignore[misc]
            assert not why or refused[why] > had
            await led()
            assert as_it_is(above) == before
        await above.end_session()
        # And it is asked again as before.
        word = await above.ask("ClearCache")
        assert word == {"status": "Accepted"}

    above.run(test())


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_a_server_that_speaks_another_version_or_none(tmp_path: Path, version: str) -> None:
    async def test() -> None:
        async def nothing(socket: ServerConnection) -> None:
            heard.extend([m async for m in socket])

        heard: list[Any] = []
        async with serve(
            nothing, "127.0.0.1", 0
        ) as server:  # takes the connection, agrees to no version
            port = next(iter(server.sockets)).getsockname()[1]
            async with network(tmp_path, port, version) as (_, board, upward):
                await until("a point is made", lambda: NAME in upward.points)
                point = upward.points[NAME]
                await until("it is counted", lambda: point.refused["connection"])
                assert version in upward.trouble
                board.begin(1)
                await until("that waits", lambda: point.queue)
                assert heard == []

    run(test)
