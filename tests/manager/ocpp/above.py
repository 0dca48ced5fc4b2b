"""A strict central system with a manager of ours below it, kept running in a thread of its own for many tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from manager.ocpp.point import Point
from manager.ocpp.upward import Upward
from tests.manager.ocpp.building import Building, until
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


class Above:
    """What a test needs of both sides. Its coroutines are run by `run`, beside the manager."""

    here: Building
    board: Board
    upward: Upward
    peer: Peer

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        self.session = 0
        self.wh = 1000
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._live(),))

    @property
    def old(self) -> bool:
        return self.version == "1.6"

    @property
    def point(self) -> Point:
        return self.upward.points[NAME]

    async def _live(self) -> None:
        try:
            async with Peer("central", {NAME: SECRET}) as self.peer:
                port = await peered(self.peer)
                up = network(self._folder, port, self.version)
                async with up as (self.here, self.board, self.upward):
                    await self.status("Available")
                    self._ready.set()
                    await self._stop.wait()
        finally:
            self._ready.set()

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> None:
        assert self._ready.wait(60)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The outcome of a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(150)

    # What tests do.

    async def ask(self, method: str, **params: Any) -> Any:
        """What our charge point answers."""
        return await self.peer.ask(to=NAME, method=method, params=params)

    async def status(self, word: str) -> None:
        """Wait until that is what the central system was told last."""
        if not self.old and word not in ("Available", "Reserved", "Unavailable", "Faulted"):
            word = "Occupied"
        await until(f"it is {word}", lambda: statuses(self.peer, self.version)[-1:] == [word])

    def said(self, method: str, since: int = 0) -> list[Payload]:
        """What was called with this method after so many events."""
        late = self.peer.events[since:]
        return [e["params"] for e in late if e["event"] == "call" and e["method"] == method]

    def mark(self) -> int:
        """How many events there are."""
        return len(self.peer.events)

    async def begin(self, card: str = CARD) -> str:
        """A session with this card, if none runs; the central system's number of it."""
        if self.point.outlets["Charger-1"].running is None:
            self.session += 1
            since = self.mark()
            self.board.begin(self.session, self.wh, card)
            self.board.load(self.wh)
            method = "StartTransaction" if self.old else "TransactionEvent"
            await until("its beginning is told", lambda: self.said(method, since))
        running = self.point.outlets["Charger-1"].running
        assert running is not None
        await until("it has a number", lambda: running.number)
        return running.number

    async def end_session(self) -> None:
        """No session any more, and nothing to be told."""
        if self.point.outlets["Charger-1"].running is not None:
            self.wh += 500
            self.board.end(self.session, 500)
        await until("all is told", lambda: not self.point.queue)
        if self.board.state != "A1":
            self.board.status("A1")


def both(folder: Callable[[str], Path]) -> Iterator[dict[str, Above]]:
    """Either version, started at once."""
    found = {v: Above(folder(v), v) for v in ("1.6", "2.0.1")}
    with contextlib.ExitStack() as stack:
        for above in found.values():
            above.start()
            stack.callback(above.end)
        for above in found.values():
            above.ready()
        yield found
