"""The five published behaviours, against a running manager over real MQTT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.broker import KINDS
from shared import protocol
from tests.live.running import Device, Running
from tests.real_parts import real_part

pytestmark = pytest.mark.broker

SITE = """
[site]
limit_a = 30
policy = "equal"
open = true
max_counters = 1
"""


@pytest.fixture(params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "mosquitto":
        real_part("mosquitto")
    system = Running(tmp_path, SITE, kind=request.param)
    yield system
    system.stop()


def test_the_five_published_behaviours(running: Running) -> None:
    stranger = Device(running, "Counter-0")
    stranger.raw(
        protocol.HELLO, b'{"v":1,"code":"0x000","boot":1,"seq":1,"id":"Counter-0","role":"house"}'
    )
    assert stranger.words() == "Invalid Message: message code"

    meter = Device(running, "Counter-1")
    assert meter.announce_counter() == "Counter registered: Counter-1"

    charger = Device(running, "Charger-1")
    assert charger.announce_charger("Counter-1/new") == "Charger registered: Charger-1"

    lost = Device(running, "Charger-2")
    assert lost.announce_charger("Counter-2/new") == "Invalid Message: message topic"

    second = Device(running, "Counter-2")
    assert second.announce_counter() == "Max registered counters achieved"

    state = running.state()
    assert [m["id"] for m in state["meters"]] == ["Counter-1"]
    assert [c["id"] for c in state["chargers"]] == ["Charger-1"]
    for device in (stranger, meter, charger, lost, second):
        device.close()
