"""Backup, restore, upgrade, retention: tried on the real engine, as docs/fog-and-cloud.md
describes them.
"""

from __future__ import annotations

import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from datahub import commands
from datahub.cloud import retention, schema
from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.cloud.ingest import Sink
from datahub.fog import topics
from datahub.fog.batch import Message
from manager import forward
from simulator.kafka import Kafka
from simulator.postgres import Postgres
from tests.datahub.conftest import MASTER, Cloud, new_database
from tests.datahub.folding import messages
from tests.datahub.test_forward import fill
from tests.datahub.test_worker import running, wait_for

pytestmark = pytest.mark.datahub
OLD = Path(__file__).parent / "old" / "0001.sql"


def tool(server: Postgres, name: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs, at this server."""
    place = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres"]
    done = subprocess.run(
        [server.program(name), *place, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def counted(dsn: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as db:
        return db.execute(
            "SELECT (SELECT count(*) FROM reading), (SELECT sum(energy_wh) FROM quarter),"
            " (SELECT sum(next) FROM kafka_offset), (SELECT counted_wh FROM device_state)"
        ).fetchall()


def store(dsn: str, some: list[Message], before: int) -> None:
    with psycopg.connect(dsn) as db:
        sink = Sink(db, topics.INTAKE, MASTER)
        sink.take(some, {0: (before, before + len(some))})
        db.commit()


def begin(dsn: str) -> None:
    with psycopg.connect(dsn) as db:
        db.execute("INSERT INTO site (name) VALUES ('house')")
        db.execute("INSERT INTO kafka_offset VALUES (%s, 0, 0)", (topics.INTAKE,))


def test_a_restored_backup_goes_on_where_it_was_taken(
    postgres: Postgres, cloud: Cloud, tmp_path: Path
) -> None:
    """Readings since the backup are still in Kafka and are read again: nothing is lost or
    doubled.
    """
    begin(cloud.dsn)
    everything = messages(range(1, 61))
    store(cloud.dsn, everything[:40], 0)
    database = cloud.dsn.rpartition("dbname=")[2]
    tool(postgres, "pg_dump", "-Fc", "-f", str(tmp_path / "backup"), database)
    store(cloud.dsn, everything[40:], 40)
    whole = counted(cloud.dsn)
    name, dsn = new_database(postgres)
    tool(postgres, "pg_restore", "--exit-on-error", "-d", name, str(tmp_path / "backup"))
    schema.upgrade(dsn)
    assert counted(dsn)[0][0] == 40
    store(dsn, everything[40:], 40)
    assert counted(dsn) == whole
    with psycopg.connect(dsn.replace("user=postgres", "user=ievcc_api")) as db:
        assert db.execute("SELECT count(*) FROM reading").fetchall() == [(0,)]


def test_an_old_database_is_brought_up_with_everything_in_it(
    postgres: Postgres, cloud: Cloud
) -> None:
    """From a dump of the first version, as it was in service; and once more changes nothing."""
    name, dsn = new_database(postgres)
    tool(postgres, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-f", str(OLD))
    before = counted(dsn)
    schema.upgrade(dsn)
    schema.upgrade(dsn)
    assert counted(dsn) == before == [(40, 39, 40, 39)]
    store(dsn, messages(range(41, 61)), 40)
    assert counted(dsn)[0][0] == 60
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("0005",)]


def test_what_is_older_than_it_is_kept_goes_by_whole_partitions(cloud: Cloud) -> None:
    now = datetime.now(UTC)
    with psycopg.connect(cloud.dsn) as db:
        for days in (0, 20, 34, 60, 100):
            for parent in ("reading", "record", "minute"):
                db.execute("SELECT make_partition(%s, %s)", (parent, now - timedelta(days=days)))
            db.execute(
                "INSERT INTO reading (device_id, boot, seq, at, energy_wh, counted_wh, flags)"
                " VALUES (1, 1, %s, %s, 0, 0, 0)",
                (days, now - timedelta(days=days)),
            )
        gone = retention.apply(db, now)
        assert {name.partition("_")[0] for name in gone} == {"reading"}
        assert db.execute("SELECT seq FROM reading ORDER BY seq").fetchall() == [
            (0,),
            (20,),
            (34,),
        ]
        assert retention.apply(db, now) == []


def test_a_time_without_a_partition_gets_one_and_two_makers_do_not_collide(cloud: Cloud) -> None:
    at = datetime(2031, 12, 31, 23, 59, tzinfo=UTC)
    with psycopg.connect(cloud.fog) as one:
        first = one.execute("SELECT make_partition('minute', %s)", (at,)).fetchone()
        one.commit()
        with psycopg.connect(cloud.fog) as two:
            again = two.execute("SELECT make_partition('minute', %s)", (at,)).fetchone()
    assert first == again == ("minute_20311201",)


def test_a_building_and_its_people_are_set_up_by_the_commands_of_the_page(
    postgres: Postgres, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page's order, in a new database; then a record comes in and a person logs in."""
    _, dsn = new_database(postgres)
    site = f"oak-{tmp_path.name[-6:].replace('_', '-')}"
    for name, value in (
        ("KAFKA", kafka.servers),
        ("DSN", dsn),
        ("MASTER_KEY", MASTER.hex()),
        *((f"{role}_PASSWORD", f"secret of {role}") for role in ("FOG", "API", "READER")),
    ):
        monkeypatch.setenv(f"IEVCC_{name}", value)
    ran = [
        CliRunner().invoke(group, [*words.split(), *more], catch_exceptions=False)
        for group, words, more in (
            (commands.cloud, "migrate", ()),
            (commands.fog, "topics --replicas 1", ()),
            (commands.cloud, f"add-site {site} --limit-a 40 --title", ("Oak Street 5",)),
            (commands.fog, f"admit {site}", ()),
            (
                commands.cloud,
                f"add-user admin@example.org --role administrator --site {site} --password",
                ("a long enough one",),
            ),
            (commands.fog, "admit nowhere", ()),
        )
    ]
    assert [one.exit_code for one in ran] == [0, 0, 0, 0, 0, 1]
    with psycopg.connect(dsn) as db:
        roles = db.execute(
            "SELECT count(*) FROM pg_authid WHERE rolname LIKE 'ievcc%' AND"
            " rolpassword LIKE 'SCRAM%'"
        ).fetchone()
        assert roles == (3,)
    fog = tomllib.loads(ran[3].output)["fog"]
    settings = forward.Settings(
        site,
        bytes.fromhex(fog["key"]),
        f"kafka://{kafka.secure_servers}",
        kafka.ca,
        fog["password"],
    )
    rows = fill(tmp_path / "site.db", settings.key, 10)
    assert forward.Forwarder(tmp_path / "site.db", settings, 1).step(rows) == 14
    new = Cloud(dsn, dsn.replace("user=postgres", "user=ievcc_fog"), "")
    with running(kafka, new, site):
        wait_for(new, "SELECT count(*) FROM reading", 10)
    api = make_app(Settings(dsn.replace("user=postgres", "user=ievcc_api"), MASTER))
    with TestClient(api) as client:
        given = {"username": "admin@example.org", "password": "a long enough one"}
        token = client.post("/api/v1/token", data=given).json()
        who = {"Authorization": f"Bearer {token['access_token']}"}
        (seen,) = client.get("/api/v1/sites", headers=who).json()["items"]
    assert (seen["name"], seen["title"], token["scope"]) == (site, "Oak Street 5", "site")
