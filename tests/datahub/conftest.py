"""The datahub's tests run against real engines: one Kafka and one PostgreSQL a run, a database
of its own a test.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from datahub.cloud import schema
from datahub.fog import record, topics
from simulator import kafka as kafka_engine
from simulator import postgres as postgres_engine
from tests.real_parts import missing

MASTER = bytes(range(32))


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_engine.Postgres]:
    """A running PostgreSQL server."""
    wrong = postgres_engine.missing()
    if wrong:
        missing(f"real part missing: {wrong}")
    # Not under pytest's own folder: that is root's alone, and PostgreSQL does not run as root.
    folder = Path(tempfile.mkdtemp(prefix="ievcc-postgres-"))
    folder.chmod(0o711)
    server = postgres_engine.Postgres(folder / "server")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_engine.Kafka]:
    """A running Apache Kafka with our topics."""
    wrong = kafka_engine.missing()
    if wrong:
        missing(f"real part missing: {wrong}")
    broker = kafka_engine.Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    topics.prepare(broker.servers)
    yield broker
    broker.stop()


@dataclass(frozen=True)
class Cloud:
    """A database of the cloud, brought up to date. `dsn` owns it, `fog` and `api` are its two
    roles.
    """

    dsn: str
    fog: str
    api: str

    def ask(self, question: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            return db.execute(question, values).fetchall()

    def do(self, statement: str, values: tuple[object, ...] = ()) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute(statement, values)


def empty_database(server: postgres_engine.Postgres) -> tuple[str, str]:
    """(name, owner's dsn) of a new database."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server.dsn, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    return name, server.dsn.replace("dbname=ievcc", f"dbname={name}")


@pytest.fixture
def cloud(postgres: postgres_engine.Postgres) -> Iterator[Cloud]:
    """The cloud's database, empty, of this test alone."""
    name, dsn = empty_database(postgres)
    schema.upgrade(dsn)
    yield Cloud(
        dsn,
        dsn.replace("user=postgres", "user=ievcc_fog"),
        dsn.replace("user=postgres", "user=ievcc_api"),
    )
    with psycopg.connect(postgres.dsn, autocommit=True) as db:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def site(cloud: Cloud) -> str:
    """A site the fog knows; its key is `record.site_key(MASTER, site, 1)`."""
    name = f"site-{secrets.token_hex(4)}"
    cloud.do("INSERT INTO site (name) VALUES (%s)", (name,))
    return name


def key_of(site: str) -> bytes:
    return record.site_key(MASTER, site, 1)
