"""From a building's outbox to the fog's Kafka, over TLS with a password, and through HTTPS."""

from __future__ import annotations

import secrets
import sqlite3
import time
from pathlib import Path

import pytest

from datahub.fog import record, topics
from manager import forward, outbox, store
from shared import protocol
from simulator import catching_up
from simulator.kafka import Kafka
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_worker import running, wait_for
from tests.manager.test_outbox import T0, begin, load

pytestmark = pytest.mark.datahub


@pytest.fixture
def settings(kafka: Kafka, site: str) -> forward.Settings:
    password = secrets.token_hex(16)
    topics.admit_site(kafka.servers, site, password)
    return forward.Settings(
        site,
        record.site_key(MASTER, site, 1),
        f"kafka://{kafka.secure_servers}",
        kafka.ca,
        password,
    )


def fill(path: Path, key: bytes, count: int) -> sqlite3.Connection:
    db = store.connect(path)
    box = outbox.Outbox(key, 3)
    now_ms = int(time.time() * 1000)
    db.execute("BEGIN")
    for i in range(count):
        for statement, values in box.message(
            "meter-1", load(i + 1, i), now_ms - (count - i) * 1000
        ):
            db.execute(statement, values)
    for statement, values in [
        *box.message("charger-1", begin(1), now_ms),
        box.event("start", "", 'the manager says "hello"', now_ms),
        box.decision("charger-1", 6, 1, "fair", "6 A: its share", now_ms),
        box.log("info", "ünïcode", now_ms),
    ]:
        db.execute(statement, values)
    db.execute("COMMIT")
    return db


def waiting(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])


def test_everything_arrives_and_leaves_the_outbox(
    kafka: Kafka, cloud: Cloud, site: str, settings: forward.Settings, tmp_path: Path
) -> None:
    db = fill(tmp_path / "site.db", settings.key, 1200)
    forwarder = forward.Forwarder(tmp_path / "site.db", settings, 3)
    with running(kafka, cloud, site):
        forwarder.start()
        wait_for(cloud, "SELECT count(*) FROM reading", 1200)
        wait_for(cloud, "SELECT count(*) FROM record", 4)
        ends = time.monotonic() + 10
        while waiting(db) and time.monotonic() < ends:
            time.sleep(0.05)
    forwarder.stop()
    assert waiting(db) == 0
    assert cloud.ask("SELECT card, how FROM session") == [
        (outbox.card_hash(settings.key, "04a1b2c3d4e5f6"), "card")
    ]
    assert cloud.ask("SELECT fields ->> 'words' FROM record WHERE kind = 'log'") == [("ünïcode",)]


def test_a_full_disk_costs_detail_and_neither_energy_nor_a_session(
    kafka: Kafka, cloud: Cloud, site: str, settings: forward.Settings, tmp_path: Path
) -> None:
    """Twelve hours of four devices where there is room for a tenth of it: to the bound by the
    rule, then up, and the counters tell what the dropped readings did.
    """
    path = tmp_path / "site.db"
    capacity = 3500
    kept = catching_up.fill(path, settings.key, 0.5, 5, 3, int(time.time() * 1000))
    db = store.connect(path)
    assert kept > 10 * capacity
    box = outbox.Outbox(settings.key, 1)
    fault = {"code": protocol.FAULT, "boot": 2, "fault": "ground", "active": 1}
    for seq in range(20):
        for statement, values in box.message("Charger-1", {**fault, "seq": seq + 1}, T0):
            db.execute(statement, values)
    outbox.thin(db, capacity, 1, int(time.time() * 1000))
    assert waiting(db) <= capacity
    forwarder = forward.Forwarder(path, settings, 1)
    with running(kafka, cloud, site):
        while forwarder.step(db):
            pass
        wait_for(cloud, "SELECT count(*) FROM record WHERE kind = 'fault'", 20, 60)
    whole = (int(0.5 * 86_400 / 5) - 1) * 5
    unheard = 15 * 12 * 5  # before a device's first reading ever, at most a quarter hour
    energies = [
        wh for (wh,) in cloud.ask("SELECT counted_wh FROM device_state WHERE raw_wh <> '{}'")
    ]
    assert len(energies) == 4
    assert all(whole - unheard <= wh <= whole for wh in energies), energies
    assert cloud.ask("SELECT count(*) FROM session") == [(3,)]
    ((readings,),) = cloud.ask("SELECT count(*) FROM reading")
    told = "SELECT sum((fields ->> 'count')::int)::int FROM record WHERE kind = 'thinned'"
    dropped = f"{told} AND fields ->> 'kind' LIKE '%%_load'"
    assert cloud.ask(dropped) == [(4 * int(0.5 * 86_400 / 5) - readings,)]


def test_a_wrong_password_sends_nothing_and_says_so(
    kafka: Kafka, settings: forward.Settings, tmp_path: Path
) -> None:
    db = fill(tmp_path / "site.db", settings.key, 1)
    wrong = forward.Settings(settings.site, settings.key, settings.url, settings.ca, "wrong")
    forwarder = forward.Forwarder(
        tmp_path / "site.db", wrong, 3, forward.KafkaSink(wrong, timeout_s=3)
    )
    with pytest.raises(forward.ForwardError):
        forwarder.step(db)
    assert waiting(db) == 5


def test_a_site_may_write_to_the_intake_and_do_nothing_else(
    kafka: Kafka, settings: forward.Settings
) -> None:
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": kafka.secure_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": f"site-{settings.site}",
            "sasl.password": settings.password,
            "ssl.ca.location": str(settings.ca),
            "group.id": "curious",
        }
    )
    consumer.subscribe([topics.INTAKE])
    refused = ""
    ends = time.monotonic() + 10
    while not refused and time.monotonic() < ends:
        message = consumer.poll(0.5)
        error = message.error() if message is not None else None
        refused = error.name() if error is not None else ""
    assert refused in ("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED")
    consumer.close()


def test_without_kafka_the_records_wait(settings: forward.Settings, tmp_path: Path) -> None:
    db = fill(tmp_path / "site.db", settings.key, 10)
    away = forward.Settings(settings.site, settings.key, "kafka://127.0.0.1:9", settings.ca, "x")
    with pytest.raises(forward.ForwardError):
        forward.Forwarder(
            tmp_path / "site.db", away, 3, forward.KafkaSink(away, timeout_s=2)
        ).step(db)
    assert waiting(db) == 14


def test_plain_http_only_to_this_machine() -> None:
    with pytest.raises(forward.ForwardError, match="TLS"):
        forward.make_sink(forward.Settings("s", b"", "http://fog.example/intake"))
