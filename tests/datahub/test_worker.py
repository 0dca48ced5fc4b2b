"""The fog worker on real Kafka and PostgreSQL: everything once, whatever happens in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from datahub import commands
from datahub.fog import record, topics
from datahub.fog.deadletter import letters, replay
from datahub.fog.worker import Worker
from simulator.kafka import Kafka
from tests.datahub.conftest import MASTER, Cloud, key_of
from tests.datahub.parcels import T0, load, note, send, signed

pytestmark = pytest.mark.datahub


@contextmanager
def running(kafka: Kafka, cloud: Cloud, group: str) -> Iterator[Worker]:
    worker = Worker(kafka.servers, cloud.fog, MASTER, group)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop.is_set,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def wait_for(cloud: Cloud, question: str, want: object, within_s: float = 30) -> None:
    ends = time.monotonic() + within_s
    while True:
        got = cloud.ask(question)[0][0]
        if got == want:
            return
        assert time.monotonic() < ends, f"{question}: {got}, not {want}"
        time.sleep(0.1)


def test_what_a_site_sends_is_stored_once(kafka: Kafka, cloud: Cloud, site: str) -> None:
    now = int(time.time() * 1000)
    start = now - 3_600_000
    records = [load("meter-1", i, start + i * 1000, 1000 + i) for i in range(1, 1501)]
    with running(kafka, cloud, site):
        send(kafka.servers, site, records)
        send(kafka.servers, site, records[:700])  # a manager that did not hear the broker's answer
        wait_for(cloud, "SELECT count(*) FROM reading", 1500)
        wait_for(cloud, "SELECT sum(next) > 4 FROM kafka_offset", True)
    assert cloud.ask("SELECT count(DISTINCT (boot, seq)), max(counted_wh) FROM reading") == [
        (1500, 1499)
    ]
    assert cloud.ask("SELECT sum(n), sum(energy_wh) FROM minute") == [(1500, 1499)]
    assert cloud.ask("SELECT sum(n), sum(energy_wh) FROM quarter") == [(1500, 1499)]


def test_a_bad_record_goes_to_the_dead_letters_and_comes_back_mended(
    kafka: Kafka, cloud: Cloud, site: str
) -> None:
    now = int(time.time() * 1000)
    with running(kafka, cloud, site):
        send(
            kafka.servers,
            site,
            [
                load("meter-1", 1, now, 5),
                load("meter-1", 2, now + 1, 5, power_w=99_999_999),
                load("meter-1", 3, now + 2, 6),
            ],
        )
        wait_for(cloud, "SELECT count(*) FROM reading", 2)
        found = [x for x, _ in letters(kafka.servers, f"look-{site}") if x.site == site]
        assert [(x.reason, x.of) for x in found] == [("fields", "record")]
        assert "power_w" in found[0].why
        shown = (
            CliRunner()
            .invoke(commands.fog, ["letters", "--json"], env={"IEVCC_KAFKA": kafka.servers})
            .output
        )
        assert {x["reason"] for x in map(json.loads, shown.splitlines()) if x["site"] == site} == {
            "fields"
        }
        replay(kafka.servers, "fields", key_of, lambda raw: raw.replace(b"99999999", b"3680"))
        wait_for(cloud, "SELECT count(*) FROM reading", 3)
    assert cloud.ask("SELECT seq, flags & 16 FROM reading ORDER BY seq") == [
        (1, 0),
        (2, 16),
        (3, 0),
    ]


def test_the_command_lists_dead_letters_and_sends_them_again(
    kafka: Kafka, cloud: Cloud, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("KAFKA", kafka.servers),
        ("DSN", cloud.dsn),
        ("MASTER_KEY", MASTER.hex()),
    ):
        monkeypatch.setenv(f"IEVCC_{name}", value)
    ask = CliRunner()
    now = int(time.time() * 1000)
    with running(kafka, cloud, site):
        # From a manager that is newer than this fog.
        news = {"level": "info", "words": "something new"}
        send(kafka.servers, site, [note("manager", 7, now, "from_the_future", news)])
        send(kafka.servers, site, [load("meter-1", 1, now, 5)])
        wait_for(cloud, "SELECT count(*) FROM reading", 1)
        listed = ask.invoke(commands.fog, ["letters"])
        (line,) = [one for one in listed.output.splitlines() if site in one]
        assert line.split("\t")[2] == "kind"
        assert cloud.ask("SELECT count(*) FROM record") == [(0,)]
        # The fog is brought up to date.
        monkeypatch.setitem(record._fields, "from_the_future", record._fields["log"])
        again = ask.invoke(commands.fog, ["replay", "kind"])
        assert again.output == "1 sent again\n"
        wait_for(cloud, "SELECT count(*) FROM record WHERE kind = 'from_the_future'", 1)


def test_nobody_sends_in_anothers_name(kafka: Kafka, cloud: Cloud, site: str) -> None:
    from confluent_kafka import Producer

    value, _ = signed(site, [load("meter-1", 1, T0, 5)])
    wrong = record.mac(record.site_key(MASTER, "other", 1), value)
    producer = Producer({"bootstrap.servers": kafka.servers})
    forged: list[dict[str, str | bytes | None]] = [{record.MAC_HEADER: wrong}, {}]
    for headers in forged:
        producer.produce(topics.INTAKE, key=site, value=value, headers=headers)
    producer.produce(topics.INTAKE, key=site, value=b"\xff\x00 no parcel")
    assert producer.flush(20) == 0
    with running(kafka, cloud, site):
        send(
            kafka.servers,
            site,
            [note("manager", 1, int(time.time() * 1000), "log", {"level": "info", "words": "up"})],
        )
        wait_for(cloud, "SELECT count(*) FROM record", 1)
    assert cloud.ask("SELECT count(*) FROM reading") == [(0,)]


def test_a_worker_taken_by_surprise_leaves_nothing_half_done(
    kafka: Kafka, cloud: Cloud, site: str
) -> None:
    """Its partition is read on by another while it holds a batch: the offset says so, its batch
    is undone.
    """
    now = int(time.time() * 1000)
    first = Worker(kafka.servers, cloud.fog, MASTER, f"a-{site}")
    second = Worker(
        kafka.servers, cloud.fog, MASTER, f"b-{site}"
    )  # a group of its own: nobody takes its partitions
    send(kafka.servers, site, [load("meter-1", i, now + i, i) for i in range(1, 101)], parcel=10)
    done = threading.Event()
    threads = [threading.Thread(target=w.run, args=(done.is_set,)) for w in (first, second)]
    for t in threads:
        t.start()
    wait_for(cloud, "SELECT count(*) FROM reading", 100)
    sent = 100
    ends = time.monotonic() + 60
    while not first.counts.fenced + second.counts.fenced and time.monotonic() < ends:
        records = [load("meter-1", i, now + i, i) for i in range(sent + 1, sent + 51)]
        send(kafka.servers, site, records, parcel=1)
        sent += 50
        wait_for(cloud, "SELECT count(*)::int FROM reading", sent)
    done.set()
    for t in threads:
        t.join(20)
    assert first.counts.fenced + second.counts.fenced > 0
    assert cloud.ask("SELECT count(*), count(DISTINCT seq), max(counted_wh) FROM reading") == [
        (sent, sent, sent - 1)
    ]
    assert cloud.ask("SELECT sum(n), sum(energy_wh) FROM minute") == [(sent, sent - 1)]


def test_workers_come_and_go_and_share_the_sites(kafka: Kafka, cloud: Cloud, site: str) -> None:
    """One, then three, then one again, of one group, while records come."""
    sites = [site, *(f"{site}-{i}" for i in range(15))]  # all three get some of them
    for name in sites[1:]:
        cloud.do("INSERT INTO site (name) VALUES (%s)", (name,))
    now = int(time.time() * 1000)
    sent = 0

    def more(count: int) -> None:
        nonlocal sent
        for name in sites:
            records = [load("meter-1", sent + i, now + sent + i, sent + i) for i in range(count)]
            send(kafka.servers, name, records, parcel=10)
        sent += count

    with running(kafka, cloud, site):
        more(40)
        with running(kafka, cloud, site) as second, running(kafka, cloud, site) as third:
            ends = time.monotonic() + 60
            while not (second.counts.taken and third.counts.taken) and time.monotonic() < ends:
                more(10)
                time.sleep(0.2)
            wait_for(cloud, "SELECT count(*)::int FROM reading", 16 * sent, 60)
            assert second.counts.taken
            assert third.counts.taken
        more(40)
        wait_for(cloud, "SELECT count(*)::int FROM reading", 16 * sent, 60)
    assert cloud.ask("SELECT count(DISTINCT (device_id, seq)) FROM reading") == [(16 * sent,)]
    assert cloud.ask("SELECT sum(n), sum(energy_wh) FROM quarter") == [
        (16 * sent, 16 * (sent - 1))
    ]


def test_a_parcel_the_database_refuses_is_buried_and_its_neighbours_are_stored(
    kafka: Kafka, cloud: Cloud, site: str
) -> None:
    """Here: what is known of a device was lost, so that a record looks new that is stored
    already.
    """
    now = int(time.time() * 1000)
    with running(kafka, cloud, site):
        send(kafka.servers, site, [load("meter-1", i, now + i, i) for i in range(1, 4)])
        wait_for(cloud, "SELECT count(*) FROM reading", 3)
    cloud.do("DELETE FROM device_state")
    for device, seq in (("meter-2", 1), ("meter-1", 2), ("meter-3", 1)):
        send(kafka.servers, site, [load(device, seq, now + seq, seq)])
    with running(kafka, cloud, site):
        wait_for(cloud, "SELECT count(*) FROM reading", 5)
        wait_for(cloud, "SELECT sum(next) >= 4 FROM kafka_offset", True)
    # Of this site: other tests' sites, which this database does not know, are on the same partition.
    found = [x for x, _ in letters(kafka.servers, f"look-{site}") if x.reason == "database"]
    assert [site in x.value.decode() for x in found] == [True]
