"""A small town in the cloud's database: two sites on one feeder, two tenants, an administrator
of one, an operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from datahub.cloud.api import access
from datahub.fog import record
from tests.datahub.conftest import MASTER, Cloud

PASSWORD = "correct horse battery"
_HASHED = access.hashed(PASSWORD)
CARD = "04a1b2c3d4e5f6"


@dataclass(frozen=True)
class Town:
    """Numbers of what is there."""

    sites: dict[str, int]
    people: dict[str, int]
    devices: dict[str, int]


def build(cloud: Cloud) -> Town:
    with psycopg.connect(cloud.dsn) as db:

        def one(question: str, *values: object) -> int:
            row = db.execute(question, values).fetchone()
            assert row is not None
            return int(row[0])

        region = one("INSERT INTO region (name) VALUES ('North') RETURNING id")
        elsewhere = one("INSERT INTO region (name) VALUES ('South') RETURNING id")
        feeder = one(
            "INSERT INTO feeder (region_id, name, limit_w) VALUES (%s, 'F1', 100000) RETURNING id",
            region,
        )
        one(
            "INSERT INTO feeder (region_id, name, limit_w) VALUES (%s, 'F9', 100000) RETURNING id",
            elsewhere,
        )
        sites = {
            name: one(
                "INSERT INTO site (name, title, feeder_id, limit_a) VALUES (%s, %s, %s, 40)"
                " RETURNING id",
                name,
                f"House {name}",
                feeder,
            )
            for name in ("oak", "elm")
        }
        people = {
            name: one(
                "INSERT INTO person (login, password, name) VALUES (%s, %s, %s) RETURNING id",
                f"{name}@example.org",
                _HASHED,
                name.capitalize(),
            )
            for name in ("ana", "ben", "admin", "grid")
        }
        for who, role, site, where in (
            ("ana", "tenant", "oak", None),
            ("ben", "tenant", "elm", None),
            ("admin", "administrator", "oak", None),
            ("grid", "operator", None, region),
        ):
            db.execute(
                "INSERT INTO membership (person_id, role, site_id, region_id) VALUES (%s, %s, %s,"
                " %s)",
                (people[who], role, sites[site] if site else None, where),
            )
        devices = {}
        for site, number_of_site in sites.items():
            for name, kind, role in (
                ("meter-1", "counter", "grid"),
                ("charger-1", "charger", ""),
                ("charger-2", "charger", ""),
            ):
                devices[f"{site}/{name}"] = one(
                    "INSERT INTO device (site_id, name, kind, role) VALUES (%s, %s, %s, %s)"
                    " RETURNING id",
                    number_of_site,
                    name,
                    kind,
                    role,
                )
        db.execute(
            "UPDATE device SET person_id = %s WHERE id = %s",
            (people["ana"], devices["oak/charger-1"]),
        )
        for who, site in (("ana", "oak"), ("ben", "elm")):
            key = record.site_key(MASTER, site, 1)
            card = record.card_hash(key, CARD)
            db.execute(
                "INSERT INTO card (site_id, person_id, hash, label) VALUES (%s, %s, %s, 'blue')",
                (sites[site], people[who], card),
            )
            for number in (1, 2):
                db.execute(
                    "INSERT INTO session (device_id, number, started_at, ended_at, energy_wh,"
                    " how, why, card) VALUES"
                    " (%s, %s, now() - interval '2 days', now() - interval '2 days' + interval '1"
                    " hour', 7000, 'card',"
                    " 'unplugged', %s)",
                    (devices[f"{site}/charger-1"], number, card),
                )
        for device in devices.values():
            db.execute("SELECT make_partition('reading', now()), make_partition('minute', now())")
            db.execute(
                "INSERT INTO reading (device_id, boot, seq, at, energy_wh, counted_wh, flags,"
                " power_w1)"
                " VALUES (%s, 1, 1, now() - interval '1 minute', 5, 0, 0, 3680)",
                (device,),
            )
            db.execute(
                "INSERT INTO minute VALUES (%s, date_trunc('minute', now() - interval '1 minute'),"
                " 60, 920, 0, 60 * 3680, 3680, 16000)",
                (device,),
            )
            db.execute("INSERT INTO quarter SELECT * FROM minute WHERE device_id = %s", (device,))
    return Town(sites, people, devices)
