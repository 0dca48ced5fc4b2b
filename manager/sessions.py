"""Charging sessions as they come in: whose, since when, and quarter by quarter how much.

A charger repeats the end of a session until it is told that it is on disk (session_ack). So what
is made here of its messages are rows for the store, and telling it waits for their commit. A
charger numbers its sessions; one whose memory is lost counts anew, which is another era of it: a
session of the same number but another beginning is another session, and none is taken for a
repetition that is not one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from manager import beside
from manager.core.course import QUARTER_MS, Course, Doing, Part, ended, seen
from manager.people import People
from manager.store import Row

KEEP_MS = 60_000  # a running session's quarter hours go to the disk so often
_REMEMBERED = 64  # sessions of a charger that are told apart without asking the disk

_BEGUN = (
    "INSERT OR IGNORE INTO session (id, charger, era, number, user, payer, mark, label, purpose, how,"
    " begin_ms, from_wh, seen_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PROGRESS = (
    "UPDATE session SET energy_wh = ?, seen_ms = ?, spread_wh = ? WHERE id = ? AND end_ms IS NULL"
)
_ENDED = (
    "UPDATE session SET end_ms = ?, energy_wh = ?, duration_s = ?, why = ?, seen_ms = ?,"
    " spread_wh = ? WHERE id = ? AND end_ms IS NULL"
)
_QUARTER = (
    "INSERT INTO quarter (session, start_s, energy_wh, solar_mwh, charging_ms, idle_ms)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session, start_s) DO UPDATE SET"
    " energy_wh = excluded.energy_wh, solar_mwh = excluded.solar_mwh,"
    " charging_ms = excluded.charging_ms, idle_ms = excluded.idle_ms"
)

_End = tuple[int, int, str]  # what a charger says of an ended one: energy, duration, why


@dataclass(slots=True)
class Running:
    """A session under way. `course` grows with every reading."""

    id: int
    charger: str
    era: int
    number: int
    user: str
    begin_ms: int
    course: Course
    kept_ms: int = 0
    begun: tuple[Row, ...] = ()  # its row, until it is known to be on disk


@dataclass(slots=True)
class _Known:
    """A session as one of its messages would name it."""

    id: int
    from_wh: int | None
    end: _End | None = None


class Sessions:
    """All sessions of a site; those under way in memory. Times given are UTC in ms."""

    def __init__(self, path: Path, people: People, zone: tzinfo | None) -> None:
        """`zone` is the site's: a month begins there. None for this system's."""
        self.path = path
        self.people = people
        self.zone = zone
        self.running: dict[int, Running] = {}  # by id
        self._eras: dict[str, int] = {}
        self._newest: dict[str, int] = {}  # the highest number in that era
        self._known: dict[str, dict[int, _Known]] = {}
        self._unsure: dict[int, list[Row]] = {}  # ended, and perhaps not yet on disk
        self._used: dict[tuple[str, str], int] = {}
        self._expected: dict[str, str] = {}  # charger -> who was started there from here
        self._next = 1
        self._load()

    def _load(self) -> None:
        with beside.look(self.path) as db:
            self._next = db.execute("SELECT coalesce(max(id), 0) + 1 FROM session").fetchone()[0]
            for charger, era, number in db.execute(
                "SELECT charger, era, max(number) FROM session GROUP BY charger, era ORDER BY era"
            ):
                self._eras[charger] = era
                self._newest[charger] = number
            running = db.execute(
                "SELECT id, charger, era, number, user, begin_ms, seen_ms, energy_wh, spread_wh"
                " FROM session WHERE end_ms IS NULL ORDER BY id"
            ).fetchall()
            for row in running:
                parts = db.execute(
                    "SELECT start_s, energy_wh, solar_mwh, charging_ms, idle_ms FROM quarter"
                    " WHERE session = ?",
                    (row[0],),
                )
                course = Course(row[6], row[7], {p[0]: Part(*p[1:]) for p in parts}, row[8])
                run = Running(row[0], row[1], row[2], row[3], row[4], row[5], course, row[6])
                self.running[run.id] = run
            newest = db.execute("SELECT max(end_ms) FROM session").fetchone()[0]
            if newest is not None:
                month = self.month(newest)
                sums = db.execute(
                    "SELECT user, sum(energy_wh) FROM session WHERE end_ms >= ? GROUP BY user",
                    (self._month_begins(newest),),
                )
                self._used = {(user, month): wh for user, wh in sums}

    def month(self, at_ms: int) -> str:
        """The local month, as "2026-11"."""
        return f"{self._local(at_ms):%Y-%m}"

    def _local(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(self.zone)

    def _month_begins(self, at_ms: int) -> int:
        t = self._local(at_ms)
        # Midnight of the first on the wall clock, whatever its offset then was.
        first = datetime(t.year, t.month, 1, tzinfo=self.zone)
        return int(first.timestamp()) * 1000

    def used_wh(self, user: str, at_ms: int) -> int:
        """What a user has taken in this month, sessions under way included."""
        now = sum(r.course.energy_wh for r in self.running.values() if r.user == user)
        return self._used.get((user, self.month(at_ms)), 0) + now

    def at(self, charger: str) -> Running | None:
        """The session under way there; of two the newer, if the older one's end is still to come."""
        here = [r for r in self.running.values() if r.charger == charger]
        return max(here, key=lambda r: r.id, default=None)

    def expect(self, charger: str, user: str) -> None:
        """The next session there that the manager has started is this user's."""
        self._expected[charger] = user

    # What a charger says.

    def begun(self, charger: str, message: Mapping[str, Any], at_ms: int) -> list[Row]:
        """session_begin, taken at `at_ms`. No rows for a repetition."""
        number, from_wh = message["session"], message["energy_wh"]
        known = self._of(charger, number)
        if known is not None and known.from_wh in (None, from_wh):
            return []
        rows: list[Row] = []
        if known is not None:
            rows += self._new_era(charger)
        begin_ms = at_ms - message["age_s"] * 1000
        how, card = message["how"], message.get("card", "")
        return rows + self._begin(charger, number, from_wh, begin_ms, how, card)

    def _begin(
        self, charger: str, number: int, from_wh: int | None, begin_ms: int, how: str, card: str
    ) -> list[Row]:
        started = self._expected.pop(charger, "") if how == "manager" else ""
        user, payer, mark, label, purpose = self._whose(charger, card, started)
        era = self._eras.setdefault(charger, 0)
        run = Running(self._next, charger, era, number, user, begin_ms, Course(begin_ms), begin_ms)
        self._next += 1
        self._newest[charger] = max(number, self._newest.get(charger, 0))
        self._remember(charger, number, _Known(run.id, from_wh))
        values = (run.id, charger, era, number, user, payer, mark, label, purpose)
        run.begun = ((_BEGUN, (*values, how, begin_ms, from_wh, begin_ms)),)
        self.running[run.id] = run
        return [*run.begun]

    def _whose(self, charger: str, number: str, started: str) -> tuple[str, str, str, str, str]:
        """User, payer, mark of the card, its label and purpose."""
        if not number:
            owner = self.people.user(started) or self.people.owner(charger)
            return owner.id if owner else "", owner.payer if owner else "", "", "", "private"
        card = self.people.card(number)
        mark = self.people.mark(number)
        if card is None:
            return "", "", mark, "", "private"
        user = self.people.user(card.user)
        return card.user, user.payer if user else "", mark, card.label, card.purpose

    def load(
        self, charger: str, message: Mapping[str, Any], at_ms: int, doing: Doing, solar: int
    ) -> list[Row]:
        """charger_load: what the session has taken by now. `solar` permille of it from the roof."""
        run = self.at(charger)
        if run is None or message.get("session") != run.number:
            return []
        measured_ms = at_ms - message["age_ms"]
        before = run.course
        run.course = seen(before, measured_ms, message.get("session_wh", 0), doing, solar)
        seen_ms = run.course.seen_ms
        turned = seen_ms // QUARTER_MS != run.kept_ms // QUARTER_MS
        return self._keep(run) if turned or seen_ms - run.kept_ms >= KEEP_MS else []

    def progress(self) -> list[Row]:
        """Every running session as it is now."""
        return [row for run in self.running.values() for row in self._keep(run)]

    def _keep(self, run: Running) -> list[Row]:
        c = run.course
        rows: list[Row] = [(_PROGRESS, (c.energy_wh, c.seen_ms, c.spread_wh, run.id))]
        since_s = run.kept_ms // QUARTER_MS * (QUARTER_MS // 1000)
        rows += _quarters(run.id, ((s, p) for s, p in c.parts.items() if s >= since_s))
        run.kept_ms = c.seen_ms
        return rows

    def ended(self, charger: str, message: Mapping[str, Any], at_ms: int) -> list[Row]:
        """session_end. A repetition is to be acknowledged all the same, once what is returned is
        on disk: nothing if it was there already.
        """
        number = message["session"]
        end = (message["energy_wh"], message["duration_s"], message["why"])
        end_ms = at_ms - message["age_s"] * 1000
        begin_ms = end_ms - message["duration_s"] * 1000
        known = self._of(charger, number)
        if known is not None and known.end == end:
            return self._unsure.get(known.id, [])
        rows: list[Row] = []
        if known is None or known.end is not None:
            # Its beginning was never heard; or the number is another session's already.
            if known is not None:
                rows += self._new_era(charger)
            card = message.get("card", "")
            how = "card" if card else "free"
            rows += self._begin(charger, number, None, begin_ms, how, card)
            known = self._known[charger][number]
        return rows + self._close(self.running[known.id], end_ms, end)

    def _close(self, run: Running, end_ms: int, end: _End | None) -> list[Row]:
        """The session is over; `end` None: its charger does not say how, what was seen counts."""
        if end is None:
            course = ended(run.course, run.course.seen_ms, run.course.energy_wh)
            end_ms = course.seen_ms
            end = (course.energy_wh, (end_ms - run.begin_ms) // 1000, "lost")
        else:
            end_ms = max(end_ms, run.begin_ms)
            course = ended(run.course, end_ms, end[0])
        del self.running[run.id]
        known = self._of(run.charger, run.number)
        if known is not None and known.id == run.id:
            known.end = end
        month = (run.user, self.month(end_ms))
        self._used[month] = self._used.get(month, 0) + end[0]
        values = (end_ms, *end, course.seen_ms, course.spread_wh, run.id)
        rows = [*run.begun, (_ENDED, values), *_quarters(run.id, course.parts.items())]
        self._unsure[run.id] = rows
        return rows

    def on_disk(self, charger: str, number: int) -> None:
        """The end of this session has been committed."""
        known = self._known.get(charger, {}).get(number)
        if known is not None:
            self._unsure.pop(known.id, None)

    # Which session a message means.

    def _new_era(self, charger: str) -> list[Row]:
        """The charger counts its sessions anew: what it knew of is lost with its memory."""
        rows: list[Row] = []
        for run in [r for r in self.running.values() if r.charger == charger]:
            rows += self._close(run, run.course.seen_ms, None)
        self._eras[charger] = self._eras.get(charger, 0) + 1
        self._newest[charger] = 0
        self._known[charger] = {}
        return rows

    def _of(self, charger: str, number: int) -> _Known | None:
        known = self._known.setdefault(charger, {})
        if number in known:
            return known[number]
        if number > self._newest.get(charger, 0):
            return None
        era = self._eras[charger]
        with beside.look(self.path) as db:
            row = db.execute(
                "SELECT id, from_wh, end_ms, energy_wh, duration_s, why FROM session"
                " WHERE charger = ? AND era = ? AND number = ?",
                (charger, era, number),
            ).fetchone()
        if row is None:
            return None
        end = None if row[2] is None else (row[3], row[4], row[5])
        self._remember(charger, number, _Known(row[0], row[1], end))
        return known[number]

    def _remember(self, charger: str, number: int, known: _Known) -> None:
        here = self._known.setdefault(charger, {})
        here[number] = known
        while len(here) > _REMEMBERED:
            del here[min(here)]


def _quarters(session: int, parts: Iterable[tuple[int, Part]]) -> list[Row]:
    return [
        (_QUARTER, (session, start, p.energy_wh, p.solar_mwh, p.charging_ms, p.idle_ms))
        for start, p in sorted(parts)
    ]
