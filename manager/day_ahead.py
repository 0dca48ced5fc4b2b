"""Day-ahead prices brought in by the running manager, each day as OMIE publishes them.

Off unless the site file says `[energy] fetch`. A day that is not out yet is asked for again; a
network that fails is said once among the events, and what is known stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from manager import beside
from manager.core.omie import AREAS, MARKET_ZONE
from manager.people import change
from manager.prices import fetch, import_omie, omie_address
from manager.refusal import Refusal
from manager.run import Manager

LOOK_S = 900.0
BACK_DAYS = 7  # after a week without a network the file is there still
_OUT = time(13, 0)  # Madrid, the day before; a little later when the market is


def wanted(now_s: int) -> list[date]:
    """The delivery days whose prices ought to be out at this time, oldest first."""
    now = datetime.fromtimestamp(now_s, UTC).astimezone(MARKET_ZONE)
    newest = now.date() + timedelta(days=1 if now.time() >= _OUT else 0)
    return [newest - timedelta(days=n) for n in range(BACK_DAYS, -1, -1)]


def _begins(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=MARKET_ZONE).timestamp())


class DayAhead:
    """For one running manager; `address` with {year}, {month} and {day} is where the files are."""

    def __init__(
        self, manager: Manager, address: str, now_s: Callable[[], int] | None = None
    ) -> None:
        self.manager = manager
        self._address = address
        self._now_s = now_s or (lambda: manager.clock.utc_ms() // 1000)
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Fetch what is missing; how many days came."""
        try:
            came = await asyncio.to_thread(self._bring)
        except Refusal as e:
            if str(e) != self._said:
                self._said = str(e)
                self.manager.note("prices", "", self._said)
            return 0
        if came:
            self._said = ""
            days = ", ".join(f"{day:%Y-%m-%d}" for day in came)
            self.manager.note("prices", "", f"day-ahead prices of {days} are here")
        return len(came)

    def _bring(self) -> list[date]:
        path = self.manager.store.path
        came = []
        for day in self._missing():
            text = fetch(omie_address(day, self._address))
            with change(path) as db:
                import_omie(db, text)
            came.append(day)
        return came

    def _missing(self) -> list[date]:
        with beside.look(self.manager.store.path) as db:
            return [
                day
                for day in wanted(self._now_s())
                if db.execute(
                    "SELECT count(*) FROM spot WHERE start_s = ?", (_begins(day),)
                ).fetchone()[0]
                < len(AREAS)
            ]
