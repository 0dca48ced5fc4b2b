"""Who charged where, when, how much and at what price: sessions listed and summed up.

Amounts are net of tax, and of the bill where a session stands on one; what stands on none yet is
priced by the tariffs as they are now. Periods are [from, to) in seconds UTC and count sessions by
their end, as bills do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manager.billing import Session, bill_in, cost, prices_for, sessions_in
from manager.core.bills import Item, month_of
from manager.core.rights import User
from manager.core.tariffs import Tariff, vat
from manager.people import users_in
from manager.refusal import Refusal
from manager.spreadsheet import Kind, Sheet

KINDS = ("user", "charger", "building", "fleet", "benefit")
FOR_EVER = 1 << 40


class ReportError(Refusal):
    """No report of this kind."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sessions; `user` also finds what others charged on this user's account."""

    from_s: int = 0
    to_s: int = FOR_EVER
    user: str = ""
    charger: str = ""


@dataclass(frozen=True, slots=True)
class Priced:
    """A session and what it costs; `net` None with `unpriced` in words where nobody can say."""

    session: Session
    net: int | None = None
    currency: str = ""
    tariff: str = ""
    vat_permille: int = 0
    unpriced: str = ""

    @property
    def solar_wh(self) -> int:
        """From the roof."""
        return self.session.solar_wh

    @property
    def charging_s(self) -> int:
        """Seconds charging."""
        return sum(q.charging_s for q in self.session.quarters)

    @property
    def idle_s(self) -> int:
        """Seconds plugged in after the car was full."""
        return sum(q.idle_s for q in self.session.quarters)


@dataclass
class Books:
    """What reports are made from. `elsewhere`: the cloud's tariffs and users, if there is a cloud."""

    db: sqlite3.Connection
    timezone: str
    now_ms: int
    elsewhere: Sequence[Tariff] = ()
    others: Mapping[str, User] = field(default_factory=dict)

    def users(self) -> dict[str, User]:
        """By id."""
        return {**self.others, **users_in(self.db)}

    def priced(self, asked: Asked) -> list[Priced]:
        """The sessions asked for, running ones too, each with its price."""
        sessions = sessions_in(
            self.db,
            "coalesce(end_ms, ?1) >= ?2 AND coalesce(end_ms, ?1) < ?3"
            " AND (?4 = '' OR user = ?4 OR payer = ?4) AND (?5 = '' OR charger = ?5)",
            (self.now_ms, asked.from_s * 1000, asked.to_s * 1000, asked.user, asked.charger),
        )
        tariffs, spot = prices_for(self.db, [s for s in sessions if not s.bill], self.elsewhere)
        billed: dict[str, tuple[str, dict[int, Item]]] = {}
        found = []
        for s in sessions:
            if s.bill:
                if s.bill not in billed:
                    bill = bill_in(self.db, s.bill)
                    billed[s.bill] = bill.currency, {i.session: i for i in bill.items}
                currency, items = billed[s.bill]
                item = items[s.id]
                found.append(Priced(s, item.net, currency, item.tariff, item.vat_permille))
                continue
            said = cost(s, tariffs, spot, self.now_ms)
            if isinstance(said, str):
                found.append(Priced(s, unpriced=said))
            else:
                item, currency = said
                found.append(Priced(s, item.net, currency, item.tariff, item.vat_permille))
        return found


SESSION_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("session", "whole"),
    ("charger", "text"),
    ("user", "text"),
    ("name", "text"),
    ("payer", "text"),
    ("card", "text"),
    ("purpose", "text"),
    ("allowed_by", "text"),
    ("begin", "time"),
    ("end", "time"),
    ("energy", "energy"),
    ("solar", "energy"),
    ("charging_s", "whole"),
    ("idle_s", "whole"),
    ("net", "money"),
    ("currency", "text"),
    ("vat_permille", "whole"),
    ("tariff", "text"),
    ("bill", "text"),
    ("ended_by", "text"),
    ("spread", "energy"),
    ("unpriced", "text"),
)


def sessions(books: Books, asked: Asked) -> Sheet:
    """Every session asked for, one row each; `spread` is energy whose time is a guess."""
    users = books.users()
    rows = [
        (
            p.session.id,
            p.session.charger,
            p.session.user,
            _name(users, p.session.user),
            p.session.payer,
            p.session.label,
            p.session.purpose,
            p.session.how,
            p.session.begin_ms // 1000,
            None if p.session.end_ms is None else p.session.end_ms // 1000,
            p.session.energy_wh,
            p.solar_wh,
            p.charging_s,
            p.idle_s,
            p.net,
            p.currency,
            p.vat_permille,
            p.tariff,
            p.session.bill or "",
            p.session.why,
            p.session.spread_wh,
            p.unpriced,
        )
        for p in books.priced(asked)
    ]
    return Sheet("sessions", SESSION_COLUMNS, rows, books.timezone)


def _name(users: Mapping[str, User], user: str) -> str:
    if not user:
        return ""
    return users[user].name if user in users else user


_SUMS: tuple[tuple[str, Kind], ...] = (
    ("sessions", "whole"),
    ("energy", "energy"),
    ("solar", "energy"),
    ("charging_s", "whole"),
    ("idle_s", "whole"),
    ("net", "money"),
    ("currency", "text"),
    ("billed", "money"),
    ("unpriced", "whole"),
)


def _sums(of: Sequence[Priced]) -> tuple[Any, ...]:
    return (
        len(of),
        sum(p.session.energy_wh for p in of),
        sum(p.solar_wh for p in of),
        sum(p.charging_s for p in of),
        sum(p.idle_s for p in of),
        sum(p.net or 0 for p in of),
        of[0].currency,
        sum(p.net or 0 for p in of if p.session.bill),
        sum(p.net is None for p in of),
    )


def report(books: Books, kind: str, asked: Asked) -> Sheet:
    """One of `KINDS`.

    user, charger: one row each. building: a row a month, what is nobody's apart. fleet: what
    business cards, or cards on somebody else's account, took, by payer, user and card. benefit: what
    each user took privately on somebody else's account by month, with its value tax included, for
    whoever has to declare it as a benefit in kind.
    """
    users = books.users()
    every = books.priced(asked)
    if kind == "user":
        return _by(books, kind, every, ("user", "name"), lambda p: (p.session.user, _of(p, users)))
    if kind == "charger":
        return _by(books, kind, every, ("charger",), lambda p: (p.session.charger,))
    if kind == "building":
        return _by(
            books,
            kind,
            every,
            ("month", "whose"),
            lambda p: (_month(books, p), "users" if p.session.user else "nobody"),
        )
    if kind == "fleet":
        of = [p for p in every if p.session.purpose == "business" or p.session.payer]
        return _by(
            books,
            kind,
            of,
            ("payer", "user", "name", "card", "purpose"),
            lambda p: (
                p.session.payer or p.session.user,
                p.session.user,
                _of(p, users),
                p.session.label,
                p.session.purpose,
            ),
        )
    if kind == "benefit":
        return _benefit(books, every, users)
    raise ReportError(f"no report {kind!r}: there are {', '.join(KINDS)}")


def _of(p: Priced, users: Mapping[str, User]) -> str:
    return _name(users, p.session.user)


def _month(books: Books, p: Priced) -> str:
    return month_of((p.session.end_ms or books.now_ms) // 1000, books.timezone)


def _by(
    books: Books,
    title: str,
    of: Sequence[Priced],
    names: Sequence[str],
    key: Callable[[Priced], tuple[str, ...]],
) -> Sheet:
    """Summed up by a key, and by currency: amounts of two are never added."""
    groups: dict[tuple[str, ...], list[Priced]] = {}
    for p in of:
        groups.setdefault((*key(p), p.currency), []).append(p)
    rows = [(*k[:-1], *_sums(found)) for k, found in sorted(groups.items())]
    columns: list[tuple[str, Kind]] = [(name, "text") for name in names]
    return Sheet(title, (*columns, *_SUMS), rows, books.timezone)


def _benefit(books: Books, every: Sequence[Priced], users: Mapping[str, User]) -> Sheet:
    groups: dict[tuple[str, ...], list[Priced]] = {}
    for p in every:
        if p.session.payer and p.session.purpose == "private":
            who = (p.session.payer, p.session.user, _of(p, users))
            groups.setdefault((*who, _month(books, p), p.currency), []).append(p)
    rows = []
    for key, of in sorted(groups.items()):
        by_rate: dict[int, int] = {}
        for p in of:
            by_rate[p.vat_permille] = by_rate.get(p.vat_permille, 0) + (p.net or 0)
        net = sum(by_rate.values())
        value = vat(net, 1000) + sum(vat(n, rate) for rate, n in by_rate.items())
        energy = sum(p.session.energy_wh for p in of)
        unpriced = sum(p.net is None for p in of)
        rows.append((*key[:4], len(of), energy, net, value, key[4], unpriced))
    columns: tuple[tuple[str, Kind], ...] = (
        ("payer", "text"),
        ("user", "text"),
        ("name", "text"),
        ("month", "text"),
        ("sessions", "whole"),
        ("energy", "energy"),
        ("net", "money"),
        ("value", "money"),
        ("currency", "text"),
        ("unpriced", "whole"),
    )
    return Sheet("benefit", columns, rows, books.timezone)
