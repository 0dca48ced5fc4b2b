"""How long what was measured is kept, and how finely: seconds, then minutes, then quarter hours.

A slice at a time, each a short transaction of its own connection with a pause after it, so that the
manager's own writes never wait long. Energy is exact: a folded row says what was used since the
reading before its first one, so the sum over any time is what the meter counted in it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SLICE = 1000  # rows: some 20 ms on a small computer
_IDLE_S = 60.0
_REST = 4  # times as long as a slice took
_DAY_MS = 86_400_000

_OLDEST = (
    "SELECT device, boot, seq, phase, at_ms, current_ma, power_w, energy_wh, suspect FROM reading"
    " WHERE at_ms < ? ORDER BY at_ms LIMIT ?"
)
_GONE = "DELETE FROM reading WHERE device = ? AND boot = ? AND seq = ? AND phase = ?"
_FOLD = (
    "INSERT INTO folded (step_s, start_s, device, phase, readings, sum_ma, peak_ma, sum_w,"
    " used_wh, energy_wh) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (step_s, start_s, device, phase) DO UPDATE SET"
    " readings = readings + excluded.readings, sum_ma = sum_ma + excluded.sum_ma,"
    " peak_ma = max(peak_ma, excluded.peak_ma), sum_w = sum_w + excluded.sum_w,"
    " used_wh = used_wh + excluded.used_wh, energy_wh = excluded.energy_wh"
)
_FOLDED_TO = (
    "INSERT INTO folded_to (device, phase, at_ms, energy_wh) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (device, phase) DO UPDATE SET at_ms = excluded.at_ms,"
    " energy_wh = excluded.energy_wh"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that readings are kept as they came, by the minute, by the quarter hour; 0: for ever.

    `notes_days`: events and decisions.
    """

    seconds_days: int = 7
    minutes_days: int = 90
    quarters_days: int = 3650
    notes_days: int = 400


def _before(now_ms: int, days: int, step_ms: int) -> int:
    """What is older than this many days, whole steps only; 0 if nothing ever is."""
    return (now_ms - days * _DAY_MS) // step_ms * step_ms if days else 0


def fold(db: sqlite3.Connection, keep: Retention, now_ms: int, most: int = SLICE) -> int:
    """One slice of what is due; how many rows went, 0 when nothing is due. `now_ms`: UTC."""
    db.execute("BEGIN IMMEDIATE")
    try:
        gone = (
            _minutes(db, _before(now_ms, keep.seconds_days, 60_000), most)
            or _quarters(db, _before(now_ms, keep.minutes_days, 900_000) // 1000, most)
            or _ended(db, keep, now_ms, most)
        )
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return gone


def _minutes(db: sqlite3.Connection, before_ms: int, most: int) -> int:
    rows = db.execute(_OLDEST, (before_ms, most)).fetchall()
    last = {(d, p): (at, wh) for d, p, at, wh in db.execute("SELECT * FROM folded_to")}
    folded = []
    for device, _, _, phase, at_ms, ma, watts, wh, suspect in rows:
        if suspect:
            continue
        was_at, was_wh = last.get((device, phase), (at_ms - 1, wh))
        # A counter that fell was set to zero, or is another one's: what went before is not known.
        # One that comes late has been counted by the ones after it.
        late = at_ms < was_at
        used = 0 if late else max(0, wh - was_wh)
        if not late:
            last[device, phase] = at_ms, wh
        start_s = at_ms // 60_000 * 60
        folded.append((60, start_s, device, phase, 1, ma, ma, watts, used, was_wh if late else wh))
    db.executemany(_FOLD, folded)
    touched = {(row[0], row[3]) for row in rows} & last.keys()
    db.executemany(_FOLDED_TO, [(*key, *last[key]) for key in touched])
    db.executemany(_GONE, [row[:4] for row in rows])
    return len(rows)


def _quarters(db: sqlite3.Connection, before_s: int, most: int) -> int:
    rows = db.execute(
        "SELECT start_s, device, phase, readings, sum_ma, peak_ma, sum_w, used_wh, energy_wh"
        " FROM folded WHERE step_s = 60 AND start_s < ? ORDER BY start_s LIMIT ?",
        (before_s, most),
    ).fetchall()
    db.executemany(_FOLD, [(900, start_s // 900 * 900, *rest) for start_s, *rest in rows])
    gone = "DELETE FROM folded WHERE step_s = 60 AND start_s = ? AND device = ? AND phase = ?"
    db.executemany(gone, [row[:3] for row in rows])
    return len(rows)


def _ended(db: sqlite3.Connection, keep: Retention, now_ms: int, most: int) -> int:
    gone = 0
    if keep.quarters_days:
        chosen = db.execute(
            "SELECT start_s, device, phase FROM folded WHERE step_s = 900 AND start_s < ? LIMIT ?",
            (_before(now_ms, keep.quarters_days, 900_000) // 1000, most),
        ).fetchall()
        statement = (
            "DELETE FROM folded WHERE step_s = 900 AND start_s = ? AND device = ? AND phase = ?"
        )
        db.executemany(statement, chosen)
        gone += len(chosen)
    if keep.notes_days:
        before_ms = now_ms - keep.notes_days * _DAY_MS
        for table in ("event", "decision"):
            gone += db.execute(
                f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - our own names
                f" (SELECT id FROM {table} WHERE at_ms < ? LIMIT ?)",
                (before_ms, most),
            ).rowcount
    return gone


class Folding:
    """Does it beside a running manager. `settled` says whether the clock can be gone by."""

    def __init__(
        self, path: Path, keep: Retention, utc_ms: Callable[[], int], settled: Callable[[], bool]
    ) -> None:
        self._path = path
        self._keep = keep
        self._utc_ms = utc_ms
        self._settled = settled

    async def run(self) -> None:
        """Until cancelled. A disk that fails is tried again later."""
        while True:
            wait_s = _IDLE_S
            if self._settled():
                try:
                    wait_s = await asyncio.to_thread(self._some)
                except sqlite3.Error as e:
                    log.warning("cannot fold old readings: %s", e)
            await asyncio.sleep(wait_s)

    def _some(self) -> float:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            began = time.monotonic()
            gone = fold(db, self._keep, self._utc_ms())
            took = time.monotonic() - began
        return took * _REST + 0.02 if gone else _IDLE_S
