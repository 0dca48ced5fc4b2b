"""Day-ahead prices of Portugal and Spain, as OMIE publishes them.

Two layouts are in use: 24 hourly values in cent/kWh (old) or EUR/MWh, and since delivery day
2025-10-01 one value per quarter hour in EUR/MWh. The market's day is Madrid's day: 23, 24 or 25
hours. The result is the price of each quarter hour in millionths of a euro per kWh, by the second
(UTC) at which it begins.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from manager.core.tariffs import QUARTER_S

MARKET_ZONE = ZoneInfo("Europe/Madrid")
AREAS = {
    "PT": "portugu",
    "ES": "espa",
}  # how the file's rows name them; encodings differ after that
# One unit of the file in millionths of a euro per kWh.
UNITS = {"EUR/MWh": 1000, "cent/kWh": 10_000}


class OmieError(ValueError):
    """A file that is not one of OMIE's price files, or is cut; says where."""


def prices(text: str, area: str) -> dict[int, int]:
    """Millionths of a euro per kWh by quarter hour, area PT or ES; a whole day or OmieError."""
    rows = [line.split(";") for line in text.splitlines()]
    heads = [n for n, row in enumerate(rows) if len(row) > 2 and row[1] in ("1", "H1Q1")]
    if not heads:
        raise OmieError("no row of hours: is this an OMIE price file?")
    title = ";".join(rows[0])
    date = re.search(r";(\d\d)/(\d\d)/(\d{4});", title)
    unit = next((u for u in UNITS if u in title), None)
    if not date or not unit:
        raise OmieError("the first line names no day or no unit")
    try:
        day = datetime(int(date[3]), int(date[2]), int(date[1]), tzinfo=MARKET_ZONE)
    except ValueError:
        raise OmieError(f"there is no day {date[0][1:-1]}") from None
    start = int(day.timestamp())
    quarters = (int((day + timedelta(days=1)).timestamp()) - start) // QUARTER_S
    wanted = AREAS.get(area)
    if wanted is None:
        raise OmieError(f"area {area!r}: known are {', '.join(AREAS)}")
    for row in rows[heads[0] + 1 :]:
        name = row[0].lower()
        if name.startswith("precio marginal") and wanted in name:
            break
    else:
        raise OmieError(f"no price row for {area}")
    values = [_number(cell, area) * UNITS[unit] // 1000 for cell in row[1:] if cell.strip()]
    if len(values) * 4 == quarters:
        values = [v for v in values for _ in range(4)]
    if len(values) != quarters:
        raise OmieError(
            f"{len(values)} prices for {day:%Y-%m-%d}, which has {quarters // 4} hours: is it cut?"
        )
    return {start + n * QUARTER_S: v for n, v in enumerate(values)}


def _number(cell: str, area: str) -> int:
    """Thousandths of the file's unit, without a detour through floats: "1.105,10" is 1105100."""
    match = re.fullmatch(r"\s*(-?)(\d[\d.]*)(?:,(\d{1,3}))?\s*", cell)
    if not match:
        raise OmieError(f"{cell.strip()!r} in the row for {area} is not a price")
    value = int(match[2].replace(".", "")) * 1000 + int((match[3] or "").ljust(3, "0"))
    return -value if match[1] else value
