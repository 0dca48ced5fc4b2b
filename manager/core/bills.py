"""Bills: one per user and month, made of priced sessions; a wrong one is undone by a credit note.

A bill is never changed once it has a number. Money is in 1/10000 of the currency (see tariffs);
what is asked of the user is whole cents. The sums are laws: the lines of a bill add up to its net,
its sessions' energy to what the meters counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from manager.core.tariffs import Line, Quarter, Tariff, price, tariff_at, vat

Spots = Mapping[str, Mapping[int, int]]  # area -> second -> day-ahead price, see tariffs


class BillError(ValueError):
    """Something that cannot be billed; says what to mend."""


@dataclass(frozen=True, slots=True)
class Charged:
    """A finished session as the store has it. `energy_wh` is what the charger's meter counted."""

    charger: str
    session: int
    user: str
    start_s: int
    end_s: int
    energy_wh: int
    quarters: tuple[Quarter, ...]

    def __post_init__(self) -> None:
        if self.end_s < self.start_s:
            raise BillError(f"{self.label} ends before it begins")
        parts = sum(q.energy_wh for q in self.quarters)
        if parts != self.energy_wh:
            raise BillError(
                f"{self.label}: its quarter hours hold {parts} Wh, its meter {self.energy_wh} Wh"
            )

    @property
    def label(self) -> str:
        return f"session {self.session} of {self.charger}"


@dataclass(frozen=True, slots=True)
class Item:
    """One session on a bill."""

    charger: str
    session: int
    start_s: int
    end_s: int
    energy_wh: int
    tariff: str
    vat_permille: int
    lines: tuple[Line, ...]

    @property
    def net(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def total(self) -> int:
        """To pay if it stood on a bill by itself, whole cents (100 of our units)."""
        return vat(self.net, 1000) + vat(self.net, self.vat_permille)


@dataclass(frozen=True, slots=True)
class Bill:
    """`month` is "2026-11"; `credits` is the number of the bill that this note undoes, or ""."""

    number: str
    user: str
    month: str
    currency: str
    items: tuple[Item, ...]
    credits: str = ""

    @property
    def net(self) -> int:
        return sum(item.net for item in self.items)

    @property
    def net_cents(self) -> int:
        """The same as whole cents (100 of our units)."""
        return vat(self.net, 1000)

    @property
    def energy_wh(self) -> int:
        return sum(item.energy_wh for item in self.items)

    @property
    def taxes(self) -> dict[int, int]:
        """Tax by rate in permille, whole cents each, as an invoice shows it."""
        by_rate: dict[int, int] = {}
        for item in self.items:
            by_rate[item.vat_permille] = by_rate.get(item.vat_permille, 0) + item.net
        return {rate: vat(net, rate) for rate, net in sorted(by_rate.items())}

    @property
    def total(self) -> int:
        """To pay, whole cents (100 of our units)."""
        return self.net_cents + sum(self.taxes.values())


def month_of(moment_s: int, timezone: str) -> str:
    """The month on whose bill a session stands: that of its end, on the site's own calendar."""
    return f"{datetime.fromtimestamp(moment_s, ZoneInfo(timezone)):%Y-%m}"


def priced(s: Charged, tariffs: Sequence[Tariff], spot_u: Spots) -> tuple[Item, str]:
    """The session as it will stand on a bill, and the currency. TariffError without a price."""
    tariff = tariff_at(tariffs, s.start_s)
    spot = spot_u.get(tariff.spot.area, {}) if tariff.spot else {}
    lines = price(tariff, s.quarters, spot)
    item = Item(
        s.charger,
        s.session,
        s.start_s,
        s.end_s,
        s.energy_wh,
        tariff.name,
        tariff.vat_permille,
        lines,
    )
    return item, tariff.currency


def make_bills(
    month: str,
    sessions: Iterable[Charged],
    tariffs: Sequence[Tariff],
    spot_u: Spots,
    timezone: str,
    first_number: int,
) -> tuple[Bill, ...]:
    """One bill per user with sessions that ended in `month`, numbered in the users' order.

    Every session is on exactly one bill. BillError if two currencies would meet on one, or a
    session is given twice; TariffError if a price is missing. All are numbered or none.
    """
    by_user: dict[str, list[Item]] = {}
    currencies: dict[str, set[str]] = {}
    seen: set[tuple[str, int]] = set()
    for s in sorted(sessions, key=lambda s: (s.end_s, s.charger, s.session)):
        if month_of(s.end_s, timezone) != month:
            continue
        if (s.charger, s.session) in seen:
            raise BillError(f"{s.label} is given twice")
        seen.add((s.charger, s.session))
        item, currency = priced(s, tariffs, spot_u)
        by_user.setdefault(s.user, []).append(item)
        currencies.setdefault(s.user, set()).add(currency)
    bills = []
    for n, (user, items) in enumerate(sorted(by_user.items()), first_number):
        if len(currencies[user]) > 1:
            raise BillError(f"{user} has sessions in {' and '.join(sorted(currencies[user]))}")
        number = f"{month[:4]}-{n:06d}"
        bills.append(Bill(number, user, month, currencies[user].pop(), tuple(items)))
    return tuple(bills)


def credit_note(bill: Bill, number: str) -> Bill:
    """What undoes a bill entirely; the right one is then made anew under its own number."""
    if bill.credits:
        raise BillError(f"{bill.number} is itself a credit note")
    items = tuple(
        replace(
            item,
            energy_wh=-item.energy_wh,
            lines=tuple(replace(x, quantity=-x.quantity, amount=-x.amount) for x in item.lines),
        )
        for item in bill.items
    )
    return replace(bill, number=number, items=items, credits=bill.number)


def money(amount: int, decimals: int = 2) -> str:
    """An amount for people: 12345600 -> "1234.56"; `decimals` 2 or 4."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10_000)
    return f"{sign}{whole}.{part:04d}"[: None if decimals == 4 else -2]
