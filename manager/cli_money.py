"""`ievcc tariffs`, `sessions`, `bills` and `report`: what charging costs, and who pays.

They work on the store itself, whether a manager runs or not.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from manager import beside, reports
from manager.asking import SITE_FILE, AsJson, Config
from manager.billing import bill_in, bills_in, bills_whole, check, credit, make
from manager.core.bills import money
from manager.core.omie import MARKET_ZONE
from manager.people import change
from manager.prices import (
    OMIE,
    add_tariffs,
    fetch,
    import_omie,
    omie_address,
    put_tariffs,
    tariff_to_plain,
    tariffs_from_text,
    tariffs_in,
)
from manager.refusal import Refusal
from manager.reports import Asked, report
from manager.site_books import SiteBooks, of_file, span
from manager.spreadsheet import Sheet


def _group(words: str) -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        help=words,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
    )


tariffs = _group("What charging costs; without a command, the tariffs.")
sessions = _group("Who charged where, when, how much; without a command, a list.")
bills = _group("Bills and credit notes; without a command, a list.")

Month = Annotated[str, typer.Option(help="as 2026-11")]
From = Annotated[str, typer.Option("--from", help="first day, as 2026-11-23")]
To = Annotated[str, typer.Option("--to", help="last day")]
UserOption = Annotated[str, typer.Option("--user", help="this user's only")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="write to this file: .csv or .xlsx")]


def _read(file: Path) -> str:
    try:
        if str(file) == "-":
            return str(typer.get_text_stream("stdin").read())
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise Refusal(f"{file}: {e}") from e


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as e:
        raise Refusal(f"cannot write {file}: {e.strerror}") from e
    typer.echo(f"{file}: {len(data)} bytes")


def _show(sheet: Sheet, out: Path | None, *, as_json: bool) -> None:
    if out is not None:
        data = {".csv": lambda: sheet.csv().encode(), ".xlsx": sheet.xlsx}.get(out.suffix)
        if data is None:
            raise Refusal(f"{out}: name it .csv or .xlsx")
        _write(out, data())
        return
    if as_json:
        typer.echo(json.dumps(sheet.plain()))
        return
    table = Table(*sheet.heads(), box=None)
    for row in sheet.rows:
        table.add_row(*sheet.words(row))
    Console().print(table)


# Tariffs.


@tariffs.callback()
def _tariffs(ctx: typer.Context, config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    if ctx.invoked_subcommand is None:
        list_tariffs(config, as_json)


@tariffs.command("list")
def list_tariffs(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """List the tariffs and when they hold."""
    with beside.look(of_file(config).store) as db:
        found = [tariff_to_plain(t) for t in tariffs_in(db)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("tariff", "from", "to", "per kWh", "more", "VAT %", box=None)
    for t in found:
        prices = ", ".join(
            f"{r['per_kwh']} ({r['days']} {r['from']}-{r['to']})" for r in t.get("rates", [])
        )
        if spot := t.get("spot"):
            prices = f"{spot['area']} day ahead x {spot['factor']} + {spot['add']}"
        names = ("solar_per_kwh", "per_session", "per_hour", "idle_per_hour")
        more = ", ".join(f"{n} {t[n]}" for n in names if t[n] not in (None, "0"))
        ends = t["valid_to"] or ""
        table.add_row(t["name"], t["valid_from"], ends, prices, more, t["vat_percent"])
    Console().print(table)


@tariffs.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="TOML or JSON; - reads from the pipe")],
    config: Config = SITE_FILE,
) -> None:
    """Add tariffs from a file; what held until another begins ends where the new one begins."""
    site = of_file(config)
    new = tariffs_from_text(_read(file), site.timezone)
    with change(site.store) as db:
        kept = add_tariffs(db, new)
    typer.echo(f"{len(new)} added, {len(kept)} are kept")


@tariffs.command("remove")
def remove_tariff(
    name: Annotated[str, typer.Argument(help="of the tariff")], config: Config = SITE_FILE
) -> None:
    """Remove a tariff. What was billed by it stays as it is."""
    with change(of_file(config).store) as db:
        kept = tariffs_in(db)
        left = [t for t in kept if t.name != name]
        if len(left) == len(kept):
            raise Refusal(f"no tariff {name!r}")
        put_tariffs(db, left)
    typer.echo(f"{name} is removed")


@tariffs.command("import")
def import_prices(
    files: Annotated[list[Path], typer.Argument(help="OMIE's files, a day each")],
    config: Config = SITE_FILE,
) -> None:
    """Take day-ahead prices from files of OMIE, the market of Portugal and Spain."""
    store = of_file(config).store
    for file in files:
        try:
            text = file.read_bytes().decode("latin-1")
        except OSError as e:
            raise Refusal(f"{file}: {e.strerror}") from e
        with change(store) as db:
            taken = import_omie(db, text)
        typer.echo(f"{file}: {_counted(taken)}")


def _counted(taken: dict[str, int]) -> str:
    return ", ".join(f"{n} quarter hours for {area}" for area, n in taken.items())


@tariffs.command("fetch")
def fetch_prices(
    day: Annotated[str, typer.Option(help="delivery day, as 2026-11-24; else tomorrow's")] = "",
    days: Annotated[int, typer.Option(min=1, max=400, help="so many from there on")] = 1,
    address: Annotated[str, typer.Option(help="of the files, {year} {month} {day}")] = OMIE,
    config: Config = SITE_FILE,
) -> None:
    """Fetch day-ahead prices from where OMIE publishes them (a day's, about 13:00 the day before)."""
    try:
        first = datetime.fromisoformat(day).date() if day else _tomorrow()
    except ValueError:
        raise Refusal(f"{day!r} is not a day: write it as 2026-11-24") from None
    store = of_file(config).store
    for n in range(days):
        wanted = first + timedelta(days=n)
        text = fetch(omie_address(wanted, address))
        with change(store) as db:
            taken = import_omie(db, text)
        typer.echo(f"{wanted}: {_counted(taken)}")


def _tomorrow() -> Any:
    return (datetime.now(MARKET_ZONE) + timedelta(days=1)).date()


# Sessions.


@sessions.callback()
def _sessions(
    ctx: typer.Context,
    config: Config = SITE_FILE,
    month: Month = "",
    from_: From = "",
    to: To = "",
    user: UserOption = "",
    charger: Annotated[str, typer.Option()] = "",
    as_json: AsJson = False,
) -> None:
    if ctx.invoked_subcommand is None:
        list_sessions(config, month, from_, to, user, charger, as_json)


@sessions.command("list")
def list_sessions(
    config: Config = SITE_FILE,
    month: Month = "",
    from_: From = "",
    to: To = "",
    user: UserOption = "",
    charger: Annotated[str, typer.Option()] = "",
    as_json: AsJson = False,
) -> None:
    """Who charged where, when, how much, at what price."""
    sheet = _asked_sessions(of_file(config), month, from_, to, user, charger)
    if as_json:
        _show(sheet, None, as_json=True)
        return
    shown = ("session", "charger", "name", "begin", "end", "energy", "net", "currency", "bill")
    chosen = [n for n, (name, _) in enumerate(sheet.columns) if name in shown]
    short = Sheet(
        sheet.title,
        [sheet.columns[n] for n in chosen],
        [[row[n] for n in chosen] for row in sheet.rows],
        sheet.timezone,
    )
    _show(short, None, as_json=False)


@sessions.command("export")
def export_sessions(
    out: Annotated[Path, typer.Argument(help=".csv or .xlsx")],
    config: Config = SITE_FILE,
    month: Month = "",
    from_: From = "",
    to: To = "",
    user: UserOption = "",
    charger: Annotated[str, typer.Option()] = "",
) -> None:
    """Every column of them into a file."""
    sheet = _asked_sessions(of_file(config), month, from_, to, user, charger)
    _show(sheet, out, as_json=False)


@sessions.command("assign")
def assign(
    session: Annotated[int, typer.Argument(help="its number in the list")],
    user: Annotated[str, typer.Argument(help="whose it is; - for nobody's")],
    config: Config = SITE_FILE,
) -> None:
    """Say whose a finished session is, while it stands on no bill."""
    from manager.people import users_in  # noqa: PLC0415

    who = "" if user == "-" else user
    with change(of_file(config).store) as db:
        known = users_in(db)
        if who and who not in known:
            raise Refusal(f"no user {who}")
        done = db.execute(
            "UPDATE session SET user = ?, payer = ? WHERE id = ? AND bill IS NULL"
            " AND end_ms IS NOT NULL",
            (who, known[who].payer if who else "", session),
        )
        if done.rowcount == 0:
            raise Refusal(f"session {session} is not there, still runs, or stands on a bill")
    typer.echo(f"session {session} is {who or 'nobody'}'s")


def _asked_sessions(
    site: SiteBooks, month: str, from_: str, to: str, user: str, charger: str
) -> Sheet:
    start, end = span(month, from_, to, site.timezone)
    with beside.look(site.store) as db:
        return reports.sessions(site.books(db), Asked(start, end, user, charger))


# Bills.


@bills.callback()
def _bills(
    ctx: typer.Context,
    config: Config = SITE_FILE,
    user: UserOption = "",
    month: Month = "",
    as_json: AsJson = False,
) -> None:
    if ctx.invoked_subcommand is None:
        list_bills(config, user, month, as_json)


@bills.command("list")
def list_bills(
    config: Config = SITE_FILE, user: UserOption = "", month: Month = "", as_json: AsJson = False
) -> None:
    """List bills and credit notes, newest first."""
    with beside.look(of_file(config).store) as db:
        found = [k.plain() for k in bills_in(db, user, month)]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("number", "month", "for", "total", "", box=None)
    for b in found:
        note = f"undoes {b['credits']}: {b['why']}" if b["credits"] else ""
        note = note or (f"undone by {b['undone_by']}" if b["undone_by"] else "")
        table.add_row(b["number"], b["month"], b["name"], f"{b['total']} {b['currency']}", note)
    Console().print(table)


@bills.command("make")
def make_month(
    month: Annotated[str, typer.Argument(help="as 2026-11")],
    config: Config = SITE_FILE,
    early: Annotated[bool, typer.Option("--early", help="though the month is not over")] = False,
) -> None:
    """Bill what ended in a month and stands on no bill yet, one bill a user."""
    site = of_file(config)
    with change(site.store) as db:
        made = make(
            db,
            month,
            site.timezone,
            site.now_ms(),
            early=early,
            elsewhere=site.tariffs,
            others=site.users,
        )
    for bill in made:
        typer.echo(f"{bill.number}  {bill.user}  {money(bill.total)} {bill.currency}")
    if not made:
        typer.echo(f"nothing to bill for {month}")


@bills.command("credit")
def credit_bill(
    number: Annotated[str, typer.Argument(help="of the bill")],
    why: Annotated[str, typer.Argument(help="as it will stand on the credit note")],
    config: Config = SITE_FILE,
) -> None:
    """Undo a bill by a credit note; `bills make` then bills its sessions anew."""
    site = of_file(config)
    with change(site.store) as db:
        note = credit(db, number, why, site.now_ms())
    typer.echo(f"{note.number} undoes {number}: {money(note.total)} {note.currency}")


@bills.command("write")
def write_bill(
    number: Annotated[str, typer.Argument(help="of the bill, or a month for all of its bills")],
    out: Annotated[Path, typer.Argument(help="a file .pdf or .csv; for a month .csv or a folder")],
    config: Config = SITE_FILE,
) -> None:
    """Write a bill as PDF or CSV, or all of a month."""
    site = of_file(config)
    with beside.look(site.store) as db:
        whole = bills_whole(db, number) if len(number) == 7 else [bill_in(db, number)]
        kept = {k.number: k for k in bills_in(db)}
    if out.suffix == ".csv":
        from manager.bill_document import to_csv  # noqa: PLC0415

        _write(out, to_csv(whole).encode())
        return
    if out.suffix != ".pdf":
        if not out.is_dir():
            raise Refusal(f"{out}: name a file .pdf or .csv, or a folder that is there")
        for bill in whole:
            _write(out / f"{bill.number}.pdf", pdf(site, bill, kept[bill.number]))
    elif len(whole) == 1:
        _write(out, pdf(site, whole[0], kept[whole[0].number]))
    else:
        raise Refusal(f"{number} has {len(whole)} bills: name a folder")


def pdf(site: SiteBooks, bill: Any, kept: Any) -> bytes:
    """A bill as PDF, the same each time."""
    from manager.bill_document import Issuer, to_pdf  # noqa: PLC0415 - slow on a Raspberry Pi

    of = site.issuer
    issuer = Issuer(of.name, of.address, of.tax_number)
    made = datetime.fromtimestamp(kept.made_ms // 1000, ZoneInfo(site.timezone))
    return to_pdf(bill, issuer, kept.name, site.timezone, made, of.language)


@bills.command("check")
def check_books(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """Whether bills add up to sessions, sessions to meters, and no number is missing."""
    with beside.look(of_file(config).store) as db:
        found = check(db)
    if as_json:
        typer.echo(json.dumps(found))
    for line in [] if as_json else found:
        typer.echo(line)
    if found:
        raise Refusal(f"{len(found)} things do not add up")
    if not as_json:
        typer.echo("everything adds up")


# Reports.


def report_command(
    kind: Annotated[str, typer.Argument(help=", ".join(reports.KINDS))],
    config: Config = SITE_FILE,
    month: Month = "",
    from_: From = "",
    to: To = "",
    user: UserOption = "",
    charger: Annotated[str, typer.Option()] = "",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Sum up sessions per user, charger, month of the building, fleet or benefit in kind."""
    site = of_file(config)
    start, end = span(month, from_, to, site.timezone)
    with beside.look(site.store) as db:
        sheet = report(site.books(db), kind, Asked(start, end, user, charger))
    _show(sheet, out, as_json=as_json)
