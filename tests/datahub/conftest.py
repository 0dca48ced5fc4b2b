"""The datahub's tests run against real engines: one Kafka and one PostgreSQL a run, a database
of its own a test.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from datahub.cloud import schema
from datahub.fog import record, topics
from simulator import kafka as kafka_engine
from simulator import postgres as postgres_engine
from tests.real_parts import missing

MASTER = bytes(range(32))
T = TypeVar("T")


def shared(
    folder: Path, name: str, start: Callable[[], T], stop: Callable[[T], None]
) -> Iterator[T]:
    """One engine for all of pytest-xdist's processes: the first starts it and, when it is done
    itself, waits for the others. Locks go with their process, however that ends.
    """
    guard, use = ((folder / f"{name}.{kind}").open("w") for kind in ("guard", "use"))
    known = folder / f"{name}.pickle"
    own = None
    with guard, use:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if known.exists():
            engine: T = pickle.loads(known.read_bytes())  # noqa: S301 - our own
        else:
            engine = own = start()
            known.write_bytes(pickle.dumps(engine))
        fcntl.flock(use, fcntl.LOCK_SH)
        fcntl.flock(guard, fcntl.LOCK_UN)
        yield engine
        fcntl.flock(use, fcntl.LOCK_UN)
        while own is not None:
            fcntl.flock(guard, fcntl.LOCK_EX)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                known.unlink()
                stop(own)
                return
            fcntl.flock(guard, fcntl.LOCK_UN)
            time.sleep(0.2)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder all processes of this test run know."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def postgres(common: Path) -> Iterator[postgres_engine.Postgres]:
    """A running PostgreSQL server, with a database `ready` that is up to date."""
    wrong = postgres_engine.missing()
    if wrong:
        missing(f"real part missing: {wrong}")

    def start() -> postgres_engine.Postgres:
        # Not under pytest's own folder: that is root's alone, and PostgreSQL does not run as
        # root.
        folder = Path(tempfile.mkdtemp(prefix="ievcc-postgres-"))
        folder.chmod(0o711)
        server = postgres_engine.Postgres(folder / "server")
        server.start()
        with psycopg.connect(server.dsn, autocommit=True) as db:
            db.execute("CREATE DATABASE ready")
        schema.upgrade(server.dsn.replace("dbname=ievcc", "dbname=ready"))
        return server

    def stop(server: postgres_engine.Postgres) -> None:
        server.stop()
        shutil.rmtree(server.folder.parent)

    yield from shared(common, "postgres", start, stop)


@pytest.fixture(scope="session")
def kafka(common: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_engine.Kafka]:
    """A running Apache Kafka with our topics."""
    wrong = kafka_engine.missing()
    if wrong:
        missing(f"real part missing: {wrong}")

    def start() -> kafka_engine.Kafka:
        broker = kafka_engine.Kafka(tmp_path_factory.mktemp("kafka"))
        broker.start()
        topics.prepare(broker.servers)
        return broker

    yield from shared(common, "kafka", start, kafka_engine.Kafka.stop)


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


def new_database(server: postgres_engine.Postgres, template: str = "template1") -> tuple[str, str]:
    """(name, owner's dsn) of a new database, empty or as the template."""
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(server.dsn, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return name, server.dsn.replace("dbname=ievcc", f"dbname={name}")


@pytest.fixture
def cloud(postgres: postgres_engine.Postgres) -> Iterator[Cloud]:
    """The cloud's database, empty, of this test alone."""
    name, dsn = new_database(postgres, "ready")
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


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose errors fail the test."""
    errors: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    yield page
    page.close()
    assert errors == []
