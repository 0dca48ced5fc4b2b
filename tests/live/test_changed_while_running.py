"""Everything that may be set is set while a real manager runs: policies, source of energy by hand, by
a provider and by the site file, wishes, hours to come, windows, feeders, how many at once.

Meters and chargers here are MQTT clients that obey at once; what sharing does is the core's tests' part.
"""

from __future__ import annotations

import http.server
import json
import queue
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from shared import protocol
from tests.live.running import Device, Running, until

pytestmark = pytest.mark.broker

SITE = """
[site]
limit_a = 32
open = true
update_interval_s = 0
max_counters = 3
min_on_s = 0
min_off_s = 0

[[device]]
id = "c1"
[[device]]
id = "c2"
[[device]]
id = "c3"
[[device]]
id = "Garage"
"""


class Provider(http.server.BaseHTTPRequestHandler):
    """An energy provider that says where energy comes from."""

    says: ClassVar[dict[str, str]] = {"source": "grid"}

    def do_GET(self) -> None:
        body = json.dumps(self.says).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Site:
    """Three meters and three cars on one running manager; `amps` is what each meter shows."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.amps = {"House": 4.0, "Garage": 0.0, "Roof": 0.0}
        self.meters = [Device(running, name) for name in self.amps]
        for meter, role in zip(self.meters, ("house", "house", "solar"), strict=True):
            meter.announce_counter(role=role)
        self.chargers = [Device(running, f"c{n}") for n in (1, 2, 3)]
        self.lease = dict.fromkeys(("c1", "c2", "c3"), (0, 0))
        for charger in self.chargers:
            charger.announce_charger("House/new")
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        at = 0.0
        while not self.ending.wait(0.02):
            for charger in self.chargers:
                self._obey(charger)
            if time.monotonic() - at > 0.5:
                at = time.monotonic()
                for meter in self.meters:
                    meter.measure(self.amps[meter.name])
                for charger in self.chargers:
                    self._status(charger)

    def _obey(self, charger: Device) -> None:
        news = False
        while True:
            try:
                message = charger.heard.get_nowait()
            except queue.Empty:
                break
            if message["code"] == protocol.AVAILABLE_LOAD:
                self.lease[charger.name] = message["lease"], message["limit_a"]
                news = True
        if news:
            self._status(charger)

    def _status(self, charger: Device) -> None:
        number, amps = self.lease[charger.name]
        charger.say(
            f"{charger.name}/up", protocol.CHARGER_STATUS, state="C2" if amps else "C1",
            offer_a=amps, lease=number, lease_ms=9000, contactor=int(amps > 0), mode="managed",
            faults=[], rejected=0, uptime_s=1,
        )  # fmt: skip

    def offers(self) -> tuple[int, ...]:
        return tuple(amps for _, amps in self.lease.values())

    def settle(self, *offers: int) -> None:
        until(f"offers are {offers}", lambda: self.offers() == offers, 30)

    def settle_in_any_order(self, *offers: int) -> None:
        until(f"offers are {offers}", lambda: sorted(self.offers()) == sorted(offers), 30)

    def put(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.running.url}{path}", json.dumps(body).encode(),
            {"Content-Type": "application/json"}, method="PUT",
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def change(self, **changes: Any) -> None:
        version = self.running.get("/api/settings")["version"]
        self.put("/api/settings", {"version": version, **changes})

    def reason(self, name: str) -> str:
        return str(self.running.charger(name)["reason"]["words"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Site]:
    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{provider.server_address[1]}/"
    running = Running(tmp_path_factory.mktemp("change"), f'{SITE}[energy]\nsource_url = "{url}"\n')
    live = Site(running)
    yield live
    live.ending.set()
    live.thread.join()
    for device in (*live.meters, *live.chargers):
        device.close()
    running.stop()
    provider.shutdown()


@pytest.fixture(autouse=True)
def as_it_was(site: Site) -> Iterator[None]:
    site.settle_in_any_order(10, 9, 9)
    yield
    site.amps.update(House=4.0, Garage=0.0, Roof=0.0)
    site.running.post("/api/source", {"source": None})
    for name in site.lease:
        site.running.post("/api/wish", {"charger": name})
        site.running.post("/api/limit", {"charger": name, "limit_a": None})
        site.running.post("/api/priority", {"charger": name, "priority": 0})
    site.running.post("/api/limit", {"limit_a": None})
    site.change(
        site={"policy": "fair", "max_active": None},
        windows=[],
        feeders=[],
        devices=[{"id": name, "feeder": None} for name in (*site.lease, "Garage")],
    )


def test_policies(site: Site) -> None:
    site.change(site={"policy": "first"})
    site.settle_in_any_order(28, 0, 0)
    site.change(site={"policy": "equal"})
    site.settle(9, 9, 9)  # 28 A for three: the thesis' rule leaves one


def test_limits_by_hand_and_priorities(site: Site) -> None:
    site.running.post("/api/limit", {"charger": "c1", "limit_a": 8})
    site.settle(8, 10, 10)
    site.running.post("/api/limit", {"limit_a": 24})  # the site's
    site.settle_in_any_order(7, 7, 6)
    for name in ("c1", "c2"):
        site.running.post("/api/priority", {"charger": name, "priority": 2})
    site.settle(0, 0, 20)
    site.running.post("/api/limit", {"limit_a": None})
    site.settle(0, 0, 28)


def test_who_must_leave_soon_comes_first(site: Site) -> None:
    for name, kwh, hours in (("c1", 2, 20), ("c2", 20, 2), ("c3", 2, 21)):
        until_ = time.strftime("%H:%M", time.gmtime(time.time() + hours * 3600))
        site.running.post("/api/wish", {"charger": name, "kwh": kwh, "until": until_})
    site.change(site={"policy": "deadline"})
    site.settle(0, 27, 0)  # 0.2 A of 28 are left for what meters do not show
    site.running.post("/api/limit", {"charger": "c2", "limit_a": 10})
    site.settle(16, 10, 0)  # who has time leaves the house 2 A


def test_the_least_carbon(site: Site) -> None:
    first = int(time.time()) // 900 * 900
    quarters = [{"start_s": first + n * 900, "value": 500 if n < 20 else 100} for n in range(96)]
    site.put("/api/hours", {"carbon": quarters})
    until_ = time.strftime("%H:%M", time.gmtime(time.time() + 23 * 3600))
    site.running.post("/api/wish", {"charger": "c1", "kwh": 2, "until": until_})
    site.settle_in_any_order(10, 9, 9)
    site.change(site={"policy": "green"})
    site.settle(0, 14, 14)
    assert site.reason("c1").startswith("standby: charges in better hours, from ")


def test_how_many_at_once(site: Site) -> None:
    site.change(site={"max_active": 2})
    site.settle_in_any_order(14, 14, 0)
    standing_by = next(name for name, (_, amps) in site.lease.items() if not amps)
    assert site.reason(standing_by) == "standby: 2 chargers at once"


def test_several_meters_of_one_house(site: Site) -> None:
    site.amps["Garage"] = 6.0
    site.settle_in_any_order(8, 7, 7)


def test_feeders_and_windows(site: Site) -> None:
    site.change(feeders=[{"name": "garage", "limit_a": 15}], devices=[])
    site.settle_in_any_order(10, 9, 9)  # nobody hangs there yet
    site.change(windows=[{"start": "00:00", "end": "24:00", "max_a": 8, "charger": "c1"}])
    site.settle(8, 10, 10)
    with pytest.raises(urllib.error.HTTPError):  # overlaps: all stays as it was
        site.change(
            windows=[
                {"start": "00:00", "end": "24:00", "max_a": 8},
                {"start": "10:00", "end": "11:00", "max_a": 9},
            ]
        )
    site.settle(8, 10, 10)


def test_a_tree_of_feeders_with_a_meter_of_its_own(site: Site) -> None:
    garage = {"name": "garage", "limit_a": 15}
    site.change(
        feeders=[garage],
        devices=[{"id": "c1", "feeder": "garage"}, {"id": "c2", "feeder": "garage"}],
    )
    site.settle_in_any_order(8, 7, 13)
    site.change(feeders=[{**garage, "limit_a": 12}])
    site.settle(6, 6, 16)
    # A branch of the garage, for c1.
    site.change(
        feeders=[{**garage, "limit_a": 20}, {"name": "row", "limit_a": 7, "parent": "garage"}],
        devices=[{"id": "c1", "feeder": "row"}],
    )
    site.settle_in_any_order(7, 11, 10)
    # What else hangs in the garage has a meter there.
    site.change(devices=[{"id": "Garage", "feeder": "garage"}])
    site.amps["Garage"] = 6.0
    site.settle(7, 7, 14)  # the house's own meter sees that too, and shows 4 A still


def test_the_sun_first(site: Site) -> None:
    site.running.post("/api/source", {"source": "solar_first"})
    site.settle(6, 6, 6)  # in any case
    site.amps["Roof"] = 28.0
    site.settle(8, 8, 8)  # 24 A beyond the house
    site.amps["Roof"] = 10.0
    site.settle(6, 6, 6)
    site.running.post("/api/source", {"source": "grid"})
    site.settle_in_any_order(10, 9, 9)


def test_the_source_by_hand_and_back_and_by_a_window(site: Site) -> None:
    command = [sys.executable, "-m", "manager", "source", "solar_only", "--url", site.running.url]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "energy comes from solar_only\n"
    site.settle(0, 0, 0)
    assert site.reason("c1") == "standby: 0.0 A of sun, 6 A needed"
    site.amps["Roof"] = 20.0  # a meter of its own: 4 A of it are the house's
    site.settle_in_any_order(8, 8, 0)
    site.running.post("/api/source", {"source": None})
    site.settle_in_any_order(10, 9, 9)
    site.amps["Roof"] = 0.0
    # The provider's word goes before the site file's.
    site.change(windows=[{"start": "00:00", "end": "24:00", "source": "solar_only"}])
    assert site.running.get("/api/settings")["windows"][0]["source"] == "solar_only"
    site.settle_in_any_order(10, 9, 9)


@pytest.mark.soak  # a provider is asked once a minute
@pytest.mark.timeout(500)
def test_a_provider_that_changes_its_word(site: Site) -> None:
    for word, offers in (
        ("solar_only", [0, 0, 0]),
        ("solar_first", [6, 6, 6]),
        ("grid", [9, 9, 10]),
    ):
        Provider.says = {"source": word}
        until(f"{word}: {offers}", lambda o=offers: sorted(site.offers()) == o, 90)  # type: ignore[misc]


def test_a_wish_and_the_hours_to_come(site: Site) -> None:
    utc_s = int(time.time())
    first = utc_s // 900 * 900
    site.change(site={"policy": "cheapest"})
    quarters = [{"start_s": first + n * 900, "value": 5 if n < 20 else 1} for n in range(96)]
    site.put("/api/hours", {"prices": quarters})
    there = time.gmtime(utc_s - 3600)  # in 23 hours
    command = [
        sys.executable, "-m", "manager", "wish", "c1", "--kwh", "2",
        "--until", time.strftime("%H:%M", there), "--url", site.running.url,
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.startswith("c1: 2 kWh, until ")
    site.settle(0, 14, 14)
    assert site.reason("c1").startswith("standby: charges in better hours, from ")
    site.running.post("/api/wish", {"charger": "c1", "max_a": 7})
    site.settle_in_any_order(7, 11, 10)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/wish", {"charger": "c1", "until": "25:00"}, "is not a time of day"),
        ("/api/wish", {"charger": "c9"}, "no charger c9"),
        ("/api/wish", {"charger": "c1", "kwh": -1}, "kwh"),
        ("/api/source", {"source": "wind"}, "source"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    site: Site, path: str, body: dict[str, Any], words: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        site.running.post(path, body)
    assert words in json.load(refused.value)["words"]


def test_the_providers_word() -> None:
    """Asked for itself, as a manager asks once a minute."""
    from manager.energy import provider_says
    from manager.refusal import Refusal

    provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{provider.server_address[1]}/"
    try:
        assert provider_says(url) == "grid"
        Provider.says = {"source": "coal"}
        with pytest.raises(Refusal, match="'coal' is not one of"):
            provider_says(url)
    finally:
        Provider.says = {"source": "grid"}
        provider.shutdown()
