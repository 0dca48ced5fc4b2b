"""Boards that were deployed to and reset run their main.py and join the running system: a real
broker, a real manager."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.pzem_slave import LineThread, Pzem
from tests.live.running import Running, until
from tests.tools.pretend import Pretend, Start, counts, deploy, deploy_with_reset

SITE = """
[site]
limit_a = 30
open = true
"""
pytestmark = [pytest.mark.board, pytest.mark.broker]


@pytest.fixture
def running(tmp_path: Path, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path, SITE)
    yield system
    system.stop()


def put(board: Pretend, running: Running, tree: Path, **settings: object) -> None:
    """Deploy with a configuration for this system; the board is reset at the end of it."""
    file = board.flash.with_suffix(".json")
    network = {
        "site": running.root.split("/")[1],
        "wifi_ssid": "bench",
        "broker_host": "127.0.0.1",
        "broker_port": running.broker.port,
    }
    file.write_text(json.dumps(network | settings))
    assert counts(deploy(board.port, board.kind, "--config", str(file), tree=tree))[0] > 0


def test_a_meter_and_a_charger_join(running: Running, pretend: Start, tree: Path) -> None:
    with LineThread([Pzem()]) as line:
        meter = pretend("energy_meter", "--uart", line.path)
        put(meter, running, tree, id="Counter-1", role="house", repl_window_ms=1000)
        until("the meter is registered", lambda: running.state()["meters"], 40)
        charger = pretend("charger")
        put(charger, running, tree, id="Charger-1", counter="Counter-1", start_delay_s=0)
        until("the charger is registered", lambda: running.charger("Charger-1"), 40)

        # The meter's line now belongs to its PZEM, so nobody answers until it is reset; the
        # charger's program is simply stopped. Nothing has changed, and both run again.
        before = boots(running)
        again = deploy_with_reset(meter, tree)
        assert "Press its reset button" in again.stdout
        assert counts(again)[0] == 0
        assert counts(deploy(charger.port, "charger", tree=tree))[0] == 0
        until(
            "both have started anew",
            lambda: all(boot > before[name] for name, boot in boots(running).items()),
            40,
        )


def boots(running: Running) -> dict[str, int]:
    """Device -> the number of its last start that the manager has heard from."""
    state = running.state()
    return {device["id"]: device["boot"] for device in state["meters"] + state["chargers"]}
