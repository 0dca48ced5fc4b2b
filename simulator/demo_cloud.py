"""`make demo-cloud`: two buildings, Kafka, two fog workers, PostgreSQL, API and portal on this
machine.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from manager import broker
from simulator import kafka, postgres

SITES = ("oak", "elm")
PEOPLE = (
    ("tenant@example.org", "Ana", "tenant"),
    ("admin@example.org", "Adam", "administrator"),
    ("grid@example.org", "Gwen", "operator"),
)


def missing() -> list[str]:
    """What this machine lacks, in words with the remedy."""
    lacks = [kafka.missing(), postgres.missing()]
    if broker.mosquitto() is None:
        lacks.append("no mosquitto: apt install mosquitto")
    return [words for words in lacks if words]


def demo_cloud(
    minutes: Annotated[float, typer.Option(help="how long; 0: until Ctrl-C")] = 0,
    chargers: Annotated[int, typer.Option(min=1, max=20, help="in each building")] = 3,
) -> None:
    """The datahub, live and without hardware: two buildings, Kafka, fog, cloud, portal."""
    lacks = missing()
    if lacks:
        sys.stderr.write("".join(f"demo-cloud: {words}\n" for words in lacks))
        raise typer.Exit(1)
    from simulator.town import Town  # noqa: PLC0415 - needs the datahub's packages

    folder = Path(tempfile.mkdtemp(prefix="ievcc-demo-cloud-"))
    folder.chmod(0o711)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _: told.append(n))
    print("starting PostgreSQL, Kafka, two fog workers, two buildings ...", flush=True)
    town = Town(folder, list(SITES), chargers, 1.0, workers=2, api=True)
    try:
        password = secrets.token_urlsafe(9)
        with psycopg.connect(town.postgres.dsn, autocommit=True) as db:
            _people(db, password)
            town.start_devices()
            print(f"portal: {town.url}/portal   API: {town.url}/docs")
            for login, _, role in PEOPLE:
                print(f"  {role:13} {login:20} password {password}")
            for building in town.buildings:
                print(f"  {building.name}'s own page: http://127.0.0.1:{building.page_port}/")
            print("Ctrl-C ends it.", flush=True)
            _watch(db, told, minutes)
    finally:
        print("\nending ...", flush=True)
        town.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _people(db: psycopg.Connection, password: str) -> None:
    from datahub.cloud.api import access  # noqa: PLC0415

    hashed = access.hashed(password)
    for login, name, role in PEOPLE:
        db.execute(
            "INSERT INTO person (login, password, name) VALUES (%s, %s, %s)", (login, hashed, name)
        )
        db.execute(
            "INSERT INTO membership (person_id, role, site_id, region_id) SELECT p.id, %(role)s,"
            " s.id, r.id"
            " FROM person p LEFT JOIN site s ON (%(role)s = 'administrator' OR (%(role)s ="
            " 'tenant' AND s.name = %(site)s))"
            " LEFT JOIN region r ON %(role)s = 'operator' WHERE p.login = %(login)s",
            {"role": role, "site": SITES[0], "login": login},
        )
    db.execute(
        "INSERT INTO device (site_id, name, kind, person_id) SELECT s.id, 'Charger-1', 'charger',"
        " p.id"
        " FROM site s, person p WHERE s.name = %s AND p.login = %s",
        (SITES[0], PEOPLE[0][0]),
    )
    db.execute(
        "INSERT INTO tariff (site_id, name, from_at, per_kwh, per_session)"
        " SELECT id, 'standard', '2020-01-01', 2200, 0 FROM site"
    )


def _watch(db: psycopg.Connection, told: list[int], minutes: float) -> None:
    """A line every two seconds."""
    ends = time.monotonic() + minutes * 60 if minutes else float("inf")
    was, at = 0, time.monotonic()
    while not told and time.monotonic() < ends:
        time.sleep(2)
        row = db.execute(
            "SELECT (SELECT coalesce(sum(n), 0) FROM quarter)::bigint, (SELECT count(*) FROM"
            " record)"
        ).fetchone()
        assert row is not None
        now = time.monotonic()
        rate = (row[0] - was) / (now - at)
        was, at = row[0], now
        print(
            f"\rstored: {row[0]} readings, {row[1]} other records, {rate:.1f} readings/s ",
            end="",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(demo_cloud)
