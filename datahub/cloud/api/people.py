"""Tokens, persons, cards, tariffs, bills, and wishes to start or stop."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import psycopg
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Security
from fastapi.security import OAuth2PasswordRequestForm
from psycopg import Connection
from psycopg.rows import dict_row
from pydantic import AwareDatetime, BaseModel, Field

from datahub.cloud import bills
from datahub.cloud.api import access
from datahub.cloud.api.access import Doors, Person, doors_of, person_of
from datahub.fog import record

router = APIRouter()
AnyPerson = Annotated[Person, Security(person_of)]
Tenant = Annotated[Person, Security(person_of, scopes=["own"])]
Administrator = Annotated[Person, Security(person_of, scopes=["site"])]
TheDoors = Annotated[Doors, Depends(doors_of)]
After = Annotated[int, Query(ge=0, description="the `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]


class Page(BaseModel):
    """Some rows, and what to ask for as `after` to get more; null when there are none."""

    items: list[dict[str, Any]]
    next: int | None


class Token(BaseModel):
    """An OAuth2 answer."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the kind of token, by RFC 6750
    expires_in: int = access.TOKEN_S
    scope: str


class NewPerson(BaseModel):
    """A tenant for a site one administers."""

    site: int
    login: str = Field(pattern=r"^\S{1,80}$")
    password: str = Field(min_length=10, max_length=200)
    name: str = Field(default="", max_length=100)


class NewCard(BaseModel):
    """A card by its number (UID), which is hashed with the site's key and then forgotten."""

    site: int
    person: int
    number: str = Field(pattern="^([0-9A-Fa-f]{2}){4,10}$")
    label: str = Field(default="", max_length=60)


class CardChange(BaseModel):
    """Allow or block a card."""

    active: bool


class NewBand(BaseModel):
    """Another price at these local minutes of these days (bit 0 is Monday)."""

    days: int = Field(ge=1, le=127)
    from_min: int = Field(ge=0, le=1425, multiple_of=15)
    to_min: int = Field(ge=15, le=1440, multiple_of=15)
    per_kwh: int = Field(ge=0)


class NewTariff(BaseModel):
    """Prices in 1/10000 of the currency."""

    site: int
    name: str = Field(min_length=1, max_length=60)
    from_at: AwareDatetime
    to_at: AwareDatetime | None = None
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    per_kwh: int = Field(ge=0)
    per_session: int = Field(default=0, ge=0)
    bands: list[NewBand] = Field(default=[], max_length=50)


class BillRun(BaseModel):
    """Bill everybody at a site for [from_at, to_at)."""

    site: int
    from_at: AwareDatetime
    to_at: AwareDatetime


class NewWish(BaseModel):
    """Start or stop a charger."""

    device: int
    command: str = Field(pattern="^(start|stop)$")


def page(
    db: Connection, question: str, values: dict[str, Any], after: int, limit: int, key: str = "id"
) -> Page:
    """One page of a question that ends with its conditions; rows come in the order of `key`."""
    cursor = db.cursor(row_factory=dict_row)
    sql = f"{question} AND {key} > %(after)s ORDER BY {key} LIMIT %(limit)s"
    rows = cursor.execute(sql, {**values, "after": after, "limit": limit + 1}).fetchall()
    more = len(rows) > limit
    rows = rows[:limit]
    name = key.rpartition(".")[2]
    return Page(items=rows, next=rows[-1][name] if more else None)


@router.post("/token", tags=["access"])
def token(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], doors: TheDoors
) -> Token:
    """A bearer token for a login and password."""
    client = request.client.host if request.client else ""
    person, version = access.check_login(doors, form.username, form.password, client)
    scope = " ".join(sorted(person.scopes))
    return Token(access_token=access.make_token(doors, person, version), scope=scope)


@router.get("/me", tags=["people"])
def me(person: AnyPerson, doors: TheDoors) -> dict[str, Any]:
    """Who I am and where."""
    with doors.seen_by(person.id) as db:
        cursor = db.cursor(row_factory=dict_row)
        mine = cursor.execute("SELECT id, login, name FROM person WHERE id = me()").fetchone()
        roles = cursor.execute(
            "SELECT m.role, s.name AS site, r.name AS region FROM membership m LEFT JOIN site s"
            " ON s.id = m.site_id LEFT JOIN region r ON r.id = m.region_id WHERE person_id = me()"
        ).fetchall()
    return {**(mine or {}), "roles": roles, "scopes": sorted(person.scopes)}


@router.get("/users", tags=["people"])
def users(person: Administrator, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """The people of the sites I administer."""
    with doors.seen_by(person.id) as db:
        return page(db, "SELECT id, login, name, active FROM person WHERE true", {}, after, limit)


@router.post("/users", status_code=201, tags=["people"])
def add_user(new: NewPerson, person: Administrator, doors: TheDoors) -> dict[str, int]:
    """A new tenant at a site I administer."""
    with doors.seen_by(person.id) as db:
        try:
            row = db.execute(
                "SELECT add_person(%s, %s, %s, %s)",
                (new.site, new.login, access.hashed(new.password), new.name),
            ).fetchone()
        except psycopg.errors.UniqueViolation:
            raise HTTPException(409, f"there is a {new.login} already") from None
        except psycopg.errors.InsufficientPrivilege:
            raise HTTPException(403, "you do not administer this site") from None
    assert row is not None
    return {"id": row[0]}


@router.get("/cards", tags=["people"])
def cards(person: AnyPerson, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """My cards; an administrator's: those of the sites."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT id, site_id AS site, person_id AS person, label, active FROM card WHERE true",
            {},
            after,
            limit,
        )


@router.post("/cards", status_code=201, tags=["people"])
def add_card(new: NewCard, person: Administrator, doors: TheDoors) -> dict[str, int]:
    """Give a person a card."""
    with doors.seen_by(person.id) as db:
        site = db.execute(
            "SELECT name, key_version FROM site WHERE id = %s", (new.site,)
        ).fetchone()
        if site is None:
            raise HTTPException(404, "no such site")
        key = record.site_key(doors.settings.master, site[0], site[1])
        try:
            row = db.execute(
                "INSERT INTO card (site_id, person_id, hash, label) VALUES (%s, %s, %s, %s)"
                " RETURNING id",
                (new.site, new.person, record.card_hash(key, new.number), new.label),
            ).fetchone()
        except psycopg.errors.UniqueViolation:
            raise HTTPException(409, "this card is known here already") from None
        except psycopg.errors.ForeignKeyViolation:
            raise HTTPException(404, "no such person") from None
        except psycopg.errors.InsufficientPrivilege:
            raise HTTPException(403, "not a site or person of yours") from None
    assert row is not None
    return {"id": row[0]}


@router.patch("/cards/{card}", tags=["people"])
def change_card(
    card: int, change: CardChange, person: Administrator, doors: TheDoors
) -> dict[str, bool]:
    """Allow or block a card."""
    with doors.seen_by(person.id) as db:
        done = db.execute("UPDATE card SET active = %s WHERE id = %s", (change.active, card))
        if not done.rowcount:
            raise HTTPException(404, "no such card")
    return {"active": change.active}


@router.get("/tariffs", tags=["money"])
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


@router.post("/tariffs", status_code=201, tags=["money"])
def add_tariff(new: NewTariff, person: Administrator, doors: TheDoors) -> dict[str, int]:
    """A new tariff; of several in force the one that began last counts."""
    with doors.seen_by(person.id) as db:
        try:
            row = db.execute(
                "INSERT INTO tariff (site_id, name, from_at, to_at, currency, per_kwh,"
                " per_session)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
                (
                    new.site,
                    new.name,
                    new.from_at,
                    new.to_at,
                    new.currency,
                    new.per_kwh,
                    new.per_session,
                ),
            ).fetchone()
            assert row is not None
            for band in new.bands:
                db.execute(
                    "INSERT INTO tariff_band (tariff_id, days, from_min, to_min, per_kwh)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    (row[0], band.days, band.from_min, band.to_min, band.per_kwh),
                )
        except psycopg.errors.InsufficientPrivilege:
            raise HTTPException(403, "you do not administer this site") from None
        except psycopg.errors.CheckViolation as e:
            raise HTTPException(422, str(e.diag.message_primary)) from None
    return {"id": row[0]}


@router.get("/bills", tags=["money"])
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


@router.post("/bills", status_code=201, tags=["money"])
def make_bills(run: BillRun, person: Administrator, doors: TheDoors) -> dict[str, Any]:
    """Bill every person with finished sessions that began in the period. Doing it twice is
    refused.
    """
    with doors.seen_by(person.id) as db:
        site = db.execute("SELECT timezone FROM site WHERE id = %s", (run.site,)).fetchone()
        if site is None:
            raise HTTPException(404, "no such site")
        prices = _tariffs(db, run.site)
        made = 0
        try:
            for who, lines in _lines(db, run, prices, ZoneInfo(site[0])).items():
                currency = bills.tariff_at(prices, lines[0].started_at).currency
                shown = [
                    {
                        "device": one.device,
                        "number": one.number,
                        "started_at": one.started_at.isoformat(),
                        "ended_at": one.ended_at.isoformat(),
                        "energy_wh": one.energy_wh,
                        "tariff": one.tariff,
                        "amount": one.amount,
                    }
                    for one in lines
                ]
                db.execute(
                    "INSERT INTO bill (site_id, person_id, from_at, to_at, currency, total,"
                    " energy_wh, lines) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
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
                made += 1
        except bills.BillError as e:
            raise HTTPException(409, str(e)) from None
        except psycopg.errors.UniqueViolation:
            raise HTTPException(409, "this period is billed already") from None
        except psycopg.errors.InsufficientPrivilege:
            raise HTTPException(403, "you do not administer this site") from None
    return {"made": made}


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
        quarters: list[tuple[datetime, int]] = [
            (at, wh)
            for at, wh in db.execute(
                "SELECT at, energy_wh FROM quarter WHERE device_id = %s"
                " AND at > %s - interval '15 minutes' AND at < %s",
                (device, started, ended),
            )
        ]
        one = bills.Session(name, number, started, ended, energy, tuple(quarters))
        out.setdefault(who, []).append(bills.line(one, prices, zone))
    return out


@router.post("/wishes", status_code=201, tags=["people"])
def wish(new: NewWish, person: Tenant, doors: TheDoors) -> dict[str, int]:
    """Ask a building to start or stop a charger of mine; its manager decides."""
    with doors.seen_by(person.id) as db:
        try:
            row = db.execute(
                "INSERT INTO wish (device_id, person_id, command) VALUES (%s, me(), %s)"
                " RETURNING id",
                (new.device, new.command),
            ).fetchone()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
            raise HTTPException(404, "no such charger of yours") from None
    assert row is not None
    return {"id": row[0]}


@router.get("/wishes/{wish}", tags=["people"])
def wish_result(wish: int, person: AnyPerson, doors: TheDoors) -> dict[str, Any]:
    """What became of it."""
    with doors.seen_by(person.id) as db:
        row = (
            db.cursor(row_factory=dict_row)
            .execute("SELECT id, command, made_at, result FROM wish WHERE id = %s", (wish,))
            .fetchone()
        )
    if row is None:
        raise HTTPException(404, "no such wish")
    return row
