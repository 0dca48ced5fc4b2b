"""Tokens, persons, cards, and wishes to start or stop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.security import OAuth2PasswordRequestForm
from psycopg.rows import dict_row
from pydantic import BaseModel, Field

from datahub.cloud.api import access
from datahub.cloud.api.asking import (
    Administrator,
    After,
    AnyPerson,
    Limit,
    Number,
    Page,
    Tenant,
    TheDoors,
    changing,
    page,
)
from datahub.fog import record

router = APIRouter()


class Token(BaseModel):
    """An OAuth2 answer."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the kind of token, by RFC 6750
    expires_in: int = access.TOKEN_S
    scope: str


class NewPerson(BaseModel):
    """A tenant for a site one administers."""

    site: Number
    login: str = Field(pattern=r"^\S{1,80}$")
    password: str = Field(min_length=10, max_length=200)
    name: str = Field(default="", max_length=100)


class NewCard(BaseModel):
    """A card by its number (UID), which is hashed with the site's key and then forgotten."""

    site: Number
    person: Number
    number: str = Field(pattern="^([0-9A-Fa-f]{2}){4,10}$")
    label: str = Field(default="", max_length=60)


class CardChange(BaseModel):
    """Allow or block a card."""

    active: bool


class NewWish(BaseModel):
    """Start or stop a charger."""

    device: Number
    command: str = Field(pattern="^(start|stop)$")


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
    taken = f"there is a {new.login} already"
    with changing(doors, person, taken=taken) as db:
        row = db.execute(
            "SELECT add_person(%s, %s, %s, %s)",
            (new.site, new.login, access.hashed(new.password), new.name),
        ).fetchone()
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
    with changing(doors, person, taken="this card is known here already") as db:
        site = db.execute(
            "SELECT name, key_version FROM site WHERE id = %s", (new.site,)
        ).fetchone()
        if site is None:
            raise HTTPException(404, "no such site")
        key = record.site_key(doors.settings.master, site[0], site[1])
        row = db.execute(
            "INSERT INTO card (site_id, person_id, hash, label) VALUES (%s, %s, %s, %s)"
            " RETURNING id",
            (new.site, new.person, record.card_hash(key, new.number), new.label),
        ).fetchone()
    assert row is not None
    return {"id": row[0]}


@router.patch("/cards/{card}", tags=["people"])
def change_card(
    card: Number, change: CardChange, person: Administrator, doors: TheDoors
) -> dict[str, bool]:
    """Allow or block a card."""
    with doors.seen_by(person.id) as db:
        done = db.execute("UPDATE card SET active = %s WHERE id = %s", (change.active, card))
        if not done.rowcount:
            raise HTTPException(404, "no such card")
    return {"active": change.active}


@router.post("/wishes", status_code=201, tags=["people"])
def wish(new: NewWish, person: Tenant, doors: TheDoors) -> dict[str, int]:
    """Ask a building to start or stop a charger of mine; its manager decides."""
    nothing = "no such charger of yours"
    with changing(doors, person, forbidden=(404, nothing), absent=nothing) as db:
        row = db.execute(
            "INSERT INTO wish (device_id, person_id, command) VALUES (%s, me(), %s) RETURNING id",
            (new.device, new.command),
        ).fetchone()
    assert row is not None
    return {"id": row[0]}


@router.get("/wishes/{wish}", tags=["people"])
def wish_result(wish: Number, person: AnyPerson, doors: TheDoors) -> dict[str, Any]:
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
