"""The portal's page of one user's rights: how much, when, where and how urgently they may charge."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from datahub.cloud.api import rights
from datahub.cloud.portal.pages import Ours, TheDoors, Visitor, form_token, needs, rows_of, show

router = APIRouter(prefix="/portal", include_in_schema=False)
DAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_DAY_MIN = 1440
_EMPTY_ROWS = 2
_ALL_DAYS = 127
_NO_RIGHT: dict[str, Any] = {
    "id": 0, "max_a": None, "priority": 0, "quota_wh": None, "windows": [], "chargers": [],
}  # fmt: skip
Lines = Annotated[list[str], Form()]


def clock(minute: int) -> str:
    """A minute of the day as a clock shows it; its end is 00:00."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def minute_of(text: str) -> int:
    """The other way. ValueError if it is no time of day."""
    hour, minute = (int(part) for part in text.split(":")[:2])
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(text)
    return hour * 60 + minute


def hours(days: int, begins: str, ends: str, max_a: int) -> list[dict[str, int]]:
    """A line of the form as windows; one over midnight is two, the second a day later.
    ValueError in words if it makes no sense.
    """
    try:
        from_min, to_min = minute_of(begins), minute_of(ends) or _DAY_MIN
    except ValueError:
        raise ValueError("a window needs a time it begins at and one it ends at") from None
    if not days:
        raise ValueError("a window needs at least one day")
    if from_min == to_min:
        raise ValueError("a window that ends as it begins; a whole day is from 00:00 to 00:00")
    if from_min < to_min:
        return [{"days": days, "from_min": from_min, "to_min": to_min, "max_a": max_a}]
    next_days = (days << 1 | days >> 6) & _ALL_DAYS
    return [
        {"days": days, "from_min": from_min, "to_min": _DAY_MIN, "max_a": max_a},
        {"days": next_days, "from_min": 0, "to_min": to_min, "max_a": max_a},
    ]


def _page(
    request: Request,
    person: Visitor,
    doors: TheDoors,
    site: int,
    who: int,
    wrong: str = "",
    said: str = "",
) -> HTMLResponse:
    with doors.seen_by(person.id) as db:
        found = rows_of(
            db,
            "SELECT p.id, p.login, p.name, s.title, s.name AS site FROM person p"
            " JOIN membership m ON m.person_id = p.id JOIN site s ON s.id = m.site_id"
            " WHERE p.id = %s AND s.id = %s AND m.role = 'tenant'"
            " AND s.id IN (SELECT my_sites('administrator'))",
            (who, site),
        )
        if not found:
            raise HTTPException(404, "no such user at a site of yours")
        chargers = rows_of(
            db,
            "SELECT name FROM device WHERE site_id = %s AND kind = 'charger' ORDER BY name"
            " LIMIT 200",
            (site,),
        )
        kept = rows_of(
            db, "SELECT * FROM charging_right WHERE site_id = %s AND person_id = %s", (site, who)
        )
    right: dict[str, Any] = kept[0] if kept else dict(_NO_RIGHT)
    windows = [
        {**w, "begins": clock(w["from_min"]), "ends": clock(w["to_min"])} for w in right["windows"]
    ]
    empty = {"days": 0, "begins": "", "ends": "", "max_a": ""}
    return show(
        "rights.html",
        400 if wrong else 200,
        me=person,
        form=form_token(request, doors),
        wrong=wrong,
        said=said,
        user=found[0],
        site=site,
        right=right,
        chargers=[c["name"] for c in chargers],
        windows=windows + [empty] * _EMPTY_ROWS,
        days=DAYS,
    )


@router.get("/rights")
def rights_page(
    request: Request, person: Visitor, doors: TheDoors, site: int, person_id: int, said: str = ""
) -> HTMLResponse:
    """What a user may do at a site, to be changed."""
    needs(person, "site")
    return _page(request, person, doors, site, person_id, said=said[:100])


@router.post("/rights")
def set_rights(
    request: Request,
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    who: Annotated[int, Form()],
    max_a: Annotated[str, Form()] = "",
    priority: Annotated[int, Form()] = 0,
    quota_kwh: Annotated[str, Form()] = "",
    chargers: Lines = [],  # noqa: B006 - FastAPI copies it
    day: Lines = [],  # noqa: B006
    begins: Lines = [],  # noqa: B006
    ends: Lines = [],  # noqa: B006
    amps: Lines = [],  # noqa: B006
) -> Response:
    """Keep it. `day` holds "line.bit" of every day ticked; a line without times is no window."""
    needs(person, "site")
    try:
        windows: list[dict[str, int]] = []
        for i, (begin, end, most) in enumerate(zip(begins, ends, amps, strict=True)):
            days = sum(1 << bit for bit in range(7) if f"{i}.{bit}" in day)
            if begin or end or days:
                windows += hours(days, begin, end, int(most or max_a or 80))
        new = rights.NewRight.model_validate(
            {
                "site": site,
                "person": who,
                "max_a": max_a or None,
                "priority": priority,
                "quota_wh": round(float(quota_kwh) * 1000) if quota_kwh else None,
                "windows": windows,
                "chargers": chargers,
            }
        )
    except ValidationError as e:
        first = e.errors()[0]
        field = ", ".join(str(part) for part in first["loc"])
        return _page(request, person, doors, site, who, f"{field}: {first['msg']}")
    except (ValueError, OverflowError) as e:
        return _page(request, person, doors, site, who, str(e))
    rights.set_right(new, person, doors)
    return RedirectResponse(f"/portal/rights?site={site}&person_id={who}&said=saved", 303)


@router.post("/rights/end")
def end_rights(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    right: Annotated[int, Form()],
) -> RedirectResponse:
    """No limits but the chargers' own."""
    needs(person, "site")
    rights.end_right(right, person, doors)
    return RedirectResponse(f"/portal/administrator?site={site}&said=limits+taken+away", 303)


@router.post("/user/end")
def end_user(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    who: Annotated[int, Form()],
) -> RedirectResponse:
    """A tenant moves out."""
    needs(person, "site")
    rights.end_membership(site, who, person, doors)
    return RedirectResponse(f"/portal/administrator?site={site}&said=user+removed", 303)
