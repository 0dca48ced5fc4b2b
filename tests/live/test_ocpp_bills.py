"""A user of the site charges at other makers' chargers: real manager and broker, strict charge points, one bill."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from manager import store
from tests.live.running import Device, Running
from tests.manager.ocpp.building import until
from tests.manager.ocpp.rpc import Peer

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

ANA, STRANGER = "04A1B2C3D4E5F6", "04AABBCCDDEEFF"
PASSWORD = "sixteen letters!"
PER_KWH = Decimal("25.5")  # steep, so that a few Wh cost something
SITE = f"""
[site]
name = "home"
limit_a = 40
open = true
update_interval_s = 0
worst_house_a = 8
timezone = "Europe/Lisbon"

[ocpp]
port = 0
sample_s = 1

[[ocpp.charger]]
id = "Left"
password = "{PASSWORD}"
counter = "Counter-1"

[[ocpp.charger]]
id = "Right"
password = "{PASSWORD}"
counter = "Counter-1"
"""


class Meter:
    """The house, 2 A, said every half second until the test is over."""

    def __init__(self, site: Running) -> None:
        self.device = Device(site, "Counter-1")
        assert "registered" in self.device.announce_counter()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._say)
        self._thread.start()

    def _say(self) -> None:
        load = {
            "current_ma": [2000],
            "voltage_dv": [2300],
            "power_w": [460],
            "energy_wh": [0],
            "age_ms": 0,
        }
        while not self._ending.wait(0.5):
            self.device.say("Counter-1/up", 0x031, **load)

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self.device.client.disconnect()
        self.device.client.loop_stop()


@pytest.fixture
def site(tmp_path: Path, mosquitto: str) -> Iterator[Running]:
    running = Running(tmp_path, SITE)
    meter = Meter(running)
    yield running
    meter.end()
    running.stop()


def ievcc(site: Running, *words: str) -> str:
    """What a command of ours answers."""
    command = [sys.executable, "-m", "manager", *words, "--config", str(site.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def listed(site: Running, what: str) -> list[dict[str, Any]]:
    """The same as a program reads it."""
    found: list[dict[str, Any]] = json.loads(ievcc(site, what, "list", "--json"))
    return found


def offered(site: Running, name: str) -> int:
    return int((site.charger(name) or {}).get("limit_a", 0))


def price(wh: int) -> Decimal:
    """Before tax, exact to our 1/10000."""
    return (Decimal(wh) / 1000 * PER_KWH).quantize(Decimal("0.0001"))


def with_tax(net: Decimal) -> Decimal:
    """What stands on a bill: net and tax in whole cents each."""
    cent = Decimal("0.01")
    return net.quantize(cent) + (net * Decimal("0.23")).quantize(cent)


async def charged(site: Running, url: str, name: str, version: str) -> int:
    """A stranger is refused, Ana charges a little at her limit; the Wh by the charger's own meter."""
    facts = {
        "url": url,
        "id": name,
        "password": PASSWORD,
        "version": version,
        "unit": "A",
        "phases": 1,
    }
    async with Peer("charger", {**facts, "follow_ms": 200}) as peer:
        await until("it is accepted", lambda: peer.of("booted"), 60)
        refused = await peer.ask(begin=STRANGER, wants=32)
        assert refused != "Accepted"
        await peer.ask(end=True)
        assert await peer.ask(begin=ANA, wants=32) == "Accepted"
        await until("she gets what her rights give", lambda: peer.of("draws", amps=10), 60)
        # On a busy computer the meter may be late for a moment, and she gets less.
        await until("it is said", lambda: offered(site, name) == 10, 30)
        assert "user's rights" in site.charger(name)["reason"]["words"]
        await until("some energy is taken", lambda: energy(peer) >= 2, 60)
        await peer.ask(end=True)
        assert peer.violations == []
        assert max(e["amps"] for e in peer.of("draws")) <= 10
        if version == "2.0.1":
            nobodys, hers = (e["cost"] for e in peer.of("cost"))
            wh = peer.of("ends")[-1]["wh"] - peer.of("begins")[-1]["wh"]
            assert (nobodys, Decimal(str(hers))) == (None, with_tax(price(wh)))
        return int(peer.of("ends")[-1]["wh"] - peer.of("begins")[-1]["wh"])


def energy(peer: Peer) -> float:
    """Wh of the running transaction, about: what it draws, a twentieth of a second at a time."""
    amps = sum(float(e["amps"]) for e in peer.of("draws") if e["transaction"])
    return amps * 230 * 0.5 / 3600


def test_a_user_is_billed_for_what_another_makers_charger_gave(site: Running) -> None:
    ievcc(site, "users", "add", "ana", "--name", "Ana", "--max-a", "10")
    ievcc(site, "cards", "add", "ana", ANA)
    prices = site.folder / "prices.json"
    steep = {"name": "steep", "vat_percent": "23", "rates": [{"per_kwh": str(PER_KWH)}]}
    prices.write_text(json.dumps({"tariffs": [steep]}))
    ievcc(site, "tariffs", "add", str(prices))
    port = site.state()["ocpp"]["port"]

    async def test() -> dict[str, int]:
        url = f"ws://127.0.0.1:{port}/ocpp"
        both = (charged(site, url, "Left", "1.6"), charged(site, url, "Right", "2.0.1"))
        left, right = await asyncio.gather(*both)
        return {"Left": left, "Right": right}

    meters = asyncio.run(test())
    sessions = [s for s in listed(site, "sessions") if s["user"] == "ana"]
    assert {s["charger"]: s["energy_wh"] for s in sessions} == meters
    assert all(s["allowed_by"] == "card" and s["end_s"] for s in sessions)
    month = time.strftime("%Y-%m")
    ievcc(site, "bills", "make", month, "--early")
    (bill,) = listed(site, "bills")
    net = sum((price(wh) for wh in meters.values()), Decimal(0))
    assert bill["user"] == "ana"
    assert Decimal(str(bill["total"])) == with_tax(net)
    ievcc(site, "bills", "check")  # status 1 if anything does not add up
    # What the sessions say is what the readings kept say.
    for name, wh in meters.items():
        (kept,) = store.read(
            site.folder / "ievcc.db",
            "SELECT max(energy_wh) - min(energy_wh) FROM reading WHERE device = ?",
            (name,),
        )
        assert abs(kept[0] - wh) <= 3
