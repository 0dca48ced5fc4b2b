"""OMIE's two layouts, days of 23 and 25 hours, cut files. Data: OMIE public files."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from manager.core.omie import OmieError, prices

DATA = Path(__file__).parent.parent.parent / "data"
MADRID = ZoneInfo("Europe/Madrid")
QUARTERS = (DATA / "omie_2025-10-01_quarter_hours.txt").read_text(encoding="utf-8")
HOURS = (DATA / "omie_2009-06-01_hours.txt").read_text(encoding="latin-1")


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=MADRID).timestamp())  # type: ignore[misc, arg-type]


def test_quarter_hours() -> None:
    spain = prices(QUARTERS, "ES")
    assert len(spain) == 96
    assert list(spain.values())[:4] == [105_100, 104_240, 102_280, 102_000]
    assert min(spain) == at(2025, 10, 1)
    assert prices(QUARTERS, "PT").keys() == spain.keys()


def test_the_old_hourly_layout() -> None:
    portugal = prices(HOURS, "PT")
    assert len(portugal) == 96
    assert portugal[at(2009, 6, 1, 2)] == portugal[at(2009, 6, 1, 2, 45)] == 37_310, "3.731 cent"
    assert prices(HOURS, "ES")[at(2009, 6, 1, 2)] == 35_600


def made(day: str, count: int) -> str:
    names = ";".join(f"H{n // 4 + 1}Q{n % 4 + 1}" for n in range(count))
    values = ";".join(f"{n},25" for n in range(count))
    title = f"OMIE - Mercado de electricidad;x;;{day};Precio del mercado diario (EUR/MWh);;;;"
    return f"{title}\n\n;{names};\nPrecio marginal en el sistema español (EUR/MWh);{values};\n"


@pytest.mark.parametrize(
    ("day", "count"), [("29/03/2026", 92), ("28/03/2026", 96), ("25/10/2026", 100)]
)
def test_a_day_has_as_many_prices_as_quarter_hours(day: str, count: int) -> None:
    slots = prices(made(day, count), "ES")
    assert list(slots.values())[-1] == (count - 1) * 1000 + 250
    assert list(slots) == list(range(min(slots), min(slots) + count * 900, 900))
    with pytest.raises(OmieError, match="is it cut"):
        prices(made(day, count - 1), "ES")


@pytest.mark.parametrize(
    ("text", "area", "words"),
    [
        ("", "PT", "is this an OMIE price file"),
        ("<html>busy</html>", "PT", "is this an OMIE price file"),
        (QUARTERS, "FR", "known are PT, ES"),
        (QUARTERS[:1500], "ES", "is it cut|not a price"),
        (QUARTERS.replace("EUR/MWh", "GBP"), "ES", "no unit"),
        (QUARTERS.replace("01/10/2025;", "31/02/2025;"), "ES", "there is no day 31/02/2025"),
        (QUARTERS.replace("105,10", "1O5,10"), "ES", "is not a price"),
        (QUARTERS.replace("español", "x").replace("portugu", "x"), "ES", "no price row"),
    ],
)
def test_what_is_not_a_whole_day_is_refused(text: str, area: str, words: str) -> None:
    with pytest.raises(OmieError, match=words):
        prices(text, area)


def test_negative_prices_are_prices() -> None:
    assert min(prices(made("28/03/2026", 96).replace(";3,25", ";-3,25"), "ES").values()) == -3_250
