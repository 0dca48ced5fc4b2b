"""Devices wait until they are let in: by key, by a click while a pairing window is open; and go."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager.process import Child
from shared import protocol
from simulator.pzem_slave import LineThread, Pzem
from tests.live.running import Device, Running, until

pytestmark = pytest.mark.broker

LISTED, BROUGHT = bytes(range(16)), bytes(range(16, 32))
SITE = f"""
[site]
limit_a = 30
max_counters = 4
ttl_s = 6
renew_s = 2

[[device]]
id = "Counter-1"
key = "{LISTED.hex()}"
"""


@pytest.fixture
def running(tmp_path: Path, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path, SITE)
    yield system
    system.stop()


@contextlib.contextmanager
def device(running: Running, name: str, **how: Any) -> Iterator[Device]:
    made = Device(running, name, **how)
    try:
        yield made
    finally:
        made.close()


def standing(running: Running, name: str) -> Any:
    found = [d for d in running.get("/api/devices")["devices"] if d["id"] == name]
    return found[0]["standing"] if found else None


def refusal(running: Running, path: str, body: object) -> str:
    with pytest.raises(urllib.error.HTTPError) as e:
        running.post(path, body)
    assert e.value.code == 400
    return str(json.load(e.value)["words"])


def told(meter: Device, words: str) -> bool:
    """Whether this is what it is told when it announces itself; older answers are passed over."""
    said = meter.announce_counter()
    for _ in range(5):
        if words in said:
            return True
        said = meter.words()
    return False


def names(running: Running) -> set[str]:
    state = running.state()
    return {d["id"] for d in (*state["meters"], *state["chargers"])}


def test_by_its_key_and_away_again(running: Running) -> None:
    assert standing(running, "Counter-1") == "authorised"
    with device(running, "Counter-2", key=BROUGHT) as meter:
        assert "not on the list" in meter.announce_counter()
        assert standing(running, "Counter-2") == "waiting"
        path = "/api/devices/Counter-2/authorise"
        # A signature cannot be believed without its key, window or not.
        running.post("/api/pairing", {"minutes": 5})
        assert "signs with a key" in refusal(running, path, {})
        assert "16 to 64 bytes" in refusal(running, path, {"key": "00"})
        running.post("/api/pairing", {"minutes": 0})
        running.post(path, {"key": BROUGHT.hex()})
        assert meter.words() == "come in"
        assert meter.announce_counter() == "Counter registered: Counter-2"
        meter.measure(3)
        running.manager.kill()
        running.start_manager()
        assert standing(running, "Counter-2") == "authorised"
        meter.measure(4)
        until("it is heard still", lambda: any(
            m["current_a"] == [4.0] for m in running.state()["meters"]))  # fmt: skip
        running.post("/api/devices/Counter-2/revoke", {})
        until("it is gone", lambda: "Counter-2" not in names(running))
        assert told(meter, "was sent away")
        meter.measure(5)
        until("counted", lambda: running.state()["refused"].get("revoked", 0) == 2)
        running.manager.kill()
        running.start_manager()
        assert standing(running, "Counter-2") == "revoked"
        assert told(meter, "was sent away")
        # Who sent it away still has its key.
        running.post(path, {})
        assert told(meter, "Counter registered: Counter-2")


def test_a_charger_sent_away_gets_no_more_and_goes_when_its_lease_is_over(
    running: Running,
) -> None:
    with device(running, "Counter-1", key=LISTED) as meter:
        meter.announce_counter()
        running.post("/api/devices/Charger-1/authorise", {"key": BROUGHT.hex()})
        with device(running, "Charger-1", key=BROUGHT) as charger:
            assert charger.announce_charger() == "Charger registered: Charger-1"
            running.post("/api/devices/Charger-1/revoke", {})
            charger.measure(1, protocol.CHARGER_LOAD)
            until("refused", lambda: running.state()["refused"].get("revoked", 0) == 1)
            until("it is gone", lambda: "Charger-1" not in names(running), 40)


def test_of_the_list_one_is_sent_away_and_stays_away(running: Running) -> None:
    running.post("/api/devices/Counter-1/revoke", {})
    with device(running, "Counter-1", key=LISTED) as meter:
        assert "was sent away" in meter.announce_counter()
        other = {"key": BROUGHT.hex()}
        path = "/api/devices/Counter-1/authorise"
        assert "another key in the site file" in refusal(running, path, other)
        running.post(path, {})
        assert meter.announce_counter() == "Counter registered: Counter-1"


def test_who_may_be_nobody_is_refused(running: Running) -> None:
    for path, words in [
        ("/api/devices/Counter-7/authorise", "has not announced itself"),
        ("/api/devices/Counter-7/revoke", "no device Counter-7"),
    ]:
        assert words in refusal(running, path, {})
    assert "0 (close it) to 60" in refusal(running, "/api/pairing", {"minutes": 61})


def test_a_board_without_a_key_is_given_one_by_a_click_within_the_window(
    running: Running,
) -> None:
    path = "/api/devices/Charger-9/authorise"
    with device(running, "Counter-1", key=LISTED) as meter:
        meter.announce_counter()
    with device(running, "Charger-9") as charger:
        assert "not on the list" in charger.announce_charger()
        assert "open a pairing window" in refusal(running, path, {})
        running.post("/api/pairing", {"minutes": 5})
        # What was heard before the window was opened may be anybody's.
        assert "wait for it to announce itself" in refusal(running, path, {})
        assert "waits to be let in" in charger.announce_charger()
        assert running.get("/api/devices")["pairing_until_ms"] > 0
        running.post(path, {})
        given = charger.hear(protocol.CONFIG_SET)
        assert given["name"] == "key"
        assert standing(running, "Charger-9") == "waiting"
        charger.measure(1, protocol.CHARGER_LOAD)
        charger.say("Charger-9/up", protocol.CONFIG_VALUE, name="key", result="ok", value='"***"')
        assert charger.hear(protocol.COMMAND)["command"] == "reset"
        until("it is let in", lambda: standing(running, "Charger-9") == "authorised")
        charger.measure(1, protocol.CHARGER_LOAD)
        until("unsigned is refused", lambda: running.state()["refused"].get("signature", 0) == 1)
    key = bytes.fromhex(json.loads(given["value"]))
    with device(running, "Charger-9", boot=2, key=key) as charger:
        assert charger.announce_charger() == "Charger registered: Charger-9"
    events = json.dumps(running.state()["events"])
    assert "pairing window open" in events
    log = (running.folder / "manager.log").read_text()
    assert key.hex() not in events + log + json.dumps(running.get("/api/devices"))


def test_the_waiting_room_has_so_many_chairs(running: Running) -> None:
    with device(running, "Counter-1") as crowd:
        for n in range(120):
            fields = {"id": f"Crowd-{n}", "model": "x", "firmware": "1", "phases": 1}
            crowd.say(protocol.HELLO, protocol.NEW_COUNTER, role="house", **fields)
        until("all are counted", lambda: running.state()["refused"].get("stranger", 0) == 120)
    waiting = [d for d in running.get("/api/devices")["devices"] if d["standing"] == "waiting"]
    assert [d["id"] for d in waiting] == [f"Crowd-{n}" for n in range(70, 120)]
    # Nobody's words fill the log of events.
    told = [e for e in running.state()["events"] if e["kind"] == "refused"]
    assert len(told) < 40


@pytest.mark.board
def test_a_real_meter_is_paired_by_a_click(running: Running, tmp_path: Path) -> None:
    config = tmp_path / "meter.json"
    config.write_text(
        json.dumps(
            {
                "id": "Counter-5",
                "site": "home",
                "role": "house",
                "wifi_ssid": "bench",
                "broker_host": "127.0.0.1",
                "broker_port": running.broker.port,
                "repl_window_ms": 0,
            }
        )
    )
    with LineThread([Pzem()]) as line:
        command = [sys.executable, "-m", "manager", "board", "energy_meter"]
        command += ["--config", str(config), "--uart", line.path]
        board = Child("board", command, tmp_path / "board.log")
        try:
            running.post("/api/pairing", {"minutes": 5})
            until("it waits", lambda: standing(running, "Counter-5") == "waiting", 40)
            running.post("/api/devices/Counter-5/authorise", {})
            until("it is registered, signed", lambda: "Counter-5" in names(running), 60)
            found = next(
                d for d in running.get("/api/devices")["devices"] if d["id"] == "Counter-5"
            )
            assert found["signed"]
        finally:
            board.end()
