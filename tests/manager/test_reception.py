"""Cards, rights, sessions and lists at a running manager, by a device that speaks as a charger."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firmware.charger.card_list import hashed
from manager.people import DAYS
from shared import protocol
from tests.live.running import Device, Running
from tests.live.running import until as until_late

pytestmark = pytest.mark.broker

KEY = bytes(range(16))
ANA, RUI, EVA, LOST = "04a1b2c3d4e5f6", "04112233445566", "04778899aabbcc", "04ffffffffffff"


def until(what: str, ask: Callable[[], Any]) -> Any:
    """A computer that is busy takes its time."""
    return until_late(what, ask, 60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    names = ("Counter-1", "Counter-2", *(f"Charger-{n}" for n in range(1, 8)))
    listed = "".join(f'[[device]]\nid = "{n}"\nkey = "{KEY.hex()}"\n' for n in names)
    system = Running(
        tmp_path_factory.mktemp("reception"),
        f"[site]\nlimit_a = 63\nworst_house_a = 0\nmax_counters = 2\n{listed}",
    )
    users: list[dict[str, Any]] = [
        {"id": "ana", "name": "Ana", "max_a": 16, "priority": 3},
        {"id": "rui", "name": "Rui", "quota_wh": 100},
        {"id": "eva", "name": "Eva Ilda", "chargers": ["Charger-9"]},
    ]
    for user in users:
        system.post("/api/users", user)
    for name, number in (("ana", ANA), ("rui", RUI), ("eva", EVA)):
        system.post("/api/cards", {"user": name, "number": number})
    meter = Device(system, "Counter-1", key=KEY)
    meter.announce_counter()
    meter.measure(0)
    roof = Device(system, "Counter-2", key=KEY)
    roof.announce_counter(role="solar")
    roof.measure(8)
    yield system
    roof.close()
    meter.close()
    system.stop()


class Charger(Device):
    """A charger of the test's own making."""

    def __init__(self, running: Running, name: str) -> None:
        super().__init__(running, name, key=KEY)
        assert "registered" in self.announce_charger()
        self.list_key = ""

    def hear(self, code: int, within_s: float = 60.0) -> dict[str, Any]:
        """As of any device, with patience."""
        return super().hear(code, within_s)

    def tell(self, code: int, **fields: Any) -> None:
        self.say(f"{self.name}/up", code, **fields)

    def status(self, state: str, offer_a: int = 0) -> None:
        self.tell(
            protocol.CHARGER_STATUS,
            state=state,
            offer_a=offer_a,
            lease=0,
            lease_ms=0,
            contactor=int(state == "C2"),
            mode="managed",
            faults=[],
            rejected=0,
            uptime_s=1,
        )

    def load(self, session: int, wh: int, amps: int = 10) -> None:
        self.tell(
            protocol.CHARGER_LOAD,
            current_ma=[amps * 1000],
            voltage_dv=[2300],
            power_w=[amps * 230],
            energy_wh=[wh],
            age_ms=0,
            session=session,
            session_wh=wh,
        )

    def tap(self, card: str) -> dict[str, Any]:
        self.tell(protocol.CARD_READ, card=card)
        return self.hear(protocol.CARD_VERDICT)

    def begin(self, session: int, card: str) -> None:
        self.tell(
            protocol.SESSION_BEGIN, session=session, how="card", energy_wh=0, age_s=0, card=card
        )

    def end(self, session: int, wh: int, card: str) -> None:
        self.tell(
            protocol.SESSION_END,
            session=session,
            energy_wh=wh,
            duration_s=60,
            age_s=0,
            why="card",
            card=card,
        )


@contextlib.contextmanager
def charger(running: Running, name: str) -> Iterator[Charger]:
    made = Charger(running, name)
    try:
        yield made
    finally:
        made.close()


def sessions(running: Running, name: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{running.url}/api/sessions?charger={name}") as answer:
        found: list[dict[str, Any]] = json.load(answer)["sessions"]
        return found


def change(running: Running, user: str, **said: Any) -> None:
    request = urllib.request.Request(
        f"{running.url}/api/users/{user}",
        json.dumps(said).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()


def test_verdicts(running: Running) -> None:
    with charger(running, "Charger-1") as c:
        got = c.tap(ANA)
        assert (got["verdict"], got["max_a"], got["user"]) == ("accepted", 16, "Ana")
        assert c.tap(LOST)["verdict"] == "unknown"
        got = c.tap(EVA)
        assert (got["verdict"], got["user"]) == ("refused", "Eva Ilda")
        assert "max_a" not in got
        c.begin(1, ANA)
        until("it is listed", lambda: sessions(running, c.name))
        assert c.tap(RUI)["verdict"] == "busy"
        events = [e["words"] for e in running.state()["events"] if e["kind"] == "card"]
        assert "Ana's card was accepted" in events
        assert "Eva Ilda's card was not accepted: not at this charger" in events
        assert not any(number in word for word in events for number in (ANA, LOST))
        log = (running.folder / "manager.log").read_text()
        assert not any(number in log.lower() for number in (ANA, RUI, EVA, LOST))
        c.end(1, 0, ANA)
        c.hear(protocol.SESSION_ACK)


def test_rights_hold_and_change_while_a_session_lasts(running: Running) -> None:
    def reason(name: str) -> str:
        return str(running.charger(name)["reason"]["words"])

    with charger(running, "Charger-2") as c:
        c.tap(ANA)
        c.status("C1")
        c.begin(1, ANA)
        until("her limit", lambda: "limited to 16 A by its user's rights" in reason(c.name))
        assert running.charger(c.name)["priority"] == 3
        change(running, "ana", max_a=8)
        until("the new limit", lambda: "limited to 8 A by its user's rights" in reason(c.name))
        change(running, "ana", active=False)
        until("nothing", lambda: "its user is blocked" in reason(c.name))
        assert c.tap(RUI)["verdict"] == "busy"
        change(running, "ana", active=True, max_a=16)
        until("served", lambda: "limited to 16 A" in reason(c.name))
        another_day = DAYS[(time.localtime().tm_wday + 3) % 7]
        change(running, "ana", windows=f"{another_day} 00:00-24:00")
        until("not today", lambda: "may not charge at this hour" in reason(c.name))
        assert any("not at this hour" in e["words"] for e in running.state()["events"])
        change(running, "ana", windows="")
        change(running, "ana", windows="", chargers=["Charger-1"])
        until("not here", lambda: "may not charge here" in reason(c.name))
        change(running, "ana", chargers=[])
        until("hers again", lambda: "limited to 16 A" in reason(c.name))
        c.end(1, 0, ANA)
        c.hear(protocol.SESSION_ACK)
        until("nobody's", lambda: "user's rights" not in reason(c.name))
        assert running.charger(c.name)["priority"] == 0


def test_a_months_energy_that_is_used_up_ends_it_at_once(running: Running) -> None:
    with charger(running, "Charger-3") as c:
        assert c.tap(RUI)["verdict"] == "accepted"
        c.status("C2", 10)
        c.begin(1, RUI)
        c.load(1, 60)
        until("he is served", lambda: "rights" not in running.charger(c.name)["reason"]["words"])
        c.load(1, 100)
        until("no more", lambda: running.charger(c.name)["target_a"] == 0)
        why = running.charger(c.name)["reason"]["words"]
        assert why == "standby: its user's energy of this month is used up"
        assert any("month's energy is used up" in e["words"] for e in running.state()["events"])
        c.end(1, 100, RUI)
        c.hear(protocol.SESSION_ACK)
        assert c.tap(RUI)["verdict"] == "quota"


def test_what_the_roof_gave_beyond_the_house_is_the_cars(running: Running) -> None:
    with charger(running, "Charger-7") as c:
        c.status("C2", 16)
        c.begin(1, ANA)
        c.load(1, 0, amps=16)
        cars = until(
            "what cars draw", lambda: sum(sum(x["current_a"]) for x in running.state()["chargers"])
        )
        c.load(1, 1000, amps=16)
        row = until("it took", lambda: [s for s in sessions(running, c.name) if s["energy_wh"]])[0]
        assert row["solar_wh"] == 8000 // cars
        c.load(1, 1000, amps=0)
        c.end(1, 1000, ANA)
        c.hear(protocol.SESSION_ACK)


def test_an_end_is_acknowledged_when_it_is_on_disk_and_again_when_it_is_repeated(
    running: Running,
) -> None:
    with charger(running, "Charger-4") as c:
        c.begin(1, ANA)
        for _ in range(3):
            c.end(1, 77, ANA)
            assert c.hear(protocol.SESSION_ACK)["session"] == 1
            (row,) = sessions(running, c.name)
            assert (row["energy_wh"], row["user"], row["ended_by"]) == (77, "ana", "card")


def test_the_list_is_pushed_with_its_secret_and_again_when_it_changes(running: Running) -> None:
    with charger(running, "Charger-5") as c:
        said = c.hear(protocol.CONFIG_SET)
        assert said["name"] == "list_key"
        key = bytes.fromhex(json.loads(said["value"]))
        c.tell(protocol.CONFIG_VALUE, name="list_key", result="ok", value='"***"')
        first = c.hear(protocol.CARD_LIST)
        # Who has a quota or may not charge here is not on it.
        assert (first["cards"], first["part"], first["parts"]) == ([hashed(key, ANA)], 0, 1)
        running.post("/api/cards", {"user": "ana", "number": LOST})
        second = c.hear(protocol.CARD_LIST)
        assert second["list"] > first["list"]
        assert sorted(second["cards"]) == sorted([hashed(key, ANA), hashed(key, LOST)])


def test_commands_work_on_the_store_beside_a_running_manager(
    running: Running,
) -> None:
    from typer.testing import CliRunner

    from manager.cli_people import cards, users

    config = str(running.config)
    run = CliRunner().invoke
    assert run(users, ["add", "leo", "--name", "Leo", "--config", config]).exit_code == 0
    assert run(cards, ["add", "leo", "0455667788", "--config", config]).exit_code == 0
    with charger(running, "Charger-6") as c:
        until("he is known", lambda: c.tap("0455667788")["verdict"] == "accepted")
        listed = json.loads(run(cards, ["list", "--json", "--config", config]).output)
        (mark,) = [card["mark"] for card in listed if card["user"] == "leo"]
        assert run(cards, ["block", mark, "--config", config]).exit_code == 0
        until("it is lost", lambda: c.tap("0455667788")["verdict"] == "refused")
