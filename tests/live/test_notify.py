"""Who is told of what: a running manager, a real mail server, and HTTP servers that take a webhook and
what ntfy's documentation says. One message for what comes together, no flood, and tried again.
"""

from __future__ import annotations

import contextlib
import email
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from manager import broker
from shared import protocol
from tests.live.running import Device, LateError, Running, until

pytestmark = pytest.mark.broker
SECRET = "tk_thisisnotforthelog0000000000"


class Mail:
    """Takes what is sent; the mail server's handler."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], str, str]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        message = email.message_from_bytes(envelope.content)
        body = next(p for p in message.walk() if p.get_content_maintype() == "text")
        text = body.get_payload(decode=True)
        assert isinstance(text, bytes)
        self.got.append((envelope.rcpt_tos, str(message["Subject"]), text.decode()))
        return "250 OK"


class Web(ThreadingHTTPServer):
    """A webhook's server and ntfy; `away` answers 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.hooks: list[dict[str, Any]] = []
        self.house: list[dict[str, Any]] = []
        self.ntfy: list[dict[str, Any]] = []
        self.away = False
        self.refused = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _Taker(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 200
        if self.server.away:
            self.server.refused += 1
            status = 503
        elif self.path.startswith("/house"):
            self.server.house.append(json.loads(body))
        elif self.path.startswith("/hook"):
            self.server.hooks.append(json.loads(body))
        elif self.headers.get("Authorization") != f"Bearer {SECRET}":
            status = 403
        elif self.path == "/":  # publishing as JSON: topic and message in it
            said = json.loads(body)
            assert said["topic"] == "garage"
            self.server.ntfy.append(said)
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Quietly."""


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def mail() -> Iterator[tuple[Mail, int]]:
    taker, port = Mail(), broker.free_port()
    controller = Controller(taker, "127.0.0.1", port)
    controller.start()
    yield taker, port
    controller.stop()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, web: Web, mail: tuple[Mail, int]
) -> Iterator[Running]:
    at = f"127.0.0.1:{web.server_address[1]}"
    letters = f"mailto://127.0.0.1:{mail[1]}?from=ievcc@home.lan&to=ana@home.lan"
    site = f"""[site]
limit_a = 30
open = true
[[notify]]
name = "hook"
url = "json://{at}/hook"
about = ["fault", "offline"]
[[notify]]
name = "house"
url = "json://{at}/house"
about = ["overload", "cards"]
[[notify]]
name = "caretaker"
url = "{letters}"
about = ["fault"]
[[notify]]
name = "phone"
url = "ntfy://{SECRET}@{at}/garage"
about = ["fault"]
[[notify]]
name = "Ana"
url = "{letters}"
about = ["full"]
user = "ana"
language = "pt"
"""
    system = Running(tmp_path_factory.mktemp("notify"), site)
    yield system
    system.stop()


def back(running: Running, name: str, boot: int = 1) -> Device:
    """A board after a start; what was there before it has to have been silent for a while."""
    device = Device(running, name, boot)

    def taken() -> bool:
        with contextlib.suppress(LateError):
            meter = name.startswith("Counter")
            words = device.announce_counter() if meter else device.announce_charger()
            return "registered" in words
        return False

    until(f"{name} is registered", taken, 30)
    return device


def status(charger: Device, faults: list[str]) -> None:
    charger.say(
        f"{charger.name}/up", protocol.CHARGER_STATUS, state="F2" if faults else "A1", offer_a=0,
        lease=0, lease_ms=0, contactor=0, mode="managed", faults=faults, rejected=0, uptime_s=9,
    )  # fmt: skip


def test_a_fault_reaches_everybody_once_and_a_server_that_was_away_too(
    running: Running, web: Web, mail: tuple[Mail, int]
) -> None:
    web.away = True
    meter = Device(running, "Counter-1")
    meter.announce_counter()
    chargers = [Device(running, f"Charger-{n}") for n in (1, 2)]
    for charger in chargers:
        charger.announce_charger()
        status(charger, ["weld"])
    letters = mail[0].got
    until("the mail is there", lambda: letters, 30)
    for _ in range(5):  # it comes and goes
        status(chargers[0], [])
        status(chargers[0], ["weld"])
    until("both servers were asked", lambda: web.refused >= 2, 20)
    web.away = False
    until("hook and ntfy are told", lambda: web.hooks and web.ntfy, 40)
    for to, subject, body in letters:
        assert (to, subject) == (["ana@home.lan"], "IEVCC home")
        assert "Charger-1 has a fault: weld" in body
        assert "Charger-2 has a fault: weld" in body
        assert body.count("weld") == 2
    assert (len(letters), len(web.hooks), len(web.ntfy)) == (1, 1, 1)
    assert web.hooks[0]["message"] == "Charger-1 has a fault: weld\nCharger-2 has a fault: weld"
    assert web.ntfy[0]["message"] == "Charger-1 has a fault: weld\nCharger-2 has a fault: weld"

    chargers[1].close()
    until("that it is gone is told", lambda: len(web.hooks) == 2, 40)
    assert web.hooks[1]["message"] == "Charger-2 is offline"
    chargers[0].close()
    meter.close()
    log = (running.folder / "manager.log").read_text()
    assert "hook cannot be told" in log
    assert SECRET not in log


def test_a_full_car_an_overload_and_wrong_cards(
    running: Running, web: Web, mail: tuple[Mail, int]
) -> None:
    def ievcc(*words: str) -> None:
        command = [sys.executable, "-m", "manager", *words, "--config", str(running.config)]
        subprocess.run(command, capture_output=True, check=True, timeout=60)

    ievcc("users", "add", "ana", "--name", "Ana")
    ievcc("cards", "add", "ana", "04A1B2C3D4E5F6")
    letters, hooks = mail[0].got, web.house
    letters.clear()
    meter, charger = back(running, "Counter-1", 2), back(running, "Charger-1", 2)
    up = "Charger-1/up"

    def says(state: str) -> None:
        lease = running.charger("Charger-1")
        charger.say(
            up, protocol.CHARGER_STATUS, state=state, offer_a=lease["limit_a"], mode="managed",
            lease=lease["lease"], lease_ms=9000, contactor=int(state == "C2"), faults=[],
            rejected=0, uptime_s=9,
        )  # fmt: skip
        meter.measure(45 if state == "C2" else 8)

    for n in range(5):
        charger.say(up, protocol.CARD_READ, card=f"0401020304050{n}")
        assert charger.hear(protocol.CARD_VERDICT)["verdict"] == "unknown"
    charger.say(up, protocol.CARD_READ, card="04a1b2c3d4e5f6")
    assert charger.hear(protocol.CARD_VERDICT)["verdict"] == "accepted"
    charger.say(up, protocol.SESSION_BEGIN, session=1, how="card", card="04a1b2c3d4e5f6",
                energy_wh=0, age_s=0)  # fmt: skip
    charger.say(up, protocol.CHARGER_LOAD, current_ma=[8000], voltage_dv=[2300], power_w=[1840],
                energy_wh=[7200], age_ms=0, session=1, session_wh=7200)  # fmt: skip

    def told(words: str) -> bool:
        says("C2")
        return any(words in h["message"] for h in hooks)

    until("wrong cards", lambda: told("5 cards in a row were not accepted at Charger-1"), 30)
    until("overload", lambda: told("the building draws 53.0 A; its limit is 30 A"), 30)

    def is_full() -> bool:
        says("B2")
        return len(letters) > 0

    until("the car is full", is_full, 30)
    to, _, body = letters[0]
    assert (to, body.strip()) == (["ana@home.lan"], "o carro em Charger-1 está cheio: 7,2 kWh")
    charger.close()
    meter.close()


def test_what_could_not_be_told_is_told_by_the_next_manager(running: Running, web: Web) -> None:
    web.away, web.refused = True, 0
    before = len(web.hooks)
    meter, charger = back(running, "Counter-1", 3), back(running, "Charger-3")
    status(charger, ["weld"])
    until("it was tried", lambda: web.refused, 30)
    status(charger, [])
    running.manager.end()
    web.away = False
    running.manager = running.start_manager()
    until("it is told", lambda: any(
        "Charger-3 has a fault: weld" in h["message"] for h in web.hooks[before:]), 30)  # fmt: skip
    charger.close()
    meter.close()


def test_the_command_sends_one_and_says_what_failed(running: Running, web: Web) -> None:
    def notify(*names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "manager", "notify", "test", *names]
        command += ["--config", str(running.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    before = len(web.hooks)
    done = notify("hook")
    assert (done.returncode, done.stdout) == (0, "hook: sent\n"), done.stderr
    assert len(web.hooks) == before + 1
    web.away = True
    done = notify("phone")
    web.away = False
    assert done.returncode == 1
    assert "phone: the server for ntfy did not take it" in done.stderr
    assert SECRET not in done.stderr + done.stdout
