"""A piece of the bench: a hundred OCPP chargers on one manager, from a meter's reading to the profile that cuts.

The chargers run in a process of their own; the time ends when a charger has the profile, so it holds
the network's and the charger's share too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row, UnavailableError, summed_up
from manager import site_file
from manager.run import Manager
from manager.store import Store
from shared import protocol

TITLE = "OCPP: from a meter's reading to SetChargingProfile"
PASSWORD = "sixteen letters!"  # noqa: S105 - of chargers that live for a minute
LIMIT_MS = 250
_SHARE_A = 12  # a charger's while the house draws nothing
_STEP_A = 2  # and a charger's less by so much when it does


def _site(chargers: int) -> str:
    text = f"[site]\nlimit_a = {chargers * _SHARE_A}\nupdate_interval_s = 0\nopen = true\nmax_chargers = 1000\n"
    text += "min_off_s = 0\n[ocpp]\nport = 0\n"
    for n in range(chargers):
        text += f"[[ocpp.charger]]\nid = 'C{n}'\ncounter = 'Counter-1'\npassword = '{PASSWORD}'\n"
    return text


def measure(small: bool) -> list[Row]:
    chargers, steps = (20, 4) if small else (100, 20)
    return [asyncio.run(_measured(chargers, steps, version)) for version in ("1.6", "2.0.1")]


async def _measured(chargers: int, steps: int, version: str) -> Row:
    try:
        from manager.ocpp.downward import Central, listening  # noqa: PLC0415 - an extra
    except ImportError as e:
        raise UnavailableError(f"the extra `ocpp` is not installed: {e}") from e
    file = site_file.parse(_site(chargers))
    assert file.ocpp.down is not None
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "ievcc.db")
        manager = Manager(
            file.site, store, file.site, broker=("127.0.0.1", 9), keys={}, open_door=True
        )
        central = Central(manager, file.ocpp.down, Path(folder))
        manager.alongside.append(central.run)
        running = asyncio.create_task(manager.run())
        meter = Meter(manager)
        try:
            url = f"ws://127.0.0.1:{await listening(central)}/ocpp"
            meter.announce()
            reading = asyncio.create_task(meter.live())
            times = await _steps(url, chargers, steps, meter, version)
            reading.cancel()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            store.close()
    words = f"{chargers} chargers, {steps} steps of the house, {len(times)} cuts; {LIMIT_MS} ms allowed"
    return summed_up(
        f"a reading until every charger of {version} has its lower profile", times, "ms", words
    )


class Meter:
    """The house's meter; `step` says when it spoke."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.house_a = 0
        self._seq = itertools.count(2)

    def announce(self) -> None:
        what = {"id": "Counter-1", "model": "", "firmware": "", "phases": 1, "role": "house"}
        message = {"code": protocol.NEW_COUNTER, "boot": 1, "seq": 1, **what}
        self.manager.heard("Counter-1", message, protocol.HELLO)

    def read(self) -> int:
        ma = self.house_a * 1000
        load = {"current_ma": [ma], "voltage_dv": [2300], "power_w": [ma * 23 // 100]}
        message = {"code": protocol.COUNTER_LOAD, "boot": 1, "seq": next(self._seq), **load}
        at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.manager.heard("Counter-1", {**message, "energy_wh": [0], "age_ms": 0})
        return at

    async def live(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(1)


async def _steps(url: str, chargers: int, steps: int, meter: Meter, version: str) -> list[float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator.ocpp_many",
        url,
        PASSWORD,
        str(chargers),
        version,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    now: dict[str, tuple[int, float]] = {}

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            at, name, limit = json.loads(line)
            now[name] = at, limit

    reading = asyncio.create_task(read())
    times: list[float] = []
    try:
        for _ in range(steps):
            meter.house_a = 0
            await _until_all(now, chargers, lambda a: a >= _SHARE_A)
            before = dict(now)
            meter.house_a = _STEP_A * chargers
            at = meter.read()
            await _until_all(now, chargers, lambda a: a <= _SHARE_A - _STEP_A)
            times += [
                (now[name][0] - at) / 1e6
                for name in before
                if now[name][0] > at and now[name][1] < before[name][1]
            ]
    finally:
        process.kill()
        await process.wait()
        reading.cancel()
    return times


async def _until_all(now: dict[str, tuple[int, float]], chargers: int, good: object) -> None:
    assert callable(good)
    deadline = time.monotonic() + 90
    while sum(1 for _, a in now.values() if good(a)) < chargers:
        if time.monotonic() > deadline:
            raise UnavailableError(f"the chargers did not get there: {sorted(now.values())[:3]}")
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
