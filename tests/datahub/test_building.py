"""A building on the cloud: cards and wishes reach its chargers, and cards go on without the cloud."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import record
from shared import protocol
from simulator.kafka import free_ports
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_flows_down import serving
from tests.datahub.town import CARD, Town, build
from tests.live.running import Device, Running, until

pytestmark = [pytest.mark.datahub, pytest.mark.broker]


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@pytest.fixture
def api_port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def house(mosquitto: str, api_port: int, tmp_path: Path) -> Iterator[Running]:
    key = record.site_key(MASTER, "oak", 1).hex()
    site = f"""\
[site]
name = "oak"
limit_a = 30
open = true
[fog]
url = "https://127.0.0.1:9/intake"
key = "{key}"
cloud = "http://127.0.0.1:{api_port}/api/v1"
"""
    running = Running(tmp_path, site)
    yield running
    running.stop()


def charger(house: Running) -> Device:
    meter = Device(house, "meter-1", uid=secrets.token_hex(2))
    meter.say(
        protocol.HELLO,
        protocol.NEW_COUNTER,
        id="meter-1",
        model="",
        firmware="",
        phases=1,
        role="house",
    )
    meter.hear(protocol.REPLY)
    device = Device(house, "charger-1", uid=secrets.token_hex(2))
    device.say(
        "meter-1/new",
        protocol.NEW_CHARGER,
        id="charger-1",
        counter="meter-1",
        model="",
        firmware="",
        min_a=6,
        max_a=32,
        phases=1,
        wiring=[1],
        failsafe_a=0,
    )
    device.hear(protocol.REPLY)
    return device


def verdict(device: Device, card: str) -> tuple[str, str]:
    device.say("charger-1/up", protocol.CARD_READ, card=card)
    answer = device.hear(protocol.CARD_VERDICT)
    return answer["verdict"], answer.get("user", "")


def test_cards_are_known_with_and_without_the_cloud_and_a_wish_is_carried_out_once(
    cloud: Cloud, town: Town, api_port: int, house: Running
) -> None:
    device = charger(house)
    assert verdict(device, CARD) == ("unknown", "")
    with serving(make_app(Settings(cloud.api, MASTER)), api_port):
        until("the copy is there", (house.folder / "ievcc.copy").exists, 30)
        until("the card is known", lambda: verdict(device, CARD) == ("accepted", "Ana"), 5)
        cloud.do(
            "INSERT INTO wish (device_id, person_id, command) VALUES (%s, %s, 'stop')",
            (town.devices["oak/charger-1"], town.people["ana"]),
        )
        assert device.hear(protocol.COMMAND, 30)["command"] == "stop"
        until("it is answered", lambda: cloud.ask("SELECT result FROM wish") != [(None,)], 10)
        assert cloud.ask("SELECT result FROM wish") == [("sent to charger-1",)]
    house.manager.kill()
    house.start_manager()
    assert verdict(device, CARD) == ("accepted", "Ana")
    assert verdict(device, "04ffffff") == ("unknown", "")


def test_a_cloud_that_hangs_delays_no_answer(house: Running, api_port: int) -> None:
    import socket

    silent = socket.create_server(("127.0.0.1", api_port))
    accepted = threading.Thread(target=silent.accept, daemon=True)
    accepted.start()
    device = charger(house)
    accepted.join(20)
    worst = 0.0
    for _ in range(20):
        began = time.monotonic()
        verdict(device, CARD)
        worst = max(worst, time.monotonic() - began)
    silent.close()
    assert worst < 2
