"""`kill -9` of a manager that is a charge point: what waits for the central system is delivered in order and once, and
firmware it was sent for is fetched and told of. Real manager, real broker, strict central system."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared import protocol
from tests.live.running import Device, Running
from tests.live.test_sessions_survive import KEY, Charger
from tests.manager.ocpp.building import Scenario, side_by_side, until
from tests.manager.ocpp.files import Files, served
from tests.manager.ocpp.rpc import Peer

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
POINT = "IEVCC-home-Charger-1"
SITE = f"""
[site]
name = "home"
limit_a = 30
update_interval_s = 0
[[device]]
id = "Counter-1"
key = "{KEY.hex()}"
[[device]]
id = "Charger-1"
key = "{KEY.hex()}"
[ocpp.up]
url = "ws://127.0.0.1:{{port}}/ocpp"
version = "{{version}}"
name = "IEVCC-home"
password = "of the network"
"""
METHODS = ("StartTransaction", "StopTransaction", "TransactionEvent")


class Killed:
    """The manager, the charger that goes on and on, and the central system that comes and goes."""

    def __init__(self, peer: Peer, running: Running, version: str) -> None:
        self.peer, self.running, self.version = peer, running, version
        self.charger = Charger(running)

    @property
    def old(self) -> bool:
        return self.version == "1.6"

    async def queued(self) -> int:
        """So much waits for the central system, by what the manager shows."""
        (point,) = (await asyncio.to_thread(self.running.state))["ocpp_up"]
        return int(point["queued"])

    async def kill(self) -> None:
        self.running.manager.kill()
        await asyncio.to_thread(self.running.start_manager)

    def _more_than(self, most: int) -> bool:
        return len(self.charger.told) > most

    async def waits(self, least: int) -> None:
        deadline = time.monotonic() + 60
        while await self.queued() < least:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)

    async def killed_with_sessions_waiting(self, kills: int) -> None:
        """Away, or there and without an answer; and again."""
        ending = threading.Event()
        driving = threading.Thread(target=self.charger.sessions, args=(ending, kills))
        driving.start()
        try:
            for n in range(kills):
                how = "silent" if n % 2 else "away"
                await self.peer.ask(**{how: True})
                most = len(self.charger.told) + 2
                await until("sessions go on", partial(self._more_than, most), 60)
                await self.waits(4)
                await self.kill()
                await self.peer.ask(**{how: False})
        finally:
            ending.set()
            await asyncio.to_thread(driving.join, 60)
        deadline = time.monotonic() + 90
        while await self.queued():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    def each_once_and_in_order(self, kills: int) -> None:
        calls = [e for e in self.peer.events if e["event"] == "call" and e["method"] in METHODS]
        first: dict[str, dict[str, Any]] = {}
        for one in calls:
            first.setdefault(one["message"], one)
        # Told again by the same number is only what a lost answer, or the moment of a kill, left in doubt.
        again = Counter(e["message"] for e in calls)
        assert sum(n - 1 for n in again.values()) <= 2 * kills
        begun, told = 1000, []
        for number in sorted(self.charger.told):
            taken = self.charger.told[number]
            told.append((begun, begun + taken))
            begun += taken
        if self.old:
            seen = [
                (e["method"], e["params"].get("meterStart", e["params"].get("meterStop")))
                for e in first.values()
            ]
            wanted = [(m, wh) for pair in told for m, wh in zip(METHODS[:2], pair, strict=True)]
            assert seen == wanted
            number = 0
            for one in calls:  # a stop is of the number that its start was answered with last
                if one["method"] == "StartTransaction":
                    number = one["answer"]["transactionId"]
                elif one is first[one["message"]]:
                    assert one["params"]["transactionId"] == number
            return
        events = [e["params"] for e in first.values()]
        seen_wh = [
            (e["eventType"], e["meterValue"][0]["sampledValue"][0]["value"])
            for e in events
            if e["eventType"] != "Updated"
        ]
        assert seen_wh == [
            (kind, wh)
            for pair in told
            for kind, wh in zip(("Started", "Ended"), pair, strict=True)
        ]
        numbers: dict[str, list[int]] = {}
        for e in events:
            numbers.setdefault(e["transactionInfo"]["transactionId"], []).append(e["seqNo"])
        assert len(numbers) == len(told)
        assert all(n == list(range(len(n))) for n in numbers.values())

    async def firmware_on_a_date_with_retries(self, files: Files, *, again: bool) -> None:
        """Not before its date, as often as asked, over a restart; and installed when the board says so, once: `again`:
        over another restart, too.
        """
        said = "FirmwareStatusNotification"

        def words() -> list[str]:
            return [p["status"] for p in self.peer.calls(said)]

        files.here["/9.9.bundle"] = b"IEVCC1\nsomething"
        files.fails = 2
        at = datetime.fromtimestamp(time.time() + 4, UTC)
        where, when = f"{files.url}/9.9.bundle", at.isoformat()
        what: dict[str, Any] = {"retries": 3, "retryInterval": 1}
        if self.old:
            what |= {"location": where, "retrieveDate": when}
        else:
            firmware = {"location": where, "retrieveDateTime": when}
            what |= {"requestId": 7, "firmware": firmware}
        await self.peer.ask(to=POINT, method="UpdateFirmware", params=what)
        await self.kill()  # what was answered is on disk
        await until("it is offered", lambda: "Installing" in words(), 60)
        assert [a >= at.timestamp() for a in files.asked] == [True] * 3
        assert words() == [
            *([] if self.old else ["DownloadScheduled"]),
            *["Downloading"] * 3,
            "Downloaded",
            "Installing",
        ]
        offer = await asyncio.to_thread(self.charger.hear, protocol.UPDATE_OFFER, 30)
        if again:
            await self.kill()
        done = {"update": offer["update"], "state": "done", "offset": offer["size"]}
        for _ in range(2):
            await asyncio.to_thread(
                partial(self.charger.say, "Charger-1/up", protocol.UPDATE_STATUS, **done)
            )
        await until("that is told", lambda: words()[-1] == "Installed")
        # What it is told after that shows that it is not told twice.
        ask = partial(self.peer.ask, to=POINT, method="TriggerMessage")
        await ask(params={"requestedMessage": said})
        await until("it is idle", lambda: words()[-1] == "Idle")
        assert words().count("Installed") == 1
        if not self.old:
            assert {p.get("requestId") for p in self.peer.calls(said)[:-1]} == {7}


def killed(folder: Path, version: str, kills: int) -> None:
    async def test(peer: Peer, running: Running, files: Files) -> None:
        meter = await asyncio.to_thread(Device, running, "Counter-1", key=KEY)
        assert "registered" in await asyncio.to_thread(meter.announce_counter)
        system = await asyncio.to_thread(Killed, peer, running, version)
        try:
            await until("it is a charge point", lambda: peer.calls("StatusNotification"), 60)
            await system.killed_with_sessions_waiting(kills)
            system.each_once_and_in_order(kills)
            await system.firmware_on_a_date_with_retries(
                files, again=kills > 2 or version == "1.6"
            )
            assert peer.violations == []
        finally:
            system.charger.close()
            meter.close()

    async def whole() -> None:
        async with Peer("central", {POINT: "of the network"}) as peer:
            await until("it listens", lambda: peer.of("listening"))
            text = SITE.format(port=peer.of("listening")[0]["port"], version=version)
            running = await asyncio.to_thread(Running, folder, text)
            try:
                with served() as files:
                    await test(peer, running, files)
            finally:
                running.stop()

    asyncio.run(whole())


SLICE: dict[str, Scenario] = {v: partial(killed, version=v, kills=2) for v in ("1.6", "2.0.1")}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> dict[str, Future[None]]:
    del mosquitto  # it is there
    return side_by_side(SLICE, tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("version", SLICE)
def test_killed_twice(version: str, slices: dict[str, Future[None]]) -> None:
    slices[version].result(280)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", SLICE)
def test_killed_a_hundred_times(tmp_path: Path, mosquitto: str, version: str) -> None:
    del mosquitto
    killed(tmp_path, version, 100)
