"""A manager with its central system in this process; the test is the meter and the cars."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from manager import site_file
from manager.core.rights import Card, User
from manager.core.site import Charger as Shared
from manager.ocpp.downward import Central, listening
from manager.people import People, change, mark_of, put_card, put_user
from manager.reception import Reception
from manager.run import Clock, Manager
from manager.service import kept_site
from manager.sessions import Sessions
from manager.store import Store
from shared import protocol
from simulator.ocpp_charger import Charger, Habits

PASSWORD = "sixteen letters!"


class LateError(AssertionError):
    """What had to happen did not happen in time."""


async def until(what: str, ask: Callable[[], Any], within_s: float = 30) -> Any:
    """The first true answer, or LateError."""
    deadline = time.monotonic() + within_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LateError(f"not within {within_s:g} s: {what}; last: {answer!r}")
        await asyncio.sleep(0.02)


def site_text(
    *chargers: str, site: str = "limit_a = 30\nupdate_interval_s = 0\n", more: str = ""
) -> str:
    """A site file with these [[ocpp.charger]] tables, the name first: 'Left\nphases = 3'."""
    text = f"[site]\nname = 'home'\nopen = true\nmin_off_s = 0\nttl_s = 6\nrenew_s = 2\nworst_house_a = 24\n{site}\n"
    text += f"[ocpp]\nport = 0\nprofile_s = 10\nsample_s = 1\n{more}\n"
    for one in chargers:
        name, _, rest = one.partition("\n")
        text += f"[[ocpp.charger]]\nid = '{name}'\ncounter = 'Counter-1'\npassword = '{PASSWORD}'\n{rest}\n"
    return text


class Building:
    """One manager, running. `house_a` is what the meter says from now on."""

    def __init__(self, manager: Manager, central: Central) -> None:
        self.manager = manager
        self.central = central
        self.house_a = 2.0
        self.read_s = 0.25  # between two readings of the meter
        self.cars: list[Charger] = []
        self.url = ""
        self.phases = 1
        self._seq = itertools.count(2)
        self._tasks: list[asyncio.Task[Any]] = []

    def beside(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def end(self) -> None:
        for car in self.cars:
            await car.stop()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def announce_meter(self, role: str = "house") -> None:
        hello = {
            "id": "Counter-1",
            "model": "",
            "firmware": "",
            "phases": self.phases,
            "role": role,
        }
        message = {"code": protocol.NEW_COUNTER, "boot": 1, "seq": 1, **hello}
        self.manager.heard("Counter-1", message, protocol.HELLO)

    def read_meter(self) -> None:
        ma = round(self.house_a * 1000)
        n = self.phases
        load = {"current_ma": [ma] * n, "voltage_dv": [2300] * n, "power_w": [ma * 23 // 100] * n}
        message = {"code": protocol.COUNTER_LOAD, "boot": 1, "seq": next(self._seq), **load}
        self.manager.heard("Counter-1", {**message, "energy_wh": [0] * n, "age_ms": 0})

    async def _meter(self) -> None:
        while True:
            self.read_meter()
            await asyncio.sleep(self.read_s)

    def charger(self, name: str) -> Shared:
        return self.manager.site.chargers[name]

    def car(
        self, name: str, version: str = "1.6", habits: Habits | None = None, **more: Any
    ) -> Charger:
        car = Charger(self.url, name, PASSWORD, version, habits=habits, **more)
        self.cars.append(car)
        self.beside(car.live())
        return car

    async def charging(self, car: Charger, wants_a: float = 32, tag: str = "04A1B2C3") -> None:
        """Connect, and begin a transaction."""
        await car.connect()
        word = await car.begin(tag, wants_a)
        assert word == "Accepted"

    def kinds(self) -> set[str]:
        return {e["kind"] for e in self.manager.events}


@contextlib.asynccontextmanager
async def building(
    folder: Path,
    text: str,
    *,
    role: str = "house",
    meter: bool = True,
    clock: Clock | None = None,
    cards: Mapping[str, str] | None = None,
) -> AsyncGenerator[Building]:
    """A building by this site file, its store in `folder`. `cards`: those of its users."""
    clock = clock or Clock()
    file = site_file.parse(text)
    assert file.ocpp.down is not None
    store = Store(folder / "ievcc.db")
    manager = Manager(
        kept_site(store, file.site, clock.now_ms()),
        store,
        file.site,
        broker=("127.0.0.1", 9),
        keys={},
        open_door=True,
        clock=clock,
    )
    if cards is not None:
        with change(store.path) as db:
            for user, number in cards.items():
                put_user(db, User(user, user.title()))
                put_card(db, Card(mark_of(store.path, number), user))
        people = People(store.path)
        Reception(manager, people, Sessions(store.path, people, clock.zone))
    central = Central(manager, file.ocpp.down, folder)
    manager.alongside.append(central.run)
    here = Building(manager, central)
    here.phases = file.site.feeders["main"].phases
    here.beside(manager.run())
    try:
        await until("the store runs", store._thread.is_alive)
        port = await listening(central)
        scheme = "wss" if file.ocpp.down.security_profile > 1 else "ws"
        here.url = f"{scheme}://localhost:{port}/ocpp"
        if meter:
            here.announce_meter(role)
            here.beside(here._meter())
        yield here
    finally:
        await here.end()
        store.close()


Scenario = Callable[[Path], None]


def side_by_side(scenarios: Mapping[str, Scenario], folder: Path) -> dict[str, Future[None]]:
    """Each in a thread of its own: they wait for cars more than they compute, so all wait at once."""
    pool = ThreadPoolExecutor(len(scenarios))
    started = {}
    for name, scenario in scenarios.items():
        (folder / name).mkdir()
        started[name] = pool.submit(scenario, folder / name)
    pool.shutdown(wait=False)
    return started


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run an async test, two and a half minutes at most."""

    async def bounded() -> None:
        await asyncio.wait_for(test(), 150)

    asyncio.run(bounded())
