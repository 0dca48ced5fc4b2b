"""Somebody sets this computer's clock, far and either way: it is told, and no offer goes by it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from manager.run import Clock
from tests.manager.ocpp.building import building, run, site_text, until
from tests.manager.ocpp.test_strict_central import Board

DAY_MS = 86_400_000


class SetClock(Clock):
    """One that somebody sets: `ahead_ms` of the true one."""

    ahead_ms = 0

    def utc_ms(self) -> int:
        return super().utc_ms() + self.ahead_ms


def test_offers_go_on_and_cuts_come_as_soon(tmp_path: Path) -> None:
    async def test() -> None:
        clock = SetClock()
        async with building(tmp_path, site_text("Elsewhere"), clock=clock) as here:
            board = Board(here, "Charger-1")
            board.announce()
            here.beside(board.live())
            board.begin(1)
            await until("it has what the site gives", lambda: board.limit == 28)
            for ahead_ms, way in (
                (DAY_MS, "forward"),
                (-2 * DAY_MS, "back"),
                (3650 * DAY_MS, "forward"),
            ):
                told = len([e for e in here.manager.events if e["kind"] == "clock"])
                clock.ahead_ms = ahead_ms
                lowest, number = board.limit, board.lease
                for _ in range(60):  # two renewals and more
                    await asyncio.sleep(0.1)
                    lowest = min(lowest, board.limit)
                assert lowest == 28, "it lost what it had"
                assert board.lease >= number + 2, "its lease is not renewed any more"
                events = [e["words"] for e in here.manager.events if e["kind"] == "clock"]
                assert len(events) == told + 1
                assert f"set {way} by" in events[-1]
                here.house_a = 18.0
                await until("it is cut at once", lambda: board.limit == 12, 2)
                here.house_a = 2.0
                await until("and gets it again", lambda: board.limit == 28)

    run(test)
