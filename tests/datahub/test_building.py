"""A building on the cloud: cards, rights and wishes reach its chargers, and cards go on without the
cloud.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import record
from shared import protocol
from simulator.kafka import free_ports
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_flows_down import serving
from tests.datahub.test_portal import enter
from tests.datahub.town import CARD, Town, build
from tests.live.running import Device, Running, until

pytestmark = [pytest.mark.datahub, pytest.mark.broker]


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


@pytest.fixture
def api_port() -> int:
    return free_ports(1)[0]


@contextmanager
def building(folder: Path, api_port: int) -> Iterator[Running]:
    """A broker and a manager whose cloud is at this port."""
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
    running = Running(folder, site)
    try:
        yield running
    finally:
        running.stop()


def waiting_kinds(store: Path) -> set[str]:
    """What is in the outbox."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        return {kind for (kind,) in db.execute("SELECT DISTINCT kind FROM outbox")}


def charger(house: Running) -> Device:
    meter = Device(house, "meter-1", uid=secrets.token_hex(2))
    meter.announce_counter()
    device = Device(house, "charger-1", uid=secrets.token_hex(2))
    device.announce_charger("meter-1/new")
    return device


def verdict(device: Device, card: str) -> tuple[str, str]:
    device.say("charger-1/up", protocol.CARD_READ, card=card)
    answer = device.hear(protocol.CARD_VERDICT, 20)
    return answer["verdict"], answer.get("user", "")


@pytest.mark.usefixtures("mosquitto")
def test_cards_devices_and_rights_hold_with_and_without_the_cloud(
    cloud: Cloud, town: Town, api_port: int, tmp_path: Path
) -> None:
    with ExitStack() as until_the_end:
        with serving(make_app(Settings(cloud.api, MASTER)), api_port):
            house = until_the_end.enter_context(building(tmp_path, api_port))
            device = charger(house)
            until("the card is known", lambda: verdict(device, CARD) == ("accepted", "Ana"), 60)
            second = Device(house, "charger-2", uid=secrets.token_hex(2))
            assert "barred" not in second.announce_charger("meter-1/new")
            number = town.devices["oak/charger-2"]
            cloud.do("UPDATE device SET authorised = false WHERE id = %s", (number,))
            until("it is barred", lambda: "barred" in second.announce_charger("meter-1/new"), 30)
        house.manager.kill()
        house.start_manager()  # the cloud is away
        assert verdict(device, CARD) == ("accepted", "Ana")
        assert verdict(device, "04ffffff") == ("unknown", "")
        assert "barred" in second.announce_charger("meter-1/new")


@pytest.mark.browser
@pytest.mark.usefixtures("mosquitto")
def test_a_tenant_starts_and_stops_from_the_portal_what_their_rights_allow(
    cloud: Cloud, town: Town, api_port: int, tmp_path: Path, page: Page
) -> None:
    def press(button: str) -> str:
        """What the page says became of it, by itself."""
        said = page.locator("#wishes tr")
        before = said.count()
        page.locator("#chargers tr", has_text="charger-1").get_by_role(
            "button", name=button
        ).click()
        expect(said).to_have_count(before + 1, timeout=30_000)
        expect(said.first).not_to_contain_text("waiting", timeout=30_000)
        return said.first.inner_text()

    oak, ana = town.sites["oak"], town.people["ana"]
    api = make_app(Settings(cloud.api, MASTER, secure_cookie=False))
    with ExitStack() as until_the_end:
        house = until_the_end.enter_context(building(tmp_path, api_port))
        device = charger(house)
        free = {"how": "free", "energy_wh": 0, "age_s": 0}
        device.say("charger-1/up", protocol.SESSION_BEGIN, session=1, **free)
        until("it is nobody's yet", lambda: house.charger("charger-1")["user"] == "", 30)
        url = until_the_end.enter_context(serving(api, api_port))
        until("the card is known", lambda: verdict(device, CARD)[0] in ("accepted", "busy"), 60)
        enter(page, url, "ana")
        assert "sent to charger-1" in press("Stop")  # her own charger, whoever is unknown there
        assert device.hear(protocol.COMMAND, 30)["command"] == "stop"
        ended = {"energy_wh": 7, "duration_s": 60, "age_s": 0, "why": "manager"}
        device.say("charger-1/up", protocol.SESSION_END, session=1, **ended)
        until("it is over", lambda: verdict(device, CARD)[0] == "accepted", 30)
        cloud.do(
            "INSERT INTO charging_right (site_id, person_id, chargers) VALUES (%s, %s, %s)",
            (oak, ana, ["charger-2"]),
        )
        until("her right is known", lambda: verdict(device, CARD)[0] == "refused", 30)
        assert "refused: not at this charger" in press("Start")
        cloud.do("DELETE FROM charging_right")
        until("it is gone", lambda: verdict(device, CARD)[0] == "accepted", 30)
        assert "sent to charger-1" in press("Start")
        # The next command that the charger hears: the refused one never reached it.
        assert device.hear(protocol.COMMAND, 30)["command"] == "start"
        device.say("charger-1/up", protocol.SESSION_BEGIN, session=2, **{**free, "how": "manager"})
        until("it is hers", lambda: house.charger("charger-1")["user"] == f"cloud:{ana}", 30)
        # Somebody else of the house does not end it.
        cloud.do(
            "INSERT INTO wish (device_id, person_id, command) VALUES (%s, %s, 'stop')",
            (town.devices["oak/charger-1"], town.people["admin"]),
        )
        asked = "SELECT result FROM wish WHERE person_id <> %s"
        until("it is answered", lambda: cloud.ask(asked, (ana,)) != [(None,)], 30)
        assert "refused: somebody else" in cloud.ask(asked, (ana,))[0][0]
        assert "sent to charger-1" in press("Stop")
        assert device.hear(protocol.COMMAND, 30)["command"] == "stop"
        device.say("charger-1/up", protocol.SESSION_END, session=2, **ended)
        device.measure(3, protocol.CHARGER_LOAD)
        device.say("charger-1/up", protocol.FAULT, fault="ground", active=1)
        # All of it waits for the fog, which is away, and so does the line in the log that says so.
        kinds = {
            "new_counter", "new_charger", "charger_load", "session_begin", "session_end", "fault",
            "event", "decision", "log",
        }  # fmt: skip
        until("all kinds wait", lambda: kinds <= waiting_kinds(tmp_path / "ievcc.db"), 30)


@pytest.mark.usefixtures("mosquitto")
def test_a_cloud_that_hangs_delays_no_answer(api_port: int, tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", api_port))
    accepted = threading.Thread(target=silent.accept, daemon=True)
    accepted.start()
    with building(tmp_path, api_port) as house:
        device = charger(house)
        accepted.join(60)
        assert not accepted.is_alive(), "the manager never asked"
        began = time.monotonic()
        for _ in range(20):
            verdict(device, CARD)
        silent.close()
    assert time.monotonic() - began < 30, "it waited for the cloud, whose time is 40 s"
