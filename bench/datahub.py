"""The datahub: records a second from Kafka to committed rows, delay, bytes on disk.

Real Kafka and PostgreSQL on this machine, both with their durable defaults; workers are processes
of their own, as in service.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from confluent_kafka import Producer

from bench.table import Row, UnavailableError, percentile, summed_up
from datahub.cloud import schema
from datahub.fog import record, topics
from datahub.fog.deadletter import parcel_bytes
from manager import forward
from manager.process import Child
from simulator import kafka, postgres
from simulator.catching_up import CutOff

TITLE = "Datahub: Kafka to PostgreSQL"
_MASTER = bytes(range(32))
_SITES = 24
_CHARGERS = 10
_YEAR_S = 365.25 * 86_400


def measure(small: bool) -> list[Row]:
    """Start both engines, measure, stop them."""
    wrong = kafka.missing() or postgres.missing()
    if wrong:
        raise UnavailableError(wrong)
    folder = Path(tempfile.mkdtemp(prefix="ievcc-bench-"))
    folder.chmod(0o711)
    try:
        return _measure(folder, small)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, small: bool) -> list[Row]:
    count, delay_s = (30_000, 3.0) if small else (400_000, 20.0)
    server = postgres.Postgres(folder / "postgres")
    server.start()
    broker = kafka.Kafka(folder / "kafka")
    broker.start()
    try:
        topics.prepare(broker.servers)
        schema.upgrade(server.dsn)
        rows = _through(folder, broker, server.dsn, count, delay_s)
        return rows + _catch_up(folder, broker, *((0.3, 4.0) if small else (7.0, 30.0)))
    finally:
        broker.stop()
        server.stop()


def _through(folder: Path, broker: kafka.Kafka, dsn: str, count: int, delay_s: float) -> list[Row]:
    """From Kafka to committed rows; the producer is gone when Kafka is taken away."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for i in range(_SITES):
            db.execute("INSERT INTO site (name) VALUES (%s)", (f"site-{i}",))
        town = _Town(broker.servers)
        rows = []
        for workers in (1, 2):
            town.send(count)
            with _workers(folder, broker.servers, dsn, workers):
                rate = _rate(db, town.sent)
            rows.append(
                Row(
                    f"records/s, {workers} worker{'s'[: workers - 1]}",
                    rate,
                    unit="1/s",
                    note=f"{count} readings of {_SITES * _CHARGERS} chargers, parcels of 500",
                )
            )
        with _workers(folder, broker.servers, dsn, 1):
            rows.append(_delay(db, town, delay_s))
        rows += _sizes(db)
        logs = (broker.folder / "log").glob(f"{topics.INTAKE}-*/*.log")
        wire = sum(path.stat().st_size for path in logs) / town.sent
        rows.append(Row("in Kafka", wire, unit="bytes/record", note="zstd, as on the wire"))
    return rows


class _Town:
    """Chargers that all charge, one reading every 5 s each, sent as fast as they can be made."""

    def __init__(self, servers: str) -> None:
        self.producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 5,
                "queue.buffering.max.messages": 100_000,
            }
        )
        self.keys = [record.site_key(_MASTER, f"site-{i}", 1) for i in range(_SITES)]
        self.seq = 0
        self.sent = 0
        self.t_ms = int(time.time() * 1000) - 20 * 86_400_000

    def reading(self, charger: int, seq: int, t_ms: int) -> bytes:
        power = 3600 + seq * 7919 % 160
        return (
            b'{"device":"charger-%d","boot":1,"seq":%d,"kind":"charger_load","t_ms":%d,"fields":'
            b'{"current_ma":[%d],"voltage_dv":[%d],"power_w":[%d],"energy_wh":[%d],"pf_pct":[99],'
            b'"freq_mhz":50000,"age_ms":120}}'
            % (charger, seq, t_ms, power * 1000 // 230, 2290 + seq % 20, power, seq * 5)
        )

    def parcel(self, site: int, records: list[bytes]) -> None:
        value = parcel_bytes(f"site-{site}", self.seq, int(time.time() * 1000), records)
        self.producer.produce(
            topics.INTAKE,
            key=f"site-{site}",
            value=value,
            headers={record.MAC_HEADER: record.mac(self.keys[site], value)},
        )
        self.producer.poll(0)
        self.sent += len(records)

    def send(self, count: int) -> None:
        """Close to `count` readings, whole parcels of 500."""
        rounds = 500 // _CHARGERS
        wanted = self.sent + count
        while self.sent < wanted:
            for site in range(_SITES):
                self.parcel(
                    site,
                    [
                        self.reading(charger, self.seq + r + 1, self.t_ms + (self.seq + r) * 5000)
                        for r in range(rounds)
                        for charger in range(_CHARGERS)
                    ],
                )
            self.seq += rounds
        self.producer.flush(60)


@contextmanager
def _workers(folder: Path, servers: str, dsn: str, count: int) -> Iterator[None]:
    environment = {
        **os.environ,
        "IEVCC_KAFKA": servers,
        "IEVCC_DSN": dsn.replace("user=postgres", "user=ievcc_fog"),
        "IEVCC_MASTER_KEY": _MASTER.hex(),
    }
    command = [sys.executable, "-c", "from datahub.commands import fog; fog()", "worker"]
    started = [
        Child(f"worker {i}", command, folder / f"worker-{i}.log", environment)
        for i in range(count)
    ]
    try:
        yield
    finally:
        for child in started:
            child.end(10)


def _rate(db: psycopg.Connection, wanted: int) -> float:
    """Records a second between the first sight of progress and the last."""

    def stored() -> int:
        row = db.execute("SELECT coalesce(sum(n), 0) FROM quarter").fetchone()
        assert row is not None
        return int(row[0])

    before = stored()
    ends = time.monotonic() + 180
    first: tuple[float, int] | None = None
    while time.monotonic() < ends:
        now, got = time.monotonic(), stored()
        if got > before and first is None:
            first = now, got
        if got >= wanted and first is not None:
            return (got - first[1]) / max(now - first[0], 1e-6)
        time.sleep(0.02)
    raise RuntimeError(f"{stored()} of {wanted} stored after 180 s")


def _delay(db: psycopg.Connection, town: _Town, seconds: float) -> Row:
    """From a manager's handing over to the committed row, at 1,000 records a second."""
    sent: dict[int, float] = {}
    base = town.seq
    done = threading.Event()
    warm = 3.0

    def feed() -> None:
        began = time.monotonic()
        tick = 0
        while time.monotonic() - began < warm + seconds:
            # Ten sites hand over ten readings each, ten times a second.
            due = began + tick * 0.1
            time.sleep(max(0.0, due - time.monotonic()))
            seq = base + tick + 1
            sent[seq] = time.monotonic()
            t_ms = town.t_ms + seq * 5000
            for site in range(10):
                town.parcel(site, [town.reading(c, seq, t_ms) for c in range(_CHARGERS)])
            tick += 1
        town.producer.flush(30)
        town.seq = base + tick
        done.set()

    thread = threading.Thread(target=feed)
    thread.start()
    delays: list[float] = []
    seen: dict[int, int] = {}
    first = time.monotonic()
    while not (done.is_set() and all(s >= town.seq for s in seen.values())):
        if time.monotonic() - first > warm + seconds + 30:
            raise RuntimeError("the delay could not be measured: rows are missing")
        rows = db.execute(
            "SELECT s.device_id, s.seq FROM device_state s JOIN device d ON d.id = s.device_id"
            " JOIN site t ON t.id = d.site_id WHERE d.name = 'charger-0'"
            " AND t.name = ANY(%s)",
            ([f"site-{i}" for i in range(10)],),
        ).fetchall()
        now = time.monotonic()
        for device, seq in rows:
            new = range(max(seen.get(device, base), base) + 1, seq + 1)
            if now - first > warm:
                delays.extend(1000 * (now - sent[each]) for each in new)
            seen[device] = seq
        time.sleep(0.005)
    thread.join()
    return Row(
        "delay at 1,000 records/s",
        percentile(delays, 50),
        percentile(delays, 99),
        "ms",
        "handed to Kafka, to seen committed; 1 worker",
    )


def _sizes(db: psycopg.Connection) -> list[Row]:
    def one(question: str) -> int:
        row = db.execute(question).fetchone()
        assert row is not None
        return int(row[0])

    db.execute("VACUUM FULL quarter")
    per = {}
    for table in ("reading", "minute"):
        size = one(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE"  # noqa: S608
            " inhparent ="
            f" '{table}'::regclass"
        )
        per[table] = size / max(1, one(f"SELECT count(*) FROM {table}"))  # noqa: S608
    rows = max(1, one("SELECT count(*) FROM quarter"))
    per["quarter"] = one("SELECT pg_total_relation_size('quarter')") / rows
    raw = per["reading"] * _YEAR_S / 5
    minutes = per["minute"] * _YEAR_S / 60
    quarters = per["quarter"] * _YEAR_S / 900
    return [
        Row(
            "raw readings",
            raw / 1e6,
            unit="MB/charger-year",
            note=f"{per['reading']:.0f} bytes a reading, every 5 s",
        ),
        Row(
            "minutes",
            minutes / 1e6,
            unit="MB/charger-year",
            note=f"{per['minute']:.0f} bytes a minute",
        ),
        Row(
            "quarter hours",
            quarters / 1e6,
            unit="MB/charger-year",
            note=f"{per['quarter']:.0f} bytes a quarter hour",
        ),
    ]


def _catch_up(folder: Path, engine: kafka.Kafka, days: float, idle_s: float) -> list[Row]:
    """Days behind while the fog was away, sent by a manager that decides meanwhile."""
    topics.admit_site(engine.servers, "site-0", "password")
    fog = forward.Settings(
        "site-0",
        record.site_key(_MASTER, "site-0", 1),
        f"kafka://{engine.secure_servers}",
        engine.ca,
        "password",
    )
    engine.kill()
    with CutOff(folder / "building", fog, days) as building:
        idle = building.idle(idle_s)
        busy, took = building.busy(engine.start, 300)
        kept = building.kept
    return [
        Row(
            "catching up, records/s",
            kept / took,
            unit="1/s",
            note=f"{days:g} days of four devices: {kept} records in {took:.0f} s, over TLS",
        ),
        summed_up("decision while the fog is away", idle, "ms", "reading sent to cut arrived"),
        summed_up("decision while catching up", busy, "ms", "the same manager, the same run"),
    ]
