"""Who may charge where, when and how much; the buildings' managers hold them to it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field, model_validator

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

router = APIRouter(tags=["people"])


class Hours(BaseModel):
    """Local times of these days (bit 0 is Monday) in which so many amperes may be drawn."""

    days: int = Field(ge=1, le=127)
    from_min: int = Field(ge=0, le=1439)
    to_min: int = Field(ge=1, le=1440)
    max_a: int = Field(default=80, ge=6, le=80)

    @model_validator(mode="after")
    def _forwards(self) -> Hours:
        if self.to_min <= self.from_min:
            raise ValueError("to_min after from_min; over midnight: two of them")
        return self


class NewRight(BaseModel):
    """A person's limits at a site. Without `windows`: always; without `chargers`: at all."""

    site: Number
    person: Number
    max_a: int | None = Field(default=None, ge=6, le=80)
    priority: int = Field(default=0, ge=0, le=9)
    quota_wh: int | None = Field(default=None, ge=0, le=10**9, description="a month")
    windows: list[Hours] = Field(default=[], max_length=50)
    chargers: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,24}$")]] = Field(
        default=[], max_length=200
    )


@router.get("/rights")
def rights(person: AnyPerson, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """My limits; an administrator's: everybody's at the sites. Who has none is not listed."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT id, site_id AS site, person_id AS person, max_a, priority, quota_wh, windows,"
            " chargers FROM charging_right WHERE true",
            {},
            after,
            limit,
        )


@router.put("/rights")
def set_right(new: NewRight, person: Administrator, doors: TheDoors) -> dict[str, int]:
    """Set what a person may do at a site; it goes down to the building at once."""
    values = new.model_dump()
    values["windows"] = json.dumps(values["windows"])
    with changing(doors, person) as db:
        row = db.execute(
            "INSERT INTO charging_right (site_id, person_id, max_a, priority, quota_wh,"
            " windows, chargers) VALUES (%(site)s, %(person)s, %(max_a)s, %(priority)s,"
            " %(quota_wh)s, %(windows)s, %(chargers)s)"
            " ON CONFLICT (site_id, person_id) DO UPDATE SET max_a = excluded.max_a,"
            " priority = excluded.priority, quota_wh = excluded.quota_wh,"
            " windows = excluded.windows, chargers = excluded.chargers RETURNING id",
            values,
        ).fetchone()
    assert row is not None
    return {"id": row[0]}


@router.delete("/rights/{right}")
def end_right(right: Number, person: Administrator, doors: TheDoors) -> dict[str, bool]:
    """Take a person's limits away: they may do what everybody may."""
    with doors.seen_by(person.id) as db:
        if not db.execute("DELETE FROM charging_right WHERE id = %s", (right,)).rowcount:
            raise HTTPException(404, "no such right")
    return {"ended": True}


@router.delete("/sites/{site}/users/{user}")
def end_membership(
    site: Number, user: Number, person: Administrator, doors: TheDoors
) -> dict[str, Any]:
    """A tenant moves out: their cards stop here; their sessions and bills stay theirs to see."""
    with doors.seen_by(person.id) as db:
        done = db.execute(
            "DELETE FROM membership WHERE site_id = %s AND person_id = %s AND role = 'tenant'",
            (site, user),
        )
        if not done.rowcount:
            raise HTTPException(404, "no such tenant")
    return {"ended": True}
