"""Whether a building's copy has changed, asked for all managers that wait in this process at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

LOOK_S = 0.5


class Versions:
    """`ask` answers with the versions of the copies of these sites; it blocks, in a thread."""

    def __init__(self, ask: Callable[[Sequence[str]], dict[str, int]]) -> None:
        self._ask = ask
        self._waiting: Counter[str] = Counter()
        self._round: asyncio.Task[dict[str, int]] | None = None

    async def look(self, site: str) -> int:
        """Its version half a second from now; 0 for a site that is closed. Whoever waits
        meanwhile gets the same answer.
        """
        self._waiting[site] += 1
        try:
            while True:
                if self._round is None:
                    self._round = asyncio.create_task(self._look())
                found = await asyncio.shield(self._round)
                if site in found:  # it may have come after the question had gone out
                    return found[site]
        finally:
            self._waiting[site] -= 1

    async def _look(self) -> dict[str, int]:
        try:
            await asyncio.sleep(LOOK_S)
            names = [name for name, count in self._waiting.items() if count > 0]
            self._waiting = +self._waiting
            return dict.fromkeys(names, 0) | await asyncio.to_thread(self._ask, names)
        finally:
            self._round = None
