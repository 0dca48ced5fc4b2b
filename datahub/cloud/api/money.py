"""Tariffs and bills."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException
from psycopg import Connection
from pydantic import AwareDatetime, BaseModel, Field

from datahub.cloud import bills
from datahub.cloud.api.asking import (
    Administrator,
    After,
    AnyPerson,
    Limit,
    Number,
    Page,
    TheDoors,
    changing,
    page,
)

router = APIRouter(tags=["money"])
PRICE_MAX = 10**9  # 100,000 of the currency


class NewBand(BaseModel):
    """Another price at these local minutes of these days (bit 0 is Monday)."""

    days: int = Field(ge=1, le=127)
    from_min: int = Field(ge=0, le=1425, multiple_of=15)
    to_min: int = Field(ge=15, le=1440, multiple_of=15)
    per_kwh: int = Field(ge=0, le=PRICE_MAX)


class NewTariff(BaseModel):
    """Prices in 1/10000 of the currency."""

    site: Number
    name: str = Field(min_length=1, max_length=60)
    from_at: AwareDatetime
    to_at: AwareDatetime | None = None
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    per_kwh: int = Field(ge=0, le=PRICE_MAX)
    per_session: int = Field(default=0, ge=0, le=PRICE_MAX)
    bands: list[NewBand] = Field(default=[], max_length=50)


class BillRun(BaseModel):
    """Bill everybody at a site for [from_at, to_at)."""

    site: Number
    from_at: AwareDatetime
    to_at: AwareDatetime


@router.get("/tariffs")
def tariffs(person: AnyPerson, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """The tariffs of my sites, newest last."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT id, site_id AS site, name, from_at, to_at, currency, per_kwh, per_session,"
            " (SELECT coalesce(jsonb_agg(to_jsonb(b) - 'tariff_id'), '[]') FROM tariff_band b"
            " WHERE b.tariff_id = t.id) AS bands FROM tariff t WHERE true",
            {},
            after,
            limit,
        )


@router.post("/tariffs", status_code=201)
def add_tariff(new: NewTariff, person: Administrator, doors: TheDoors) -> dict[str, int]:
    """A new tariff; of several in force the one that began last counts."""
    with changing(doors, person) as db:
        row = db.execute(
            "INSERT INTO tariff (site_id, name, from_at, to_at, currency, per_kwh, per_session)"
            " VALUES (%(site)s, %(name)s, %(from_at)s, %(to_at)s, %(currency)s, %(per_kwh)s,"
            " %(per_session)s) RETURNING id",
            new.model_dump(exclude={"bands"}),
        ).fetchone()
        assert row is not None
        for band in new.bands:
            db.execute(
                "INSERT INTO tariff_band (tariff_id, days, from_min, to_min, per_kwh)"
                " VALUES (%s, %s, %s, %s, %s)",
                (row[0], band.days, band.from_min, band.to_min, band.per_kwh),
            )
    return {"id": row[0]}


@router.get("/bills")
def list_bills(person: AnyPerson, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """My bills; an administrator's: everybody's at the sites."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT id, site_id AS site, person_id AS person, from_at, to_at, currency, total,"
            " energy_wh, lines FROM bill WHERE true",
            {},
            after,
            limit,
        )


@router.post("/bills", status_code=201)
def make_bills(run: BillRun, person: Administrator, doors: TheDoors) -> dict[str, Any]:
    """Bill every person with finished sessions that began in the period. Doing it twice is
    refused.
    """
    made = 0
    with changing(doors, person, taken="this period is billed already") as db:
        site = db.execute("SELECT timezone FROM site WHERE id = %s", (run.site,)).fetchone()
        if site is None:
            raise HTTPException(404, "no such site")
        prices = _tariffs(db, run.site)
        try:
            for who, lines in _lines(db, run, prices, ZoneInfo(site[0])).items():
                _keep(db, run, who, lines, bills.tariff_at(prices, lines[0].started_at).currency)
                made += 1
        except bills.BillError as e:
            raise HTTPException(409, str(e)) from None
    return {"made": made}


def _keep(db: Connection, run: BillRun, who: int, lines: list[bills.Line], currency: str) -> None:
    shown = [
        {
            **dataclasses.asdict(one),
            "started_at": one.started_at.isoformat(),
            "ended_at": one.ended_at.isoformat(),
        }
        for one in lines
    ]
    db.execute(
        "INSERT INTO bill (site_id, person_id, from_at, to_at, currency, total, energy_wh, lines)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            run.site,
            who,
            run.from_at,
            run.to_at,
            currency,
            sum(one.amount for one in lines),
            sum(one.energy_wh for one in lines),
            json.dumps(shown),
        ),
    )


def _tariffs(db: Connection, site: int) -> list[bills.Tariff]:
    bands: dict[int, list[bills.Band]] = {}
    for number, *values in db.execute(
        "SELECT tariff_id, days, from_min, to_min, per_kwh FROM tariff_band"
        " ORDER BY from_min, days"
    ):
        bands.setdefault(number, []).append(bills.Band(*values))
    return [
        bills.Tariff(name, begins, ends, currency, kwh, once, tuple(bands.get(number, ())))
        for number, name, begins, ends, currency, kwh, once in db.execute(
            "SELECT id, name, from_at, to_at, currency, per_kwh, per_session FROM tariff"
            " WHERE site_id = %s",
            (site,),
        )
    ]


def _lines(
    db: Connection, run: BillRun, prices: list[bills.Tariff], zone: ZoneInfo
) -> dict[int, list[bills.Line]]:
    out: dict[int, list[bills.Line]] = {}
    rows = db.execute(
        "SELECT s.person_id, d.id, d.name, s.number, s.started_at, s.ended_at, s.energy_wh"
        " FROM session s JOIN device d ON d.id = s.device_id WHERE d.site_id = %s"
        " AND s.person_id IS NOT NULL AND s.ended_at IS NOT NULL AND s.started_at >= %s"
        " AND s.started_at < %s ORDER BY s.started_at",
        (run.site, run.from_at, run.to_at),
    ).fetchall()
    for who, device, name, number, started, ended, energy in rows:
        one = _session(db, device, name, number, started, ended, energy)
        out.setdefault(who, []).append(bills.line(one, prices, zone))
    return out


def _session(
    db: Connection,
    device: int,
    name: str,
    number: int,
    started: datetime,
    ended: datetime,
    energy: int,
) -> bills.Session:
    quarters: list[tuple[datetime, int]] = [
        (at, wh)
        for at, wh in db.execute(
            "SELECT at, energy_wh FROM quarter WHERE device_id = %s"
            " AND at > %s - interval '15 minutes' AND at < %s",
            (device, started, ended),
        )
    ]
    return bills.Session(name, number, started, ended, energy, tuple(quarters))


def costs(db: Connection, sessions: list[dict[str, Any]]) -> list[tuple[int, str] | None]:
    """(amount, currency) of each finished session as a bill of this moment would have it; None
    where it is not finished or no tariff held.
    """
    prices = {site: _tariffs(db, site) for site in {s["site_id"] for s in sessions}}
    out: list[tuple[int, str] | None] = []
    for s in sessions:
        known = s["started_at"], s["ended_at"], s["energy_wh"]
        if None in known:
            out.append(None)
            continue
        one = _session(db, s["device_id"], s["device"], s["number"], *known)
        try:
            tariff = bills.tariff_at(prices[s["site_id"]], one.started_at)
            amount = bills.line(one, prices[s["site_id"]], ZoneInfo(s["timezone"])).amount
        except bills.BillError:
            out.append(None)
        else:
            out.append((amount, tariff.currency))
    return out
