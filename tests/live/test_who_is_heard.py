"""Who is heard and who is told why not: keys, numbering, names, strangers, floods; over real MQTT."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import protocol
from tests.live.running import Device, Running, until

pytestmark = pytest.mark.broker

KEY = bytes(range(16))
SITE = f"""
[site]
limit_a = 30
max_counters = 2

[[device]]
id = "Counter-1"
key = "{KEY.hex()}"
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path_factory.mktemp("heard"), SITE)
    yield system
    system.stop()


@pytest.fixture
def device(running: Running, request: pytest.FixtureRequest) -> Iterator[Device]:
    name, boot, key = request.param
    talks = Device(running, name, boot=boot, key=key)
    yield talks
    talks.close()


def refused(running: Running, what: str) -> int:
    return int(running.state()["refused"].get(what, 0))


@pytest.mark.parametrize("device", [("Counter-1", 1, KEY)], indirect=True)
def test_the_listed_device_with_its_key(running: Running, device: Device) -> None:
    assert device.announce_counter() == "Counter registered: Counter-1"
    device.measure(7.5)
    until("it is measured", lambda: running.state()["feeders"][0]["house_a"] == [7.5])


@pytest.mark.parametrize("device", [("Counter-9", 1, KEY)], indirect=True)
def test_a_stranger_is_told_how_to_be_let_in(running: Running, device: Device) -> None:
    said = device.announce_counter()
    assert said.startswith("Counter-9 is not on the list of devices: add it with its key")
    assert [m["id"] for m in running.state()["meters"]] == ["Counter-1"]


@pytest.mark.parametrize(
    "device", [("Counter-1", 50, bytes(16)), ("Counter-1", 51, None)], indirect=True
)
def test_the_wrong_key_or_none_changes_nothing(running: Running, device: Device) -> None:
    before = refused(running, "signature")
    assert device.announce_counter() == "Invalid Message: message signature"
    device.measure(0.5)
    until("both are counted", lambda: refused(running, "signature") == before + 2)
    assert running.state()["feeders"][0]["house_a"] == [7.5]
    assert running.state()["meters"][0]["boot"] == 1


@pytest.mark.parametrize("device", [("Counter-1", 1, KEY)], indirect=True)
def test_what_was_said_before_is_not_heard_again(running: Running, device: Device) -> None:
    device.sender.seq = 1000
    topic = f"{running.root}Counter-1/up"
    fields = {"current_ma": [9000], "voltage_dv": [2300], "power_w": [2070], "energy_wh": [1]}
    message = {"code": protocol.COUNTER_LOAD, "age_ms": 0, **fields}
    data = device.sender.seal(topic, message)
    device.raw("Counter-1/up", data)
    until("it is heard", lambda: running.state()["feeders"][0]["house_a"] == [9.0])
    device.measure(4.0)
    until("so is the next", lambda: running.state()["feeders"][0]["house_a"] == [4.0])
    before = refused(running, "replay")
    for _ in range(3):
        device.raw("Counter-1/up", data)
    until("counted", lambda: refused(running, "replay") == before + 3)
    assert running.state()["feeders"][0]["house_a"] == [4.0]


@pytest.mark.parametrize("device", [("Counter-1", 1, KEY)], indirect=True)
def test_what_the_broker_kept_is_nobodys_voice(running: Running, device: Device) -> None:
    device.sender.seq = 2000
    topic = f"{running.root}Counter-1/up"
    fields = {"current_ma": [1000], "voltage_dv": [2300], "power_w": [230], "energy_wh": [1]}
    message = {"code": protocol.COUNTER_LOAD, "age_ms": 0, **fields}
    device.raw("Counter-1/up", device.sender.seal(topic, message), retain=True)
    device.measure(4.0)
    running.manager.kill()  # the next one is given what the broker kept as it subscribes
    running.start_manager()
    until("it is refused", lambda: refused(running, "retained") >= 1)
    device.raw("Counter-1/up", b"", retain=True)


@pytest.mark.parametrize("device", [("Counter-1", 1, KEY)], indirect=True)
def test_a_flood_of_garbage_is_counted_and_answered_sparingly(
    running: Running, device: Device
) -> None:
    before = refused(running, "json")
    for _ in range(500):
        device.client.publish(f"{running.root}Counter-1/up", b"{", 1)
    until("all are counted", lambda: refused(running, "json") == before + 500)
    time.sleep(0.5)
    assert 1 <= device.heard.qsize() <= 60
    device.sender.seq = 3000
    device.measure(5.0)
    until("a reading is heard still", lambda: running.state()["meters"][0]["current_a"] == [5.0])


def test_the_store_has_what_was_taken_and_nothing_else(running: Running) -> None:
    from manager import store

    path: Path = running.folder / "ievcc.db"
    query = "SELECT current_ma FROM reading WHERE device = ? ORDER BY at_ms, seq"
    until("written", lambda: (5000,) in store.read(path, query, ("Counter-1",)))
    kept = [ma for (ma,) in store.read(path, query, ("Counter-1",))]
    assert kept == [7500, 9000, 4000, 1000, 4000, 5000]
    assert store.read(path, "SELECT DISTINCT device FROM reading") == [("Counter-1",)]
