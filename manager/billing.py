"""Bills out of the store: made once, numbered without a gap, undone only by a credit note.

Everything that numbers or marks a session as billed is one transaction: after a power cut a bill
is there with its number and its sessions, or not at all.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from manager.core.bills import (
    Bill,
    BillError,
    Charged,
    Item,
    Spots,
    credit_note,
    make_bills,
    money,
    month_of,
    priced,
)
from manager.core.rights import User
from manager.core.tariffs import Line, Quarter, Tariff, TariffError
from manager.people import users_in
from manager.prices import spot_in, tariffs_in
from manager.refusal import Refusal

_ROLLOVER_WH = 10_000_000  # a PZEM-004T counts to 9999.99 kWh a phase


class BillingError(Refusal):
    """What cannot be billed; says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Session:
    """A row of the session table with its quarter hours; None for what is not known yet."""

    id: int
    charger: str
    number: int
    user: str
    payer: str
    label: str
    purpose: str
    how: str
    begin_ms: int
    end_ms: int | None
    energy_wh: int
    duration_s: int | None
    why: str
    spread_wh: int
    bill: str | None
    quarters: tuple[Quarter, ...]

    @property
    def solar_wh(self) -> int:
        """Of its energy, from the roof."""
        return sum(q.solar_wh for q in self.quarters)

    def charged(self, end_ms: int) -> Charged:
        """As it stands on a bill, under whoever pays."""
        return Charged(
            self.charger,
            self.id,
            self.payer or self.user,
            self.begin_ms // 1000,
            max(self.begin_ms, self.end_ms or end_ms) // 1000,
            self.energy_wh,
            self.quarters,
        )


_COLUMNS = (
    "id, charger, number, user, payer, label, purpose, how, begin_ms, end_ms, energy_wh,"
    " duration_s, why, spread_wh, bill"
)


def sessions_in(db: sqlite3.Connection, where: str, values: Sequence[Any] = ()) -> list[Session]:
    """Sessions for which this holds, in the order in which they began."""
    found = db.execute(
        f"SELECT {_COLUMNS} FROM session WHERE {where} ORDER BY begin_ms, id",  # noqa: S608
        values,
    ).fetchall()
    quarters = {row[0]: _quarters(db, row[0]) for row in found}
    return [Session(*(*row, quarters[row[0]])) for row in found]


def _quarters(db: sqlite3.Connection, session: int) -> tuple[Quarter, ...]:
    rows = db.execute(
        "SELECT start_s, energy_wh, solar_mwh / 1000, charging_ms / 1000, idle_ms / 1000"
        " FROM quarter WHERE session = ? ORDER BY start_s",
        (session,),
    )
    return tuple(Quarter(*row) for row in rows)


def prices_for(
    db: sqlite3.Connection, sessions: Iterable[Session], elsewhere: Sequence[Tariff] = ()
) -> tuple[Sequence[Tariff], Spots]:
    """The tariffs kept here (`elsewhere`: the cloud's, where there are none) and the day-ahead
    prices that these sessions need.
    """
    tariffs = tariffs_in(db) or elsewhere
    areas = {t.spot.area for t in tariffs if t.spot is not None}
    starts = [q.start_s for s in sessions for q in s.quarters] if areas else []
    if not starts:
        return tariffs, {}
    return tariffs, spot_in(db, areas, min(starts), max(starts) + 1)


def cost(
    session: Session, tariffs: Sequence[Tariff], spot: Spots, now_ms: int
) -> tuple[Item, str] | str:
    """What a session costs by the tariffs: item and currency, or in words why nobody can say."""
    try:
        return priced(session.charged(now_ms), tariffs, spot)
    except (TariffError, BillError) as e:
        return str(e)


# Making them.


def make(
    db: sqlite3.Connection,
    month: str,
    timezone: str,
    now_ms: int,
    *,
    early: bool = False,
    elsewhere: Sequence[Tariff] = (),
    others: Mapping[str, User] | None = None,
) -> list[Bill]:
    """Bill every user's sessions that ended in `month` ("2026-11") and stand on no bill yet.

    `elsewhere`, `others`: the cloud's tariffs, for where none are kept here, and its users.
    Within a transaction. BillingError for a month that is not over (`early` bills it all the
    same; what comes later is on a further bill), or where a price is missing: then none is made.
    """
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise BillingError(f"{month!r} is no month: write it as 2026-11")
    this = month_of(now_ms // 1000, timezone)
    if month > this or (month == this and not early):
        raise BillingError(f"{month} is not over yet")
    open_ = sessions_in(db, "bill IS NULL AND end_ms IS NOT NULL AND user <> ''")
    due = [s for s in open_ if month_of((s.end_ms or 0) // 1000, timezone) == month]
    tariffs, spot = prices_for(db, due, elsewhere)
    series = month[:4]
    try:
        bills = make_bills(
            month,
            [s.charged(now_ms) for s in due],
            tariffs,
            spot,
            timezone,
            _next(db, series),
        )
    except (TariffError, BillError) as e:
        raise BillingError(f"no bill was made: {e}") from e
    users = {**(others or {}), **users_in(db)}
    for bill in bills:
        _keep(db, bill, users, now_ms, "")
        db.executemany(
            "UPDATE session SET bill = ? WHERE id = ?",
            [(bill.number, item.session) for item in bill.items],
        )
    return list(bills)


def credit(db: sqlite3.Connection, number: str, why: str, now_ms: int) -> Bill:
    """Undo a bill by a credit note, within a transaction; its sessions may be billed anew."""
    if not why.strip() or len(why) > 200:
        raise BillingError("say why in at most 200 letters: it stands on the credit note")
    bill = bill_in(db, number)
    if bill.credits:
        raise BillingError(f"{number} is itself a credit note")
    done = db.execute("SELECT number FROM bill WHERE credits = ?", (number,)).fetchone()
    if done:
        raise BillingError(f"{number} was undone by {done[0]} already")
    series = number[:4]
    note = credit_note(bill, f"{series}-{_next(db, series):06d}")
    # To whom the bill was addressed, whatever he is called by now.
    name = db.execute("SELECT name FROM bill WHERE number = ?", (number,)).fetchone()[0]
    _keep(db, note, {bill.user: User(bill.user, name)}, now_ms, why.strip())
    db.execute("UPDATE session SET bill = NULL WHERE bill = ?", (number,))
    return note


def _next(db: sqlite3.Connection, series: str) -> int:
    row = db.execute("SELECT coalesce(max(n), 0) + 1 FROM bill WHERE series = ?", (series,))
    return int(row.fetchone()[0])


def _keep(
    db: sqlite3.Connection, bill: Bill, users: Mapping[str, User], now_ms: int, why: str
) -> None:
    series, _, n = bill.number.partition("-")
    name = users[bill.user].name if bill.user in users else bill.user
    db.execute(
        "INSERT INTO bill (number, series, n, user, name, month, currency, net, total, credits,"
        " why, made_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            bill.number,
            series,
            int(n),
            bill.user,
            name,
            bill.month,
            bill.currency,
            bill.net,
            bill.total,
            bill.credits or None,
            why,
            now_ms,
            json.dumps(_to_plain(bill), separators=(",", ":")),
        ),
    )


def _to_plain(bill: Bill) -> list[Any]:
    return [
        [
            i.charger,
            i.session,
            i.start_s,
            i.end_s,
            i.energy_wh,
            i.tariff,
            i.vat_permille,
            [[x.what, x.quantity, x.price, x.amount] for x in i.lines],
        ]
        for i in bill.items
    ]


def _items(body: str) -> tuple[Item, ...]:
    return tuple(Item(*(*i[:7], tuple(Line(*x) for x in i[7]))) for i in json.loads(body))


# Reading them.


@dataclass(frozen=True, slots=True)
class Kept:
    """A bill as listed, without its items. `undone_by`: the credit note, "" none."""

    number: str
    user: str
    name: str
    month: str
    currency: str
    net: int
    total: int
    credits: str
    undone_by: str
    why: str
    made_ms: int

    def plain(self) -> dict[str, Any]:
        """As JSON says it, amounts as decimals."""
        return {
            "number": self.number,
            "user": self.user,
            "name": self.name,
            "month": self.month,
            "currency": self.currency,
            "net": money(self.net, 4),
            "total": money(self.total),
            "credits": self.credits,
            "undone_by": self.undone_by,
            "why": self.why,
            "made_s": self.made_ms // 1000,
        }


def bills_in(db: sqlite3.Connection, user: str = "", month: str = "") -> list[Kept]:
    """All bills and credit notes, or a user's, or a month's, newest first."""
    rows = db.execute(
        "SELECT b.number, b.user, b.name, b.month, b.currency, b.net, b.total,"
        " coalesce(b.credits, ''), coalesce(c.number, ''), b.why, b.made_ms"
        " FROM bill b LEFT JOIN bill c ON c.credits = b.number"
        " WHERE (?1 = '' OR b.user = ?1) AND (?2 = '' OR b.month = ?2)"
        " ORDER BY b.series DESC, b.n DESC",
        (user, month),
    )
    return [Kept(*row) for row in rows]


def bill_in(db: sqlite3.Connection, number: str) -> Bill:
    """One bill whole. BillingError if there is none of this number."""
    row = db.execute(
        "SELECT number, user, month, currency, body, coalesce(credits, '') FROM bill"
        " WHERE number = ?",
        (number,),
    ).fetchone()
    if row is None:
        raise BillingError(f"no bill {number}")
    return Bill(row[0], row[1], row[2], row[3], _items(row[4]), row[5])


def bills_whole(db: sqlite3.Connection, month: str = "") -> list[Bill]:
    """Every bill whole, in the order of their numbers."""
    return [bill_in(db, k.number) for k in reversed(bills_in(db, month=month))]


# Whether it all adds up.


def check(db: sqlite3.Connection) -> list[str]:
    """What does not add up, in words: bills to sessions, sessions to quarter hours and meters,
    numbers without a gap. Empty: everything does.
    """
    return [*_numbers(db), *_sums(db), *_sessions(db), *_meters(db)]


def _numbers(db: sqlite3.Connection) -> Iterator[str]:
    for series, count, least, most in db.execute(
        "SELECT series, count(*), min(n), max(n) FROM bill GROUP BY series"
    ):
        if (least, most) != (1, count):
            yield f"series {series} has {count} numbers from {least} to {most}"


def _sums(db: sqlite3.Connection) -> Iterator[str]:
    live: dict[int, str] = {}
    undone = {k.credits for k in bills_in(db) if k.credits}
    for kept in bills_in(db):
        bill = bill_in(db, kept.number)
        if (bill.net, bill.total) != (kept.net, kept.total):
            yield f"bill {bill.number} says {kept.total}, its lines {bill.total}"
        if bill.credits and bill.net + bill_in(db, bill.credits).net:
            yield f"credit note {bill.number} does not undo {bill.credits}"
        if not bill.credits and kept.number not in undone:
            for item in bill.items:
                if item.session in live:
                    yield f"session {item.session} is on {live[item.session]} and {bill.number}"
                live[item.session] = bill.number
                row = db.execute(
                    "SELECT energy_wh FROM session WHERE id = ?", (item.session,)
                ).fetchone()
                if row is None or row[0] != item.energy_wh:
                    yield f"bill {bill.number} has {item.energy_wh} Wh for session {item.session}"
    marked = dict(db.execute("SELECT id, bill FROM session WHERE bill IS NOT NULL").fetchall())
    for session in sorted(live.keys() | marked.keys()):
        if live.get(session) != marked.get(session):
            yield (
                f"session {session} is on bill {live.get(session)} and marked"
                f" {marked.get(session)}"
            )


def _sessions(db: sqlite3.Connection) -> Iterator[str]:
    for number, energy, parts in db.execute(
        "SELECT s.id, s.energy_wh, coalesce(sum(q.energy_wh), 0) FROM session s"
        " LEFT JOIN quarter q ON q.session = s.id WHERE s.end_ms IS NOT NULL GROUP BY s.id"
        " HAVING s.energy_wh <> coalesce(sum(q.energy_wh), 0)"
    ):
        yield f"session {number}: its meter counted {energy} Wh, its quarter hours hold {parts}"


def _meters(db: sqlite3.Connection) -> Iterator[str]:
    """A session's energy lies between its charger's meter at its beginning and at the next one's."""
    rows = db.execute(
        "SELECT charger, era, id, from_wh, energy_wh FROM session"
        " WHERE from_wh IS NOT NULL AND end_ms IS NOT NULL ORDER BY charger, era, number"
    ).fetchall()
    for one, following in pairwise(rows):
        if one[:2] != following[:2]:
            continue
        after = one[3] + one[4]
        if following[3] < after and not (after > _ROLLOVER_WH * 9 // 10 or following[3] < one[3]):
            yield (
                f"session {one[2]} of {one[0]} took {one[4]} Wh, but the meter went from {one[3]}"
                f" to {following[3]} Wh"
            )


def when(at_ms: int) -> str:
    """A time for people and spreadsheets, UTC to the second."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}"
