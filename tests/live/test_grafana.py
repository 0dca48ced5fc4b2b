"""Every query of the building's Grafana dashboard, asked of a real Prometheus that scrapes a running
manager: each gives data.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from manager import broker
from manager.process import Child
from shared import protocol
from tests.live.running import Device, Running, until
from tests.real_parts import real_part

pytestmark = pytest.mark.broker
BOARD = Path(__file__).parents[2] / "deploy/grafana/building.json"


def queries() -> list[str]:
    panels = json.loads(BOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def measure(meter: Device, n: int) -> None:
    meter.say(
        "Counter-1/up", protocol.COUNTER_LOAD, current_ma=[5000], voltage_dv=[2300],
        power_w=[1150], energy_wh=[1000 + n], age_ms=0,
    )  # fmt: skip


def test_every_query_gives_data(tmp_path: Path, mosquitto: str) -> None:
    port = broker.free_port()
    running = Running(tmp_path, "[site]\nlimit_a = 30\nopen = true\n")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ievcc\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{running.port}']}}]\n"
    )
    prometheus = Child(
        "prometheus",
        [
            real_part("prometheus"), f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}",
        ],
        tmp_path / "prometheus.log",
    )  # fmt: skip

    def answer(expr: str) -> list[Any]:
        asked = urllib.parse.urlencode({"query": expr.replace("$__rate_interval", "30s")})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?{asked}", timeout=5
            ) as said:
                return list(json.load(said)["data"]["result"])
        except ConnectionError:
            return []
        except urllib.error.URLError:
            assert prometheus.status() is None, prometheus.words()
            return []

    meter, charger = Device(running, "Counter-1"), Device(running, "Charger-1")
    try:
        meter.announce_counter()
        charger.announce_charger()
        meter.raw("Counter-1/up", b"no message")
        left = queries()
        assert len(left) > 12
        said = 0

        def all_answered() -> bool:
            nonlocal left, said
            said += 1
            measure(meter, said)
            left = [expr for expr in left if not answer(expr)]
            return not left

        until("every query has an answer", all_answered, 60)
        (limit,) = answer('ievcc_feeder_limit_amperes{feeder="main"}')
        assert limit["value"][1] == "30"
    finally:
        meter.close()
        charger.close()
        prometheus.end()
        running.stop()
