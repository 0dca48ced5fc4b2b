"""The API of users and cards. A tenant is shown himself and his own cards."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import Field

from manager import beside, people
from manager.core.rights import Card
from manager.run import Manager
from manager.web.api import Answer, Body, Call, NotThere, Operation, Said, whole_body

T = TypeVar("T")

_A = "A, 6 to 80; null: no limit"
_WHEN = "times at which one may charge, as `mon-fri 22:00-08:00 16 A; sat,sun 00:00-24:00`"


class UserGiven(Body):
    """What is to be said of a user; what is left out stays, or is without limit."""

    name: str | None = Field(default=None, max_length=80, description="up to 80 letters")
    email: str | None = Field(default=None, max_length=120, description="up to 120 letters")
    active: bool | None = Field(default=None, description="false: blocked")
    max_a: int | None = Field(default=None, ge=6, le=80, description=_A)
    priority: int | None = Field(
        default=None, ge=0, le=9, description="0 first to 9; null: as the charger's"
    )
    windows: str | None = Field(default=None, max_length=1000, description=_WHEN)
    quota_wh: int | None = Field(
        default=None, ge=0, le=10**9, description="Wh a month; null: no limit"
    )
    chargers: list[str] | None = Field(
        default=None, max_length=1000, description="those allowed; empty: all"
    )
    owns: list[str] | None = Field(
        default=None,
        max_length=100,
        description="what charges there without a card is this user's",
    )
    payer: str | None = Field(
        default=None, max_length=32, description="user who gets the bill; empty: this one"
    )


class NewUser(UserGiven):
    """A new user."""

    id: str = Field(max_length=32, description="short and for good: a-z, 0-9, . _ -")


class UserShown(Answer):
    """A user."""

    id: str
    name: str
    email: str
    active: bool
    max_a: int | None
    priority: int | None
    windows: str
    quota_wh: int | None
    chargers: list[str]
    owns: list[str]
    payer: str
    used_wh: int = Field(description="taken this month")


class Users(Answer):
    """Users by id."""

    users: list[UserShown]


class NewCard(Body):
    """A card, by its number or its mark; one that is there already is changed."""

    user: str = Field(max_length=32, description="whose")
    number: str | None = Field(default=None, max_length=40, description="hex; it is not kept")
    mark: str | None = Field(
        default=None, max_length=16, description="what stands for its number, 16 digits of hex"
    )
    label: str = Field(default="", max_length=40, description="what is written on it, a plate")
    purpose: str = Field(default="private", max_length=8, description="private or business")
    active: bool = Field(default=True, description="false: blocked")


class CardShown(Answer):
    """A card."""

    mark: str
    user: str
    label: str
    purpose: str
    active: bool


class Cards(Answer):
    """Cards by user."""

    cards: list[CardShown]


class Imported(Said):
    """What was taken."""

    users: int
    cards: int


_NULL_IS_A_VALUE = ("max_a", "priority", "quota_wh")


def own(call: Call) -> str | None:
    """Whose things a tenant may see: his user's. None for everybody's."""
    if call.role != "tenant":
        return None
    return call.user or "-"  # an account without a user sees nothing; no user is called so


def _given(body: UserGiven) -> dict[str, Any]:
    said = body.model_dump(exclude_unset=True)
    return {k: v for k, v in said.items() if v is not None or k in _NULL_IS_A_VALUE}


def operations(manager: Manager) -> list[Operation]:
    """These operations on this manager's store."""
    path = manager.store.path

    async def changed(do: Callable[[sqlite3.Connection], T]) -> T:
        def change() -> T:
            with people.change(path) as db:
                return do(db)

        done = await asyncio.to_thread(change)
        if manager.reception is not None:
            manager.reception.look()
        return done

    async def looked(do: Callable[[sqlite3.Connection], T]) -> T:
        def look() -> T:
            with beside.look(path) as db:
                return do(db)

        return await asyncio.to_thread(look)

    async def users(call: Call) -> dict[str, Any]:
        found = await looked(people.users_in)
        sessions = manager.reception.sessions if manager.reception else None
        now_ms = manager.clock.utc_ms()
        shown = []
        for user in found.values():
            if own(call) in (None, user.id):
                used = sessions.used_wh(user.id, now_ms) if sessions else 0
                shown.append({**people.user_to_plain(user), "used_wh": used})
        return {"users": shown}

    async def add(call: Call) -> str:
        body: NewUser = call.body

        def do(db: sqlite3.Connection) -> None:
            if body.id in people.users_in(db):
                raise people.PeopleError(f"there is a user {body.id} already")
            people.put_user(db, people.user_from_plain(_given(body)))

        await changed(do)
        return f"{body.id} is a user now"

    async def put(call: Call) -> str:
        name = call.path("id")

        def do(db: sqlite3.Connection) -> None:
            old = people.users_in(db).get(name)
            if old is None:
                raise NotThere(f"no user {name}")
            people.put_user(db, people.user_from_plain(_given(call.body), old))

        await changed(do)
        return f"{name} is changed"

    async def remove(call: Call) -> str:
        name = call.path("id")

        def do(db: sqlite3.Connection) -> str:
            if name not in people.users_in(db):
                raise NotThere(f"no user {name}")
            return people.drop_user(db, name)

        return await changed(do)

    async def import_(call: Call) -> dict[str, Any]:
        try:
            text = (await whole_body(call.request)).decode()
        except UnicodeDecodeError as e:
            raise people.PeopleError("the file is not UTF-8") from e
        taken, cards = await changed(lambda db: people.import_csv(db, text, path))
        return {"users": taken, "cards": cards, "words": f"{taken} users and {cards} cards taken"}

    async def cards(call: Call) -> dict[str, Any]:
        found = await looked(people.cards_in)
        return {
            "cards": [
                {
                    "mark": c.mark,
                    "user": c.user,
                    "label": c.label,
                    "purpose": c.purpose,
                    "active": c.active,
                }
                for c in found.values()
                if own(call) in (None, c.user)
            ]
        }

    async def put_card(call: Call) -> str:
        body: NewCard = call.body
        if (body.number is None) == (body.mark is None):
            raise people.PeopleError("give the card's number or its mark")
        mark = body.mark or people.mark_of(path, body.number or "")
        card = Card(mark, body.user, body.active, body.label, body.purpose)
        await changed(lambda db: people.put_card(db, card))
        return f"card {mark} is {body.user}'s"

    async def drop_card(call: Call) -> str:
        mark = call.path("mark")

        def do(db: sqlite3.Connection) -> None:
            if mark not in people.cards_in(db):
                raise NotThere(f"no card {mark}")
            people.drop_card(db, mark)

        await changed(do)
        return f"card {mark} is removed"

    async def block(call: Call) -> str:
        """A tenant may block his own card, when it is lost; not unblock it."""
        mark = call.path("mark")

        def do(db: sqlite3.Connection) -> None:
            card = people.cards_in(db).get(mark)
            if card is None or own(call) not in (None, card.user):
                raise NotThere(f"no card {mark}")
            people.put_card(db, replace(card, active=False))

        await changed(do)
        return f"card {mark} is blocked"

    return [
        Operation(
            "GET", "/api/users", "Who may charge, and their rights", users, "tenant",
            answer=Users, tag="people",
        ),
        Operation("POST", "/api/users", "Add a user", add, body=NewUser, tag="people"),
        Operation(
            "POST", "/api/users/import", "Take users and cards from CSV", import_,
            answer=Imported, tag="people", takes="text/csv",
            about=f"A row a card; columns {', '.join(people.COLUMNS)}. All of it or nothing.",
        ),
        Operation("PUT", "/api/users/{id}", "Change a user", put, body=UserGiven, tag="people"),
        Operation(
            "DELETE", "/api/users/{id}", "Remove a user; one who has charged is blocked", remove,
            tag="people",
        ),
        Operation(
            "GET", "/api/cards", "Cards, by the marks that stand for their numbers", cards,
            "tenant", answer=Cards, tag="people",
        ),
        Operation(
            "POST", "/api/cards", "Give a user a card, or change one", put_card, body=NewCard,
            tag="people",
        ),
        Operation("DELETE", "/api/cards/{mark}", "Remove a card", drop_card, tag="people"),
        Operation(
            "POST", "/api/cards/{mark}/block", "Block a card that is lost", block, "tenant",
            tag="people",
        ),
    ]  # fmt: skip
