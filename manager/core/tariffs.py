"""What charging costs: tariffs as data, sessions priced exactly, money as whole numbers.

Money is in 1/10000 of the currency. A price of energy is in millionths of the currency per kWh
(the day-ahead market's 0.01 EUR/MWh is 10 of them). Times are whole seconds UTC; a tariff's clock
times are local in its time zone, so that a day has 92, 96 or 100 quarter hours and none is counted
twice. Nothing here is a float.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

QUARTER_S = 900  # every civil offset from UTC in use is a multiple of it
ALL_DAYS = frozenset(range(7))
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class TariffError(ValueError):
    """A tariff or session that cannot be priced; says what to mend."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One row of a time-of-use table: week days (0 Monday), from minute to minute, local time.

    `to_min` 1440 is midnight. A row with `from_min` > `to_min` runs over midnight; its week day is
    that of its beginning.
    """

    price_u: int
    days: frozenset[int] = ALL_DAYS
    from_min: int = 0
    to_min: int = 1440

    def covers(self, weekday: int, minute: int) -> bool:
        if self.from_min < self.to_min:
            return weekday in self.days and self.from_min <= minute < self.to_min
        if minute >= self.from_min:
            return weekday in self.days
        return minute < self.to_min and (weekday - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Spot:
    """Day-ahead price times `factor_permille` / 1000 (losses, margin) plus `add_u` (network,
    levies).
    """

    factor_permille: int = 1000
    add_u: int = 0
    area: str = "PT"


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices that hold for sessions which begin in [valid_from_s, valid_to_s)."""

    name: str
    rates: tuple[Rate, ...] = ()  # the first that covers a moment counts
    spot: Spot | None = None  # instead of rates
    solar_u: int | None = None  # energy from the building's own roof; None: priced as the rest
    per_hour: int = 0  # while plugged in and charging
    per_session: int = 0
    idle_per_hour: int = 0  # plugged in after the car is full
    idle_grace_s: int = 0
    vat_permille: int = 0
    currency: str = "EUR"
    timezone: str = "UTC"
    valid_from_s: int = 0
    valid_to_s: int | None = None

    def __post_init__(self) -> None:
        if bool(self.rates) == (self.spot is not None):
            raise TariffError(f"tariff {self.name!r}: give either rates or spot")
        if self.valid_to_s is not None and self.valid_to_s <= self.valid_from_s:
            raise TariffError(f"tariff {self.name!r}: ends before it begins")
        for rate in self.rates:
            if not (0 <= rate.from_min < 1440 and 0 < rate.to_min <= 1440):
                raise TariffError(f"tariff {self.name!r}: clock times are 00:00 to 24:00")
            if rate.from_min % 15 or rate.to_min % 15:
                raise TariffError(f"tariff {self.name!r}: clock times are whole quarter hours")
        gap = self._uncovered()
        if gap is not None:
            day, minute = gap
            raise TariffError(
                f"tariff {self.name!r}: no price on {DAY_NAMES[day]}"
                f" at {minute // 60:02d}:{minute % 60:02d}"
            )

    def _uncovered(self) -> tuple[int, int] | None:
        if not self.rates:
            return None
        for day in range(7):
            for minute in range(0, 1440, 15):
                if not any(rate.covers(day, minute) for rate in self.rates):
                    return day, minute
        return None

    def price_u(self, quarter_s: int, spot_u: Mapping[int, int]) -> int:
        """Millionths per kWh in the quarter hour that begins at `quarter_s`; `spot_u`: day-ahead
        price by that second.
        """
        if self.spot is not None:
            if quarter_s not in spot_u:
                raise TariffError(
                    f"tariff {self.name!r}: no day-ahead price for"
                    f" {datetime.fromtimestamp(quarter_s, UTC):%Y-%m-%d %H:%M} UTC;"
                    " import that day first"
                )
            return spot_u[quarter_s] * self.spot.factor_permille // 1000 + self.spot.add_u
        local = datetime.fromtimestamp(quarter_s, ZoneInfo(self.timezone))
        minute = local.hour * 60 + local.minute
        return next(r.price_u for r in self.rates if r.covers(local.weekday(), minute))


def tariff_at(tariffs: Iterable[Tariff], moment_s: int) -> Tariff:
    """The one tariff that holds at that moment; TariffError if none or two do."""
    held = [
        t
        for t in tariffs
        if t.valid_from_s <= moment_s and (t.valid_to_s is None or moment_s < t.valid_to_s)
    ]
    if len(held) != 1:
        when = f"{datetime.fromtimestamp(moment_s, UTC):%Y-%m-%d %H:%M} UTC"
        names = ", ".join(repr(t.name) for t in held)
        raise TariffError(
            f"more than one tariff holds at {when}: end all but one of {names}"
            if held
            else f"no tariff at {when}"
        )
    return held[0]


@dataclass(frozen=True, slots=True)
class Quarter:
    """What a session took within one quarter hour: energy, of it from the roof, seconds charging
    and idle.
    """

    start_s: int
    energy_wh: int
    solar_wh: int = 0
    charging_s: int = 0
    idle_s: int = 0

    def __post_init__(self) -> None:
        if self.start_s % QUARTER_S:
            raise TariffError(
                f"a quarter hour begins at a multiple of {QUARTER_S} s, not at {self.start_s}"
            )
        if not 0 <= self.solar_wh <= self.energy_wh:
            raise TariffError("solar energy is part of the energy")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill: so much of something at a price. Energy: Wh and millionths per kWh;
    time: s and per hour.
    """

    what: str  # energy, solar, time, session, idle
    quantity: int
    price: int
    amount: int  # money


def _per_kwh(wh: int, price_u: int) -> int:
    return _divide(wh * price_u, 100_000)  # Wh * 1e-6 / kWh -> 1e-9; to 1e-4


def _divide(n: int, d: int) -> int:
    """Rounded half away from zero, as invoices do; exact in whole numbers."""
    return (2 * n + d) // (2 * d) if n >= 0 else -((-2 * n + d) // (2 * d))


def price(
    tariff: Tariff, quarters: Iterable[Quarter], spot_u: Mapping[int, int]
) -> tuple[Line, ...]:
    """The lines of one session, rounded once a line. Energy of one price is one line, in the order
    of first use.
    """
    energy: dict[tuple[str, int], int] = {}
    charging_s = idle_s = 0
    for q in quarters:
        solar = q.solar_wh if tariff.solar_u is not None else 0
        if solar:
            key = ("solar", tariff.solar_u or 0)
            energy[key] = energy.get(key, 0) + solar
        if q.energy_wh - solar:
            key = ("energy", tariff.price_u(q.start_s, spot_u))
            energy[key] = energy.get(key, 0) + q.energy_wh - solar
        charging_s += q.charging_s
        idle_s += q.idle_s
    lines = [Line(what, wh, each, _per_kwh(wh, each)) for (what, each), wh in energy.items()]
    if tariff.per_hour and charging_s:
        amount = _divide(charging_s * tariff.per_hour, 3600)
        lines.append(Line("time", charging_s, tariff.per_hour, amount))
    idle_s = max(0, idle_s - tariff.idle_grace_s)
    if tariff.idle_per_hour and idle_s:
        amount = _divide(idle_s * tariff.idle_per_hour, 3600)
        lines.append(Line("idle", idle_s, tariff.idle_per_hour, amount))
    if tariff.per_session:
        lines.append(Line("session", 1, tariff.per_session, tariff.per_session))
    return tuple(lines)


def vat(net: int, permille: int) -> int:
    """The tax on a net amount, to whole cents (100 of our units) as an invoice shows it."""
    return _divide(net * permille, 1000 * 100) * 100
