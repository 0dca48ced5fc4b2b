"""The portal: tenants, administrators and operators, in pages made on the server.

A signed cookie that scripts cannot read and other sites cannot send; forms carry a token made from
it. No script is needed but for the plots.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import jwt
import psycopg
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg.rows import dict_row

from datahub.cloud.api import access, measurements, people
from datahub.cloud.api import money as api_money
from datahub.cloud.api.access import Doors, Person, doors_of
from datahub.cloud.api.openid import Errand, OpenIdError

_HERE = Path(__file__).parent
COOKIE = "ievcc"
ERRAND = "ievcc-openid"
_ERRAND_S = 600
_FEEDERS_DRAWN = 4  # as many colours as can be told apart
router = APIRouter(prefix="/portal", include_in_schema=False)
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
)
_ROLES = (("own", "tenant"), ("site", "administrator"), ("grid", "operator"))
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'"
    " data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
TheDoors = Annotated[Doors, Depends(doors_of)]


def mount(app: FastAPI) -> None:
    """Add the portal to the application."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        answered = await http_exception_handler(request, error)
        if error.status_code < 400 or not request.url.path.startswith("/portal"):
            return answered
        # Only a path of ours: what brought the visitor here may say anything.
        came = urlsplit(request.headers.get("referer", "")).path
        back = came if came.startswith("/portal/") and came != request.url.path else "/portal"
        return show("refused.html", error.status_code, words=error.detail, back=back)

    @app.get("/", include_in_schema=False)
    def home() -> RedirectResponse:
        return RedirectResponse("/portal")


class SeeLogin(HTTPException):
    """Nobody is logged in: the answer is the login page."""

    def __init__(self) -> None:
        super().__init__(303, headers={"Location": "/portal/login"})


def visitor(request: Request, doors: TheDoors) -> Person:
    """Who the cookie says; without a good one, to the login page."""
    try:
        person = access.read_token(doors, request.cookies.get(COOKIE, ""), "portal")
    except HTTPException:
        raise SeeLogin from None
    access.limited(doors.asks, f"person {person.id}", time.monotonic())
    return person


Visitor = Annotated[Person, Depends(visitor)]


def form_token(request: Request, doors: Doors) -> str:
    """What a form of this visitor must carry; nobody without the cookie can make it."""
    cookie = request.cookies.get(COOKIE, "").encode()
    return hmac.digest(doors.settings.key("form"), cookie, hashlib.sha256).hex()


def check_form(request: Request, doors: TheDoors, form: Annotated[str, Form()] = "") -> None:
    """403 unless the form came from our own page."""
    if not hmac.compare_digest(form, form_token(request, doors)):
        raise HTTPException(403, "this form was not ours: load the page again")


Ours = Annotated[None, Depends(check_form)]


def show(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page."""
    text = _templates.get_template(name).render(roles=_ROLES, **values)
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)


def money(amount: int, currency: str = "EUR") -> str:
    """1/10000 of a currency, to the cent."""
    return f"{(amount + 50) // 100 / 100:.2f} {currency}"


def price(amount: int, currency: str = "EUR") -> str:
    """1/10000 of a currency, whole."""
    return f"{amount / 10_000:.4f} {currency}"


def when(at: datetime | None, zone: str = "UTC") -> str:
    """A time as people at the site read it."""
    return "" if at is None else at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


_templates.filters["money"] = money
_templates.filters["price"] = price
_templates.filters["when"] = when
_templates.filters["kwh"] = lambda wh: "" if wh is None else f"{wh / 1000:.2f}"
_templates.filters["kw"] = lambda w: "" if w is None else f"{w / 1000:.1f}"


def login_form(doors: Doors, wrong: str = "", status: int = 200) -> HTMLResponse:
    """Where one logs in; `wrong` says why the last try failed."""
    provider = doors.settings.provider
    elsewhere = urlsplit(provider.issuer).hostname if provider and provider.client else ""
    return show("login.html", status, wrong=wrong, elsewhere=elsewhere)


def let_in(answer: Response, doors: Doors, person: Person, version: int) -> Response:
    """This answer with a new cookie for this person."""
    answer.set_cookie(
        COOKIE,
        access.make_token(doors, person, version, "portal"),
        max_age=access.TOKEN_S,
        httponly=True,
        secure=doors.settings.secure_cookie,
        samesite="strict",
        path="/portal",
    )
    return answer


@router.get("/login")
def login_page(doors: TheDoors) -> HTMLResponse:
    """Where one logs in."""
    return login_form(doors)


@router.post("/login")
def login(
    request: Request,
    doors: TheDoors,
    login: Annotated[str, Form()],
    password: Annotated[str, Form()],
) -> Response:
    """Log in; a new cookie."""
    client = request.client.host if request.client else ""
    try:
        person, version = access.check_login(doors, login, password, client)
    except HTTPException as e:
        return login_form(doors, str(e.detail), e.status_code)
    return let_in(RedirectResponse("/portal", 303), doors, person, version)


@router.get("/openid")
def to_provider(doors: TheDoors) -> Response:
    """To the OpenID provider, to log in there."""
    if doors.provider is None or not doors.provider.settings.client:
        raise HTTPException(404, "no OpenID provider is set up")
    try:
        where, errand = doors.provider.begin()
    except OpenIdError as e:
        return login_form(doors, str(e), 502)
    answer = RedirectResponse(where, 303)
    claims = {**asdict(errand), "aud": ERRAND, "exp": int(time.time()) + _ERRAND_S}
    answer.set_cookie(
        ERRAND,
        jwt.encode(claims, doors.settings.key("errand"), algorithm="HS256"),
        max_age=_ERRAND_S,
        httponly=True,
        secure=doors.settings.secure_cookie,
        samesite="lax",  # it must come along when the provider sends somebody back
        path="/portal/openid",
    )
    return answer


@router.get("/openid/back")
def from_provider(
    request: Request, doors: TheDoors, code: str = "", state: str = "", error: str = ""
) -> Response:
    """Back from the OpenID provider."""
    if doors.provider is None or error:
        return login_form(doors, f"the provider says: {error[:100]}", 401)
    client = request.client.host if request.client else ""
    access.limited(doors.logins, f"client {client}", time.monotonic())
    try:
        claims = jwt.decode(
            request.cookies.get(ERRAND, ""),
            doors.settings.key("errand"),
            algorithms=["HS256"],
            audience=ERRAND,
        )
        errand = Errand(claims["state"], claims["nonce"], claims["verifier"])
        if not hmac.compare_digest(errand.state.encode(), state.encode()):
            raise jwt.InvalidTokenError("not begun here: log in again")
        person, version = access.by_login(doors, doors.provider.finish(errand, code))
    except (jwt.PyJWTError, OpenIdError) as e:
        return login_form(doors, str(e), 401)
    except HTTPException as e:
        return login_form(doors, str(e.detail), e.status_code)
    # A page and not a redirect: the strict cookie is not sent on a way that began elsewhere.
    answer = let_in(show("welcome.html"), doors, person, version)
    answer.delete_cookie(ERRAND, path="/portal/openid")
    return answer


@router.post("/logout")
def logout(_person: Visitor, _ours: Ours) -> Response:
    """Forget the cookie."""
    answer = RedirectResponse("/portal/login", 303)
    answer.delete_cookie(COOKIE, path="/portal")
    return answer


@router.get("")
def home(person: Visitor) -> RedirectResponse:
    """To the page of one's first role."""
    for scope, role in _ROLES:
        if scope in person.scopes:
            return RedirectResponse(f"/portal/{role}")
    raise HTTPException(403, "you have no role here yet")


def needs(person: Person, scope: str) -> None:
    """403 unless the person's roles have this scope."""
    if scope not in person.scopes:
        raise HTTPException(403, "not your page")


def rows_of(db: psycopg.Connection, question: str, values: Any = ()) -> list[dict[str, Any]]:
    """The answer's rows by name."""
    return db.cursor(row_factory=dict_row).execute(question, values).fetchall()


@router.get("/tenant")
def tenant(request: Request, person: Visitor, doors: TheDoors, said: str = "") -> HTMLResponse:
    """My sessions, cost, bills, cards; start and stop."""
    needs(person, "own")
    with doors.seen_by(person.id) as db:
        mine = rows_of(db, "SELECT name, login FROM person WHERE id = me()")[0]
        chargers = rows_of(
            db,
            "SELECT d.id, d.name, d.person_id IS NOT NULL AS own, s.title, s.name AS site,"
            " (SELECT max(m.started_at) FROM session m WHERE m.device_id = d.id"
            " AND m.person_id = me() AND m.ended_at IS NULL) AS since, s.timezone"
            " FROM device d JOIN site s ON s.id = d.site_id WHERE d.kind = 'charger'"
            " AND d.site_id IN (SELECT my_sites('tenant')) ORDER BY d.id LIMIT 50",
        )
        sessions = rows_of(
            db,
            "SELECT d.name AS device, d.site_id, s.*, t.timezone FROM session s JOIN device d"
            " ON d.id = s.device_id JOIN site t ON t.id = d.site_id WHERE s.person_id = me()"
            " ORDER BY s.started_at DESC NULLS LAST LIMIT 50",
        )
        costs = api_money.costs(db, sessions)
        bills = rows_of(
            db, "SELECT * FROM bill WHERE person_id = me() ORDER BY from_at DESC LIMIT 24"
        )
        cards = rows_of(db, "SELECT label, active FROM card WHERE person_id = me() ORDER BY id")
        tariffs = rows_of(
            db,
            "SELECT t.* FROM tariff t WHERE from_at <= now() AND (to_at IS NULL OR to_at > now())"
            " ORDER BY from_at DESC",
        )
        wishes = rows_of(
            db,
            "SELECT w.command, w.made_at, w.expires_at < now() AS late, w.result, d.name AS device,"
            " s.timezone FROM wish w JOIN device d ON d.id = w.device_id JOIN site s"
            " ON s.id = d.site_id WHERE w.person_id = me() ORDER BY w.id DESC LIMIT 5",
        )
        days = rows_of(
            db,
            "SELECT date_trunc('day', s.started_at, t.timezone) AS at, sum(s.energy_wh)::bigint AS wh"
            " FROM session s JOIN device d ON d.id = s.device_id JOIN site t ON t.id = d.site_id"
            " WHERE s.person_id = me() AND s.ended_at > now() - interval '31 days' GROUP BY 1"
            " ORDER BY 1",
        )
    return show(
        "tenant.html",
        me=person,
        who=mine["name"] or mine["login"],
        form=form_token(request, doors),
        said=said[:100],
        chargers=chargers,
        sessions=list(zip(sessions, costs, strict=True)),
        bills=bills,
        cards=cards,
        tariffs=tariffs,
        wishes=wishes,
        waiting=any(w["result"] is None and not w["late"] for w in wishes),
        plot=_plot(days, [("wh", "kWh a day", 1000)], "bars"),
    )


@router.post("/wish")
def wish(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    device: Annotated[int, Form()],
    command: Annotated[str, Form(pattern="^(start|stop)$")],
) -> RedirectResponse:
    """Start or stop one of my chargers."""
    needs(person, "own")
    people.wish(people.NewWish(device=device, command=command), person, doors)
    return RedirectResponse(f"/portal/tenant?said={command}+asked+for", 303)


@router.get("/administrator")
def administrator(
    request: Request, person: Visitor, doors: TheDoors, site: int = 0, said: str = ""
) -> HTMLResponse:
    """Sites, chargers, load, users, tariffs, reports."""
    needs(person, "site")
    now = datetime.now(UTC)
    with doors.seen_by(person.id) as db:
        fleet = measurements.fleet_rows(db)
        site = site or (fleet[0]["id"] if fleet else 0)
        zone = rows_of(db, "SELECT timezone FROM site WHERE id = %s", (site,))
        devices = rows_of(
            db,
            "SELECT d.*, st.last_at, st.counted_wh, p.name AS tenant FROM device d"
            " LEFT JOIN device_state st ON st.device_id = d.id LEFT JOIN person p"
            " ON p.id = d.person_id WHERE d.site_id = %s AND d.kind IN ('charger', 'counter')"
            " ORDER BY d.kind, d.name LIMIT 200",
            (site,),
        )
        users = rows_of(
            db,
            "SELECT p.id, p.login, p.name, (SELECT count(*) FROM card c WHERE c.person_id = p.id"
            " AND c.active) AS cards, r.id AS right_id, r.max_a, r.priority, r.quota_wh,"
            " jsonb_array_length(r.windows) AS windows, cardinality(r.chargers) AS chargers"
            " FROM person p JOIN membership m ON m.person_id = p.id LEFT JOIN charging_right r"
            " ON r.person_id = p.id AND r.site_id = m.site_id "
            " WHERE m.site_id = %s AND m.role = 'tenant' ORDER BY p.login LIMIT 200",
            (site,),
        )
        cards = rows_of(
            db,
            "SELECT c.id, c.label, c.active, coalesce(nullif(p.name, ''), p.login) AS who FROM card c"
            " JOIN person p ON p.id = c.person_id WHERE c.site_id = %s ORDER BY who, c.id LIMIT 400",
            (site,),
        )
        tariffs = rows_of(db, "SELECT * FROM tariff WHERE site_id = %s ORDER BY from_at", (site,))
        events = rows_of(
            db,
            "SELECT r.at, r.kind, r.fields, d.name AS device FROM record r JOIN device d ON d.id = r.device_id"
            " WHERE d.site_id = %s AND r.kind IN ('event', 'fault') AND r.at > %s"
            " AND r.fields ->> 'kind' IS DISTINCT FROM 'state'"  # a car that comes, charges, goes
            " ORDER BY r.at DESC LIMIT 20",
            (site, now - timedelta(days=7)),
        )
        month = rows_of(
            db,
            "SELECT coalesce(p.name, 'nobody') AS who, count(*) AS sessions,"
            " sum(s.energy_wh)::bigint AS wh FROM session s JOIN device d ON d.id = s.device_id"
            " LEFT JOIN person p ON p.id = s.person_id WHERE d.site_id = %s AND s.started_at > %s"
            " GROUP BY 1 ORDER BY 3 DESC NULLS LAST",
            (site, now - timedelta(days=31)),
        )
        bills = rows_of(
            db,
            "SELECT b.*, coalesce(nullif(p.name, ''), p.login) AS who FROM bill b JOIN person p"
            " ON p.id = b.person_id WHERE b.site_id = %s ORDER BY b.from_at DESC, who LIMIT 100",
            (site,),
        )
        load = rows_of(
            db,
            "SELECT m.at, (sum(m.power_sum_w / nullif(m.n, 0)) FILTER (WHERE d.role = 'grid'))"
            "::bigint AS grid, (sum(m.power_sum_w / nullif(m.n, 0)) FILTER"
            " (WHERE d.kind = 'charger'))::bigint AS cars FROM minute m JOIN device d"
            " ON d.id = m.device_id WHERE d.site_id = %s AND m.at > %s GROUP BY m.at ORDER BY"
            " m.at",
            (site, now - timedelta(hours=24)),
        )
    return show(
        "administrator.html",
        me=person,
        form=form_token(request, doors),
        said=said[:100],
        fleet=fleet,
        site=site,
        zone=zone[0]["timezone"] if zone else "UTC",
        devices=devices,
        users=users,
        cards=cards,
        tariffs=tariffs,
        events=events,
        month=month,
        bills=bills,
        plot=_plot(load, [("grid", "Building kW", 1000), ("cars", "Cars kW", 1000)]),
    )


@router.post("/user")
def add_user(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    login: Annotated[str, Form(pattern=r"^\S{1,80}$")],
    password: Annotated[str, Form(min_length=10, max_length=200)],
    name: Annotated[str, Form(max_length=100)] = "",
) -> RedirectResponse:
    """Add a tenant."""
    needs(person, "site")
    new = people.NewPerson(site=site, login=login, password=password, name=name)
    people.add_user(new, person, doors)
    return RedirectResponse(f"/portal/administrator?site={site}&said=user+added", 303)


@router.post("/device")
def let_device(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    device: Annotated[int, Form()],
    bar: Annotated[bool, Form()],
) -> RedirectResponse:
    """Bar a device from the building, or leave it to the building's own list again."""
    needs(person, "site")
    change = measurements.DeviceChange(authorised=False if bar else None)
    measurements.change_device(device, change, person, doors)
    said = "device+barred" if bar else "device+let+in"
    return RedirectResponse(f"/portal/administrator?site={site}&said={said}", 303)


@router.post("/tariff")
def add_tariff(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    name: Annotated[str, Form(min_length=1, max_length=60)],
    per_kwh: Annotated[float, Form(ge=0, le=100)],
) -> RedirectResponse:
    """A new price from now on."""
    needs(person, "site")
    new = api_money.NewTariff(
        site=site, name=name, from_at=datetime.now(UTC), per_kwh=round(per_kwh * 10_000)
    )
    api_money.add_tariff(new, person, doors)
    return RedirectResponse(f"/portal/administrator?site={site}&said=tariff+added", 303)


@router.post("/card")
def add_card(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    who: Annotated[int, Form()],
    number: Annotated[str, Form(pattern="^([0-9A-Fa-f]{2}){4,10}$")],
    label: Annotated[str, Form(max_length=60)] = "",
) -> RedirectResponse:
    """Give a user a card."""
    needs(person, "site")
    new = people.NewCard(site=site, person=who, number=number, label=label)
    people.add_card(new, person, doors)
    return RedirectResponse(f"/portal/administrator?site={site}&said=card+added", 303)


@router.post("/card/state")
def change_card(
    person: Visitor,
    doors: TheDoors,
    _ours: Ours,
    site: Annotated[int, Form()],
    card: Annotated[int, Form()],
    active: Annotated[bool, Form()],
) -> RedirectResponse:
    """Block a card, one that is lost say, or allow it again."""
    needs(person, "site")
    people.change_card(card, people.CardChange(active=active), person, doors)
    said = "card+allowed" if active else "card+blocked"
    return RedirectResponse(f"/portal/administrator?site={site}&said={said}", 303)


@router.post("/bills")
def make_bills(
    person: Visitor, doors: TheDoors, _ours: Ours, site: Annotated[int, Form()]
) -> RedirectResponse:
    """Bill everybody for the month before this one, by the site's own calendar."""
    needs(person, "site")
    with doors.seen_by(person.id) as db:
        zone = rows_of(db, "SELECT timezone FROM site WHERE id = %s", (site,))
    if not zone:
        raise HTTPException(404, "no such site")
    local = datetime.now(ZoneInfo(zone[0]["timezone"]))
    ends = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begins = (ends - timedelta(days=1)).replace(day=1)
    run = api_money.BillRun(site=site, from_at=begins, to_at=ends)
    made = api_money.make_bills(run, person, doors)["made"]
    return RedirectResponse(f"/portal/administrator?site={site}&said={made}+bills+made", 303)


@router.get("/operator")
def operator(request: Request, person: Visitor, doors: TheDoors) -> HTMLResponse:
    """Regions, load by feeder, flexibility, alarms."""
    needs(person, "grid")
    now = datetime.now(UTC)
    with doors.seen_by(person.id) as db:
        feeders = rows_of(
            db,
            "SELECT f.id, f.name, r.name AS region, f.limit_w, (SELECT count(*) FROM site s"
            " WHERE s.feeder_id = f.id) AS sites, coalesce(n.grid_w, 0)::bigint AS grid_w,"
            " coalesce(n.charging_w, 0)::bigint AS flexible_w FROM feeder f"
            " JOIN region r ON r.id = f.region_id LEFT JOIN grid_now n ON n.feeder_id = f.id"
            " ORDER BY r.name, f.name",
        )
        load = measurements.grid_rows(db, now - timedelta(hours=24), now - timedelta(minutes=15))
    for feeder in feeders:
        feeder["used"] = 100 * feeder["grid_w"] // feeder["limit_w"]
    alarms = [f for f in feeders if f["used"] >= 90]
    times = sorted({row["at"] for row in load})
    total = [
        {
            "at": at,
            "grid": sum(r["grid_w"] for r in load if r["at"] == at),
            "flexible": sum(r["flexible_w"] for r in load if r["at"] == at),
        }
        for at in times
    ]
    fullest = sorted(feeders, key=lambda f: -int(f["used"]))[:_FEEDERS_DRAWN]
    used = {(row["id"], row["at"]): 100 * row["grid_w"] / row["limit_w"] for row in load}
    by_feeder = [
        {"at": at, **{str(f["id"]): used.get((f["id"], at)) for f in fullest}} for at in times
    ]
    return show(
        "operator.html",
        me=person,
        form=form_token(request, doors),
        feeders=feeders,
        alarms=alarms,
        by_feeder=_plot(by_feeder, [(str(f["id"]), f"{f['name']} %", 1) for f in fullest]),
        plot=_plot(total, [("grid", "Load kW", 1000), ("flexible", "Of it cars kW", 1000)]),
    )


def _plot(
    rows: list[dict[str, Any]], lines: list[tuple[str, str, int]], kind: str = "lines"
) -> str:
    data: list[list[Any]] = [[int(r["at"].timestamp()) for r in rows]]
    for name, _, unit in lines:
        data.append([None if r[name] is None else r[name] / unit for r in rows])
    return json.dumps({"kind": kind, "labels": [label for _, label, _ in lines], "data": data})


@router.get("/uplot.{kind}")
def uplot(kind: str) -> Response:
    """The plot library out of its package."""
    found = importlib.util.find_spec("youplot")
    names = {"js": ("uplot.iife.min.js", "text/javascript"), "css": ("uplot.min.css", "text/css")}
    if found is None or not found.submodule_search_locations or kind not in names:
        raise HTTPException(404)
    name, media = names[kind]
    for path in Path(found.submodule_search_locations[0]).rglob(name):
        return Response(
            path.read_bytes(), media_type=media, headers={"Cache-Control": "max-age=86400"}
        )
    raise HTTPException(404)
