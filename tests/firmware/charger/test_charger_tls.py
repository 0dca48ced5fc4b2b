"""The charger over TLS: to a broker that proves itself and wants to know who is there; to nobody else."""

import json
import time
from pathlib import Path

import pytest

from tests.firmware.charger.bench import Bench, ChargerManager, until
from tests.firmware.charger.tls import OTHER, OURS, flash, tls_broker

pytestmark = [pytest.mark.board, pytest.mark.broker]


def test_a_charger_joins_over_tls(tmp_path: Path, micropython: str, mosquitto: str) -> None:
    with tls_broker(tmp_path, mosquitto) as (plain, secure, _):
        flash(tmp_path / "charger.flash", OURS)
        manager = ChargerManager(plain)
        bench = Bench(
            tmp_path,
            broker_tls=1,
            broker_host="localhost",
            broker_port=secure,
            utc_s=int(time.time()),
        )
        try:
            until(lambda: manager.status.get("state") == "A1", 40, bench.log)
            manager.lease(16)
            bench.charge()
            assert bench.line["offer_a"] == 16
        finally:
            bench.stop()
            manager.close()


def test_a_broker_of_another_house_is_not_believed(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    with tls_broker(tmp_path, mosquitto) as (plain, secure, _):
        flash(tmp_path / "charger.flash", OTHER)
        manager = ChargerManager(plain)
        bench = Bench(
            tmp_path,
            broker_tls=1,
            broker_host="localhost",
            broker_port=secure,
            mode="manual",
            manual_a=10,
        )
        try:
            bench.wait(lambda got: got["state"] == "A1")
            time.sleep(4)
            assert not manager.messages
            bench.charge()  # it charges all the same
            assert json.loads((bench.flash / "config.json").read_text())["broker_tls"] == 1
        finally:
            bench.stop()
            manager.close()
