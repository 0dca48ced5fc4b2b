"""kill -9 at any moment: what was acknowledged is there once, what was not is told again."""

from __future__ import annotations

import json
import random
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from shared import protocol
from tests.live.running import Device, LateError, Running, until

pytestmark = pytest.mark.broker

KEY = bytes(range(16))
CARD = "04a1b2c3d4e5f6"


class Charger(Device):
    """Sessions one after the other, each told until it is acknowledged, as the firmware does."""

    def __init__(self, running: Running) -> None:
        super().__init__(running, "Charger-1", key=KEY)
        self.announce_charger()
        self.meter_wh = 1000
        self.told: dict[int, int] = {}  # acknowledged: number -> Wh

    def sessions(self, ending: threading.Event, seed: int) -> None:
        chance = random.Random(seed)
        number = 0
        while not ending.is_set():
            number += 1
            taken = chance.randrange(5000)
            said = {"session": number, "age_s": 0, "card": CARD}
            began = {**said, "how": "card", "energy_wh": self.meter_wh}
            self.say("Charger-1/up", protocol.SESSION_BEGIN, **began)
            self.load(number, taken // 2)
            self.meter_wh += taken
            end = {**said, "energy_wh": taken, "duration_s": 60, "why": "unplugged"}
            while True:
                self.say("Charger-1/up", protocol.SESSION_END, **end)
                try:
                    if self.hear(protocol.SESSION_ACK, 0.5)["session"] == number:
                        break
                except LateError:
                    pass  # told again
            self.told[number] = taken

    def load(self, session: int, wh: int) -> None:
        now = {"current_ma": [16000], "voltage_dv": [2300], "power_w": [3680], "age_ms": 0}
        energy = {"energy_wh": [self.meter_wh + wh], "session": session, "session_wh": wh}
        self.say("Charger-1/up", protocol.CHARGER_LOAD, **now, **energy)


def asked(running: Running, path: str) -> Any:
    with urllib.request.urlopen(f"{running.url}{path}", timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    "kills", [3, pytest.param(200, marks=(pytest.mark.soak, pytest.mark.timeout(3600)))]
)
def test_acknowledged_sessions_are_there_once(tmp_path: Path, mosquitto: str, kills: int) -> None:
    site = (
        f'[site]\nlimit_a = 30\n[[device]]\nid = "Counter-1"\nkey = "{KEY.hex()}"\n'
        f'[[device]]\nid = "Charger-1"\nkey = "{KEY.hex()}"\n'
    )
    running = Running(tmp_path, site)
    meter = Device(running, "Counter-1", key=KEY)
    meter.announce_counter()
    running.post("/api/users", {"id": "ana"})
    running.post("/api/cards", {"user": "ana", "number": CARD})
    charger = Charger(running)
    ending = threading.Event()
    driving = threading.Thread(target=charger.sessions, args=(ending, kills))
    driving.start()
    chance = random.Random(kills)
    try:
        for _ in range(kills):
            ending.wait(chance.random() * 0.7)
            running.manager.kill()
            running.start_manager()
        before = len(charger.told)
        until("sessions go on", lambda: len(charger.told) > before + 3, 30)
    finally:
        ending.set()
        driving.join(60)
        kept = asked(running, "/api/sessions")["sessions"]
        faults = asked(running, "/api/bills/check")["faults"]
        charger.close()
        meter.close()
        running.stop()
    assert not driving.is_alive()
    assert [s["energy_wh"] for s in kept if s["end_s"]] == [charger.told[n] for n in charger.told]
    assert {s["user"] for s in kept} == {"ana"}
    assert faults == []
