"""A running manager's readings, offers and sessions in a real InfluxDB and before a server as strict as
emoncms: all of them, each once, at their own moments, also when the server was away or the manager was.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from manager import store
from shared import protocol
from tests.live.influx import Influx
from tests.live.running import Device, Running, until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]
KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
READINGS = 200


class Emoncms(ThreadingHTTPServer):
    """emoncms's input/bulk, by its documentation and the checks of its input_methods.php."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Input)
        self.taken: dict[tuple[str, str], list[tuple[int, float]]] = {}
        self.refused: list[str] = []
        self.mood = ""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/emoncms"

    def take(self, form: dict[str, list[str]]) -> str:
        """What emoncms answers, with status 200 whatever it is."""
        if self.mood:
            return self.mood
        try:
            data = json.loads(form["data"][0])
        except (KeyError, ValueError):
            return "Format error, json string supplied is not valid"
        if not isinstance(data, list) or not data or not isinstance(data[-1][0], int):
            return "Format error, last item in bulk data does not contain any data"
        base = int(form["time"][0])
        new = []
        for item in data:
            if not isinstance(item, list) or len(item) < 3:
                return "Format error, bulk item needs at least 3 values"
            seconds, node, *values = item
            if type(seconds) is not int or not isinstance(node, str):
                return "Format error, time or node"
            if not re.fullmatch(r"[\w\s.-]+", node):
                return "Format error, node name contains characters that are not allowed"
            for value in values:
                for name, number in value.items():
                    if not isinstance(number, int | float):
                        return "Format error, value is not numeric"
                    new.append((node, name, base + seconds, number))
        for node, name, seconds, number in new:
            self.taken.setdefault((node, name), []).append((seconds, number))
        return "ok"


class _Input(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Emoncms

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.path != "/emoncms/input/bulk":
            self.answer(404, "Not found")
        elif self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, "Invalid API key")
        elif self.headers["Content-Type"] != "application/x-www-form-urlencoded":
            self.answer(200, "Format error, data parameter is missing")
        else:
            words = self.server.take(form)
            if words != "ok":
                self.server.refused.append(words)
            self.answer(200, words)

    def answer(self, status: int, words: str) -> None:
        body = words.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quietly."""


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    server = Influx(tmp_path_factory.mktemp("influx") / "d")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def emoncms() -> Iterator[Emoncms]:
    with Emoncms() as server:
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: str, influx: Influx, emoncms: Emoncms
) -> Iterator[Running]:
    sinks = f'{influx.site_file()}[emoncms]\nurl = "{emoncms.address}"\nkey = "{KEY}"\n'
    site = f'[site]\nlimit_a = 30\nopen = true\nworst_house_a = 10\n{sinks}node = "home "\n'
    system = Running(tmp_path_factory.mktemp("sinks"), site)
    yield system
    system.stop()


def kept(path: Path, question: str) -> tuple[Any, ...]:
    return store.read(path, question)[0]


def measure(meter: Device, first: int, last: int) -> None:
    """Numbered readings of two phases, each of another moment and another current."""
    for n in range(first, last):
        meter.say(
            f"{meter.name}/up", protocol.COUNTER_LOAD, current_ma=[5000 + n, 100 + n],
            voltage_dv=[2300, 2310], power_w=[1150 + n, 23 + n], energy_wh=[1000 + n, n],
            pf_pct=[99, 98], freq_mhz=50_000, age_ms=n % 7 * 10,
        )  # fmt: skip


def test_all_of_it_arrives_once_though_server_and_manager_were_away(
    running: Running, influx: Influx, emoncms: Emoncms
) -> None:
    meter, charger = Device(running, "Counter-1"), Device(running, "Charger-1")
    path = running.folder / "ievcc.db"
    meter.announce_counter(phases=2)
    charger.announce_charger()
    measure(meter, 0, READINGS // 2)
    until("InfluxDB has the first", lambda: influx.rows("SELECT * FROM reading LIMIT 1"))

    influx.stop()
    emoncms.mood = "Format error, the disk is full"
    measure(meter, READINGS // 2, READINGS)
    charger.say(
        "Charger-1/up", protocol.CHARGER_STATUS, state="C2", offer_a=0, lease=0, lease_ms=0,
        contactor=0, mode="managed", faults=[], rejected=0, uptime_s=9,
    )  # fmt: skip
    for _ in range(2):  # it says it again until it is told that it is on disk
        charger.say(
            "Charger-1/up", protocol.SESSION_END, session=3, energy_wh=7200, duration_s=3600,
            age_s=60, why="unplugged",
        )  # fmt: skip
    troubles = until(
        "both are said to be away",
        lambda: (
            [s["trouble"] for s in running.state()["sinks"] if s["trouble"]][1:]
            and running.state()["sinks"]
        ),
        20,
    )
    assert [s["name"] for s in troubles] == ["influxdb", "emoncms"]
    assert "disk is full" in troubles[1]["trouble"]
    running.manager.kill()
    running.start_manager()  # what waited waits still
    influx.start()
    emoncms.mood = ""
    until("nothing waits", lambda: kept(path, "SELECT count(*) FROM outbox") == (0,), 60)
    meter.close()
    charger.close()

    in_store = "SELECT count(*), sum(current_ma), sum(power_w), sum(energy_wh) FROM reading"
    ours = kept(path, f"{in_store} WHERE device = 'Counter-1'")
    asked = "SELECT count(current_ma), sum(current_ma), sum(power_w), sum(energy_wh) FROM reading"
    (theirs,) = influx.rows(f"{asked} WHERE device = 'Counter-1'")
    assert ours == tuple(theirs[k] for k in ("count", "sum", "sum_1", "sum_2"))
    assert ours[0] == 2 * READINGS
    # Each at its own moment: to the millisecond as the store has it.
    moments = [
        r["time"] // 1_000_000
        for r in influx.rows("SELECT current_ma FROM reading WHERE phase = '1'")
    ]
    stamped = "SELECT at_ms FROM reading WHERE device = 'Counter-1' AND phase = 1 ORDER BY 1"
    assert sorted(moments) == [at for (at,) in store.read(path, stamped)]
    offers = store.read(path, "SELECT at_ms, offer_a, reason FROM decision ORDER BY id")
    assert [
        (r["time"] // 1_000_000, r["offer_a"], r["reason"])
        for r in influx.rows("SELECT * FROM offer")
    ] == offers
    assert offers
    (session,) = influx.rows("SELECT * FROM session")
    assert (session["charger"], session["session"], session["energy_wh"]) == ("Charger-1", 3, 7200)
    ended = kept(path, "SELECT end_ms FROM session WHERE energy_wh = 7200")[0]
    assert session["time"] == ended * 1_000_000

    assert len(emoncms.taken["home Counter-1", "current1"]) == READINGS
    amps = sum(v for _, v in emoncms.taken["home Counter-1", "current2"])
    assert round(amps * 1000) == sum(100 + n for n in range(READINGS))
    assert emoncms.taken["home Charger-1", "offer"][-1][1] == offers[-1][1]
    assert set(emoncms.refused) == {"Format error, the disk is full"}


def test_a_sessions_end_said_again_to_the_next_manager_is_one_point(
    running: Running, influx: Influx
) -> None:
    path = running.folder / "ievcc.db"
    counter, charger = Device(running, "Counter-2"), Device(running, "Charger-2")
    counter.announce_counter()
    charger.announce_charger("Counter-2/new")

    def over(age_s: int) -> None:
        charger.say(
            "Charger-2/up", protocol.SESSION_END, session=9, energy_wh=4100, duration_s=600,
            age_s=age_s, why="unplugged",
        )  # fmt: skip
        charger.hear(protocol.SESSION_ACK)

    def points() -> list[int]:
        return [
            r["time"] for r in influx.rows("SELECT * FROM session WHERE charger = 'Charger-2'")
        ]

    over(30)
    (once,) = until("it is there", points, 20)
    running.manager.kill()
    running.start_manager()
    over(45)  # as if it had ended at another moment
    over(90)
    until("nothing waits", lambda: kept(path, "SELECT count(*) FROM outbox") == (0,), 30)
    assert points() == [once]
    counter.close()
    charger.close()


def test_what_influxdb_will_never_take_holds_nothing_up(running: Running, influx: Influx) -> None:
    influx.ask("DROP MEASUREMENT session", post=True)
    influx.write("session,site=home why=1i")  # by another program: a number where ours are words
    meter, charger = Device(running, "Counter-1", boot=9), Device(running, "Charger-9")
    try:
        meter.announce_counter()
        charger.announce_charger()
        charger.say(
            "Charger-9/up", protocol.SESSION_END, session=1, energy_wh=1, duration_s=1, age_s=1,
            why="unplugged",
        )  # fmt: skip
        until("it is passed over", lambda: sink(running)["passed_over"], 20)
        measure(meter, 0, 3)
        count = "SELECT count(current_ma) FROM reading WHERE phase = '1'"
        wanted = READINGS + 3
        until("what came after is there", lambda: influx.rows(count)[0]["count"] == wanted, 20)
        assert not sink(running)["trouble"]
    finally:
        meter.close()
        charger.close()


def sink(running: Running) -> Any:
    return next(s for s in running.state()["sinks"] if s["name"] == "influxdb")
