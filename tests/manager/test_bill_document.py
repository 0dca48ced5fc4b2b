"""What stands on a bill's page and in its rows."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from pypdf import PdfReader

from manager.bill_document import Issuer, to_csv, to_pdf
from manager.core.bills import Bill, Charged, credit_note, make_bills
from manager.core.tariffs import Quarter, Rate, Tariff

LISBON = "Europe/Lisbon"
MADE = datetime(2026, 12, 1, tzinfo=UTC)
ISSUER = Issuer("Condomínio do Prédio 7", ("Rua Direita 7", "3500 Viseu"), "NIF 500 000 000")
TARIFF = Tariff(
    "casa",
    rates=(Rate(213_457),),
    solar_u=90_000,
    per_session=2500,
    idle_per_hour=20_000,
    per_hour=1000,
    vat_permille=230,
    timezone=LISBON,
)


def bill(sessions: int = 2, user: str = "ana") -> Bill:
    end = int(datetime(2026, 11, 23, 0, 20, tzinfo=UTC).timestamp())
    start = end - 3600
    quarters = (
        Quarter(start // 900 * 900, 7321, 1000, 900, 0),
        Quarter(start // 900 * 900 + 900, 0, 0, 0, 900),
    )
    charged = [
        Charged("Charger-1", n, user, start, end, 7321, quarters) for n in range(1, sessions + 1)
    ]
    (made,) = make_bills("2026-11", charged, [TARIFF], {}, LISBON, 17)
    return made


def text(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_the_page_says_who_what_and_how_much() -> None:
    page = text(to_pdf(bill(), ISSUER, "Ana Conceição", LISBON, MADE))
    for words in (
        "Condomínio do Prédio 7",
        "NIF 500 000 000",
        "Bill 2026-000017",
        "Ana Conceição",
        "2026-11",
        "Charger-1",
        "2026-11-22 23:20 - 2026-11-23 00:20",
        "6.321 kWh",
        "0.213457 /kWh",
        "1.3493",
        "solar energy",
        "1.000 kWh",
        "15 min",
        "2.0000 /h",
        "VAT 23 %",
        "Date: 2026-12-01",
    ):
        assert words in page, words
    # 2 x (0.0900 + 1.3493 + 0.0250 + 0.5000 + 0.2500) = 4.4286; 4.43 + 23 % of 4.4286 (1.02)
    assert page.splitlines()[-4:-1] == ["Net 14.642 kWh 4.43", "VAT 23 % 1.02", "Total EUR 5.45"]


def test_the_same_in_portuguese() -> None:
    page = text(to_pdf(bill(), ISSUER, "Ana", LISBON, MADE, "pt"))
    for words in (
        "Fatura 2026-000017",
        "energia solar",
        "tempo de ocupação",
        "IVA 23 %",
        "Líquido 14,642 kWh 4,43",
        "Data: 01/12/2026",
        "22/11/2026 23:20 - 23/11/2026 00:20",
        "0,213457 /kWh",
    ):
        assert words in page
    with pytest.raises(ValueError, match="known are en, pt"):
        to_pdf(bill(), ISSUER, "Ana", LISBON, MADE, "xx")


def test_a_credit_note_names_the_bill_it_undoes() -> None:
    page = text(to_pdf(credit_note(bill(), "2026-000018"), ISSUER, "Ana", LISBON, MADE))
    assert "Credit note 2026-000018" in page
    assert "for bill 2026-000017" in page
    assert "-6.321 kWh" in page


def test_the_same_bill_is_the_same_file() -> None:
    assert to_pdf(bill(), ISSUER, "Ana", LISBON, MADE) == to_pdf(
        bill(), ISSUER, "Ana", LISBON, MADE
    )


def test_many_sessions_run_over_pages_and_none_is_lost() -> None:
    pdf = to_pdf(bill(60), ISSUER, "Ana", LISBON, MADE)
    assert len(PdfReader(io.BytesIO(pdf)).pages) > 3
    assert text(pdf).count("Charger-1") == 60
    assert len(pdf) < 60_000


def test_a_name_beyond_latin_1_does_not_stop_the_bill() -> None:
    assert "?" in text(to_pdf(bill(), ISSUER, "Ана 陈", LISBON, MADE))


def test_the_rows_add_up_to_the_bill() -> None:
    made = bill(3)
    rows = list(csv.DictReader(io.StringIO(to_csv([made]))))
    assert sum(Decimal(r["amount"]) for r in rows) == Decimal(made.net) / 10_000
    assert sum(int(r["quantity"]) for r in rows if r["unit"] == "Wh") == made.energy_wh
    assert rows[0]["price"] == "0.090000"


def test_a_name_is_never_a_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([bill(user="=cmd()")]))))
    assert rows[0]["user"] == "'=cmd()"
