"""/metrics of a running manager: clean by promtool, right in its figures, for those who may see it."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import protocol
from tests.live.running import Device, Running, until
from tests.real_parts import real_part

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path_factory.mktemp("metrics"), "[site]\nlimit_a = 30\nopen = true\n")
    yield system
    system.stop()


def scraped(running: Running) -> str:
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def figures(text: str) -> dict[tuple[str, ...], float]:
    return {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def clean(text: str) -> None:
    check = [real_part("promtool"), "check", "metrics"]
    done = subprocess.run(check, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_finds_nothing_and_the_figures_are_the_managers(running: Running) -> None:
    clean(scraped(running))  # nobody has announced itself yet
    meter, charger = Device(running, "Counter-1"), Device(running, "Charger-1")
    try:
        meter.announce_counter()
        charger.announce_charger()
        meter.measure(5.5)
        meter.say(
            "Counter-1/up", protocol.COUNTER_LOAD, current_ma=[7500], voltage_dv=[2300],
            power_w=[1725], energy_wh=[1000], age_ms=0,
        )  # fmt: skip
        meter.raw("Counter-1/up", b"no message")
        until("the last one is counted", lambda: running.state()["refused"])
        text = scraped(running)
    finally:
        meter.close()
        charger.close()
    clean(text)
    got = figures(text)
    assert got["ievcc_feeder_limit_amperes", "main", "1"] == 30
    assert got["ievcc_feeder_house_amperes", "main", "1"] == 7.5
    assert got["ievcc_meter_current_amperes", "Counter-1", "1", "house"] == 7.5
    assert got["ievcc_meter_power_watts", "Counter-1", "house"] == 1725
    assert got["ievcc_energy_joules_total", "Counter-1"] == 3_600_000
    assert got["ievcc_charger_online", "Charger-1"] == 1
    assert got["ievcc_messages_taken_total",] >= 4
    assert sum(v for k, v in got.items() if k[0] == "ievcc_messages_refused_total") == 1
    assert got["process_resident_memory_bytes",] > 1e6
