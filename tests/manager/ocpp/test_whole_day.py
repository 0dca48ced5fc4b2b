"""Twenty-four hours of OCPP both ways, forty times fast, with peers that are not ours and break no schema.

One building a version: two strict chargers of another make (one takes amperes, one watts) at our central system, and a
charger of ours that is a charge point of a strict central system. Cars come and go, the house steps, the network lowers
and takes it back, and every connection is lost several times. In the middle the central
system is killed and started anew, and then the manager is, each with whatever runs. Everything is the real one but the
clock.

A fast clock makes every hiccup of this computer a long one of the building: a message that takes 50 ms is 2 s late. So
this says nothing about reaction times (bench/ocpp.py does), but meets more late answers than a day has.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from manager.broker import free_port
from manager.ocpp.upward import Upward
from shared import protocol
from tests.manager.ocpp.building import PASSWORD, Building, Scenario, building, side_by_side, until
from tests.manager.ocpp.hurried import HurriedClock, run_hurried
from tests.manager.ocpp.rpc import Peer
from tests.manager.ocpp.test_strict_central import (
    NAME,
    SECRET,
    Board,
    charge_point,
    peered,
    profile,
)

SPEED = 40.0
BEGINS_MS = 1_774_656_000_000  # 2026-03-28 00:00 UTC
PATIENCE_S = 20_000.0  # a peer that has just lost its connection answers when it has it again
HOUSE_MOST_A = 20
# A cut is on its way for a moment, and its car has 5 s and the charger one; the rest is this computer's.
OVER_MOST_S = 60.0
SITE = f"""
[site]
name = "home"
open = true
limit_a = 32
phases = 3
worst_house_a = 24

[ocpp]
port = {{port}}
profile_s = 120
sample_s = 10

[[ocpp.charger]]
id = "Left"
counter = "Counter-1"
password = "{PASSWORD}"
phases = 3

[[ocpp.charger]]
id = "Right"
counter = "Counter-1"
password = "{PASSWORD}"
phases = 3
"""


class Day:
    """One building and what happens in it; `told` is what the core heard of sessions."""

    def __init__(
        self, here: Building, central: Peer, cars: dict[str, Peer], version: str, pace: float
    ) -> None:
        """`pace`: below 1 for a short one, in which as much is to happen."""
        self.pace = pace
        self.here, self.central, self.cars, self.version = here, central, cars, version
        self.random = random.Random(version)
        self.ended: list[tuple[str, int]] = []
        self.did: Counter[str] = Counter()
        self.over_s = self.longest_over_s = 0.0
        self.up = asyncio.Event()
        self.listen(here)
        self.up.set()

    def listen(self, here: Building) -> None:
        """The manager is there, or there again: from its first message on."""
        self.here = here
        here.manager.listeners.append(self._heard)

    def _heard(self, device: str, message: Mapping[str, Any]) -> None:
        if message["code"] == protocol.SESSION_END:
            self.ended.append((device, message["energy_wh"]))

    def between(self, least_s: float, most_s: float) -> float:
        return self.random.uniform(least_s, most_s) * self.pace

    async def house(self) -> None:
        while True:
            await self.up.wait()
            self.here.house_a = self.random.randint(1, HOUSE_MOST_A)
            self.did["house steps"] += 1
            await asyncio.sleep(self.between(60, 900))

    async def third_party(self, name: str) -> None:
        """Cars come to another's charger, change their minds, and go."""
        peer = self.cars[name]
        while True:
            await asyncio.sleep(self.between(120, 3000))
            word = await peer.ask(
                3000,
                begin=f"04{self.random.getrandbits(32):08X}",
                wants=self.random.randint(6, 32),
            )
            assert word == "Accepted", word
            self.did["sessions elsewhere"] += 1
            for _ in range(self.random.randint(1, 4)):
                await asyncio.sleep(self.between(120, 1800))
                await peer.ask(PATIENCE_S, wants=self.random.choice((0, 8, 16, 32)))
            await peer.ask(PATIENCE_S, end=True)

    async def ours(self, board: Board) -> None:
        """Cars come to our charger; what it draws is what it was given."""
        wh, session = 10_000, 0
        while True:
            await asyncio.sleep(self.between(120, 3000))
            session, began = session + 1, wh
            await self.up.wait()
            board.begin(session, wh)
            self.did["sessions of ours"] += 1
            for _ in range(round(self.between(10, 200))):
                await asyncio.sleep(20)
                amps = min(16, board.limit)
                wh += round(amps * 230 * 20 / 3600)
                await self.up.wait()
                board.load(wh, amps)
                board.status("C2" if amps else "B1")
            board.load(wh, 0)
            board.end(session, wh - began)

    async def lost_connections(self) -> None:
        while True:
            await asyncio.sleep(self.between(1200, 5400))
            await self.up.wait()
            who = self.random.choice(["central", *self.cars])
            self.did["connections lost"] += 1
            if who == "central":
                await self.central.ask(PATIENCE_S, drop=NAME)
            else:
                await self.cars[who].ask(PATIENCE_S, drop=True)

    async def network(self) -> None:
        """The central system lowers, looks, and takes it back."""
        old = self.version == "1.6"
        for number in range(1, 10**6):
            await asyncio.sleep(self.between(300, 2400))
            ask = partial(self.central.ask, PATIENCE_S, to=NAME)
            purpose = self.random.choice(("max", "TxDefaultProfile"))
            unit = self.random.choice("AW")
            limit = self.random.randint(0, 20) * (230 if unit == "W" else 1)
            what = profile(self.version, number, purpose, limit, unit)
            where: dict[str, Any] = {"connectorId" if old else "evseId": 1}
            for method, params in (
                ("SetChargingProfile", what),
                ("GetCompositeSchedule", {**where, "duration": 3600, "chargingRateUnit": unit}),
                ("TriggerMessage", {"requestedMessage": "StatusNotification"}),
                ("ClearChargingProfile", {}),
            ):
                await self.up.wait()
                answer = await ask(method=method, params=params)
                # A connection that is lost meanwhile is the day's own doing.
                known = answer.get("status", answer.get("words"))
                assert known is not None, (method, answer)
                self.did[f"{method}: {answer.get('status', 'no connection')}"] += 1
                await asyncio.sleep(self.between(20, 200))

    async def watched(self, board: Board) -> None:
        """How long all together draw more than the building may."""
        while True:
            await asyncio.sleep(1)
            drawn = [float(p.of("draws")[-1]["amps"]) for p in self.cars.values()]
            ours = min(16, board.limit) if board.state == "C2" else 0
            if sum(drawn) + ours + self.here.house_a > 32.05:
                self.over_s += 1
                self.longest_over_s = max(self.longest_over_s, self.over_s)
            else:
                self.over_s = 0

    async def central_anew(self, port: int) -> None:
        """The central system is killed, and started anew where it was."""
        number = 100 + len(self.central.calls("StartTransaction"))
        again = {"port": port, "transaction": number}
        await self.central.restart({NAME: SECRET}, None, again)
        await until("it listens again", lambda: len(self.central.of("listening")) == 2, 200)
        # What was asked of the one before is answered by nobody.
        await until("it is found again", lambda: self.central.events[-1]["event"] == "call", 400)

    def summary(self) -> dict[str, Any]:
        """What happened, for whoever runs the long one."""
        said = Counter(
            f"{e['id']} {e['method']}" for e in self.central.events if e["event"] == "call"
        )
        return {
            "version": self.version,
            "happened": dict(self.did),
            "to the central system": dict(said),
            "readings elsewhere": {n: len(p.of("draws")) for n, p in self.cars.items()},
            "profiles elsewhere": {n: len(p.of("profile")) for n, p in self.cars.items()},
            "connected anew elsewhere": {n: len(p.of("booted")) - 1 for n, p in self.cars.items()},
            "sessions ended": len(self.ended),
            "longest above the limit, s": self.longest_over_s,
        }

    def adds_up(self) -> None:
        """Every session is there once, with the energy that the charger's own meter shows."""
        for name, peer in self.cars.items():
            begun = [e["wh"] for e in peer.of("begins")]
            ended = [e["wh"] for e in peer.of("ends")]
            meters = [after - before for before, after in zip(begun, ended, strict=True)]
            assert [wh for device, wh in self.ended if device == name] == meters
        ours = [wh for device, wh in self.ended if device == "Charger-1"]
        told = {e["message"]: e for e in self.central.events if e["event"] == "call"}.values()
        if self.version == "1.6":
            begun = [e["params"]["meterStart"] for e in told if e["method"] == "StartTransaction"]
            ended = [e["params"]["meterStop"] for e in told if e["method"] == "StopTransaction"]
            assert [after - before for before, after in zip(begun, ended, strict=False)] == ours
            assert len(ended) == len(ours)
            return
        numbers: dict[str, list[int]] = {}
        kinds: Counter[str] = Counter()
        for e in told:
            if e["method"] == "TransactionEvent":
                p = e["params"]
                kinds[p["eventType"]] += 1
                numbers.setdefault(p["transactionInfo"]["transactionId"], []).append(p["seqNo"])
        assert kinds["Ended"] == len(ours)
        assert len(numbers) == kinds["Started"]
        assert all(n == list(range(len(n))) for n in numbers.values())


def broken(peer: Peer) -> list[dict[str, Any]]:
    """What is no OCPP. An answer that comes when nobody waits for it any more, as on a clock so fast, is only late."""
    late = "bad message [3,"
    return [v for v in peer.violations if not v["words"].startswith(late)]


def delivered(upward: Upward) -> bool:
    return not upward.points[NAME].queue


def whole_day(folder: Path, version: str, hours: float, pace: float = 1.0) -> None:
    async def test() -> None:
        clock = HurriedClock(SPEED, BEGINS_MS)
        facts = {"password": PASSWORD, "version": version, "phases": 3, "follow_ms": 4000}
        every = {"step_ms": 1000, "sample_ms": 10_000}

        def car(name: str, unit: str, url: str) -> Peer:
            what = {**facts, **every, "url": url, "id": name, "unit": unit}
            return Peer("charger", what, hurry=clock.for_peers())

        port = free_port()
        text = SITE.format(port=port)
        url = f"ws://127.0.0.1:{port}/ocpp"
        async with (
            Peer("central", {NAME: SECRET}, hurry=clock.for_peers()) as central,
            car("Left", "A", url) as left,
            car("Right", "W", url) as right,
        ):
            above = await peered(central)
            cars = {"Left": left, "Right": right}
            day, happenings = None, []
            for half in range(2):
                async with building(folder, text, clock=clock) as here:
                    here.read_s = 1.0
                    if day is None:
                        board = Board(here, "Charger-1")
                    else:
                        board.moved(here)
                        day.listen(here)
                    upward = charge_point(board, above, version, folder)
                    for peer in cars.values():
                        there = partial(lambda p, n: len(p.of("booted")) > n, peer, half)
                        await until("it is there", there, 120)
                        await until("its meter too", partial(peer.of, "draws"), 60)
                    if day is None:
                        day = Day(here, central, cars, version, pace)
                        happenings = [
                            asyncio.ensure_future(work)
                            for work in (
                                day.house(),
                                day.third_party("Left"),
                                day.third_party("Right"),
                                day.ours(board),
                                day.lost_connections(),
                                day.network(),
                                day.watched(board),
                            )
                        ]
                    else:
                        day.up.set()
                    done, _ = await asyncio.wait(
                        happenings, timeout=hours * 1800, return_when=asyncio.FIRST_COMPLETED
                    )
                    for one in done:
                        one.result()
                    day.up.clear()
                    if half == 0:
                        await day.central_anew(above)
                        here.manager.store.flush()
                        continue
                    for one in happenings:
                        one.cancel()
                    for peer in cars.values():
                        await peer.ask(PATIENCE_S, end=True)
                    await asyncio.sleep(60)
                    await until("all is delivered", partial(delivered, upward), 120)
                    told = day.summary()
                    print(json.dumps(told, indent=1))  # `pytest -s` shows it
                    for peer in (central, left, right):
                        assert broken(peer) == []
                    assert day.longest_over_s <= OVER_MOST_S, told
                    day.adds_up()

    run_hurried(test, SPEED)


SLICE: dict[str, Scenario] = {
    version: partial(whole_day, version=version, hours=0.2, pace=0.08)
    for version in ("1.6", "2.0.1")
}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[None]]:
    return side_by_side(SLICE, tmp_path_factory.mktemp("slice"))


@pytest.mark.parametrize("version", SLICE)
def test_the_day_in_twelve_minutes(version: str, slices: dict[str, Future[None]]) -> None:
    slices[version].result(170)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("version", SLICE)
def test_a_day(version: str, tmp_path: Path) -> None:
    """More than half an hour each."""
    whole_day(tmp_path, version, hours=24)
