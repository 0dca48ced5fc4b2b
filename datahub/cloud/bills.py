"""What a session costs. Pure: sessions, their energy over time and tariffs in, money out.

Money is whole 1/10000 of the currency; prices hold on [start, end) intervals in UTC, bands in the
site's own time, so that a day of 23 or 25 hours is billed by the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_STEP = timedelta(minutes=15)


class BillError(ValueError):
    """Something cannot be billed; says what is missing."""


@dataclass(frozen=True, slots=True)
class Band:
    """Another price at these local minutes of these days; bit 0 of `days` is Monday."""

    days: int
    from_min: int
    to_min: int
    per_kwh: int


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices in 1/10000 of the currency, valid on [from_at, to_at)."""

    name: str
    from_at: datetime
    to_at: datetime | None
    currency: str
    per_kwh: int
    per_session: int
    bands: tuple[Band, ...] = ()

    def price(self, at: datetime, zone: ZoneInfo) -> int:
        """Per kWh at this instant."""
        local = at.astimezone(zone)
        minute = local.hour * 60 + local.minute
        for band in self.bands:
            if band.days >> local.weekday() & 1 and band.from_min <= minute < band.to_min:
                return band.per_kwh
        return self.per_kwh


@dataclass(frozen=True, slots=True)
class Session:
    """A finished session. `quarters` is its charger's energy by quarter hour, as far as known."""

    device: str
    number: int
    started_at: datetime
    ended_at: datetime
    energy_wh: int
    quarters: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A session on a bill."""

    device: str
    number: int
    started_at: datetime
    ended_at: datetime
    energy_wh: int
    tariff: str
    amount: int


def tariff_at(tariffs: Sequence[Tariff], at: datetime) -> Tariff:
    """The tariff in force; of several the one that began last. BillError if there is none."""
    valid = [t for t in tariffs if t.from_at <= at and (t.to_at is None or at < t.to_at)]
    if not valid:
        raise BillError(f"no tariff at {at.isoformat()}")
    return max(valid, key=lambda t: t.from_at)


def line(session: Session, tariffs: Sequence[Tariff], zone: ZoneInfo) -> Line:
    """What a session costs, by the tariff in force as it began, rounded once, half up."""
    tariff = tariff_at(tariffs, session.started_at)
    cost = sum(wh * tariff.price(at, zone) for at, wh in shares(session))
    amount = (cost + 500) // 1000 + tariff.per_session
    return Line(
        session.device,
        session.number,
        session.started_at,
        session.ended_at,
        session.energy_wh,
        tariff.name,
        amount,
    )


def shares(session: Session) -> list[tuple[datetime, int]]:
    """The session's energy by quarter hour, in whole Wh that add up to it.

    The quarters give the shape, the session its size: they may hold a little of what was
    before and after it. Without them the energy is spread evenly.
    """
    begins = session.started_at.astimezone(UTC)
    start = begins.replace(minute=begins.minute // 15 * 15, second=0, microsecond=0)
    known = dict(session.quarters)
    parts: list[tuple[datetime, float]] = []
    while start < session.ended_at or not parts:
        inside = min(start + _STEP, session.ended_at) - max(start, session.started_at)
        weight = max(inside / _STEP, 1e-9) * (known.get(start, 0) if known else 1)
        parts.append((max(start, session.started_at), weight))
        start += _STEP
    total = sum(w for _, w in parts)
    if total <= 0:
        parts = [(at, 1.0) for at, _ in parts]
        total = float(len(parts))
    out = []
    given = 0
    upto = 0.0
    for i, (at, weight) in enumerate(parts):
        upto += weight
        last = i == len(parts) - 1
        share = (
            session.energy_wh - given if last else int(session.energy_wh * upto / total) - given
        )
        out.append((at, share))
        given += share
    return out
