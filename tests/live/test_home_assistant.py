"""A real Home Assistant at the manager's broker: it makes the entities, they follow, and what it
wants comes back, within what the site file allows.
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from manager import broker
from manager.process import Child
from shared import protocol
from tests.live.running import Device, Running, until
from tests.real_parts import missing

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
HASS = Path(__file__).parents[2] / ".venv-hass"


def _stored(key: str, version: int, minor: int, data: dict[str, Any]) -> str:
    return json.dumps({"version": version, "minor_version": minor, "key": key, "data": data})


class Hass:
    """Home Assistant with nothing but MQTT and its API, and an owner with a token."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        if not (HASS / "ready").exists():
            missing("real part missing: Home Assistant; `make hass` installs it")
        kept = folder / ".storage"
        kept.mkdir(parents=True)
        self.port = broker.free_port()
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\napi:\n"
        )
        entry = {
            "entry_id": secrets.token_hex(16), "version": 1, "minor_version": 1,
            "domain": "mqtt", "title": "MQTT", "data": {"broker": "127.0.0.1", "port": broker_port},
            "options": {}, "pref_disable_new_entities": False, "pref_disable_polling": False,
            "source": "user", "unique_id": None, "disabled_by": None,
        }  # fmt: skip
        (kept / "core.config_entries").write_text(
            _stored("core.config_entries", 1, 1, {"entries": [entry]})
        )
        owner, token, key = (secrets.token_hex(16) for _ in range(3))
        made = "2026-01-01T00:00:00+00:00"
        auth = {
            "users": [{
                "id": owner, "group_ids": ["system-admin"], "is_owner": True, "is_active": True,
                "name": "Test", "system_generated": False, "local_only": False,
            }],
            "groups": [{"id": "system-admin", "name": "Administrators"}],
            "credentials": [],
            "refresh_tokens": [{
                "id": token, "user_id": owner, "client_id": None, "client_name": "test",
                "client_icon": None, "token_type": "long_lived_access_token", "created_at": made,
                "access_token_expiration": 315360000.0, "token": secrets.token_hex(64),
                "jwt_key": key, "last_used_at": None, "last_used_ip": None, "credential_id": None,
                "version": None,
            }],
        }  # fmt: skip
        (kept / "auth").write_text(_stored("auth", 1, 1, auth))
        now = int(time.time())
        self._token = jwt.encode(
            {"iss": token, "iat": now - 60, "exp": now + 86_400}, key, "HS256"
        )
        command = [str(HASS / "bin/hass"), "-c", str(folder), "--skip-pip"]
        self.child = Child("hass", command, folder / "log")

    def ask(self, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def states(self) -> dict[str, Any]:
        """Every entity it has, by its id; nothing before it answers."""
        assert self.child.status() is None, self.child.words()
        try:
            return {s["entity_id"]: s for s in self.ask("states")}
        except (urllib.error.URLError, ConnectionError):
            return {}

    def value(self, entity: str) -> str:
        return str(self.states().get(entity, {}).get("state", "not there"))

    def call(self, service: str, entity: str, **data: Any) -> None:
        self.ask(f"services/{service}", {"entity_id": entity, **data})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    site = "[site]\nlimit_a = 30\nopen = true\n[home_assistant]\n"
    system = Running(tmp_path_factory.mktemp("home"), site)
    yield system
    system.stop()


@pytest.fixture(scope="module")
def hass(tmp_path_factory: pytest.TempPathFactory, running: Running) -> Iterator[Hass]:
    home = Hass(tmp_path_factory.mktemp("hass") / "config", running.broker.port)
    yield home
    home.child.end(5)


def test_home_assistant_shows_what_is_and_its_wishes_come_back(
    running: Running, hass: Hass
) -> None:
    meter, charger = Device(running, "Counter-1"), Device(running, "Charger-1")

    def shows(entity: str, state: str) -> None:
        until(f"{entity} is {state}", lambda: hass.value(entity) == state, 90)

    meter.announce_counter()
    charger.announce_charger()
    meter.measure(5.5)
    charger.say(
        "Charger-1/up", protocol.CHARGER_STATUS, state="B2", offer_a=0, lease=0, lease_ms=0,
        contactor=0, mode="managed", faults=[], rejected=0, uptime_s=9,
    )  # fmt: skip
    try:
        shows("binary_sensor.home_charger_1_plugged", "on")
        shows("sensor.home_counter_1_current_1_a", "5.5")
        seen = hass.states()
        ours = {name for name in seen if ".home_c" in name or ".home_site" in name}
        kinds = {name.partition(".")[0] for name in ours}
        assert kinds == {"binary_sensor", "number", "sensor", "switch"}
        assert {f"sensor.home_charger_1_{k}" for k in ("state", "reason", "offer_a")} <= ours
        assert seen["sensor.home_charger_1_session_wh"]["attributes"]["device_class"] == "energy"
        assert seen["number.home_charger_1_limit_a"]["attributes"]["max"] == 32

        meter.measure(7.5)
        shows("sensor.home_counter_1_current_1_a", "7.5")

        number = "number.home_charger_1_limit_a"
        hass.call("number/set_value", number, value=10)
        until("limited", lambda: running.charger("Charger-1")["by_hand_a"] == 10)
        shows(number, "10")
        switch = "switch.home_charger_1_allowed"
        hass.call("switch/turn_off", switch)
        until("stopped", lambda: running.charger("Charger-1")["by_hand_a"] == 0)
        shows(switch, "off")
        hass.call("switch/turn_on", switch)
        until("as before", lambda: running.charger("Charger-1")["by_hand_a"] == 10)
        # More than the contract at the site is no more than the contract.
        hass.call("number/set_value", "number.home_site_limit_a", value=150)
        until("taken", lambda: running.state()["by_hand_a"] == 150)
        assert running.state()["feeders"][0]["limit_a"] == [30]

        running.manager.end()
        shows("number.home_site_limit_a", "unavailable")
        running.start_manager()
        shows("number.home_site_limit_a", "150")
    finally:
        meter.close()
        charger.close()
    log = (hass.child.log).read_text()
    assert "ERROR" not in "".join(x for x in log.splitlines() if "mqtt" in x)
