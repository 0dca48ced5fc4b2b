"""A bill as a page (PDF) and as rows (CSV), in the reader's language.

Texts come in English and Portuguese. The PDF uses the standard fonts of every reader, so nothing
is embedded and a month's bill is a few kilobytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from manager.core.bills import Bill, money
from manager.core.tariffs import Line

LANGUAGES = ("en", "pt")
_WORDS = {
    "en": {
        "bill": "Bill",
        "credit": "Credit note",
        "undoes": "for bill",
        "date": "Date",
        "month": "Month",
        "for": "For",
        "from": "From",
        "session": "Session",
        "energy": "energy",
        "solar": "solar energy",
        "time": "charging time",
        "idle": "idle time",
        "once": "per session",
        "net": "Net",
        "vat": "VAT",
        "total": "Total",
        "charger": "Charger",
        "amount": "Amount",
        "quantity": "Quantity",
        "price": "Price",
        "page": "Page",
    },
    "pt": {
        "bill": "Fatura",
        "credit": "Nota de crédito",
        "undoes": "da fatura",
        "date": "Data",
        "month": "Mês",
        "for": "Para",
        "from": "De",
        "session": "Sessão",
        "energy": "energia",
        "solar": "energia solar",
        "time": "tempo de carregamento",
        "idle": "tempo de ocupação",
        "once": "por sessão",
        "net": "Líquido",
        "vat": "IVA",
        "total": "Total",
        "charger": "Carregador",
        "amount": "Valor",
        "quantity": "Quantidade",
        "price": "Preço",
        "page": "Página",
    },
}
_DAYS = {"en": "%Y-%m-%d", "pt": "%d/%m/%Y"}


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who sends the bill: name, address lines, tax number."""

    name: str
    address: tuple[str, ...] = ()
    tax_number: str = ""


def _quantity(line: Line) -> str:
    if line.what in ("energy", "solar"):
        sign = "-" if line.quantity < 0 else ""
        return f"{sign}{abs(line.quantity) // 1000}.{abs(line.quantity) % 1000:03d} kWh"
    if line.what in ("time", "idle"):
        minutes = round(line.quantity / 60)
        return f"{minutes} min"
    return str(line.quantity)


def _price(line: Line) -> str:
    if line.what in ("energy", "solar"):
        sign = "-" if line.price < 0 else ""
        return f"{sign}{abs(line.price) // 1_000_000}.{abs(line.price) % 1_000_000:06d} /kWh"
    if line.what in ("time", "idle"):
        return f"{money(line.price, 4)} /h"
    return money(line.price, 4)


def _words(language: str) -> dict[str, str]:
    if language not in _WORDS:
        raise ValueError(f"language {language!r}: known are {', '.join(LANGUAGES)}")
    return _WORDS[language]


class _Page(FPDF):
    def __init__(self, label: str) -> None:
        super().__init__(format="A4")
        self._label = label
        self.set_margin(20)
        self.set_auto_page_break(auto=True, margin=25)

    def footer(self) -> None:
        self.set_y(-18)
        self.set_font("Helvetica", size=8)
        self.cell(0, 5, f"{self._label} {self.page_no()}/{{nb}}", align="C")


def _plain(text: str) -> str:
    # The fonts know Latin-1 only; a name beyond it does not stop the bill.
    return text.encode("latin-1", "replace").decode("latin-1")


def to_pdf(
    bill: Bill, issuer: Issuer, reader: str, timezone: str, made: datetime, language: str = "en"
) -> bytes:
    """The bill as PDF for the user named `reader`; same bill and `made`, same file."""
    w = _words(language)
    zone = ZoneInfo(timezone)
    day = _DAYS[language]

    def figures(text: str) -> str:
        return text.replace(".", ",") if language == "pt" else text

    pdf = _Page(w["page"])
    pdf.set_creation_date(made)
    title = w["credit"] if bill.credits else w["bill"]
    pdf.set_title(f"{title} {bill.number}")
    pdf.set_author(_plain(issuer.name))
    pdf.add_page()

    def row(text: str, size: int = 10, style: str = "", gap: float = 5) -> None:
        pdf.set_font("Helvetica", style, size)
        pdf.cell(0, gap, _plain(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    row(issuer.name, 12, "B", 6)
    for part in (*issuer.address, issuer.tax_number):
        if part:
            row(part, 9)
    pdf.ln(8)
    row(f"{title} {bill.number}", 18, "B", 10)
    if bill.credits:
        row(f"{w['undoes']} {bill.credits}")
    row(f"{w['date']}: {made.astimezone(zone):{day}}")
    row(f"{w['month']}: {bill.month}")
    row(f"{w['for']}: {reader}")
    pdf.ln(5)

    widths = (82, 30, 34, 24)

    def cells(texts: tuple[str, str, str, str], style: str = "") -> None:
        pdf.set_font("Helvetica", style, 9)
        for n, (text, width) in enumerate(zip(texts, widths, strict=True)):
            last = n == len(widths) - 1
            pdf.cell(
                width,
                5,
                _plain(text),
                align="L" if n == 0 else "R",
                new_x=XPos.LMARGIN if last else XPos.RIGHT,
                new_y=YPos.NEXT if last else YPos.TOP,
            )

    cells((w["session"], w["quantity"], w["price"], f"{w['amount']} {bill.currency}"), "B")
    for item in bill.items:
        start, end = (datetime.fromtimestamp(s, zone) for s in (item.start_s, item.end_s))
        until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:{day} %H:%M}"
        cells(
            (
                f"{item.charger}  {start:{day} %H:%M} - {until}",
                "",
                "",
                figures(money(item.net, 4)),
            ),
            "B",
        )
        for line in item.lines:
            what = w["once"] if line.what == "session" else w[line.what]
            much, each = figures(_quantity(line)), figures(_price(line))
            cells(("    " + what, much, each, figures(money(line.amount, 4))))
    pdf.ln(3)
    energy = _quantity(Line("energy", bill.energy_wh, 0, 0))
    cells((w["net"], figures(energy), "", figures(money(bill.net_cents))))
    for rate, tax in bill.taxes.items():
        cells((f"{w['vat']} {figures(f'{rate / 10:g}')} %", "", "", figures(money(tax))))
    cells((f"{w['total']} {bill.currency}", "", "", figures(money(bill.total))), "B")
    return bytes(pdf.output())


COLUMNS = (
    "number",
    "credits",
    "user",
    "month",
    "charger",
    "session",
    "start_utc_s",
    "end_utc_s",
    "tariff",
    "what",
    "quantity",
    "unit",
    "price",
    "amount",
    "currency",
    "vat_percent",
)


def to_csv(bills: Iterable[Bill]) -> str:
    """Every line of these bills, one row each; amounts with four decimals so that they add up."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for bill in bills:
        for item in bill.items:
            for x in item.lines:
                unit = {"energy": "Wh", "solar": "Wh", "time": "s", "idle": "s"}.get(x.what, "")
                price = _price(x).split()[0]
                rows.writerow(
                    (
                        bill.number,
                        bill.credits,
                        _cell(bill.user),
                        bill.month,
                        item.charger,
                        item.session,
                        item.start_s,
                        item.end_s,
                        _cell(item.tariff),
                        x.what,
                        x.quantity,
                        unit,
                        price,
                        money(x.amount, 4),
                        bill.currency,
                        f"{item.vat_permille / 10:.1f}",
                    )
                )
    return out.getvalue()


def _cell(text: str) -> str:
    # A name that begins like a formula would be run as one by a spreadsheet.
    return "'" + text if text[:1] in "=+-@\t" and text else text
