"""What was measured: sites, devices, sessions, readings; the fleet's view and the grid's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Security
from psycopg.rows import dict_row
from pydantic import AwareDatetime, BaseModel

from datahub.cloud.api.access import Person, person_of
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

router = APIRouter(tags=["measurements"])
Operator = Annotated[Person, Security(person_of, scopes=["grid"])]
# What one answer may span, so that no question reads the whole store.
_SPANS = {"raw": timedelta(hours=6), "minute": timedelta(days=7), "quarter": timedelta(days=400)}


class DeviceChange(BaseModel):
    """Whose own charger it is (null: shared); whether it belongs to the site (null: the site's
    own list decides). What is not named stays.
    """

    person: Number | None = None
    authorised: bool | None = None


@router.get("/sites")
def sites(person: AnyPerson, doors: TheDoors, after: After = 0, limit: Limit = 100) -> Page:
    """The sites I belong to or whose feeder I operate."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT id, name, title, timezone, limit_a, phases FROM site WHERE true",
            {},
            after,
            limit,
        )


@router.get("/devices")
def devices(
    person: AnyPerson,
    doors: TheDoors,
    site: Number | None = None,
    after: After = 0,
    limit: Limit = 100,
) -> Page:
    """Meters and chargers I may see, with their newest counter."""
    with doors.seen_by(person.id) as db:
        return page(
            db,
            "SELECT d.id, d.site_id AS site, d.name, d.kind, d.role, d.model, d.firmware, d.max_a,"
            " d.person_id AS person, d.authorised, s.last_at, s.counted_wh FROM device d"
            " LEFT JOIN device_state s ON s.device_id = d.id"
            " WHERE (%(site)s::int IS NULL OR d.site_id = %(site)s)",
            {"site": site},
            after,
            limit,
            "d.id",
        )


@router.patch("/devices/{device}")
def change_device(
    device: Number, change: DeviceChange, person: Administrator, doors: TheDoors
) -> dict[str, Any]:
    """Give a charger to a tenant, or share it; let a device in, or bar it."""
    with changing(doors, person, forbidden=(403, "not a person of yours")) as db:
        row = (
            db.cursor(row_factory=dict_row)
            .execute(
                "UPDATE device SET person_id = CASE WHEN %s THEN %s::int ELSE person_id END,"
                " authorised = CASE WHEN %s THEN %s::boolean ELSE authorised END"
                " WHERE id = %s RETURNING person_id AS person, authorised",
                (
                    "person" in change.model_fields_set,
                    change.person,
                    "authorised" in change.model_fields_set,
                    change.authorised,
                    device,
                ),
            )
            .fetchone()
        )
    if row is None:
        raise HTTPException(404, "no such device")
    return row


@router.get("/sessions")
def sessions(
    person: AnyPerson,
    doors: TheDoors,
    from_at: AwareDatetime | None = None,
    to_at: AwareDatetime | None = None,
    before: AwareDatetime | None = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Sessions, newest first; ask again with `next` as `before`."""
    with doors.seen_by(person.id) as db:
        rows = (
            db.cursor(row_factory=dict_row)
            .execute(
                "SELECT d.site_id AS site, d.name AS device, s.number, s.started_at, s.ended_at,"
                " s.energy_wh, s.how, s.why, s.person_id AS person FROM session s"
                " LEFT JOIN device d ON d.id = s.device_id"
                " WHERE (%(f)s::timestamptz IS NULL OR started_at >= %(f)s)"
                " AND (%(t)s::timestamptz IS NULL OR started_at < %(t)s)"
                " AND (%(b)s::timestamptz IS NULL OR started_at < %(b)s)"
                " ORDER BY started_at DESC NULLS LAST LIMIT %(limit)s",
                {"f": from_at, "t": to_at, "b": before, "limit": limit + 1},
            )
            .fetchall()
        )
    more = len(rows) > limit
    rows = rows[:limit]
    return {"items": rows, "next": rows[-1]["started_at"] if more else None}


@router.get("/readings")
def readings(
    person: AnyPerson,
    doors: TheDoors,
    device: Number,
    from_at: AwareDatetime,
    to_at: AwareDatetime,
    width: Annotated[Literal["raw", "minute", "quarter"], Query()] = "quarter",
) -> dict[str, Any]:
    """A device's readings, minutes or quarter hours in [from_at, to_at).

    At most 6 hours of raw readings, 7 days of minutes, 400 days of quarter hours at once.
    """
    if not timedelta() < to_at - from_at <= _SPANS[width]:
        raise HTTPException(400, f"{width}: at most {_SPANS[width]} at once, from before to")
    with doors.seen_by(person.id) as db:
        return {"items": series(db, device, from_at, to_at, width)}


def series(
    db: Any, device: int, from_at: datetime, to_at: datetime, width: str
) -> list[dict[str, Any]]:
    """The rows of `readings`."""
    if width == "raw":
        what = (
            "at, boot, seq, energy_wh, counted_wh, flags, power_w1, power_w2, power_w3,"
            " current_ma1, current_ma2, current_ma3, voltage_dv1, voltage_dv2, voltage_dv3"
        )
        table = "reading"
    else:
        what = (
            "at, n, energy_wh, estimated_wh, power_max_w, current_max_ma,"
            " CASE WHEN n > 0 THEN power_sum_w / n END AS power_w"
        )
        table = width
    cursor = db.cursor(row_factory=dict_row)
    rows: list[dict[str, Any]] = cursor.execute(
        f"SELECT {what} FROM {table} WHERE device_id = %s AND at >= %s AND at < %s"  # noqa: S608
        " ORDER BY at",
        (device, from_at, to_at),
    ).fetchall()
    return rows


@router.get("/fleet")
def fleet(person: Administrator, doors: TheDoors) -> dict[str, Any]:
    """My sites at a glance: devices heard of lately, power of the last full quarter hour,
    today's sessions.
    """
    with doors.seen_by(person.id) as db:
        return {"items": fleet_rows(db)}


def fleet_rows(db: Any) -> list[dict[str, Any]]:
    """The rows of `fleet`."""
    cursor = db.cursor(row_factory=dict_row)
    rows: list[dict[str, Any]] = cursor.execute(
        "SELECT s.id, s.name, s.title, s.limit_a,"
        " count(d.id) FILTER (WHERE d.kind = 'charger') AS chargers,"
        " count(d.id) FILTER (WHERE st.last_at > now() - interval '2 minutes') AS heard,"
        " coalesce(sum(q.power_w) FILTER (WHERE d.kind = 'charger'), 0)::bigint AS charging_w,"
        " coalesce(sum(q.power_w) FILTER (WHERE d.role = 'grid'), 0)::bigint AS grid_w"
        " FROM site s LEFT JOIN device d ON d.site_id = s.id AND d.kind IN ('charger', 'counter')"
        " LEFT JOIN device_state st ON st.device_id = d.id LEFT JOIN LATERAL (SELECT"
        " power_sum_w / nullif(n, 0) AS power_w FROM minute m WHERE m.device_id = d.id"
        " AND m.at > now() - interval '3 minutes' ORDER BY m.at DESC LIMIT 1) q ON true"
        " GROUP BY s.id ORDER BY s.id"
    ).fetchall()
    return rows


@router.get("/grid")
def grid(
    person: Operator, doors: TheDoors, from_at: AwareDatetime, to_at: AwareDatetime
) -> dict[str, Any]:
    """Load by feeder and quarter hour, and how much of it charging could give up at once."""
    if not timedelta() < to_at - from_at <= timedelta(days=31):
        raise HTTPException(400, "at most 31 days at once, from before to")
    with doors.seen_by(person.id) as db:
        return {"items": grid_rows(db, from_at, to_at)}


def grid_rows(db: Any, from_at: datetime, to_at: datetime) -> list[dict[str, Any]]:
    """The rows of `grid`."""
    cursor = db.cursor(row_factory=dict_row)
    rows: list[dict[str, Any]] = cursor.execute(
        "SELECT f.id, f.name, r.name AS region, f.limit_w, g.at,"
        " coalesce(sum(g.grid_w), 0)::bigint AS grid_w,"
        " coalesce(sum(g.charging_w), 0)::bigint AS flexible_w"
        " FROM feeder f JOIN region r ON r.id = f.region_id JOIN grid_load g ON g.feeder_id = f.id"
        " WHERE g.at >= %s AND g.at < %s GROUP BY f.id, r.name, g.at ORDER BY g.at, f.id",
        (from_at, to_at),
    ).fetchall()
    return rows
