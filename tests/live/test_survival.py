"""What the running system survives: garbage, a broker, a board, a manager or a meter that goes, and a
second board under a name that is taken. One building for all of it, in an order that each test
leaves as it found it: two cars that share, neither of them ever without its lease for long.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker
from tests.live.garage import Garage
from tests.live.running import until

pytestmark = [pytest.mark.board, pytest.mark.broker, pytest.mark.timeout(240)]

# Short leases, so that a board that is gone is safely forgotten within the test's patience.
SETTINGS = """
policy = "equal"
update_interval_s = 0
ttl_s = 6
renew_s = 2
worst_house_a = 22
"""
BOTH = (12, 12)


@pytest.fixture(scope="module")
def garage(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, micropython: str
) -> Iterator[Garage]:
    building = Garage(tmp_path_factory.mktemp("garage"), SETTINGS, "house", chargers=2)
    building.house_a = 5
    for name in building.cables:
        building.plug(name, "C")
    yield building
    building.stop()


@pytest.fixture(autouse=True)
def as_before(garage: Garage) -> Iterator[None]:
    garage.settle(BOTH, 30)
    yield
    garage.settle(BOTH, 40)
    assert garage.manager.status() is None


def resets(garage: Garage) -> list[dict[str, int]]:
    return [cable.seen["resets"] for cable in garage.cables.values()]


def test_garbage_on_every_topic(garage: Garage) -> None:
    heard: list[tuple[str, bytes]] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, "vandal")
    client.on_message = lambda _c, _u, m: heard.append((m.topic, bytes(m.payload)))
    client.connect("127.0.0.1", garage.broker.port)
    client.loop_start()
    client.subscribe(garage.root + "+/up", 1)
    until("real messages to spoil", lambda: len(heard) > 20)
    client.unsubscribe(garage.root + "+/up")
    real = heard[:20]
    chance = random.Random(8)
    before = garage.state()
    junk = [
        b"",
        b"\x00" * 64,
        b"\xff\xfe\x80",
        b"{}",
        b"[1,2,3]",
        b'{"v":1,"code":"0x031"}',
        b'{"v":1,"code":"0x999","boot":1,"seq":99999}',
        b'{"v":2,"code":"0x031","boot":1,"seq":99999}',
        b"[" * 400,
        b'{"a":' * 80,
        chance.randbytes(65536),
        b'{"v":1,"code":"0x022","boot":1,"seq":1e400}',
    ]
    tails = ["hello/new"]
    for device in (
        "Counter-1",
        "Charger-1",
        "Charger-2",
        "nobody",
        "manager",
        "+".replace("+", "x"),
    ):
        tails += [f"{device}/{kind}" for kind in ("new", "up", "down", "state")]
    tails += ["", "hello", "a/b/c/d", "$x", "/", "Charger-1/up/more"]
    for tail in tails:
        for data in junk:
            client.publish(garage.root + tail, data, 1)
    for topic, data in real:
        client.publish(topic, data, 1)  # played again as it was
        spoilt = bytearray(data)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        client.publish(topic, bytes(spoilt), 1)
        client.publish(f"{garage.root}nobody/up", data, 1)
        client.publish(f"{garage.root}Charger-3/up", data, 1)
        other = "Charger-2" if "Charger-1" in topic else "Charger-1"
        client.publish(f"{garage.root}{other}/up", data, 1)
    client.publish(garage.root + "hello/new", b"", 1, retain=True)
    info = client.publish(garage.root + "Charger-1/up", b"last", 1)
    info.wait_for_publish(10)
    until("every kind is counted", lambda: _counted(garage, before), 15)
    client.loop_stop()
    client.disconnect()
    after = garage.state()
    assert garage.offers() == BOTH
    assert [c["id"] for c in after["chargers"]] == ["Charger-1", "Charger-2"]
    assert resets(garage) == [{}, {}]


def _counted(garage: Garage, before: dict[str, Any]) -> bool:
    now, then = garage.state()["refused"], before["refused"]
    grown = {what: n - then.get(what, 0) for what, n in now.items()}
    names = 11  # whose /new and /up, or only /new, the junk went to
    kinds = {"json": names, "text": names, "size": names, "version": names, "code": names}
    kinds |= {"signature": 20, "replay": 20, "stranger": 40}
    return all(grown.get(what, 0) >= n for what, n in kinds.items())


def test_broker_restarted(garage: Garage) -> None:
    port = garage.broker.port
    numbers = {n: garage.charger(n)["lease"] for n in garage.cables}
    garage.broker.child.kill()
    until("it is noticed", lambda: not garage.state()["broker"]["connected"], 5)
    time.sleep(0.5)
    garage.broker = broker.start(garage.folder / "broker", port=port, kind=garage.kind)
    until("the manager is back", garage.connected, 10)
    until(
        "new leases are confirmed",
        lambda: all(garage.charger(n)["lease"] > numbers[n] + 1 for n in numbers),
        20,
    )
    assert resets(garage) == [{}, {}]


def test_board_killed_and_started_again(garage: Garage) -> None:
    boot = garage.charger("Charger-2")["boot"]
    garage.boards["Charger-2"].kill()
    garage.cables["Charger-2"].close()
    cable = garage.cables.pop("Charger-2")
    until("it is missed", lambda: not garage.charger("Charger-2")["online"], 10)
    # Its lease may still be in force: nobody gets its 12 A until that is over, only the odd one.
    assert garage.charger("Charger-2")["worst_a"] == 12
    assert garage.offers() in ((12,), (13,))
    until("the other has it all", lambda: garage.offers() == (25,), 20)
    assert garage.charger("Charger-2")["worst_a"] == 0
    assert "not heard" in garage.charger("Charger-2")["reason"]["words"]
    garage.start_board("Charger-2")
    garage.cables["Charger-2"] = type(cable)(garage.folder / "Charger-2.sock")
    garage.plug("Charger-2", "C")
    until("it is there again", lambda: garage.charger("Charger-2")["online"], 15)
    assert garage.charger("Charger-2")["boot"] == boot + 1
    assert len(garage.state()["chargers"]) == 2


def _refusals(garage: Garage) -> int:
    words = [e["words"] for e in garage.state()["events"] if e["device"] == "Charger-1"]
    return sum("already runs" in w and "give this board another name" in w for w in words)


@pytest.mark.parametrize("boot", [40, 0], ids=["started more often", "fresh from the box"])
def test_second_board_with_the_same_name_is_refused(garage: Garage, boot: int) -> None:
    first, before = garage.charger("Charger-1")["boot"], _refusals(garage)
    twin = f"Charger-1-twin-{boot}"
    flash = garage.folder / f"{twin}.flash"
    flash.mkdir()
    (flash / "boot").write_text(str(boot))
    child = garage.start_board("Charger-1", flash=twin)
    try:
        until("it is refused", lambda: _refusals(garage) > before, 20)
        assert garage.charger("Charger-1")["boot"] == first
        assert garage.offers() == BOTH
    finally:
        child.end()
        garage.boards.pop(twin)
    assert garage.charger("Charger-1")["boot"] == first
    assert resets(garage)[0] == {}


def test_meter_that_stops(garage: Garage) -> None:
    garage.line.fault_rates = {"silence": 1.0}
    try:
        main = until(
            "the meter is missed",
            lambda: next((f for f in garage.state()["feeders"] if f["known"] == "silent"), None),
            12,
        )
        # 22 A are kept for a house nobody sees: 8 A are left, which is one car's.
        assert main["headroom_a"] == [8.0]
        assert "meter is silent" in main["known_words"]
        until("the chargers follow", lambda: garage.offers() == (8, 0), 8)
        reason = garage.charger("Charger-2")["reason"]
        assert reason["kind"] in ("standby", "meter_lost", "turn")
        assert reason["words"].startswith("standby")
    finally:
        garage.line.fault_rates = {}
    until("it is measured again", lambda: garage.state()["feeders"][0]["known"] == "measured", 10)


def test_manager_killed_and_started_again(garage: Garage) -> None:
    numbers = {n: garage.charger(n)["lease"] for n in garage.cables}
    before = garage.state()
    garage.manager.kill()
    garage.start_manager()
    after = garage.state()
    assert after["boot"] == before["boot"] + 1
    assert [c["order"] for c in after["chargers"]] == [c["order"] for c in before["chargers"]]
    assert [c["id"] for c in after["chargers"]] == list(garage.cables)
    until(
        "the chargers are heard", lambda: all(c["online"] for c in garage.state()["chargers"]), 15
    )
    until(
        "newer leases are in force",
        lambda: all(garage.charger(n)["lease"] > number for n, number in numbers.items()),
        20,
    )


def test_limits_and_priorities_by_hand(garage: Garage) -> None:
    def ievcc(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "manager", *words, "--config", str(garage.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert "may have 7 A" in ievcc("limit", "7", "--charger", "Charger-1").stdout
    until("limited", lambda: garage.offers()[0] == 7, 30)
    assert "limited to 7 A" in ievcc("status").stdout
    assert "no limit by hand" in ievcc("limit", "--charger", "Charger-1").stdout

    listed = json.loads(ievcc("devices", "--json").stdout)
    assert [d["id"] for d in listed] == ["Counter-1", "Charger-1", "Charger-2"]

    assert ievcc("priority", "Charger-2", "3").returncode == 0
    assert garage.charger("Charger-2")["priority"] == 3
    assert ievcc("priority", "Charger-2", "0").returncode == 0
    unknown = ievcc("priority", "Charger-9", "1")
    assert unknown.returncode == 1
    assert "no charger Charger-9; there is Charger-1, Charger-2" in unknown.stderr
    assert ievcc("priority", "Charger-2", "ten").returncode == 2
