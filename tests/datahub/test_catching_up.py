"""Cut off from the fog for long, then not: everything goes up, and control does not wait for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.table import percentile
from datahub.fog import record, topics
from manager import forward
from simulator.catching_up import CutOff
from simulator.kafka import Kafka
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_worker import running, wait_for

pytestmark = [pytest.mark.datahub, pytest.mark.broker]
LEASE_MS = 15_000


@contextmanager
def cut_off(kafka: Kafka, site: str, folder: Path, days: float) -> Iterator[tuple[CutOff, str]]:
    """A building that the fog has not admitted yet, and the password it will have."""
    password = secrets.token_hex(16)
    fog = forward.Settings(
        site,
        record.site_key(MASTER, site, 1),
        f"kafka://{kafka.secure_servers}",
        kafka.ca,
        password,
    )
    with CutOff(folder, fog, days) as building:
        yield building, password


@pytest.mark.usefixtures("mosquitto")
def test_hours_of_records_go_up_while_the_manager_decides(
    kafka: Kafka, cloud: Cloud, site: str, tmp_path: Path
) -> None:
    days = 0.25
    with cut_off(kafka, site, tmp_path, days) as (building, password):
        times, _ = building.busy(lambda: topics.admit_site(kafka.servers, site, password), 90)
        kept = building.kept
    assert times
    # Coarse, for a busy machine: `make bench` has the figures.
    assert max(times) < LEASE_MS / 3
    readings = int(days * 86_400 / 5) * 4
    with running(kafka, cloud, site):
        wait_for(cloud, "SELECT count(*) FROM reading WHERE boot = 1", readings, 90)
        wait_for(cloud, "SELECT count(*) FROM record WHERE kind = 'session_begin'", 3, 90)
    ((decisions,),) = cloud.ask("SELECT count(*) FROM record WHERE kind = 'decision'")
    assert decisions >= kept - readings - 3
    assert cloud.ask("SELECT count(DISTINCT (device_id, seq)) FROM reading WHERE boot = 1") == [
        (readings,)
    ]


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto")
def test_a_week_of_records_slows_no_decision(kafka: Kafka, site: str, tmp_path: Path) -> None:
    with cut_off(kafka, site, tmp_path, 7) as (building, password):
        idle = building.idle(20)
        busy, took = building.busy(lambda: topics.admit_site(kafka.servers, site, password), 300)
    worst = [percentile(times, 99) for times in (idle, busy)]
    print(f"{building.kept} records in {took:.0f} s; p99 of a decision {worst} ms")
    assert worst[1] < worst[0] + 50
