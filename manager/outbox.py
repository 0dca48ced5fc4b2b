"""What is to reach the fog and other sinks: rows for the outbox, and the rule by which a full one thins out.

A row is written in the same transaction as the fact it tells of, so that nothing kept here is
missing there. When the fog is away for long the outbox stays bounded: readings become sparse
first (their counters go on counting, so no energy is lost), then states and log lines go, then
decisions and events; sessions, faults and announcements never.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared import protocol

if TYPE_CHECKING:
    import sqlite3

Row = tuple[str, tuple[Any, ...]]

APPEND = (
    "INSERT INTO outbox (rank, device, boot, seq, kind, t_ms, fields) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
MANAGER = "manager"  # the name the manager's own records come under

# Ranks: what is kept to the last has the lowest.
NEVER = 0  # sessions, faults, announcements, what was thinned out
NOTE = 1  # decisions, events
STATE = 2  # states of devices, log lines
READING = 3

_RANKS = {
    protocol.NEW_COUNTER: NEVER,
    protocol.NEW_CHARGER: NEVER,
    protocol.DEL_COUNTER: NEVER,
    protocol.DEL_CHARGER: NEVER,
    protocol.SESSION_BEGIN: NEVER,
    protocol.SESSION_END: NEVER,
    protocol.FAULT: NEVER,
    protocol.COUNTER_STATUS: STATE,
    protocol.CHARGER_STATUS: STATE,
    protocol.COUNTER_LOAD: READING,
    protocol.CHARGER_LOAD: READING,
}
# A status comes with every lease; what of it is news.
_NEWS = ("state", "offer_a", "contactor", "mode", "faults", "authorised", "cap_a")
_CARD_BYTES = 10


def card_hash(key: bytes, card: str) -> str:
    """What stands for a card's number outside the building: 20 hex digits of its HMAC."""
    digest = hmac.digest(key, b"card " + card.lower().encode(), hashlib.sha256)
    return digest[:_CARD_BYTES].hex()


class Outbox:
    """Makes rows for the store. `key` is the site's own, shared with the fog; `boot` the
    manager's.
    """

    def __init__(self, key: bytes, boot: int) -> None:
        self._key = key
        self._boot = boot
        self._told: dict[str, tuple[Any, ...]] = {}

    def message(self, device: str, message: Mapping[str, Any], t_ms: int) -> list[Row]:
        """A device's message, taken at `t_ms` (UTC); nothing for kinds that stay in the
        building.
        """
        code = message["code"]
        rank = _RANKS.get(code)
        if rank is None:
            return []
        if rank == STATE:
            news = (code, *(str(message.get(name)) for name in _NEWS))
            if self._told.get(device) == news:
                return []
            self._told[device] = news
        fields = {k: v for k, v in message.items() if k not in ("code", "boot", "seq")}
        if "card" in fields:
            fields["card"] = card_hash(self._key, fields["card"])
        if rank == READING:
            t_ms -= fields["age_ms"]
        kind = protocol.name_of(code)
        return [
            (APPEND, _values(rank, device, message["boot"], message["seq"], kind, t_ms, fields))
        ]

    def decision(
        self, charger: str, offer_a: int, lease: int, reason: str, words: str, t_ms: int
    ) -> Row:
        """What a charger was given, and why."""
        fields = {
            "charger": charger,
            "offer_a": offer_a,
            "lease": lease,
            "reason": _plain(reason, 48),
            "words": _plain(words, 200),
        }
        return self._own(NOTE, "decision", t_ms, fields)

    def event(self, kind: str, device: str, words: str, t_ms: int) -> Row:
        """Something that happened at the site; `device` is "" for the site itself."""
        fields = {"kind": _plain(kind, 48), "device": device[:24], "words": _plain(words, 400)}
        return self._own(NOTE, "event", t_ms, fields)

    def log(self, level: str, words: str, t_ms: int) -> Row:
        """A line of the log; level debug, info, warning, error or critical."""
        return self._own(STATE, "log", t_ms, {"level": level, "words": _plain(words, 2000)})

    def _own(self, rank: int, kind: str, t_ms: int, fields: Mapping[str, Any]) -> Row:
        return APPEND, _values(rank, MANAGER, self._boot, None, kind, t_ms, fields)


class LogLines(logging.Handler):
    """Warnings and worse of the manager's own log, into the outbox by way of `write`."""

    def __init__(self, box: Outbox, write: Callable[[list[Row]], None]) -> None:
        super().__init__(logging.WARNING)
        self._box = box
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """One line; without the traceback, which stays in the building's log."""
        words = f"{record.name}: {record.getMessage()}"
        self._write([self._box.log(record.levelname.lower(), words, int(record.created * 1000))])


def _values(
    rank: int, device: str, boot: int, seq: int | None, kind: str, t_ms: int, fields: Any
) -> tuple[Any, ...]:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return rank, device, boot, seq, kind, t_ms, text


def _plain(text: str, most: int) -> str:
    return "".join(max(c, " ") for c in text)[:most]


def enlist(db: sqlite3.Connection, names: Sequence[str]) -> None:
    """These sinks are told from now on, and no others: what waited for those alone goes.

    A new one is told of what comes after it. Within one transaction of the caller's.
    """
    marks = ",".join("?" * len(names))
    db.execute(f"DELETE FROM sink WHERE name NOT IN ({marks})", names)  # noqa: S608 - marks
    newest = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)"
    for name in names:
        db.execute(f"INSERT OR IGNORE INTO sink (name, n) VALUES (?, {newest})", (name,))  # noqa: S608
    db.execute("DELETE FROM outbox WHERE n <= coalesce((SELECT min(n) FROM sink), ?)", (1 << 62,))


def reached(db: sqlite3.Connection, name: str, n: int) -> None:
    """This sink has all rows up to `n`; those that every sink has go."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("UPDATE sink SET n = ? WHERE name = ?", (n, name))
        db.execute("DELETE FROM outbox WHERE n <= (SELECT min(n) FROM sink)")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


# The rule. At what part of the capacity (per cent), what: readings to one per so many ms and
# device, everything up to this rank gone.
_MINUTE_MS = 60_000
_DAY_MS = 1440 * _MINUTE_MS
_LEVELS = (
    (50, READING, _MINUTE_MS),
    (75, READING, 15 * _MINUTE_MS),
    (80, STATE, 0),
    (90, NOTE, 0),
    (95, READING, _DAY_MS),
)
_SLICE = 2_000  # rows looked at in one transaction: the manager writes in between


def thin(db: sqlite3.Connection, capacity: int, boot: int, now_ms: int) -> int:
    """Bring the outbox under `capacity` rows by the rule; returns how many rows went.

    `db` is in autocommit mode; each slice is a transaction, with a `thinned` record of its own.
    """
    gone = 0
    for part, rank, keep_ms in _LEVELS:
        first = 0
        rows = _rows(db)
        while rows * 100 > capacity * part:
            last = db.execute(
                "SELECT max(n) FROM (SELECT n FROM outbox WHERE n > ? ORDER BY n LIMIT ?)",
                (first, _SLICE),
            ).fetchone()[0]
            if last is None:
                break
            dropped = _drop(db, first, last, rank, keep_ms, boot, now_ms)
            gone += dropped
            rows -= dropped
            first = last
    return gone


def _rows(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])


def _drop(
    db: sqlite3.Connection, after: int, upto: int, rank: int, keep_ms: int, boot: int, now_ms: int
) -> int:
    """Of the rows in (after, upto], drop what this level may take."""
    if keep_ms:
        # The last of each interval stays: its counter holds what the others said.
        chosen = db.execute(
            "SELECT n, kind, t_ms FROM (SELECT n, kind, t_ms, t_ms / ?1 AS own, lead(t_ms / ?1)"
            " OVER (PARTITION BY device, boot ORDER BY n) AS following FROM outbox"
            " WHERE rank = ?2 AND n > ?3 AND n <= ?4) WHERE following = own",
            (keep_ms, rank, after, upto),
        ).fetchall()
    else:
        chosen = db.execute(
            "SELECT n, kind, t_ms FROM outbox WHERE rank = ? AND n > ? AND n <= ?",
            (rank, after, upto),
        ).fetchall()
    if not chosen:
        return 0
    by_kind: dict[str, list[int]] = {}
    for _, kind, t_ms in chosen:
        by_kind.setdefault(kind, []).append(t_ms)
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany("DELETE FROM outbox WHERE n = ?", [(n,) for n, _, _ in chosen])
        for kind, times in by_kind.items():
            fields = {"kind": kind, "count": len(times), "from_ms": min(times)}
            own = {**fields, "to_ms": max(times)}
            db.execute(APPEND, _values(NEVER, MANAGER, boot, None, "thinned", now_ms, own))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return len(chosen) - len(by_kind)
