"""Nothing lost, nothing doubled: random kill -9 of every part during steady load.

What PostgreSQL holds afterwards must be what the devices sent, to the record, and its energy the
devices' own, to the watt-hour.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from simulator import kafka, postgres
from simulator.town import Town
from tests.real_parts import missing

pytestmark = pytest.mark.datahub

VICTIMS = ("manager", "broker", "kafka", "worker", "postgres")


@pytest.fixture
def town(mosquitto: str) -> Iterator[Town]:
    wrong = kafka.missing() or postgres.missing()
    if wrong:
        missing(f"real part missing: {wrong}")
    folder = Path(tempfile.mkdtemp(prefix="ievcc-town-"))
    folder.chmod(0o711)
    town = Town(folder, ["oak", "elm"], chargers=2, every_s=0.2, workers=2)
    try:
        yield town
    finally:
        town.stop()
        shutil.rmtree(folder, ignore_errors=True)


def strike(town: Town, victim: str, dice: random.Random) -> None:
    """Kill one part at once, leave it dead for a moment, start it again."""
    dead_s = dice.uniform(0, 1.5)
    building = dice.choice(town.buildings)
    if victim == "manager":
        assert building.manager is not None
        building.manager.kill()
        time.sleep(dead_s)
        building.start_manager()
    elif victim == "broker":
        assert building.broker is not None
        building.broker.child.kill()
        time.sleep(dead_s)
        building.start_broker()
    elif victim == "kafka":
        town.kafka.kill()
        time.sleep(dead_s)
        town.kafka.start()
    elif victim == "worker":
        number = dice.randrange(len(town.workers))
        town.workers[number].kill()
        time.sleep(dead_s)
        town.restart_worker(number)
    else:
        town.postgres.kill()
        time.sleep(dead_s)
        town.postgres.start()


def in_outboxes(town: Town) -> int:
    total = 0
    for building in town.buildings:
        db = sqlite3.connect(f"file:{building.store}?mode=ro", uri=True)
        total += db.execute("SELECT count(*) FROM outbox").fetchone()[0]
        db.close()
    return int(total)


def stored(db: psycopg.Connection, site: str) -> list[tuple[str, int, int, str]]:
    rows: list[tuple[str, int, int, str]] = db.execute(
        "SELECT d.name, r.boot, r.seq, CASE WHEN d.name LIKE 'Counter%%' THEN 'counter_load'"
        " ELSE 'charger_load' END FROM reading r JOIN device d ON d.id = r.device_id"
        " JOIN site s ON s.id = d.site_id WHERE s.name = %(s)s UNION ALL"
        " SELECT d.name, r.boot, r.seq, r.kind FROM record r JOIN device d ON d.id = r.device_id"
        " JOIN site s ON s.id = d.site_id WHERE s.name = %(s)s AND d.kind <> 'manager'"
        " AND r.kind <> 'charger_status'",
        {"s": site},
    ).fetchall()
    return rows


def settle(town: Town, within_s: float) -> None:
    """Wait until everything sent is stored, repeating what the brokers may have lost."""
    wanted = sum(len(b.devices.sent()) for b in town.buildings)
    ends = time.monotonic() + within_s
    repeated = 0.0
    while True:
        with psycopg.connect(town.postgres.dsn) as db:
            got = sum(len(stored(db, b.name)) for b in town.buildings)
        waiting = in_outboxes(town)
        if got >= wanted and not waiting:
            return
        assert time.monotonic() < ends, f"{got} of {wanted} stored, {waiting} in the outboxes"
        if time.monotonic() - repeated > 10:
            repeated = time.monotonic()
            for building in town.buildings:
                building.devices.repeat()
        time.sleep(0.5)


def check(town: Town) -> int:
    """The proof; how many records."""
    count = 0
    with psycopg.connect(town.postgres.dsn) as db:
        for building in town.buildings:
            got = stored(db, building.name)
            sent = building.devices.sent()
            assert len(got) == len(set(got)), "a record is stored twice"
            assert {(d, b, s): kind for d, b, s, kind in got} == sent
            count += len(got)
            energy = building.devices.energy_wh()
            for table, column in (
                ("device_state", "counted_wh"),
                ("minute", "energy_wh"),
                ("quarter", "energy_wh"),
            ):
                rows = db.execute(
                    f"SELECT d.name, sum(t.{column})::bigint FROM {table} t"  # noqa: S608
                    " JOIN device d ON d.id = t.device_id JOIN site s ON s.id = d.site_id"
                    " WHERE s.name = %s AND d.kind IN ('counter', 'charger') GROUP BY d.name",
                    (building.name,),
                ).fetchall()
                found: dict[str, int] = dict(rows)
                assert {d: found.get(d, 0) for d in energy} == energy, table
            ((readings, counted),) = db.execute(
                "SELECT (SELECT count(*) FROM reading r JOIN device d ON d.id = r.device_id"
                " JOIN site s ON s.id = d.site_id WHERE s.name = %(s)s), (SELECT sum(n) FROM"
                " quarter q JOIN device d ON d.id = q.device_id JOIN site s ON s.id = d.site_id"
                " WHERE s.name = %(s)s)",
                {"s": building.name},
            ).fetchall()
            assert readings == counted
    return count


def run(town: Town, victims: list[str], seed: int) -> int:
    dice = random.Random(seed)
    town.start_devices()
    time.sleep(3)
    for victim in victims:
        time.sleep(dice.uniform(0.5, 3))
        strike(town, victim, dice)
    time.sleep(2)
    for building in town.buildings:
        building.devices.stop()
    settle(town, 90)
    return check(town)


def test_two_rounds_of_kill_9(town: Town) -> None:
    assert run(town, ["worker", "manager"], seed=1) > 100


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_twenty_rounds_of_kill_9(town: Town) -> None:
    seed = int(os.environ.get("IEVCC_SEED") or random.randrange(10**6))
    victims = [*VICTIMS * 4]
    random.Random(seed).shuffle(victims)
    print(f"seed {seed}: {' '.join(victims)}")
    began = time.monotonic()
    records = run(town, victims, seed)
    print(f"{records} records, each once, after 20 kills in {time.monotonic() - began:.0f} s")
