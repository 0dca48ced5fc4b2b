"""Tariffs as data: read from TOML or JSON, kept in the store with the time they hold, day-ahead
prices beside them.

Amounts are written as decimals and become whole numbers exactly; one with more places than can be
billed is refused. Times are the site's own clock.

    [[tariff]]
    name = "house 2026"
    valid_from = "2026-01-01"           # and valid_to, left out: until the next begins
    timezone = "Europe/Lisbon"
    currency = "EUR"
    vat_percent = 23
    per_session = 0.25
    per_hour = 0                        # while it charges
    idle_per_hour = 1.20                # plugged in after the car is full ...
    idle_grace_min = 30                 # ... and so long nothing
    solar_per_kwh = 0.09                # energy from the roof; left out: as the rest
    rates = [                           # the first that covers a moment counts
      { days = "mon-fri", from = "08:00", to = "22:00", per_kwh = 0.213457 },
      { per_kwh = 0.1102 },
    ]
    # or, instead of rates, the day-ahead price times a factor plus an amount per kWh:
    # spot = { area = "PT", factor = 1.08, add = 0.0523 }
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import sqlite3
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from manager.core import omie
from manager.core.tariffs import Rate, Spot, Tariff, TariffError
from manager.people import DAYS, days_to_text
from manager.refusal import Refusal

# Where OMIE publishes a delivery day's prices for Portugal and Spain, from early afternoon on the
# day before.
OMIE = (
    "https://www.omie.es/sites/default/files/dados/AGNO_{year}/MES_{month}/TXT/"
    "INT_PBC_EV_H_1_{day}_{month}_{year}_{day}_{month}_{year}.TXT"
)
_FETCH_S = 30.0
_FILE_MOST = 1 << 20
_PER_KWH = 1_000_000
_MONEY = 10_000


class PriceError(Refusal):
    """A tariff or price file that cannot be; says what to mend."""


# Tariffs in words.


class _Said:
    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise PriceError(f"{where}: write it as a table of names and values")
        self.raw = raw
        self.where = where
        self.asked: set[str] = set()

    def error(self, name: str, why: str) -> PriceError:
        return PriceError(f"{self.where}: {name}: {why}")

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        value = self.raw.get(name)
        return default if value is None else value

    def text(self, name: str, default: str | None = None) -> str:
        value = self.get(name, default)
        if not isinstance(value, str) or not value or len(value) > 80:
            raise self.error(name, f"{value!r} is not a short text")
        return value

    def exact(self, name: str, scale: int, default: int | None = 0) -> int | None:
        """A decimal as a whole number of 1/`scale`."""
        value = self.get(name)
        if value is None:
            return default
        try:
            if type(value) not in (int, str, Decimal):
                raise InvalidOperation
            scaled = Decimal(value) * scale
        except InvalidOperation:
            raise self.error(name, f"{value!r} is not an amount") from None
        if scaled != scaled.to_integral_value() or abs(scaled) > 10**12:
            places = len(str(scale)) - 1
            raise self.error(name, f"{value} has more than {places} decimals, or is too large")
        return int(scaled)

    def positive(self, name: str, scale: int) -> int:
        value = self.exact(name, scale) or 0
        if value < 0:
            raise self.error(name, "cannot be less than nothing")
        return value

    def minute(self, name: str, default: str) -> int:
        text = self.text(name, default)
        match = re.fullmatch(r"(\d{1,2}):(\d\d)", text)
        if not match or int(match[2]) > 59 or int(match[1]) * 60 + int(match[2]) > 1440:
            raise self.error(name, f"{text!r} is not a time of day, HH:MM")
        return int(match[1]) * 60 + int(match[2])

    def moment(self, name: str, zone: ZoneInfo) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, datetime):
            at = value
        elif isinstance(value, date):
            at = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone follows
        else:
            try:
                at = datetime.fromisoformat(str(value))
            except ValueError:
                raise self.error(name, f"{value!r} is not a date, YYYY-MM-DD") from None
        return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())

    def done(self) -> None:
        for name in self.raw:
            if name not in self.asked:
                raise self.error(str(name), f"not known (known: {', '.join(sorted(self.asked))})")


def _days(said: _Said) -> frozenset[int]:
    text = said.text("days", "mon-sun").lower()
    found: set[int] = set()
    for piece in text.split(","):
        ends = [word.strip() for word in piece.split("-")]
        if len(ends) > 2 or any(word not in DAYS for word in ends):
            raise said.error("days", f"{text!r}: {', '.join(DAYS)}, or a span as mon-fri")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        found.update((first + n) % 7 for n in range((last - first) % 7 + 1))
    return frozenset(found)


def tariff_from_plain(raw: object, timezone: str = "UTC") -> Tariff:
    """The tariff so described. PriceError says what cannot be. `timezone` if it names none."""
    said = _Said(raw, "tariff")
    name = said.text("name")
    said.where = f"tariff {name!r}"
    zone_name = said.text("timezone", timezone)
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise said.error("timezone", f"{zone_name!r} is not one") from None
    rates = []
    listed = said.get("rates", [])
    if not isinstance(listed, list):
        raise said.error("rates", "a list of rows")
    for n, one in enumerate(listed, 1):
        row = _Said(one, f"{said.where}, row {n}")
        price = row.exact("per_kwh", _PER_KWH, None)
        if price is None:
            raise row.error("per_kwh", "is missing")
        from_min, to_min = row.minute("from", "00:00"), row.minute("to", "24:00")
        rates.append(Rate(price, _days(row), from_min, to_min))
        row.done()
    spot = None
    if said.get("spot") is not None:
        row = _Said(said.get("spot"), f"{said.where}, spot")
        area = row.text("area", "PT")
        if area not in omie.AREAS:
            raise row.error("area", f"known are {', '.join(omie.AREAS)}")
        factor = row.exact("factor", 1000, 1000)
        spot = Spot(factor or 0, row.exact("add", _PER_KWH) or 0, area)
        row.done()
    currency = said.text("currency", "EUR")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise said.error("currency", f"{currency!r}: three letters as EUR")
    grace = said.get("idle_grace_min", 0)
    if type(grace) is not int or not 0 <= grace <= 10_000:
        raise said.error("idle_grace_min", f"{grace!r} is not a whole number of minutes")
    try:
        tariff = Tariff(
            name=name,
            rates=tuple(rates),
            spot=spot,
            solar_u=said.exact("solar_per_kwh", _PER_KWH, None),
            per_hour=said.positive("per_hour", _MONEY),
            per_session=said.positive("per_session", _MONEY),
            idle_per_hour=said.positive("idle_per_hour", _MONEY),
            idle_grace_s=grace * 60,
            vat_permille=said.positive("vat_percent", 10),
            currency=currency,
            timezone=zone_name,
            valid_from_s=said.moment("valid_from", zone) or 0,
            valid_to_s=said.moment("valid_to", zone),
        )
    except TariffError as e:
        raise PriceError(str(e)) from None
    said.done()
    return tariff


def _decimal(value: int, scale: int) -> str:
    text = f"{Decimal(value) / scale:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment(at_s: int | None, zone: ZoneInfo) -> str | None:
    if at_s is None:
        return None
    at = datetime.fromtimestamp(at_s, zone)
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == at.second == 0 else at.isoformat()


def tariff_to_plain(tariff: Tariff) -> dict[str, Any]:
    """The same in words, decimals as text."""
    zone = ZoneInfo(tariff.timezone)
    said: dict[str, Any] = {
        "name": tariff.name,
        "valid_from": _moment(tariff.valid_from_s, zone),
        "valid_to": _moment(tariff.valid_to_s, zone),
        "timezone": tariff.timezone,
        "currency": tariff.currency,
        "vat_percent": _decimal(tariff.vat_permille, 10),
        "per_session": _decimal(tariff.per_session, _MONEY),
        "per_hour": _decimal(tariff.per_hour, _MONEY),
        "idle_per_hour": _decimal(tariff.idle_per_hour, _MONEY),
        "idle_grace_min": tariff.idle_grace_s // 60,
        "solar_per_kwh": None if tariff.solar_u is None else _decimal(tariff.solar_u, _PER_KWH),
    }
    if tariff.spot is not None:
        said["spot"] = {
            "area": tariff.spot.area,
            "factor": _decimal(tariff.spot.factor_permille, 1000),
            "add": _decimal(tariff.spot.add_u, _PER_KWH),
        }
        return said
    said["rates"] = [
        {
            "days": days_to_text(r.days),
            "from": f"{r.from_min // 60:02d}:{r.from_min % 60:02d}",
            "to": f"{r.to_min // 60:02d}:{r.to_min % 60:02d}",
            "per_kwh": _decimal(r.price_u, _PER_KWH),
        }
        for r in tariff.rates
    ]
    return said


def tariffs_from_text(text: str, timezone: str = "UTC") -> list[Tariff]:
    """Tariffs in TOML ([[tariff]] tables) or JSON (a list, or {"tariffs": [..]})."""
    listed: Any
    try:
        if re.match(r"\s*(\{|\[\s*[\]{])", text):
            raw = json.loads(text, parse_float=Decimal)
            listed = raw.get("tariffs") if isinstance(raw, dict) else raw
        else:
            listed = tomllib.loads(text, parse_float=Decimal).get("tariff")
    except (ValueError, RecursionError) as e:
        raise PriceError(f"neither TOML nor JSON: {e}") from e
    if not isinstance(listed, list) or not listed:
        raise PriceError("no tariff in it: write [[tariff]] above each")
    return [tariff_from_plain(one, timezone) for one in listed]


# What is kept.


def ordered(tariffs: Iterable[Tariff]) -> list[Tariff]:
    """By their beginnings. PriceError if two hold at one moment."""
    found = sorted(tariffs, key=lambda t: t.valid_from_s)
    for one, following in itertools.pairwise(found):
        if one.valid_to_s is None or one.valid_to_s > following.valid_from_s:
            at = f"{datetime.fromtimestamp(following.valid_from_s, UTC):%Y-%m-%d %H:%M} UTC"
            raise PriceError(
                f"{one.name!r} and {following.name!r} both hold at {at}: end the first"
            )
    return found


def tariffs_in(db: sqlite3.Connection) -> list[Tariff]:
    """Those kept here, by their beginnings."""
    rows = db.execute("SELECT body FROM tariff ORDER BY valid_from_s")
    return [tariff_from_plain(json.loads(r[0])) for r in rows]


def put_tariffs(db: sqlite3.Connection, tariffs: Sequence[Tariff]) -> None:
    """Keep these and no others."""
    found = ordered(tariffs)
    db.execute("DELETE FROM tariff")
    for t in found:
        body = json.dumps(tariff_to_plain(t))
        db.execute(
            "INSERT INTO tariff (name, valid_from_s, valid_to_s, body) VALUES (?, ?, ?, ?)",
            (t.name, t.valid_from_s, t.valid_to_s, body),
        )


def add_tariffs(db: sqlite3.Connection, new: Iterable[Tariff]) -> list[Tariff]:
    """Add tariffs; one that was to hold until another begins ends there. All that are kept now.

    One of the same name and beginning is replaced.
    """
    kept = tariffs_in(db)
    for tariff in new:
        kept = [t for t in kept if (t.name, t.valid_from_s) != (tariff.name, tariff.valid_from_s)]
        kept = [
            replace(t, valid_to_s=tariff.valid_from_s)
            if t.valid_to_s is None and t.valid_from_s < tariff.valid_from_s
            else t
            for t in kept
        ]
        later = [t.valid_from_s for t in kept if t.valid_from_s > tariff.valid_from_s]
        ends = tariff.valid_to_s or min(later, default=None)
        kept.append(replace(tariff, valid_to_s=ends))
    put_tariffs(db, kept)
    return ordered(kept)


def put_spot(db: sqlite3.Connection, area: str, prices: Mapping[int, int]) -> None:
    """Keep day-ahead prices; a later file replaces an earlier one."""
    db.executemany(
        "INSERT INTO spot (area, start_s, price_u) VALUES (?, ?, ?)"
        " ON CONFLICT (area, start_s) DO UPDATE SET price_u = excluded.price_u",
        [(area, start, price) for start, price in prices.items()],
    )


def spot_in(
    db: sqlite3.Connection, areas: Iterable[str], from_s: int, to_s: int
) -> dict[str, dict[int, int]]:
    """Day-ahead prices of these areas whose quarter hours begin in [from, to)."""
    return {
        area: dict(
            db.execute(
                "SELECT start_s, price_u FROM spot WHERE area = ? AND start_s >= ? AND start_s < ?",
                (area, from_s, to_s),
            ).fetchall()
        )
        for area in areas
    }


# From OMIE.


def import_omie(db: sqlite3.Connection, text: str) -> dict[str, int]:
    """Take a day's file of OMIE; quarter hours by area. PriceError if it is not one, or is cut."""
    taken = {}
    for area in omie.AREAS:
        try:
            prices = omie.prices(text, area)
        except omie.OmieError as e:
            raise PriceError(str(e)) from e
        put_spot(db, area, prices)
        taken[area] = len(prices)
    return taken


def omie_address(day: date, address: str = OMIE) -> str:
    """Where the prices of this delivery day are to be had."""
    return address.format(year=f"{day:%Y}", month=f"{day:%m}", day=f"{day:%d}")


def fetch(address: str) -> str:
    """The file there. PriceError says what the network or the server said."""
    if not address.startswith(("https://", "http://")):
        raise PriceError(f"{address!r}: an address begins with https://")
    request = urllib.request.Request(address, headers={"User-Agent": "ievcc"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_FETCH_S) as answer:  # noqa: S310
            data: bytes = answer.read(_FILE_MOST + 1)
    except urllib.error.HTTPError as e:
        if e.code == http.client.NOT_FOUND:
            raise PriceError(
                f"{address}: not there; a day's prices come out the day before"
            ) from e
        raise PriceError(f"{address}: the server says {e.code} {e.reason}") from e
    except (OSError, http.client.HTTPException) as e:
        why = getattr(e, "reason", None) or e
        raise PriceError(f"cannot reach {address}: {why}; the prices known stay") from e
    if len(data) > _FILE_MOST:
        raise PriceError(f"{address}: far too long for a day's prices")
    return data.decode("latin-1")
