"""The API of tariffs, sessions, bills and reports. A tenant is shown his own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field
from starlette.responses import Response

from manager import beside, billing, people, prices, reports
from manager.core.bills import money
from manager.reports import FOR_EVER, Asked, Books
from manager.run import Manager
from manager.site_books import SiteBooks
from manager.spreadsheet import XLSX, Sheet
from manager.web.api import Answer, Body, Call, NotThere, Operation, Query, Said
from manager.web.people import own

T = TypeVar("T")
_LATEST_S = FOR_EVER
_NAME = r"^[A-Za-z0-9:._-]*$"


class Period(Query):
    """Which sessions, by their end."""

    from_s: int = Field(default=0, ge=0, le=_LATEST_S, description="from, s since 1970")
    to_s: int = Field(
        default=_LATEST_S, ge=0, le=_LATEST_S, description="to, s since 1970; itself not in it"
    )
    user: str = Field(default="", max_length=40, pattern=_NAME, description="this user's only")
    charger: str = Field(default="", max_length=24, pattern=_NAME, description="at this charger")


class SessionShown(Answer):
    """A charging session. `net` without tax, null where no price is known (`unpriced` says why)."""

    session: int
    charger: str
    user: str
    name: str
    payer: str
    card: str
    purpose: str
    allowed_by: str = Field(description="card, list, free or manager")
    begin_s: int
    end_s: int | None = Field(description="null: it still runs")
    energy_wh: int
    solar_wh: int
    charging_s: int
    idle_s: int
    net: str | None
    currency: str
    vat_permille: int
    tariff: str
    bill: str
    ended_by: str
    spread_wh: int = Field(description="taken while nobody listened: when is a guess")
    unpriced: str


class Sessions(Answer):
    """Sessions in the order in which they began."""

    sessions: list[SessionShown]


class Report(Answer):
    """A report, a row each."""

    rows: list[dict[str, int | str | None]]


class Tariffs(Answer):
    """The tariffs kept here, by the time they hold; amounts as decimal text."""

    tariffs: list[dict[str, Any]]
    elsewhere: bool = Field(description="none is kept here: these are the cloud's")


class TariffsGiven(Body):
    """All tariffs that are to be kept."""

    tariffs: list[dict[str, Any]] = Field(
        max_length=500, description="as they are answered; amounts as decimal text"
    )


class BillShown(Answer):
    """A bill or credit note; amounts as decimal text."""

    number: str
    user: str
    name: str
    month: str
    currency: str
    net: str
    total: str = Field(description="tax included")
    credits: str = Field(description="the bill that this note undoes")
    undone_by: str = Field(description="the note that undoes this bill")
    why: str
    made_s: int


class BillList(Answer):
    """Bills, newest first."""

    bills: list[BillShown]


class Month(Body):
    """What is to be billed."""

    month: str = Field(max_length=7, description="as 2026-11")
    early: bool = Field(default=False, description="true: though the month is not over")


class Made(Said):
    """Bills made."""

    numbers: list[str]


class Why(Body):
    """For what reason."""

    why: str = Field(max_length=200, description="up to 200 letters, as on the credit note")


class Checked(Answer):
    """What does not add up; empty: everything does."""

    faults: list[str]


def operations(manager: Manager, site: SiteBooks) -> list[Operation]:
    """These operations on this manager's books."""
    path = manager.store.path

    def now_site() -> SiteBooks:
        cloud = manager.reception.people.cloud if manager.reception else None
        if cloud is None:
            return site
        return SiteBooks(site.store, site.timezone, site.issuer, cloud.tariffs(), cloud.users())

    async def looked(do: Callable[[sqlite3.Connection], T]) -> T:
        def look() -> T:
            with beside.look(path) as db:
                return do(db)

        return await asyncio.to_thread(look)

    async def changed(do: Callable[[sqlite3.Connection], T]) -> T:
        def change() -> T:
            with people.change(path) as db:
                return do(db)

        return await asyncio.to_thread(change)

    def books(db: sqlite3.Connection) -> Books:
        return now_site().books(db)

    def asked(call: Call) -> Asked:
        q: Period = call.query
        # A tenant's own, whatever was asked for.
        return Asked(q.from_s, q.to_s, own(call) or q.user, q.charger)

    async def sheet(call: Call) -> Sheet:
        if manager.reception is not None:
            await manager.reception.on_disk()
        return await looked(lambda db: reports.sessions(books(db), asked(call)))

    async def sessions(call: Call) -> dict[str, Any]:
        return {"sessions": (await sheet(call)).plain()}

    async def sessions_csv(call: Call) -> Response:
        return _file(await sheet(call), "csv")

    async def sessions_xlsx(call: Call) -> Response:
        return _file(await sheet(call), "xlsx")

    async def summed(call: Call) -> Sheet:
        kind = call.path("kind")
        if kind not in reports.KINDS:
            raise NotThere(f"no report {kind}: there are {', '.join(reports.KINDS)}")
        return await looked(lambda db: reports.report(books(db), kind, asked(call)))

    async def report(call: Call) -> dict[str, Any]:
        return {"rows": (await summed(call)).plain()}

    async def report_csv(call: Call) -> Response:
        return _file(await summed(call), "csv")

    async def report_xlsx(call: Call) -> Response:
        return _file(await summed(call), "xlsx")

    async def tariffs(_: Call) -> dict[str, Any]:
        kept = await looked(prices.tariffs_in)
        shown = kept or now_site().tariffs
        return {
            "tariffs": [prices.tariff_to_plain(t) for t in shown],
            "elsewhere": not kept and bool(shown),
        }

    async def put_tariffs(call: Call) -> str:
        body: TariffsGiven = call.body
        found = [prices.tariff_from_plain(t, site.timezone) for t in body.tariffs]
        await changed(lambda db: prices.put_tariffs(db, found))
        return f"{len(found)} tariffs are kept"

    async def bills(call: Call) -> dict[str, Any]:
        found = await looked(lambda db: billing.bills_in(db, own(call) or ""))
        return {"bills": [k.plain() for k in found]}

    async def make(call: Call) -> dict[str, Any]:
        body: Month = call.body
        now = now_site()
        made = await changed(
            lambda db: billing.make(
                db,
                body.month,
                now.timezone,
                now.now_ms(),
                early=body.early,
                elsewhere=now.tariffs,
                others=now.users,
            )
        )
        words = ", ".join(f"{b.number}: {money(b.total)} {b.currency}" for b in made)
        return {"numbers": [b.number for b in made], "words": words or "nothing to bill"}

    async def credit(call: Call) -> dict[str, Any]:
        number, body = call.path("number"), call.body
        await one(call)
        note = await changed(lambda db: billing.credit(db, number, body.why, now_site().now_ms()))
        return {"numbers": [note.number], "words": f"{note.number} undoes {number}"}

    async def one(call: Call) -> tuple[Any, Any]:
        number = call.path("number")

        def find(db: sqlite3.Connection) -> tuple[Any, Any]:
            kept = {k.number: k for k in billing.bills_in(db, own(call) or "")}
            if number not in kept:
                raise NotThere(f"no bill {number}")
            return billing.bill_in(db, number), kept[number]

        return await looked(find)

    async def bill_pdf(call: Call) -> Response:
        from manager.cli_money import pdf  # noqa: PLC0415 - fpdf is slow to load, and seldom needed

        bill, kept = await one(call)
        data = await asyncio.to_thread(pdf, site, bill, kept)
        return _attached(data, "application/pdf", f"{bill.number}.pdf")

    async def bill_csv(call: Call) -> Response:
        from manager.bill_document import to_csv  # noqa: PLC0415

        bill, _ = await one(call)
        return _attached(to_csv([bill]).encode(), "text/csv", f"{bill.number}.csv")

    async def checked(_: Call) -> dict[str, Any]:
        return {"faults": await looked(billing.check)}

    return [
        Operation(
            "GET", "/api/sessions", "Who charged where, when, how much, at what price", sessions,
            "tenant", query=Period, answer=Sessions, tag="money",
        ),
        Operation(
            "GET", "/api/sessions.csv", "The same as CSV", sessions_csv, "tenant", query=Period,
            answer="text/csv", tag="money",
        ),
        Operation(
            "GET", "/api/sessions.xlsx", "The same as a spreadsheet", sessions_xlsx, "tenant",
            query=Period, answer=XLSX, tag="money",
        ),
        Operation(
            "GET", "/api/reports/{kind}.csv", "A report as CSV", report_csv, query=Period,
            answer="text/csv", tag="money",
        ),
        Operation(
            "GET", "/api/reports/{kind}.xlsx", "A report as a spreadsheet", report_xlsx,
            query=Period, answer=XLSX, tag="money",
        ),
        Operation(
            "GET", "/api/reports/{kind}", "Sessions summed up", report, query=Period,
            answer=Report, tag="money", about=f"Reports are {', '.join(reports.KINDS)}.",
        ),
        Operation(
            "GET", "/api/tariffs", "What charging costs", tariffs, "tenant", answer=Tariffs,
            tag="money",
        ),
        Operation(
            "PUT", "/api/tariffs", "Change what charging costs", put_tariffs, "administrator",
            body=TariffsGiven, tag="money",
            about="All tariffs that are to be kept; what was billed stays as it is.",
        ),
        Operation(
            "GET", "/api/bills", "Bills and credit notes", bills, "tenant", answer=BillList,
            tag="money",
        ),
        Operation(
            "POST", "/api/bills", "Bill a month's sessions that stand on no bill yet", make,
            "administrator", body=Month, answer=Made, tag="money",
        ),
        Operation(
            "GET", "/api/bills/check", "Whether bills, sessions and meters add up", checked,
            answer=Checked, tag="money",
        ),
        Operation(
            "GET", "/api/bills/{number}.pdf", "A bill as PDF", bill_pdf, "tenant",
            answer="application/pdf", tag="money",
        ),
        Operation(
            "GET", "/api/bills/{number}.csv", "A bill as CSV", bill_csv, "tenant",
            answer="text/csv", tag="money",
        ),
        Operation(
            "POST", "/api/bills/{number}/credit", "Undo a bill by a credit note", credit,
            "administrator", body=Why, answer=Made, tag="money",
        ),
    ]  # fmt: skip


def _file(sheet: Sheet, kind: str) -> Response:
    if kind == "csv":
        return _attached(sheet.csv().encode(), "text/csv", f"{sheet.title}.csv")
    return _attached(sheet.xlsx(), XLSX, f"{sheet.title}.xlsx")


def _attached(data: bytes, kind: str, name: str) -> Response:
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=kind, headers=disposition)
